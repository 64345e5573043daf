"""Reading golden cases."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.facts import Facts
from fwpolicy.deploy import xtproof
from fwpolicy.errors import PolicyError
from fwpolicy.model.packet import Packet, parse_packet
from fwpolicy.policy.load import load

HERE = Path(__file__).parent
CASES = tuple(sorted(path.parent.name for path in HERE.glob("*/policy.yaml")))
# What iptables is given, by the name of the file here; or why it cannot be said.
IPTABLES = ("rules.v4", "rules.v6", "ipset", "iptables.err")


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


def iptables(case: str):
    """The case's texts for iptables. Raises PolicyError where it cannot be said."""
    return xtproof.compiled(policy(case), facts(case))


def rendered_iptables(case: str) -> dict[str, str]:
    """The texts by file, or the refusal."""
    try:
        texts = iptables(case)
    except PolicyError as error:
        return {"iptables.err": f"{error}\n"}
    return {each.name.removeprefix("fwpolicy."): each.text for each in texts.all}


def golden_iptables(case: str) -> dict[str, str]:
    """What the files in the case's folder say."""
    folder = HERE / case
    return {name: (folder / name).read_text() for name in IPTABLES if (folder / name).exists()}


def write(case: str) -> list[Path]:
    """Write everything that the case renders; the files."""
    folder = HERE / case
    for name in IPTABLES:
        (folder / name).unlink(missing_ok=True)
    files = {golden(case): rendered(case)}
    files |= {folder / name: text for name, text in rendered_iptables(case).items()}
    for path, text in files.items():
        path.write_text(text)
    return list(files)


SAID = tuple(case for case in CASES if not (HERE / case / "iptables.err").exists())


def packets(case: str) -> list[tuple[Packet, str, str]]:
    """(packet, verdict, step) for each line of the table."""
    table = []
    for line in (HERE / case / "packets").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            text, _, expected = line.partition(" -> ")
            verdict, step = expected.split()
            table.append((parse_packet(text), verdict, step))
    return table
