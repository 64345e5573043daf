"""A daemon's own sources against the policy."""

from __future__ import annotations

from fwpolicy import addresses
from fwpolicy.deploy.servers import known_servers, sources_of, unreachable, without_dns
from fwpolicy.deploy.timeservice import DaemonPlan
from fwpolicy.host.files import Files
from fwpolicy.ir.timeservice import Source
from fwpolicy.policy.load import load


def policy(body):
    return load((("p.yaml", f"version: 1\n{body}".encode()),), lambda path: b"")


def sources(*hosts):
    return sources_of(
        (DaemonPlan("chrony", (), "/etc/chrony.conf", None, sources=tuple(map(Source, hosts))),)
    )


def test_from_daemon_takes_addresses_and_never_guesses_names():
    asked = policy("roles: {ntp: {mode: client-only, servers: from-daemon}}\n")
    servers, notes = known_servers(asked, sources("192.0.2.1", "2001:db8::1"))
    assert servers == addresses.of("192.0.2.1", "2001:db8::1") and notes == ()
    servers, notes = known_servers(asked, sources("192.0.2.1", "pool.example"))
    assert servers is None and "pool.example, by name" in notes[0]
    servers, notes = known_servers(asked, sources())
    assert servers is None and "names no server" in notes[0]


def test_a_server_outside_the_group_is_named():
    asked = policy("groups: {ours: [192.0.2.1]}\nroles: {ntp: {mode: client-only, servers: ours}}\n")
    assert unreachable(asked, sources("192.0.2.1")) == ()
    (note,) = unreachable(asked, sources("192.0.2.1", "192.0.2.9"))
    assert "192.0.2.9" in note
    assert unreachable(policy("roles: {ntp: client-only}\n"), sources("192.0.2.9")) == ()


def test_names_without_dns_are_refused(tmp_path):
    files = Files(str(tmp_path))
    (tmp_path / "etc").mkdir()
    closed = policy("roles: {ntp: client-only}\noutput: {default: drop}\n")
    narrow = policy(
        "roles: {ntp: client-only}\noutput: {default: drop, allow: [{service: dns, to: 10.0.0.53}]}\n"
    )
    (refusal,) = without_dns(closed, sources("pool.example"), files)
    assert "pool.example" in refusal and "dns" in refusal
    assert without_dns(closed, sources("192.0.2.1"), files) == ()
    assert without_dns(policy("roles: {ntp: client-only}\n"), sources("pool.example"), files) == ()
    assert len(without_dns(narrow, sources("pool.example"), files)) == 1
    (tmp_path / "etc/resolv.conf").write_text("search x\nnameserver 127.0.0.53\nnameserver 10.0.0.53\n")
    assert without_dns(narrow, sources("pool.example"), files) == ()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 10.0.0.54\n")
    assert len(without_dns(narrow, sources("pool.example"), files)) == 1
