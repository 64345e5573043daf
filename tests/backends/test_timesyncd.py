"""systemd-timesyncd: nothing to write, sources to read."""

from __future__ import annotations

import pytest

from fwpolicy.backends import timesyncd
from fwpolicy.errors import PolicyError, Span
from fwpolicy.ir.timeservice import Source, TimeService
from tests.backends import cases
from tests.backends.cases import CLIENT, CLOSED, config


def sources(text: str, drop: str = "") -> list[str]:
    return [source.host for source in timesyncd.sources(config("timesyncd", text, drop=drop))]


def test_nothing_is_written() -> None:
    found = config("timesyncd", cases.fixture("debian12-timesyncd.conf"))
    change = timesyncd.change(CLIENT, found)
    assert change.files == ()
    assert change.notes == ("already client-only: systemd-timesyncd cannot serve",)
    assert timesyncd.change(CLOSED, found).notes == ()
    assert timesyncd.block(CLIENT, found) == ()
    assert "nothing to write" in timesyncd.snippet(CLIENT).text


def test_it_cannot_serve() -> None:
    service = TimeService("server", origin=Span("p.yaml", 3, 8, 14))
    found = config("timesyncd", "")
    for refused in (
        lambda: timesyncd.change(service, found),
        lambda: timesyncd.block(service, found),
        lambda: timesyncd.snippet(service),
    ):
        with pytest.raises(PolicyError, match=r"p.yaml:3:8: error: systemd-timesyncd cannot serve time"):
            refused()


def test_the_compiled_in_servers_count_where_none_is_set() -> None:
    assert sources(cases.fixture("debian12-timesyncd.conf"))[0] == "0.debian.pool.ntp.org"
    assert sources("#FallbackNTP=a\n[Time]\nFallbackNTP=\n") == []


def test_lists_gather_and_an_empty_one_starts_anew() -> None:
    assert sources("[Time]\nNTP=a b\nFallbackNTP=f\n", drop="[Time]\nNTP = c \\\n a\n") == ["a", "b", "c"]
    assert sources("[Time]\nNTP=a b\n", drop="[Time]\nNTP=\n NTP=c\n") == ["c"]
    assert sources("[Time]\nFallbackNTP=f g\n[Other]\nNTP=x\n;NTP=y\n") == ["f", "g"]
    assert timesyncd.sources(config("timesyncd", "[Time]\nNTP=a\n")) == (Source("a"),)


def test_drop_ins_come_after_the_main_file() -> None:
    (group,) = timesyncd.includes("/etc/systemd/timesyncd.conf", "", True)
    assert group[0] == "/etc/systemd/timesyncd.conf.d/*.conf"
    assert timesyncd.includes("/etc/systemd/timesyncd.conf.d/a.conf", "", False) == ()
