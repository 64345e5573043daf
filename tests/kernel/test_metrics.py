"""status --prometheus and counters --prometheus, of real applies, read by Prometheus' own parser."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fwpolicy.cli import main

pytestmark = pytest.mark.kernel
CHECKOUT = Path(__file__).parents[2]

POLICY = """\
version: 1
name: shop
input:
  default: drop
  allow:
    - {service: ssh, id: ssh}
    - {service: tcp/8443, id: beta, owner: the shop, ticket: OPS-1, expires: 2099-12-31}
"""
# promtool check metrics: a name without a base unit, a counter without _total.
UNITS = ("_milliseconds", "_minutes", "_hours", "_days", "_kilobytes", "_percent")


@pytest.fixture
def host(netns, tmp_path, monkeypatch, capsys):
    """Runs a verb in a namespace; the exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(POLICY)

    def call(verb, *arguments):
        code = main([verb, "--netns", netns, "--state-dir", str(tmp_path / "state"), *arguments])
        printed = capsys.readouterr()
        return code, printed.out

    call.nft = lambda *words: subprocess.run(["ip", "netns", "exec", netns, "nft", *words], check=True)
    return call


def read(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """name -> [(labels, value)]; what promtool would refuse is refused."""
    assert text.endswith("\n")
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("gauge", "counter")
        assert re.fullmatch(r"fwpolicy(_[a-z]+)+", family.name) and not family.name.endswith(UNITS)
        for sample in family.samples:
            assert (sample.name.endswith("_total")) == (family.type == "counter")
            known = found.setdefault(sample.name, [])
            assert sample.labels not in [labels for labels, _ in known], sample
            known.append((sample.labels, sample.value))
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(names) == len(set(names)) == len(re.findall(r"^# HELP", text, re.MULTILINE))
    return found


def test_docs_have_every_metric():
    """docs/fleet.md tells each that the program prints, and no other."""
    places = ("deploy/metrics.py", "deploy/counters.py", "fleet/syncmetrics.py")
    source = "".join((CHECKOUT / "fwpolicy" / place).read_text() for place in places)
    printed = set(re.findall(r'"(fwpolicy_[a-z_]+)"', source)) | {
        "fwpolicy_packets_total",
        "fwpolicy_bytes_total",
    }
    told = (CHECKOUT / "docs/fleet.md").read_text().partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`fwpolicy_.*?) \|", told, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(fwpolicy_[a-z_]+)", row)} == printed


def one(found, name: str) -> float:
    ((_, value),) = found[name]
    return value


def kinds(found) -> dict[str, float]:
    return {labels["kind"]: value for labels, value in found["fwpolicy_differences"]}


def test_from_nothing_to_drift(host, tmp_path):
    code, text = host("status", "--prometheus")
    found = read(text)
    assert code == 2
    assert [one(found, f"fwpolicy_{name}") for name in ("applied", "in_force", "boot_ok", "open")] == [
        0,
        0,
        0,
        0,
    ]
    assert "fwpolicy_generation" not in found

    before = int(time.time())
    assert host("apply", "shop.yaml", "--no-confirm")[0] == 0
    code, text = host("status", "--prometheus")
    found = read(text)
    assert code == 0
    assert one(found, "fwpolicy_in_force") == 1 and set(kinds(found).values()) == {0}
    assert one(found, "fwpolicy_waiting_for_confirmation") == 0
    assert found["fwpolicy_generation"] == [({"policy": "shop"}, 1)]
    assert before <= one(found, "fwpolicy_apply_timestamp_seconds") <= time.time()
    assert before <= one(found, "fwpolicy_status_timestamp_seconds") <= time.time()
    # In a namespace nothing is there at boot.
    assert one(found, "fwpolicy_boot_ok") == 0
    ((labels, ends),) = found["fwpolicy_line_expires_timestamp_seconds"]
    assert labels == {
        "policy": "shop",
        "counter": "allow_input_beta",
        "owner": "the shop",
        "ticket": "OPS-1",
    }
    assert time.gmtime(ends)[:6] == (2100, 1, 1, 0, 0, 0)
    assert one(found, "fwpolicy_policy_readable") == 1
    assert found["fwpolicy_info"][0][0]["backend"] == "nft"

    counted = read(host("counters", "--prometheus")[1])
    assert "allow_input_beta" in {labels["counter"] for labels, _ in counted["fwpolicy_line_info"]}
    assert {labels["counter"] for labels, _ in counted["fwpolicy_packets_total"]} >= {labels["counter"]}

    host.nft("insert", "rule", "inet", "fwpolicy", "input", "tcp", "dport", "8080", "accept")
    code, text = host("status", "--prometheus")
    assert code == 2
    found = read(text)
    assert one(found, "fwpolicy_in_force") == 0 and kinds(found)["rules"] == 1

    (tmp_path / "state/running/policy.kept").unlink()
    found = read(host("status", "--prometheus")[1])
    assert one(found, "fwpolicy_policy_readable") == 0
    assert "fwpolicy_line_expires_timestamp_seconds" not in found


def test_open_and_waiting(host):
    host("apply", "shop.yaml", "--confirm", "1h")
    found = read(host("status", "--prometheus")[1])
    assert one(found, "fwpolicy_waiting_for_confirmation") == 1
    assert kinds(found)["apply"] == 1 and one(found, "fwpolicy_in_force") == 1
    host("confirm")
    host("open")
    found = read(host("status", "--prometheus")[1])
    assert (one(found, "fwpolicy_open"), one(found, "fwpolicy_in_force")) == (1, 0)
    assert one(found, "fwpolicy_waiting_for_confirmation") == 0


def test_the_newest_bundle(host, tmp_path):
    host("apply", "shop.yaml", "--no-confirm")
    remembered = tmp_path / "state" / "bundle.json"
    remembered.write_text(json.dumps({"sequence": 42, "commit": "3f8fb04c"}))
    found = read(host("status", "--prometheus")[1])
    assert one(found, "fwpolicy_bundle_sequence") == 42
    assert found["fwpolicy_bundle_info"] == [({"commit": "3f8fb04c"}, 1)]
    assert one(found, "fwpolicy_bundle_readable") == 1
    for damaged in ("", "{", '{"sequence": "42", "commit": ""}', "[]"):
        remembered.write_text(damaged)
        found = read(host("status", "--prometheus")[1])
        assert one(found, "fwpolicy_bundle_readable") == 0 and "fwpolicy_bundle_sequence" not in found
    remembered.unlink()
    assert "fwpolicy_bundle_readable" not in read(host("status", "--prometheus")[1])


def test_what_sync_remembers(host, tmp_path):
    host("apply", "shop.yaml", "--no-confirm")
    assert not [name for name in read(host("status", "--prometheus")[1]) if "sync" in name]
    folder = tmp_path / "state" / "sync"
    folder.mkdir()
    state = folder / "state.json"
    state.write_text(json.dumps({"format": 1, "good": "3f8fb04c", "newest": "a1", "last": 7, "failures": 2}))
    found = read(host("status", "--prometheus")[1])
    assert one(found, "fwpolicy_sync_timestamp_seconds") == 7 and one(found, "fwpolicy_sync_failures") == 2
    assert one(found, "fwpolicy_sync_held_back") == 1
    assert found["fwpolicy_sync_info"] == [({"commit": "3f8fb04c"}, 1)]
    assert one(found, "fwpolicy_sync_readable") == 1
    for refused in ("", "9c"):
        state.write_text(
            json.dumps({"format": 1, "good": "a1", "newest": "a1", "last": 7, "refused": refused})
        )
        assert one(read(host("status", "--prometheus")[1]), "fwpolicy_sync_held_back") == bool(refused)
    for damaged in ("", "{", '{"format": 1, "last": "7"}', "[]"):
        state.write_text(damaged)
        found = read(host("status", "--prometheus")[1])
        assert one(found, "fwpolicy_sync_readable") == 0 and "fwpolicy_sync_failures" not in found


@pytest.mark.parametrize("verb", ["status", "counters"])
def test_a_reader_never_sees_half_a_file(host, tmp_path, verb):
    """Whoever reads while it is written again and again finds it whole; what failed leaves the last one."""
    host("apply", "shop.yaml", "--no-confirm")
    target = tmp_path / "out" / f"{verb}.prom"
    target.parent.mkdir()
    assert host(verb, "--prometheus", "-o", str(target)) == (0, "")
    assert target.stat().st_mode & 0o777 == 0o644
    before = target.stat()
    stop, seen = threading.Event(), []

    def look():
        while not stop.is_set():
            seen.append(target.read_text())

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(5):
        host(verb, "--prometheus", "-o", str(target))
    stop.set()
    reader.join()
    assert target.stat().st_mtime_ns > before.st_mtime_ns
    assert seen and all(read(text) for text in set(seen))
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    host.nft("delete", "table", "inet", "fwpolicy")
    if verb == "counters":
        last = target.read_text()
        assert host(verb, "--prometheus", "-o", str(target))[0] == 1
        assert target.read_text() == last


@pytest.mark.parametrize(
    "words",
    [
        ["status", "-o", "x"],
        ["counters", "-o", "x"],
        ["status", "--prometheus", "--watch"],
        ["status", "--prometheus", "--json"],
        ["status", "--prometheus", "--journal"],
        ["counters", "--prometheus", "--json"],
    ],
)
def test_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 64


def test_a_folder_that_is_not_there(host, tmp_path):
    host("apply", "shop.yaml", "--no-confirm")
    assert host("status", "--prometheus", "-o", "nowhere/x.prom")[0] == 1
    assert not (tmp_path / "nowhere").exists()
