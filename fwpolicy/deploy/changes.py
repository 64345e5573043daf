"""What a plan is made of: files that would be written."""

from __future__ import annotations

import re
from functools import cache

from fwpolicy.host.files import printable
from fwpolicy.markedtext import PREFIX
from fwpolicy.record import record


@record
class FileChange:
    """A file that would be written: its text now (None: absent) and then. `mode` is for a new file.

    `gone`: it is removed instead.
    """

    path: str
    before: str | None
    after: str
    mode: int = 0o644
    gone: bool = False

    def diff(self) -> str:
        """A unified diff for a terminal: without secrets, what it can't show as escape sequences."""
        import difflib  # noqa: PLC0415

        name = self.path if self.before is not None else "/dev/null"
        lines = difflib.unified_diff(
            _lines(self.before or ""), _lines(self.after), name, self.path, n=2, lineterm=""
        )
        return "\n".join(printable(_without_secrets(line)) for line in lines)


def _without_secrets(line: str) -> str:
    for secret in _secrets():
        line = secret.sub(r"\1(redacted)", line)
    return line


@cache
def _secrets() -> tuple[re.Pattern[str], ...]:
    # A line of a diff, behind our own mark and in a comment, too.
    start = rf"^([ +-]\s*(?:{re.escape(PREFIX)})*[#!%;\s]*"
    # Keys themselves stand in files of their own, `NUMBER [TYPE] KEY` (ntp.keys(5), chrony.conf(5), keyfile),
    # but who knows what somebody includes; no directive begins with a number.
    types = r"M|N|A|S|MD4|MD5|SHA\S*|RMD\S*|RIPEMD\S*|TIGER|WHIRLPOOL|AES\S*|DES|\S*CMAC\S*"
    return (
        # The one directive with a secret in place, ntp.org's `crypto [option VALUE]... pw PASSWORD` (its
        # ntp.conf). The others name files, and keys by number: no secrets.
        re.compile(rf"{start}crypto\s(?:.*?\s)?pw(?:\s+|=|(?=\")))\S.*$", re.IGNORECASE | re.DOTALL),
        re.compile(rf"{start}\d+\s+(?:{types})\s+)\S.*$", re.IGNORECASE),
        re.compile(rf"^([ +-]\s*(?:{re.escape(PREFIX)})*\s*\d+\s+)\S+\s*$"),
        # https://USER:PASSWORD@HOST, as in a constraint of openntpd's.
        re.compile(r"(://)[^/\s@]+(?=@)"),
    )


def _lines(text: str) -> list[str]:
    """As a daemon counts them; str.splitlines also breaks at form feeds and U+2028."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
