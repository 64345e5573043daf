"""What hosts said of themselves: believed only as far as it can be known."""

from __future__ import annotations

import json

import pytest

from fwpolicy.errors import HostError
from fwpolicy.fleet.facts import DAY, HOUR, PROBE_AGE, age, applied_at, facts_of
from fwpolicy.host.reports import Reports
from tests.view import example

NOW = 1_790_000_000


def said(*reports: object, oldest: int = DAY):
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in reports)
    return facts_of([("h.json", text.encode())], NOW, oldest)


def test_reports_one_after_the_other():
    lines = {("a.yaml", 3, "- ssh"): 7, ("a.yaml", 4, "- ntp"): 0}
    found = said(
        example.status(NOW - 60, 3), example.counters(NOW - 50, lines), example.probe(NOW - 40, "OPEN", 41.5)
    )
    assert (found.status.said.generation, found.status.said.drift) == (7, ())
    assert applied_at(found.status.said) == NOW - 60 - 3 * DAY
    assert [(each.line, each.packets) for each in found.counters.said] == [(3, 7), (4, 0)]
    assert [(each.verdict, each.factor) for each in found.probe.said] == [("OPEN", 41.5)]
    assert found.status.at == NOW - 60


def test_what_is_missing_is_not_known():
    found = said(example.status(NOW, 1))
    assert found.counters.said is None and found.counters.why == "no counters were collected"
    assert facts_of([], NOW, DAY).status.why == "no status was collected"


@pytest.mark.parametrize(
    ("seconds", "why"),
    [(2 * DAY, "the status is 2 days old"), (-HOUR, "the status is from the future"), (-60, ""), (DAY, "")],
)
def test_what_is_stale_or_not_yet_is_not_known(seconds, why):
    found = said(example.status(NOW - seconds, 1)).status
    assert (found.said is None, found.why) == (bool(why), why)


def test_a_probe_counts_longer():
    assert said(example.probe(NOW - PROBE_AGE, "CLOSED")).probe.said
    assert said(example.probe(NOW - PROBE_AGE - 1, "CLOSED")).probe.said is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "h.json: the file is empty"),
        ("{", "h.json: not JSON: line 1, column 2: Expecting property name enclosed in double quotes"),
        ('{"drift": []', "h.json: not JSON: line 1, column 13: Expecting ',' delimiter"),
        ("[1]", "h.json: neither of status, counters or probe, as --json prints them"),
        ('{"changed": false}', "h.json: neither of status, counters or probe, as --json prints them"),
        ('{"drift": []}', "the status is without the time at which it was taken"),
        (
            '{"drift": [], "at": "2026-13-01T00:00:00Z"}',
            "the status is without the time at which it was taken",
        ),
        ('{"drift": [], "at": 5}', "the status is without the time at which it was taken"),
        ("[" * 100_000, "h.json: nested too deep"),
    ],
)
def test_what_is_no_report_is_not_known(text, why):
    assert said(text).status.said is None
    assert said(text).status.why == why


@pytest.mark.parametrize(
    "damage",
    [
        {"applied": "yes"},
        {"drift": {}},
        {"drift": [{"what": 7, "detail": []}]},
        {"drift": [{}]},
        {"drift": ["x"]},
        {"notes": None},
        {"generation": True},
        {"provenance": [1]},
    ],
)
def test_a_damaged_report_is_not_known(damage):
    found = said(example.status(NOW, 1) | damage)
    assert found.status.said is None and found.status.why == "h.json: the status is damaged"


def test_a_damaged_report_does_not_take_another_along():
    found = facts_of([("a", json.dumps(example.status(NOW, 1)).encode()), ("b", b"\xff")], NOW, DAY)
    assert found.status.said is not None
    assert found.counters.why == "b: not UTF-8 at byte 0"


@pytest.mark.parametrize("verdict", ["open", None, 3])
def test_a_verdict_that_is_none(verdict):
    report = example.probe(NOW, "CLOSED")
    report["hosts"][0]["verdict"] = verdict
    assert said(report).probe.said is None


def test_ages():
    assert [age(n) for n in (5, 60, 119, 120, 7199, 7200, 2 * DAY, 40 * DAY)] == [
        "5 seconds",
        "1 minute",
        "1 minute",
        "2 minutes",
        "119 minutes",
        "2 hours",
        "2 days",
        "40 days",
    ]


def test_a_folder_of_reports(tmp_path):
    (tmp_path / "web-01.json").write_text("1")
    (tmp_path / "db.example.org").mkdir()
    (tmp_path / "db.example.org" / "status.json").write_text("2")
    (tmp_path / "db.example.org" / "notes.txt").write_text("3")
    (tmp_path / "README").write_text("4")
    (tmp_path / "gone.json").symlink_to("nowhere")
    found = Reports(str(tmp_path))
    assert found.hosts() == {"web-01", "db.example.org", "gone"}
    assert [data for _, data in found.of("web-01")] == [b"1"]
    assert found.of("db.example.org") == [(f"{tmp_path}/db.example.org/status.json", b"2")]
    assert found.of("gone") == [(f"{tmp_path}/gone.json", b"")]
    assert found.of("nobody") == []
    with pytest.raises(HostError, match="No such file"):
        Reports(str(tmp_path / "nowhere"))
