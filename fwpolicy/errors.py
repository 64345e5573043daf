"""Where a problem is, what it is, and the few exceptions that carry it to `cli`."""

from __future__ import annotations

from fwpolicy.record import record


@record
class Span:
    """A stretch of one line of a file: lines and columns count from 1, `end` is the column after the last.

    Columns are characters, not bytes. A longer node is cut at the end of its first line.
    """

    file: str
    line: int
    column: int
    end: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@record
class Problem:
    """One finding in the text: `severity` is "error" or "warning", `text` the whole line at `span`."""

    message: str
    span: Span | None = None
    text: str | None = None
    hint: str | None = None
    severity: str = "error"

    def render(self) -> str:
        """FILE:LINE:COL: error: MESSAGE, the source line, a caret under the exact span, then the hint."""
        where = f"{self.span}: " if self.span else ""
        lines = [f"{where}{self.severity}: {_shown(self.message)}"]
        if self.span and self.text is not None:
            lines += _excerpt(self.text, self.span)
        if self.hint:
            lines.append("  hint: " + "\n".join(_shown(line) for line in self.hint.split("\n")))
        return "\n".join(lines)


_LONGEST = 500


def _shown(text: str) -> str:
    """A message quotes the user's words: no terminal may take one for a command, nor one fill it."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST * 2 // 3]} ... {text[-_LONGEST // 4 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# Wider than any terminal: a caret line longer than this helps nobody.
_EXCERPT = 160


def _excerpt(text: str, span: Span) -> list[str]:
    start = span.column - 1
    first = max(0, start - _EXCERPT // 2) if len(text) > _EXCERPT else 0
    shown = text[first : first + _EXCERPT]
    before = shown[: start - first]
    padding = "".join("\t" if character == "\t" else " " for character in before)
    width = max(1, min(span.end - span.column, len(shown) - len(before)))
    printable = shown
    if not shown.isprintable():
        printable = "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in shown)
    return [f"  {printable}", f"  {padding}{'^' * width}"]


# Beyond these nobody reads on, and a file of a million wrong lines still ends.
MAX_PROBLEMS = 1000


class FwpolicyError(Exception):
    """Base of everything that `cli` turns into a message and an exit code; never a traceback.

    `told`: a report on stdout was printed all the same, so that `--json` needs none of the failure.
    """

    exit_code = 1
    told = False


class PolicyError(FwpolicyError):
    """The user's text is wrong. Carries every problem found, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(problem.render() for problem in problems))
        self.problems = problems


class HostError(FwpolicyError):
    """The host refused, or lacks something; the message is one line that says what and what to do."""


class LeftBehindError(HostError):
    """What was begun could neither be done nor undone as a whole."""


class InterruptedByError(FwpolicyError):
    """A signal ended what was under way; no step of it may go on with something else instead."""


class CheckFailedError(FwpolicyError):
    """A policy test, a proof or a probe said no."""

    exit_code = 3
