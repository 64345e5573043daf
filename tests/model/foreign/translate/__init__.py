"""Three rulesets that iptables-restore-translate 1.8.9 gets wrong, each with what it makes of them."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.record import record

FOLDER = Path(__file__).parent


@record
class Case:
    """`port`: a destination port about which the two rulesets disagree."""

    name: str
    proto: str
    port: int
    meant: str
    translated: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.v4"

    @property
    def rules(self) -> str:
        return self.path.read_text()

    @property
    def nft(self) -> str:
        return (FOLDER / f"{self.name}.nft").read_text()


CASES = (
    Case("negated-ports", "tcp", 22, "accept", "drop"),
    Case("negated-ports", "tcp", 80, "drop", "accept"),
    Case("negated-range", "udp", 1500, "accept", "drop"),
    Case("negated-range", "udp", 53, "drop", "accept"),
    Case("range-of-ports", "tcp", 1500, "accept", "drop"),
)
