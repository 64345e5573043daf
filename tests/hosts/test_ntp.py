"""ntp-client with every real daemon, as its distribution configures it and wide open, over IPv4 and IPv6.

Ten hosts, an attacker for each and one time server hang on a bridge that repeats every frame, so
answers to packets forged as the server are seen, too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ..lab import guest
from ..lab.daemons import DAEMONS
from ..lab.hosts import Lab
from . import table
from .journey import Journey, travel
from .table import Cell
from .verdicts import assert_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from ..lab.roots import Roots
    from .table import Matrix

    Case = tuple[str, str]
    Journeys = dict[Case, Future[Journey]]

pytestmark = pytest.mark.hosts

OPEN, DEFAULT = "wide open", "default"
CASES = tuple((kind, config) for kind in DAEMONS for config in (DEFAULT, OPEN))
SERVING = ("chrony", "ntp", "ntpsec", "openntpd")
# Each daemon as `plan` must name it, and a line that the change must contain.
KINDS = {
    "chrony": ("chrony", "4.3", "+port 0"),
    "ntp": ("ntpd", "4.2.8.15", "+restrict default ignore"),
    "ntpsec": ("ntpsec", "1.2.2", "+restrict default ignore"),
    "openntpd": ("openntpd", "", "-listen on *"),
    "timesyncd": ("timesyncd", "", ""),
}
NUMBERS = {case: number for number, case in enumerate(CASES, start=10)}


@pytest.fixture(scope="module")
def journeys(roots: Roots, summary: Callable[[Iterable[str]], None], matrix: Matrix) -> Iterator[Journeys]:
    """Every case, travelled side by side; a step that fails is raised by the tests of its case."""
    with Lab(roots, flood=True) as lab, lab.time_server("clock", 251, 252) as clock:
        hosts = {}
        for (kind, config), number in NUMBERS.items():
            host = lab.host(f"{kind}-{number}", number, kind)
            DAEMONS[kind].install(host, clock.servers, wide_open=config == OPEN)
            host.install_fwpolicy()
            hosts[kind, config] = host
        lab.boot(*hosts.values())
        attackers = {case: lab.namespace(f"attacker-{at}", at + 100) for case, at in NUMBERS.items()}
        with ThreadPoolExecutor(len(CASES)) as executor:
            found = {
                case: executor.submit(travel, hosts[case], attackers[case], clock, case[0]) for case in CASES
            }
        summary(_table(found))
        for (kind, config), future in found.items():
            if config == OPEN:
                matrix.note("nft", kind, "client-only", _cell(future))
                matrix.note("nft", kind, table.BEFORE, _before(future))
        yield found


def _before(journey: Future[Journey]) -> Cell:
    return table.FAILED if journey.exception() else Cell(str(journey.result().before))


def _cell(journey: Future[Journey]) -> Cell:
    if journey.exception():
        return table.FAILED
    seen = journey.result()
    survived = not seen.rebooted.answered and seen.rebooted_status["drift"] == []
    return Cell(str(seen.after), "yes", "yes" if survived else "NO")


def _table(journeys: Journeys) -> list[str]:
    head = f"{'daemon':<12}{'configured':<12}{'before':>12}{'after':>12}{'synchronised after':>20}"
    lines = ["", "ntp-client: probes answered over both families", head]
    for (kind, config), future in journeys.items():
        if future.exception():
            lines.append(f"{kind:<12}{config:<12}failed")
            continue
        seen = future.result()
        seconds = f"{seen.seconds:.1f} s"
        lines.append(f"{kind:<12}{config:<12}{seen.before!s:>12}{seen.after!s:>12}{seconds:>20}")
    return lines


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case).replace(" ", "-"))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def seen(journeys: Journeys, case: Case) -> Journey:
    return journeys[case].result()


def test_before_it_answers(seen: Journey, case: Case) -> None:
    kind, config = case
    assert seen.before.unasked == ()
    assert not seen.found.rules
    if config == OPEN and kind in SERVING:
        for family in ("IPv4", "IPv6"):
            # Forged ones included: those of `after` would be seen, too.
            assert {f"{family} mode3-v4-high", f"{family} forged-mode3-v4"} <= set(seen.before.answered)
        assert seen.before.status == 3
    if config == OPEN and kind in ("ntp", "ntpsec"):
        assert "IPv6 forged-readstat-v2" in seen.before.answered
        assert seen.before.factor > 20


def test_plan_names_the_daemon_and_shows_the_change(seen: Journey, case: Case) -> None:
    kind, version, line = KINDS[case[0]]
    (daemon,) = seen.plan["daemons"]
    assert (daemon["kind"], daemon["version"]) == (kind, version)
    assert daemon["unit"] == DAEMONS[case[0]].unit
    assert seen.plan["changed"]
    assert seen.plan["restart"] == [daemon["unit"]]
    if line and case != ("openntpd", DEFAULT):  # which listens nowhere to begin with
        (file,) = daemon["files"]
        assert file["path"] == daemon["file"] == DAEMONS[case[0]].config
        assert line in file["diff"].splitlines()
    else:
        assert daemon["files"] == []
        assert any("already client-only" in note for note in daemon["notes"])


def test_plan_touches_nothing_and_apply_does(seen: Journey) -> None:
    assert guest.differences(seen.found, seen.planned) == []
    assert seen.applied_said.endswith("applied ntp-client: generation 1\n")
    assert "table inet fwpolicy" in seen.applied.rules
    assert seen.applied.units == seen.found.units  # it runs, and starts at boot, as it did


def test_after_nothing_is_answered(seen: Journey) -> None:
    assert_closed(seen.after)


def test_it_synchronises_with_samples_since_the_apply(seen: Journey, case: Case) -> None:
    assert 0 < seen.seconds <= DAEMONS[case[0]].seconds


def test_the_gate_is_what_the_daemon_says(seen: Journey, case: Case) -> None:
    """Met by a sample since the apply, not by an older one, and by none without the daemon."""
    kind = KINDS[case[0]][0]
    assert seen.unmet == ()
    (sentence,) = seen.unmet_later
    assert sentence.startswith(f"{kind} has had no answer since the apply; the last came ")
    assert 3000 < int(sentence.split()[-4]) < 3600
    assert seen.unmet_stopped == ("no time daemon runs here",)


def test_a_second_apply_changes_nothing_and_says_so(seen: Journey) -> None:
    assert seen.again_said == "ntp-client: nothing to change\n"
    # Times of files and folders and the handles of rules included.
    assert guest.differences(seen.applied, seen.again) == []


def test_status_finds_no_difference(seen: Journey) -> None:
    for status in (seen.status, seen.rebooted_status):
        assert (status["policy"], status["generation"], status["drift"]) == ("ntp-client", 1, [])


def test_the_hosts_own_tools_still_work(seen: Journey) -> None:
    for said in seen.tools:
        assert "192.168.77.25" in said or "fd00:77::25" in said, said


def test_a_reboot_keeps_the_rules_and_the_silence(seen: Journey) -> None:
    assert guest.without_handles(seen.rebooted_rules) == guest.without_handles(seen.applied.rules)
    assert_closed(seen.rebooted)


def test_remove_leaves_the_host_byte_for_byte_as_it_was(seen: Journey) -> None:
    assert guest.differences(seen.found.as_before(), seen.restored.as_before()) == []
    assert seen.restored.rules == ""
    assert not [path for path in seen.restored.tree if "fwpolicy" in path]


def test_after_remove_it_answers_as_before(seen: Journey, case: Case) -> None:
    if case[1] == OPEN:
        # ntpd's own rate limit takes a few of a busy machine's burst, now one and now another.
        changed = set(seen.removed.answered) ^ set(seen.before.answered)
        assert len(changed) <= len(seen.before.answered) // 20, changed
    else:  # a distribution's `limited` answers some of a fast burst
        assert bool(seen.removed.answered) == bool(seen.before.answered)


def test_the_filter_alone_closes_an_open_daemon(seen: Journey) -> None:
    assert_closed(seen.filtered)
