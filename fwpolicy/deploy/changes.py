"""What a plan is made of: files that would be written."""

from __future__ import annotations

import re

from fwpolicy.record import record

# Directives whose argument is a secret: ntp.keys(5), chrony.keys(5) name files; these carry it in place.
_SECRET = re.compile(
    r"^([ +-]\s*(?:crypto\s+pw|controlkey|requestkey|commandkey|trustedkey)\s+)\S.*$", re.IGNORECASE
)


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
        """A unified diff, without secrets."""
        import difflib  # noqa: PLC0415

        before = (self.before or "").splitlines()
        name = self.path if self.before is not None else "/dev/null"
        lines = difflib.unified_diff(before, self.after.splitlines(), name, self.path, n=2, lineterm="")
        return "\n".join(_SECRET.sub(r"\1(redacted)", line) for line in lines)
