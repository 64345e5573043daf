"""Each command of the recipe that fwpolicy began as, what it leaves open, and that ours does not.

On hosts that sysvinit boots, with iptables-legacy: by the script where there is no Python, else by apply.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ..lab.hosts import Lab
from . import recipe
from .recipe import Ours, Restricted, Ruled, Stopped
from .verdicts import assert_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from ..lab.roots import Roots
    from .recipe import Ended

    Parts = dict[str, Future[object]]

pytestmark = pytest.mark.hosts

WAYS = (
    Ours("the script, no Python, ntp.org", "sysv-ntp", "ntp"),
    pytest.param(Ours("apply, ntpsec", "sysv-ntpsec", "ntpsec"), marks=pytest.mark.slow),
)


@pytest.fixture(scope="module", params=WAYS, ids=lambda ours: ours.kind)
def parts(
    request: pytest.FixtureRequest, roots: Roots, summary: Callable[[Iterable[str]], None]
) -> Iterator[Parts]:
    ours: Ours = request.param
    with Lab(roots, flood=True) as lab, lab.time_server("clock", 251, 252) as clock:
        places = {
            part: recipe.install(lab, clock, ours, part, number)
            for number, part in enumerate(recipe.PARTS, start=10)
        }
        lab.boot(*(place.host for place in places.values()))
        with ThreadPoolExecutor(len(places)) as executor:
            found = {part: executor.submit(recipe.PARTS[part], place) for part, place in places.items()}
        summary(_table(ours, found))
        yield found


@pytest.fixture
def restricted(parts: Parts) -> Restricted:
    found = parts["restrict"].result()
    assert isinstance(found, Restricted)
    return found


@pytest.fixture
def ruled(parts: Parts) -> Ruled:
    found = parts["rule"].result()
    assert isinstance(found, Ruled)
    return found


@pytest.fixture
def stopped(parts: Parts) -> Stopped:
    found = parts["stop"].result()
    assert isinstance(found, Stopped)
    return found


def _table(ours: Ours, parts: Parts) -> list[str]:
    head = f"the recipe, and ours ({ours.name}): probes answered, synchronised"
    rows = [
        row for part in parts.values() for row in (_rows(part.result()) if not part.exception() else [FAILED])
    ]
    return ["", head, *(f"{step:<48}{theirs:<38}{closed}" for step, theirs, closed in rows)]


FAILED = ("a part failed", "", "")


def _rows(part: object) -> list[tuple[str, str, str]]:
    match part:
        case Restricted():
            theirs = f"{part.probed}, {_word(part.synchronised)}"
            return [("restrict default ignore, restart", theirs, _ended(part.ours))]
        case Ruled():
            said = f"exit {part.ntpq[0]}, {part.ntpq[1].strip().splitlines()[-1]!r}"
            answered = f"{part.probed}, x{part.probed.factor:.0f}"
            return [
                ("iptables -A INPUT ... --state NEW ... -j DROP", answered, _ended(part.ours)),
                ("ntpq -pn HOST", said, f"fwpolicy probe: {', '.join(part.probed.verdicts)}"),
                ("iptables save, reboot", str(part.rebooted), _ended(part.ours)),
                ("the same rule behind an ACCEPT", str(part.behind), _ended(part.ours)),
            ]
        case Stopped():
            theirs = f"{part.probed}, after a reboot {part.rebooted}"
            return [("stop, chkconfig --level 35 off", theirs, str(part.ours.rebooted))]
    return [FAILED]


def _ended(ours: Ended) -> str:
    return f"{ours.probed}, {_word(ours.synchronised)}; rebooted {ours.rebooted}"


def _word(synchronised: bool) -> str:
    return "yes" if synchronised else "NO"


def assert_ours(ours: Ended) -> None:
    """0 answered, now and after a reboot, whose rules were there before the network."""
    assert_closed(ours.probed)
    assert_closed(ours.rebooted)
    assert ours.seen.in_time
    assert ours.as_applied


def of_family(names: Iterable[str], family: int) -> list[str]:
    return [name for name in names if name.startswith(f"IPv{family} ")]


# restrict default ignore


def test_the_line_ends_synchronisation_and_locks_its_own_operator_out(restricted: Restricted) -> None:
    assert restricted.before and "refid" in restricted.tool_before
    assert not restricted.synchronised
    assert "timed out" in restricted.tool


def test_ours_on_that_host_synchronises_again(restricted: Restricted) -> None:
    assert_ours(restricted.ours)
    assert restricted.ours.synchronised
    assert "refid" in restricted.ours.tool


# the rule, its check, and `iptables save`


def test_the_rule_leaves_ipv6_and_known_flows_open_and_shuts_loopback(ruled: Ruled) -> None:
    assert ruled.flow
    assert len(of_family(ruled.probed.answered, 6)) > 20
    forged = of_family(ruled.probed.answered, 4)
    assert all("forged" in name for name in forged)
    assert any("forged-readvar" in name for name in forged)
    assert ruled.probed.factor > 10
    assert "timed out" in ruled.tool


def test_the_check_says_the_same_of_a_host_that_answers(ruled: Ruled) -> None:
    status, said = ruled.ntpq
    assert status == 0
    assert "timed out" in said


def test_saved_and_rebooted_it_is_as_open(ruled: Ruled) -> None:
    assert len(of_family(ruled.rebooted.answered, 6)) > 20


def test_behind_an_accept_it_does_nothing(ruled: Ruled) -> None:
    assert any("forged" not in name for name in of_family(ruled.behind.answered, 4))


def test_ours_comes_before_the_accept_in_both_families(ruled: Ruled) -> None:
    assert_ours(ruled.ours)
    assert ruled.ours.synchronised


# stopping the daemon


def test_two_runlevels_are_not_all(stopped: Stopped) -> None:
    assert stopped.probed.answered == ()
    assert stopped.runlevel == "2"
    assert stopped.rebooted.answered


def test_closed_by_ours_it_stays_stopped(stopped: Stopped) -> None:
    assert_ours(stopped.ours)
    assert not stopped.runs
