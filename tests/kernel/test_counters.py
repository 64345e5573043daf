"""fwpolicy counters, of packets that were really sent."""

from __future__ import annotations

import json
import subprocess

import pytest

from fwpolicy.cli import main

pytestmark = pytest.mark.kernel

POLICY = """\
version: 1
name: out
output:
  default: drop
  allow:
    - {service: udp/9, id: discard}
    - {service: udp/7}  # the "echo" of \\old
"""


@pytest.fixture
def host(netns, tmp_path, monkeypatch, capsys):
    """Runs a verb in a namespace with a cable; the exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    for command in (
        ["link", "add", "d0", "type", "veth", "peer", "name", "d1"],
        ["link", "set", "d0", "up"],
        ["link", "set", "d1", "up"],
        ["addr", "add", "192.0.2.5/24", "dev", "d0"],
        ["neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "d0"],
    ):
        subprocess.run(["ip", "-n", netns, *command], check=True)

    def call(verb, *arguments):
        code = main([verb, "--netns", netns, "--state-dir", str(tmp_path / "state"), *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    call.netns, call.policy = netns, tmp_path / "out.yaml"
    call.policy.write_text(POLICY)
    return call


def send(host, count, port):
    script = (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for _ in range({count}):\n try: s.sendto(b'four', ('192.0.2.9', {port}))\n except OSError: pass\n"
    )
    subprocess.run(["ip", "netns", "exec", host.netns, "python3", "-c", script], check=True)


def by_counter(host, *arguments):
    code, text = host("counters", "--json", *arguments)
    assert code == 0
    return {each["counter"]: each for each in json.loads(text)["counters"]}


def test_packets_are_counted_at_their_line(host):
    assert host("counters") == (2, "nothing was ever applied here\n")
    assert host("counters", "--prometheus")[0] == 2
    assert json.loads(host("counters", "--json")[1])["applied"] is False
    assert host("apply", "out.yaml")[0] == 0
    send(host, 3, 9), send(host, 2, 7), send(host, 4, 11)

    host.policy.unlink()  # what is shown needs no policy
    found = by_counter(host)
    assert found["allow_output_discard"] == {
        "counter": "allow_output_discard",
        "packets": 3,
        "bytes": 3 * 32,
        "file": "out.yaml",
        "line": 6,
        "text": "- {service: udp/9, id: discard}",
        "id": "discard",
    }
    assert (found["allow_output_udp_7"]["packets"], found["allow_output_udp_7"]["line"]) == (2, 7)
    assert found["default_output"]["packets"] >= 4 and found["default_output"]["line"] in (3, 4)
    assert found["invalid_output"]["line"] is None

    code, text = host("counters")
    assert code == 0
    assert any(
        line.split()[:3] == ["3", "96", "out.yaml:6"] and line.endswith("id: discard}  (discard)")
        for line in text.splitlines()
    )
    metrics = host("counters", "--prometheus")[1]
    assert 'fwpolicy_packets_total{policy="out",counter="allow_output_discard"} 3\n' in metrics
    assert '# the \\"echo\\" of \\\\old"} 1\n' in metrics


def test_the_lines_of_another_policy(host):
    """Joined by the counters' names: as the file is now, what moved is found where it stands."""
    host("apply", "out.yaml")
    send(host, 3, 9)
    host.policy.write_text(POLICY.replace("  allow:\n", "  allow:\n    - {service: udp/5}\n"))
    found = by_counter(host, "out.yaml")
    assert (found["allow_output_discard"]["line"], found["allow_output_discard"]["packets"]) == (7, 3)
    assert found["allow_output_udp_5"]["packets"] is None
    assert "-" in host("counters", "out.yaml")[1]
    assert host("apply", "out.yaml")[0] == 0
    assert by_counter(host)["allow_output_discard"] == found["allow_output_discard"]


def test_a_table_that_is_gone_is_said(host):
    host("apply", "out.yaml")
    subprocess.run(["ip", "netns", "exec", host.netns, "nft", "flush", "ruleset"], check=True)
    code, text = host("counters")
    assert code == 1 and "is gone" in text


def test_a_state_of_before_has_no_lines(host, tmp_path):
    host("apply", "out.yaml")
    manifest = tmp_path / "state/running/manifest.json"
    stored = json.loads(manifest.read_text())
    del stored["lines"]
    manifest.write_text(json.dumps(stored))
    found = by_counter(host)
    assert found["allow_output_discard"]["line"] is None and found["allow_output_discard"]["packets"] == 0
