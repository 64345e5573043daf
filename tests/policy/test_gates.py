"""`apply: {confirm, gates}`: what is read, merged, and held against the policy's own output."""

from __future__ import annotations

import pytest

from fwpolicy.addresses import of
from fwpolicy.model.expect import shut
from fwpolicy.policy.gates import Program, Reach, Synchronised
from tests.policy.reading import HEAD, problems, read, warnings

OPEN = HEAD + "output: {default: accept}\n"
NTP = HEAD + "roles: {ntp: client-only}\n"


def gates(text: str, head: str = OPEN, **more):
    return read(f"{head}apply: {{gates: {text}}}\n", **more).apply.gates


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("5s", 5), ("60s", 60), ('"90s"', 90), ("1m", 60), ("60m", 3600), ("1h", 3600), ("false", 0)],
)
def test_confirm(written, seconds):
    assert read(f"{NTP}apply: {{confirm: {written}}}\n").apply.confirm == seconds


@pytest.mark.parametrize(
    "written", ["4s", "3601s", "61m", "2h", "1d", "0", "0s", "060s", "60", "60S", "true", "no", "[]"]
)
def test_confirm_is_refused(written):
    (said,) = problems(f"{NTP}apply: {{confirm: {written}}}\n")
    assert said.startswith("a.yaml:3:18: 'confirm' ")


def test_nothing_is_said():
    apply = read(NTP).apply
    assert (apply.confirm, apply.gates) == (None, ())


def test_one_time_in_two_spellings_does_not_differ():
    assert read(NTP + "apply: {confirm: 60s}\n", NTP + "apply: {confirm: 1m}\n").apply.confirm == 60
    assert problems(NTP + "apply: {confirm: 60s}\n", NTP + "apply: {confirm: false}\n") == [
        "b.yaml:3:18: apply.confirm 'false' differs from '60s' at a.yaml:3:18"
    ]


@pytest.mark.parametrize(
    ("what", "port"), [("tcp/8443", 8443), ("https", 443), ("dns", 53), ("metrics", 9100), ("both", 5061)]
)
def test_reach_takes_what_has_one_tcp_port(what, port):
    services = "services: {metrics: tcp/9100, both: [udp/10000-20000, tcp/5061]}\n"
    (gate,) = gates(f"[{{reach: {what}, to: 192.0.2.10}}]", OPEN + services)
    assert (gate.what, gate.port, gate.to) == (what, port, of("192.0.2.10"))


def test_reach_names_groups_and_lists():
    groups = "groups: {web: [192.0.2.0/30, '2001:db8::1']}\n"
    (gate,) = gates("[{reach: ssh, to: [web, 198.51.100.1]}]", OPEN + groups)
    assert gate.to == of("192.0.2.0/30", "198.51.100.1", "2001:db8::1")
    assert warnings(read(f"{OPEN}{groups}apply: {{gates: [{{reach: ssh, to: web}}]}}\n")) == []


def test_as_many_as_each_can_be_asked():
    assert gates("[{reach: ssh, to: 192.0.2.0/26}]")[0].to == of("192.0.2.0/26")
    (said,) = problems(f"{OPEN}apply: {{gates: [{{reach: ssh, to: [192.0.2.0/26, '2001:db8::1']}}]}}\n")
    assert "65 addresses" in said


@pytest.mark.parametrize("daemon", ["auto", "chrony", "timesyncd"])
def test_synchronised_is_about_the_roles_daemon(daemon):
    head = f"{HEAD}roles: {{ntp: {{mode: client-only, daemon: {daemon}}}}}\n"
    (gate,) = gates("[synchronised]", head)
    assert isinstance(gate, Synchronised)
    assert gate.daemon == daemon


def test_a_role_that_cannot_be_read_is_one_mistake():
    said = problems(f"{HEAD}roles: {{ntp: clientonly}}\napply: {{gates: [synchronised]}}\n")
    assert [message for message in said if "synchronised" in message] == []
    assert len(said) == 1


def test_the_role_may_come_from_another_file():
    assert len(read(OPEN + "apply: {gates: [synchronised]}\n", NTP).apply.gates) == 1


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("/bin/true", ("/bin/true",)),
        ("[/bin/echo, -v, -v, 5, 'a b']", ("/bin/echo", "-v", "-v", "5", "a b")),
        ("['/opt/my programs/test']", ("/opt/my programs/test",)),
        ('[/bin/sh, -c, "exit $X; `y`"]', ("/bin/sh", "-c", "exit $X; `y`")),
    ],
)
def test_run_is_a_list_of_arguments(written, arguments):
    policy = read(f"{OPEN}apply: {{gates: [{{run: {written}}}]}}\n")
    (gate,) = policy.apply.gates
    assert isinstance(gate, Program)
    assert gate.arguments == arguments
    assert warnings(policy) == []


def test_lists_join_and_what_is_said_twice_counts_once():
    one = NTP + "apply: {gates: [synchronised, {run: /bin/true}]}\n"
    other = NTP + "apply: {gates: [{run: /bin/false}, synchronised, {run: [/bin/true]}]}\n"
    found = read(one, other).apply.gates
    assert [getattr(gate, "arguments", ()) for gate in found] == [(), ("/bin/true",), ("/bin/false",)]
    assert found[0].origin.file == "a.yaml"


def test_an_including_file_may_put_its_own_in_their_place():
    files = {"base.yaml": "output: {default: accept}\napply: {gates: [{run: /bin/true}], confirm: 5m}\n"}
    own = "apply: {gates: [{run: /bin/false}], confirm: false}\n"
    top = HEAD + "include: base.yaml\noverride: [apply.gates, apply.confirm]\n"
    policy = read(top + own, files=files)
    assert [gate.arguments for gate in policy.apply.gates] == [("/bin/false",)]
    assert policy.apply.confirm == 0
    assert policy.warnings == ()
    joined = read(HEAD + "include: base.yaml\napply: {gates: [{run: /bin/false}]}\n", files=files).apply
    assert [gate.arguments for gate in joined.gates] == [("/bin/false",), ("/bin/true",)]
    said = warnings(read(top, files=files))
    assert said == ["'apply.gates' overrides nothing", "'apply.confirm' overrides nothing"]


# What the policy's own output says


def shuts(output: str, gate: str = "{reach: https, to: 192.0.2.10}", head: str = "") -> list[str]:
    policy = read(f"{HEAD}{head}output: {output}\napply: {{gates: [{gate}]}}\n")
    assert isinstance(policy.apply.gates[0], Reach)
    return [problem.message for problem in shut(policy)]


@pytest.mark.parametrize(
    ("output", "is_shut"),
    [
        ("{default: accept}", False),
        ("{default: drop, allow: [https]}", False),
        ("{default: drop, allow: [{service: https, to: 192.0.2.0/24}]}", False),
        ("{default: drop, allow: [{service: https, out: wan}]}", False),
        ("{default: accept, block: [{to: 192.0.2.10, expires: 2027-01-31}]}", False),
        ("{default: drop, allow: [{service: https, limit: 1/minute}]}", False),
        ("{default: drop}", True),
        ("{default: reject, allow: [ssh]}", True),
        ("{default: accept, block: [{to: 192.0.2.0/24}]}", True),
        ("{default: drop, allow: [{service: https, to: '2001:db8::/32'}]}", True),
    ],
)
def test_a_gate_that_the_policy_shuts(output, is_shut):
    assert bool(shuts(output, head="zones: {wan: eth0}\n")) == is_shut


def test_one_of_many_that_is_shut_is_enough():
    output = "{default: drop, allow: [{service: https, to: 192.0.2.10}]}"
    (said,) = shuts(output, "{reach: https, to: [192.0.2.10, 192.0.2.11]}")
    assert "192.0.2.11" in said


def test_the_host_itself_is_always_reached():
    assert shuts("{default: drop}", "{reach: https, to: [127.0.0.1, '::1']}") == []


def test_an_overlay_shuts_nothing():
    policy = read(NTP + "apply: {gates: [{reach: https, to: 192.0.2.10}]}\n")
    assert shut(policy) == ()
