"""libyaml's complaints in the words of somebody who writes a policy, and at the place to change."""

from __future__ import annotations

from fwpolicy.yamltree import IPV6, MAX_DEPTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.errors import Problem, Span
    from fwpolicy.source import Text

# What libyaml's words mean to somebody who writes a policy: (its problem, its context, where:
# "here" or where the surrounding thing "began", our message, a hint).
_EXPLAINED = (
    ("end of stream", "quoted scalar", "began", "this quotation mark is never closed", None),
    (
        *("did not find expected key", "block mapping", "here"),
        *("this line does not continue the mapping that begins on line {began}",),
        "the keys of one mapping begin in the same column",
    ),
    (
        *("expected '-' indicator", "", "here"),
        *("this line does not continue the list that begins on line {began}",),
        "the items of one list begin in the same column",
    ),
    ("expected ',' or '}'", "", "here", "a ',' or '}' is missing; the '{' is on line {began}", None),
    ("expected ',' or ']'", "", "here", "a ',' or ']' is missing; the '[' is on line {began}", None),
    ("expected ':'", "simple key", "began", "a key without ':'", "KEY: VALUE, with a space after the colon"),
    ("mapping values are not allowed", "", "here", "a ':' that begins no value", 'quote text that has ": "'),
    ("sequence entries are not allowed", "", "here", "'- ' must begin a line of its own", None),
    ("cannot start any token", "", "here", "a word cannot begin with this character", "quote the word"),
    ("expected node content", "", "here", "a value is missing, or begins with a reserved character", None),
    ("maximum nesting depth", "", "here", f"nested deeper than {MAX_DEPTH} levels", None),
    ("found unexpected ':'", "", "here", "a ':' with nothing after it", "KEY: VALUE"),
    ("expected <document start>", "", "here", "text after the end of the document", None),
    ("unknown escape character", "", "here", "an unknown escape", "in single quotes a \\ is only a \\"),
)


def explain(error: Any, text: Text) -> Problem:
    """A YAMLError as a problem of `text`."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return _character_problem(error, text)
    line = text.line(mark.line + 1)
    start, end = _stretch(line, mark.column)
    word = line[start:end]
    if "::" in word:
        span = text.span_between(mark.line, start, mark.line, end)
        return text.problem(
            "an IPv6 address that YAML cannot read without quotes", span, f'quote it: "{word}"'
        )
    span = text.span_between(mark.line, mark.column, mark.line, mark.column + 1)
    if "mapping values" in (error.problem or "") and _lacks_space(text.line(mark.line)):
        above = text.line(mark.line)
        colon = above.index(":")
        span = text.span_between(mark.line - 1, colon, mark.line - 1, colon + 1)
        return text.problem("a space is missing after this ':'", span, "KEY: VALUE")
    if "\t" in line[: mark.column + 1]:
        return text.problem("a tab where YAML wants spaces", span, "indent with spaces, never with tabs")
    return _explained(error, text, span)


def _lacks_space(line: str) -> bool:
    """`version:1` and the line after it are one word to YAML, which then stumbles over the second."""
    content = line.partition(" #")[0].strip()
    return ":" in content[:-1] and ": " not in content and content[-1] != ":"


def _stretch(line: str, column: int) -> tuple[int, int]:
    """The address-like characters around `column`."""
    start = end = column
    while start > 0 and line[start - 1] in IPV6:
        start -= 1
    while end < len(line) and line[end] in IPV6:
        end += 1
    return start, end


def _explained(error: Any, text: Text, span: Span) -> Problem:
    problem, context = error.problem or "", error.context or ""
    began = error.context_mark
    for its_problem, its_context, where, message, hint in _EXPLAINED:
        if its_problem in problem and its_context in context:
            if where == "began" and began is not None:
                span = text.span_between(began.line, began.column, began.line, began.column + 1)
            return text.problem(message.replace("{began}", str(began.line + 1) if began else "?"), span, hint)
    return text.problem(", ".join(filter(None, (problem, context))) or "not YAML", span)


def _character_problem(error: Any, text: Text) -> Problem:
    """libyaml names an unwanted character by code and byte offset only; find where it stands."""
    character = getattr(error, "character", None)
    if not isinstance(character, int):
        return text.problem("not YAML", text.span_at(0))
    where = text.find(chr(character))
    return text.problem(f"a control character (U+{character:04X}) in the text", text.span_at(where))
