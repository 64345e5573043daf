"""The kernel's nftables through libnftables, in one transaction a call.

The binding is the distribution's python3-nftables: it comes with the system's libnftables and has
its version. The copies on PyPI are of 1.0.2 and drop their files beside everybody else's in
site-packages. It is a single pure Python module over ctypes, so that an isolated environment (pipx)
can load it from where the distribution keeps it.
"""

from __future__ import annotations

import json
import os
import re

from fwpolicy.errors import HostError
from fwpolicy.host.flaggedtables import listing as flagged_listing
from fwpolicy.host.flaggedtables import tables
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DISTRIBUTION = "/usr/lib/python3/dist-packages/nftables/nftables.py"
_PLACE = re.compile(r"(?:/proc/self/fd/\d+|/dev/stdin):(\d+):(\d+)-\d+: Error: (.*)")


@record
class Refusal:
    """What libnftables or the kernel said about one place of the text (1-based line and column)."""

    line: int
    column: int
    message: str


class RefusedError(HostError):
    """The ruleset was not loaded, and nothing changed: a transaction is whole or not at all."""

    def __init__(self, refusals: tuple[Refusal, ...], output: str) -> None:
        first = f"line {refusals[0].line}: {refusals[0].message}" if refusals else output.strip()
        super().__init__(f"the kernel refused the ruleset: {first}")
        self.refusals = refusals


class Nftables:
    """One libnftables context, in the network namespace of the thread that uses it."""

    def __init__(self) -> None:
        self._nft: Any = _binding().Nftables()
        for flag in ("numeric_proto", "numeric_prio", "numeric_symbol", "numeric_time"):
            getattr(self._nft, f"set_{flag}_output")(True)

    def load(self, text: str, dry_run: bool = False) -> None:
        """Load a ruleset text as one transaction; `dry_run` only checks it.

        Raises RefusedError with the places of the text that were refused. Through a file and not
        through `cmd(text)`, which loses line numbers: a memfd needs no disk and no name.
        """
        descriptor = os.memfd_create("fwpolicy-ruleset", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as stream:
                stream.write(text.encode())
            self._nft.set_dry_run(dry_run)
            code, _, error = self._run(f'include "/proc/self/fd/{descriptor}"')
        finally:
            self._nft.set_dry_run(False)
            os.close(descriptor)
        if code != 0:
            places = tuple(
                Refusal(int(line), int(column), said) for line, column, said in _PLACE.findall(error)
            )
            raise RefusedError(places, _explained(error))

    def listing(self, what: str = "ruleset", terse: bool = False) -> dict[str, Any]:
        """`list WHAT` as libnftables' JSON object; an absent table lists as nothing.

        `terse`: without the elements of sets and maps, which are not even read then.
        """
        flagged = tables() if what.split(maxsplit=1)[0] in ("ruleset", "table", "tables") else ()
        self._nft.set_json_output(True)
        self._nft.set_terse_output(terse)
        try:
            if flagged:
                return {"nftables": flagged_listing(what, flagged, self._entries)}
            return {"nftables": self._entries(what)}
        finally:
            self._nft.set_json_output(False)
            self._nft.set_terse_output(False)

    def _entries(self, what: str) -> list[dict[str, Any]]:
        code, output, error = self._run(f"list {what}")
        if code != 0:
            if "No such file or directory" in error:
                return []
            raise HostError(f"cannot list the ruleset: {_explained(error)}")
        return list(json.loads(output)["nftables"]) if output else []

    def text(self, what: str) -> str:
        """`list WHAT` as a text that loads again; empty where it is absent."""
        code, output, error = self._run(f"list {what}")
        if code != 0 and "No such file or directory" not in error:
            raise HostError(f"cannot list the ruleset: {_explained(error)}")
        return str(output) if code == 0 else ""

    def terse_text(self, family: str, name: str) -> str:
        """A table as a text without the elements of its sets and maps; empty where it is absent.

        Of a whole ruleset, as only then nft 1.0.6 does not read them: 1 ms against 1,100 for 100,000.
        """
        self._nft.set_terse_output(True)
        try:
            text = self.text(f"ruleset {family}")
        finally:
            self._nft.set_terse_output(False)
        _, begin, rest = f"\n{text}".partition(f"\ntable {family} {name} {{\n")
        body, end, _ = rest.partition("\n}\n")
        return (begin + body + end).lstrip("\n")

    def _run(self, command: str) -> tuple[int, str, str]:
        """In UTC: libnftables reads and writes `meta time` in local time, which is two times in autumn."""
        before = os.environ.get("TZ")
        os.environ["TZ"] = "UTC"
        try:
            code, output, error = self._nft.cmd(command)
        finally:
            del os.environ["TZ"]
            if before is not None:
                os.environ["TZ"] = before
        return int(code), str(output), str(error)

    def delete_table(self, family: str, name: str) -> None:
        """Remove a table if it is there, in one transaction."""
        self.load(f"table {family} {name}\ndelete table {family} {name}\n")


def _explained(error: str) -> str:
    if "Operation not permitted" in error or "Permission denied" in error:
        return "it takes root (CAP_NET_ADMIN)"
    return error.strip().splitlines()[0] if error.strip() else "no reason given"


def _binding() -> Any:
    try:
        import nftables  # noqa: PLC0415

        return nftables
    except ImportError:
        pass
    import importlib.util  # noqa: PLC0415

    spec = importlib.util.spec_from_file_location("nftables", DISTRIBUTION)
    try:
        if spec is None or spec.loader is None:
            raise FileNotFoundError(DISTRIBUTION)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.Nftables()
    except (OSError, ImportError):
        raise HostError("no libnftables bindings: install the package python3-nftables") from None
    return module
