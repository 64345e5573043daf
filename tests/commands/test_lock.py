"""`fwpolicy lock`: from names to a committed file, with a resolver of the test's own."""

from __future__ import annotations

import json
import socket

import pytest

from fwpolicy.cli import main
from fwpolicy.host.resolver import resolve

POLICY = """\
version: 1
groups: {mirrors: {hosts: [deb.example.org], min: 1, max: 2}}
output: {default: drop, allow: [{service: https, to: mirrors}]}
"""


@pytest.fixture
def names(monkeypatch):
    """The resolver's answers by name; a missing one does not resolve."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host, port, family, kind):
        assert host.endswith(".")
        if host[:-1] not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, kind, 0, "", (address, 0)) for address in known[host[:-1]]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text(POLICY)
    return path


def test_the_lock_is_written_and_the_policy_holds(policy, names, capsys):
    assert main(["check", str(policy)]) == 1
    assert f"hint: resolve and commit them: fwpolicy lock {policy}" in capsys.readouterr().err
    names["deb.example.org"] = ["192.0.2.1", "2001:db8::1"]
    assert main(["lock", str(policy)]) == 0
    lock = policy.with_suffix(".lock")
    said = capsys.readouterr().out
    assert said == f"mirrors: 2 addresses (2 new, 0 gone)\n{lock}: written; commit it\n"
    assert main(["check", str(policy)]) == 0
    before = lock.stat()
    assert main(["lock", str(policy)]) == 0
    assert capsys.readouterr().out.endswith("mirrors: 2 addresses\n" + f"{lock}: as it was\n")
    assert lock.stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in sorted(policy.parent.iterdir())] == ["web.lock", "web.yaml"]


def test_the_last_good_value_stays(policy, names, capsys):
    names["deb.example.org"] = ["192.0.2.1"]
    assert main(["lock", str(policy), "--quiet"]) == 0
    del names["deb.example.org"]
    assert main(["lock", str(policy)]) == 3
    why = "group 'mirrors' keeps its last good addresses: deb.example.org: Name or service not known"
    assert capsys.readouterr().err == f"fwpolicy: {why}\n"
    assert main(["check", str(policy)]) == 0
    assert why in capsys.readouterr().err
    names["deb.example.org"] = ["192.0.2.7", "192.0.2.8", "192.0.2.9"]
    assert main(["lock", str(policy)]) == 3
    assert "3 addresses, more than its max of 2" in capsys.readouterr().err
    names["deb.example.org"] = ["192.0.2.7"]
    assert main(["lock", str(policy)]) == 0
    assert "192.0.2.7" in policy.with_suffix(".lock").read_text()
    assert "kept" not in policy.with_suffix(".lock").read_text()


def test_without_a_last_good_value_nothing_is_written(policy, names, capsys):
    assert main(["lock", str(policy)]) == 1
    assert "holds no last good value: group 'mirrors': deb.example.org: Name" in capsys.readouterr().err
    assert not policy.with_suffix(".lock").exists()


def test_offline_resolves_nothing(policy, names, capsys):
    assert main(["lock", str(policy), "--offline"]) == 1
    assert (
        capsys.readouterr().err
        == "fwpolicy: --offline: nothing is resolved, and the lock file stays as it is\n"
    )


def test_machine_output(policy, names, capsys):
    names["deb.example.org"] = ["192.0.2.1"]
    assert main(["lock", str(policy), "--json"]) == 0
    lock = str(policy.with_suffix(".lock"))
    assert json.loads(capsys.readouterr().out) == {
        "changed": True,
        "file": lock,
        "groups": {"mirrors": {"addresses": 1, "kept": None}},
    }


def test_a_policy_without_hosts(tmp_path, names, capsys):
    path = tmp_path / "a.yaml"
    path.write_text("version: 1\nroles: {ntp: client-only}\n")
    assert main(["lock", str(path)]) == 0
    assert capsys.readouterr().out == "no group of hosts: nothing to resolve\n"
    assert not path.with_suffix(".lock").exists()


def test_an_answer_that_is_no_address_of_a_host(names):
    for nowhere in ("127.0.0.1", "0.0.0.0", "::", "::1"):
        names["ads.example.org"] = ["192.0.2.1", nowhere]
        assert resolve("ads.example.org").failure == f"resolves to {nowhere}, which is this host or none"
    names["v6.example.org"] = ["2001:db8::1%eth0", "2001:db8::1"]
    assert resolve("v6.example.org").addresses == ("2001:db8::1",)


def test_the_definition_that_counts_is_the_one_that_is_resolved(tmp_path, names, capsys):
    (tmp_path / "base.yaml").write_text("groups: {mirrors: {hosts: [lost.example.org]}}\n")
    top = tmp_path / "top.yaml"
    top.write_text(
        POLICY.replace("version: 1\n", "version: 1\ninclude: [base.yaml]\noverride: [groups.mirrors]\n")
    )
    names["deb.example.org"] = ["192.0.2.1"]
    assert main(["lock", str(top)]) == 0
    assert "deb.example.org" in top.with_suffix(".lock").read_text()
    assert main(["check", str(top)]) == 0, capsys.readouterr().err
