"""The table of the NTP role: what every backend, with every daemon, in every mode was seen to do."""

from __future__ import annotations

from fwpolicy.record import record

from ..lab.daemons import DAEMONS

BACKENDS = ("nft", "iptables-nft", "iptables-legacy")
MODES = ("client-only", "server", "closed")
BEFORE = "nothing applied"
COLUMNS = (BEFORE, *MODES)
NOT_RUN = "in `make test-hosts`"
HEAD = "probes of a stranger answered, synchronised, survived a reboot"


@record
class Cell:
    """Each word stands for itself, or says why there is none."""

    probed: str
    synchronised: str = ""
    rebooted: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.probed, self.synchronised, self.rebooted)))


FAILED, REFUSED = Cell("FAILED"), Cell("refused: it cannot serve")
NO_DAEMON = "no daemon runs"


class Matrix:
    """Cells as they are seen; what nobody has looked at says where it is."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str, str], Cell] = {}

    def note(self, backend: str, kind: str, column: str, cell: Cell) -> None:
        """`column`: of COLUMNS. A failure stays, and so does the whole where there is a part, too."""
        known = self._cells.get((backend, kind, column))
        if known is None or (known != FAILED and NOT_RUN not in str(cell)):
            self._cells[backend, kind, column] = cell

    def lines(self) -> list[str]:
        """The table; nothing where no cell is known."""
        if not self._cells:
            return []
        rows = [("backend", "daemon", *COLUMNS)]
        for backend in BACKENDS:
            for kind in DAEMONS:
                found = (self._cells.get((backend, kind, column)) for column in COLUMNS)
                rows.append((backend, kind, *(str(cell or NOT_RUN) for cell in found)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["", HEAD, *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
