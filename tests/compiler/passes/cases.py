"""One case a pass: a ruleset that only this pass changes, and the texts before and after."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.backends.nft.render import table_lines
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.compiler.passes import dispatch, merge, prefixhash, verdictmap
from fwpolicy.record import replace
from tests.compiler.build import HERE, allow, block, match, policy, section

HERE_IS = Path(__file__).parent


def numbered(*lines):
    """Each line at a line of its own, as in a file."""
    return tuple(
        replace(line, origin=replace(HERE, line=number)) if line.origin == HERE else line
        for number, line in enumerate(lines, 5)
    )


def several(make, texts, **more):
    return [make(what, source=source, **more) for what, source in texts]


MERGE = policy(
    section(
        "input",
        "drop",
        *numbered(
            allow("dns"),
            allow("tcp/80 tcp/443 tcp/79-81"),
            allow("dns", source="192.0.2.0/24 2001:db8::/32"),
            block("ident", action="reject"),
        ),
    )
)
VERDICTMAP = policy(
    section(
        "input",
        "drop",
        *numbered(
            # A hash: addresses and ports, of each family; the second of a key is never met.
            *several(allow, [(f"tcp/{n}", f"192.0.2.{n}") for n in (1, 2, 3, 4, 5, 6, 1)]),
            *several(allow, [(f"tcp/{n}", f"2001:db8::{n}") for n in range(1, 7)], comment="the others"),
            # Ports alone; a line in between that has the port of a later one keeps its turn.
            allow("udp/1"),
            allow("udp/2"),
            allow("udp/4-6", source="10.0.0.0/8"),
            allow("udp/3"),
            allow("udp/9 udp/8"),
            allow("udp/5"),
            # Chains of lines: a verdict map.
            *(allow(f"tcp/{n}", match(source="192.0.2.9"), source="10.0.0.0/8") for n in (11, 12, 13, 14)),
            *several(block, [("tcp/7", None), ("tcp/8", None)]),
        ),
    )
)
PREFIXHASH = policy(
    section(
        "input",
        "accept",
        *numbered(
            block(
                source=" ".join([f"10.{n >> 7}.{n * 2 & 255}.0/24" for n in range(1000)] + ["11.0.0.0/16"]),
                source_group="feed",
            ),
            allow("ssh"),
        ),
    )
)
DISPATCH = policy(
    section(
        "input",
        "drop",
        *numbered(
            *(
                allow(f"{('tcp', 'udp')[n % 2]}/{n}", source="192.0.2.0/24", source_group="office")
                for n in range(1, 21)
            ),
            allow("ping", families=(4,)),
        ),
    )
)
CASES = {merge: MERGE, verdictmap: VERDICTMAP, prefixhash: PREFIXHASH, dispatch: DISPATCH}


def texts(which) -> tuple[str, str]:
    """(before, after)."""
    pair = (compile_ruleset(CASES[which], passes=passes) for passes in ((), (which,)))
    before, after = ("".join(f"{line}\n" for line, _ in table_lines(each.tables[0])) for each in pair)
    return before, after


def files(which) -> tuple[Path, Path]:
    return HERE_IS / f"{which.NAME}.before.nft", HERE_IS / f"{which.NAME}.after.nft"


def update() -> None:
    """python -c "from tests.compiler.passes.cases import update; update()" """
    for which in CASES:
        for file, text in zip(files(which), texts(which), strict=True):
            file.write_text(text)
