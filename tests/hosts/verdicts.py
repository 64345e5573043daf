"""What a probe from outside must have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..lab.outside import Probed


def assert_closed(probed: Probed) -> None:
    """0 answered of everything that there is to ask, and the silence means something."""
    assert probed.answered == ()
    assert probed.verdicts == ("CLOSED", "CLOSED")
    assert probed.unasked == ()
    assert probed.sent > 200
    assert probed.controls == ("answered, answered", "answered, answered")
    assert probed.status == 0


def assert_served(probed: Probed) -> None:
    """The time in every family, and nothing else, whatever shape the question came in."""
    for family in ("IPv4", "IPv6"):
        wanted = {f"{family} mode3-v{version}-{port}" for version in (4, 3) for port in ("high", "123")}
        assert wanted <= set(probed.answered)
    # Nothing forged as its time server, which it does not serve.
    assert [name for name in probed.answered if "mode3" not in name or "forged" in name] == []
    assert probed.unasked == ()
    assert probed.factor <= 1
