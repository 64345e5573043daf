"""Reading golden cases."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.facts import Facts
from fwpolicy.model.packet import Packet, parse_packet
from fwpolicy.policy.load import load

HERE = Path(__file__).parent
CASES = tuple(sorted(path.parent.name for path in HERE.glob("*/policy.yaml")))


def policy(case: str):
    """The case's policy; files that it names are beside it."""
    folder = HERE / case
    text = (folder / "policy.yaml").read_bytes()
    return load((("policy.yaml", text),), lambda name: (folder / name).read_bytes())


def facts(case: str) -> Facts:
    return Facts(nat=(HERE / case / "facts").exists())


def ruleset(case: str):
    return compile_ruleset(policy(case), facts(case))


def rendered(case: str) -> str:
    return render(ruleset(case), policy(case).name).text


def golden(case: str) -> Path:
    return HERE / case / "ruleset.nft"


def packets(case: str) -> list[tuple[Packet, str, str]]:
    """(packet, verdict, step) for each line of the table."""
    table = []
    for line in (HERE / case / "packets").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            text, _, expected = line.partition(" -> ")
            verdict, step = expected.split()
            table.append((parse_packet(text), verdict, step))
    return table
