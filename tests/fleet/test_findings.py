"""What is said of hosts and lines: nothing that is not known."""

from __future__ import annotations

from fwpolicy.fleet.facts import DAY, Count, Facts, Heard, Probed, Status
from fwpolicy.fleet.findings import DIFFERS, SAME, UNKNOWN, drifted, ntp, state, unused
from fwpolicy.fleet.findings import unknown as silent
from fwpolicy.fleet.judging import Judgement
from fwpolicy.fleet.looked import Looked
from fwpolicy.fleet.overview import Overview, Seen

NOW = 1_790_000_000
NOTHING = Heard(None, None, "none")


def status(days: int = 3, *drift: str, applied: bool = True, policy: str = "p", host: str = "") -> Heard:
    time = "2026-09-18T14:13:20Z" if days == 3 else "2026-09-20T14:13:20Z"
    differs = tuple((each, ()) for each in drift)
    return Heard(Status(applied, policy, 1, time, differs, (), "", None, host), NOW)


def counters(*counts: tuple[str, int, int | None]) -> Heard:
    return Heard(
        tuple(Count("p.yaml", line, f"line {line}", "", name, number) for name, line, number in counts), NOW
    )


def overview(**facts: Facts) -> Overview:
    looked = Looked("p", "", (), "client-only", "anybody", (), (), ())
    hosts = ("a", "b", "c")
    unit = Seen(hosts, ("p.yaml",), "", looked)
    return Overview("i", NOW, "0", None, True, {"all": hosts}, (), (), (unit,), Judgement(0, ()), True, facts)


def facts(status: Heard = NOTHING, counters: Heard = NOTHING, probe: Heard = NOTHING) -> Facts:
    return Facts(status, counters, probe)


def test_states():
    found = overview(a=facts(status()), b=facts(status(3, "rules")))
    assert [state(found, found.units[0], host) for host in "abc"] == [SAME, DIFFERS, UNKNOWN]
    found = overview(a=facts(status(applied=False)))
    assert state(found, found.units[0], "a") == DIFFERS
    assert [each.what for each in drifted(overview(a=facts(status(applied=False))))] == [
        "nothing was ever applied"
    ]
    assert silent(overview(a=facts(status()))) == {"no status was collected": ["b", "c"]}


def test_what_another_host_said_is_not_taken_for_its_own():
    found = overview(
        a=facts(status(policy="q")),
        b=facts(status(3, "rules", host="web-01")),
        c=facts(status(host="c.example.org"), counters(("allow_1", 1, 0))),
    )
    assert [state(found, found.units[0], host) for host in "abc"] == [DIFFERS, DIFFERS, SAME]
    assert [(each.what, each.detail, each.hosts) for each in drifted(found)] == [
        ("another host's policy is in force", ("the bundle in force there is web-01's",), ("b",)),
        ("another policy is in force", ("q, not p",), ("a",)),
        ("rules", (), ("b",)),
    ]
    # Nor are its counters.
    both = overview(
        a=facts(status(policy="q"), counters(("allow_1", 1, 5))),
        b=facts(status(), counters(("allow_1", 1, 0))),
    )
    ((each),) = unused(both)
    assert (each.hosts, each.silent) == (("b",), 2)


def test_drift_of_the_most_hosts_comes_first():
    found = drifted(overview(a=facts(status(3, "x", "y")), b=facts(status(3, "y"))))
    assert [(each.what, each.hosts) for each in found] == [("y", ("a", "b")), ("x", ("a",))]


def test_a_line_is_unused_if_no_host_that_counts_met_it():
    found = unused(
        overview(
            a=facts(status(3), counters(("allow_1", 1, 0), ("allow_2", 2, 0), ("default_input", 9, 0))),
            b=facts(status(1), counters(("allow_1", 1, 0), ("allow_2", 2, 7))),
        )
    )
    ((each),) = found
    assert (each.at, each.text, each.hosts, each.silent) == ("p.yaml:1", "line 1", ("a", "b"), 1)
    # Of the host where it is there for the shortest time.
    assert each.seconds == DAY


def test_a_line_with_several_counters_is_unused_if_all_stand_at_nothing():
    assert unused(overview(a=facts(status(), counters(("allow_1", 1, 0), ("allow_1_2", 1, 3))))) == []
    (each,) = unused(overview(a=facts(status(), counters(("allow_1", 1, 0), ("allow_1_2", 1, 0)))))
    assert each.seconds == 3 * DAY


def test_what_is_not_in_force_or_of_unknown_age_is_not_known():
    assert unused(overview(a=facts(status(), counters(("allow_1", 1, None))))) == []
    (each,) = unused(overview(a=facts(NOTHING, counters(("allow_1", 1, 0)))))
    assert each.seconds is None


def test_ntp_is_closed_only_where_every_address_was():
    closed, open_, unsure = (
        Probed("x", verdict, "why", 1.0) for verdict in ("CLOSED", "OPEN", "INCONCLUSIVE")
    )
    found = overview(
        a=facts(probe=Heard((closed, closed), NOW)),
        b=facts(probe=Heard((closed, open_), NOW)),
        c=facts(probe=Heard((closed, unsure), NOW)),
    )
    (each,) = ntp(found)
    assert each.closed == ("a",) and each.answered == (("b", open_),)
    assert each.unknown == (("c", "the probe was inconclusive"),)
    (each,) = ntp(overview(a=facts(probe=Heard((), NOW))))
    assert each.closed == () and [host for host, _ in each.unknown] == ["a", "b", "c"]
