"""docs/fleet.md is about this program: its inventory and its invariants are read."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.fleet.invariants import LINE_KEYS, load
from fwpolicy.fleet.inventory import VARIABLES, parse

TEXT = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
INVENTORY, INVARIANTS = (part.split("```")[0] for part in TEXT.split("```yaml\n")[1:3])


def test_the_inventory_is_one():
    found = parse("inventory.yaml", INVENTORY.encode())
    assert len(found.hosts) == 23 and found.unmanaged == ()
    assert all(f"`{name}`" in TEXT for name in VARIABLES)


def test_the_invariants_are_some():
    def read_file(path: str) -> bytes:
        assert path == "groups.yaml"
        return b"groups: {admin: [192.0.2.0/24]}\n"

    found = load("invariants.yaml", INVARIANTS.encode(), read_file, ("web",))
    assert [each.always for each in found] == [False, False, False, True]
    assert all(f"`{key}`" in TEXT or f"{key}:" in INVARIANTS for key in LINE_KEYS)
