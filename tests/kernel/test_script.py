"""The script on a kernel: nft and both iptables, under three shells, with busybox's tools and without."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import pytest

from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.golden import cases
from tests.lab.oracle import verdicts
from tests.property.strategies import loaded

from .oldhost import BACKENDS, SHELLS, OldHost, script, tools
from .test_golden import as_frame, sendable
from .test_iptables_golden import cut_short
from .test_iptables_load import MANY, OTHERS

pytestmark = pytest.mark.kernel

CLIENT, SERVER, CLOSED = (cases.policy(name) for name in ("ntp-client", "ntp-server", "ntp-closed"))
POLICED = load(
    (("p.yaml", b"version: 1\nname: p\ninput: {default: drop, allow: [ssh, http]}\n"),), lambda path: b""
)
NOW = ("apply", "--no-confirm")


# Each shell with one backend, and all with all in `make test-all`.
USUAL = tuple(zip(SHELLS, BACKENDS, strict=True))
HOSTS = [
    pytest.param(pair, id="-".join(pair), marks=() if pair in USUAL else pytest.mark.slow)
    for pair in product(SHELLS, BACKENDS)
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(params=SHELLS)
def shell(request):
    return request.param


@pytest.fixture(params=HOSTS)
def host(netns, tmp_path, request):
    made = OldHost(netns, tmp_path, *request.param)
    others(made)
    return made


@pytest.fixture
def one(netns, tmp_path, backend):
    """Under one shell; what differs between them is the other tests'."""
    made = OldHost(netns, tmp_path, "busybox", backend)
    others(made)
    return made


def others(host: OldHost) -> None:
    """fail2ban's and Docker's chains; nobody may touch them."""
    if host.backend == "nft":
        host.run(
            "nft", "-f", "-", text="table inet f2b { chain input { type filter hook input priority -1; }; }\n"
        )
        return
    for command, text in OTHERS.items():
        host.run(f"{command}-restore", text=text)


def test_applied_twice_is_applied_once_and_undone_is_as_before(host):
    rules, files = host.rules(), host.files()
    said = host.script(CLIENT, *NOW)
    assert not said.stderr
    once = host.rules()
    assert once != rules
    host.script(CLIENT, *NOW)
    assert host.rules() == once
    assert "rules: as applied" in host.tool("status").stdout
    host.tool("undo")
    assert (host.rules(), host.files()) == (rules, files)


def test_another_policy_leaves_nothing_of_the_first(one):
    one.script(SERVER, *NOW)
    wanted = one.rules()
    one.tool("undo")
    one.script(CLIENT, *NOW)
    one.script(SERVER, *NOW)
    assert one.rules() == wanted


def test_it_waits_to_be_confirmed(host):
    rules, files = host.rules(), host.files()
    said = host.script(CLIENT, SSH_CONNECTION="192.0.2.1 1000 192.0.2.2 22").stdout
    assert "taken back in 60 s unless confirmed" in said
    assert "waits to be confirmed" in host.tool("status").stdout
    assert "waits to be confirmed" in host.script(SERVER, check=False).stderr
    old = host.tool("confirm", check=False, SSH_CONNECTION="192.0.2.1 1000 192.0.2.2 22")
    assert old.returncode == 1
    assert "older than the apply" in old.stderr
    host.script(CLIENT, "confirm", SSH_CONNECTION="192.0.2.1 1001 192.0.2.2 22")
    assert "waits to be" not in host.tool("status").stdout
    host.tool("undo")
    assert (host.rules(), host.files()) == (rules, files)


def test_without_a_confirmation_it_is_taken_back(host):
    rules, files = host.rules(), host.files()
    host.script(CLIENT, "apply", "--confirm", "1")
    assert host.rules() != rules
    until(lambda: not host.state.exists())
    assert (host.rules(), host.files()) == (rules, files)


def test_rollback_goes_to_the_apply_before(one):
    one.script(SERVER, *NOW)
    rules, files = one.rules(), one.files()
    one.script(CLIENT, "apply", "--confirm", "30")
    one.tool("rollback")
    assert one.rules() == rules
    assert told(one.files()) == told(files)
    assert one.tool("rollback", check=False).returncode == 1


def told(files: dict) -> dict:
    """Without what the script keeps of the host's beginnings, and itself."""
    return {name: files[name] for name in files if "/tool/" not in name and "/original/" not in name}


def until(done) -> None:
    deadline = time.monotonic() + 15
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def test_open_close_and_what_changed(one):
    one.script(CLIENT, *NOW)
    rules = one.rules()
    one.tool("open")
    shown = one.tool("status", check=False)
    assert shown.returncode == 2
    assert "open since" in shown.stdout
    one.tool("close")
    assert one.rules() == rules
    one.tool("open", "1")
    assert one.rules() != rules
    until(lambda: one.rules() == rules)
    if one.backend != "nft":
        one.run("iptables", "-F", "FWPOLICY-INPUT")
    else:
        one.run("nft", "flush", "chain", "inet", "fwpolicy", "input")
    shown = one.tool("status", check=False)
    assert shown.returncode == 2
    assert "rules: changed since" in shown.stdout


@pytest.mark.parametrize("family", ["iptables", "ip6tables"])
@pytest.mark.parametrize("variant", ["iptables-legacy", "iptables-nft"])
@pytest.mark.parametrize("before", [None, SERVER], ids=["first", "second"])
def test_both_families_or_neither(netns, tmp_path, variant, family, before):
    """A restore that works in the trial, and not when it counts."""
    host = OldHost(netns, tmp_path, "dash", variant)
    others(host)
    if before:
        host.script(before, *NOW)
    rules, files = host.rules(), host.files()
    failing(tmp_path, f"{family}-restore", host.netns)
    said = host.script(CLIENT, *NOW, check=False)
    assert said.returncode == 1
    assert "taken back: a step failed" in said.stderr
    assert host.rules() == rules
    assert told(host.files()) == told(files)


# What stands in the place of a program that fails once in one namespace, after half of its work.
FAILING = r"""#!/bin/sh
if [ "$(stat -L -c %i /proc/self/ns/net)" = NAMESPACE ] && [ ! -e FAILED ]; then
    touch FAILED
    sed "/^\*filter/,/COMMIT/s/^COMMIT/-A FWPOLICY-INPUT -j NOSUCH\nCOMMIT/" | REAL "$@"
    exit
fi
exec REAL "$@"
"""


def failing(tmp_path: Path, name: str, netns: str) -> None:
    """The program fails in this namespace, not in one of its own for a trial."""
    place = tmp_path / "tools" / name
    words = {"NAMESPACE": str(Path("/run/netns", netns).stat().st_ino), "FAILED": f"{tmp_path}/failed"}
    words["REAL"] = str(place.readlink())
    text = FAILING
    for word, value in words.items():
        text = text.replace(word, value)
    instead(place, text)


def instead(place: Path, text: str) -> None:
    """Another program in the place of this one."""
    place.unlink()
    place.write_text(text)
    place.chmod(0o755)


def test_what_the_host_cannot_do_is_refused_before_anything_changes(one, tmp_path):
    rules, files = one.rules(), one.files()
    text = script(CLIENT, one.backend)
    broken = text.replace("dport 123", "dport 70000").replace("--dports 123", "--dports 70000")
    said = one.script(broken, *NOW, check=False)
    assert said.returncode == 1
    assert "would refuse the rules" in said.stderr
    assert (one.rules(), one.files()) == (rules, files)
    assert one.script(text, "apply", "--confirm", "x", check=False).returncode == 64
    (one.root / "var/lib/fwpolicy").mkdir()
    (one.root / "var/lib/fwpolicy/current").symlink_to("generations/1")
    assert "first fwpolicy remove" in one.script(text, *NOW, check=False).stderr


def test_a_script_that_arrives_in_part_does_nothing(one):
    rules, files = one.rules(), one.files()
    text = script(CLIENT, one.backend)
    for part in (len(text) // 3, len(text) // 2, len(text) - 30):
        one.script(text[:part], *NOW, check=False)
        assert (one.rules(), one.files()) == (rules, files)


def test_without_u32_it_says_so_and_goes_on_when_told(netns, tmp_path):
    host = OldHost(netns, tmp_path, "dash", "iptables-legacy")
    for command in ("iptables-restore", "ip6tables-restore"):
        place = tmp_path / "tools" / command
        real = place.readlink()
        place.unlink()
        place.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then exec {real} "$@"; fi\ntext=$(cat)\n'
            'case "$text" in *"-m u32"*) echo "Couldn\'t load match u32" >&2; exit 2 ;; esac\n'
            f'printf "%s\\n" "$text" | {real} "$@"\n'
        )
        place.chmod(0o755)
    said = host.script(CLIENT, *NOW, check=False)
    assert said.returncode == 1
    assert "--without-u32 tells replies" in said.stderr
    host.script(CLIENT, *NOW, "--without-u32")
    assert "u32" not in host.rules()
    assert "FWPOLICY-INPUT" in host.rules()


@pytest.mark.parametrize(
    ("text", "needs", "lacking", "hint"),
    [
        (
            "groups: {banned: {dynamic: 1h}}\ninput: {default: accept, block: [{from: banned%s}]}\n",
            "-m set",
            "match `set'",
            "ip6tables knows no sets: say family: ipv4 in lines with large or dynamic groups",
        ),
        (
            "forward: {default: drop}\nnat: {masquerade: [{out: eth0%s}]}\n",
            "-j MASQUERADE",
            "target `MASQUERADE'",
            "translates no IPv6 addresses: say family: ipv4 in the lines of nat",
        ),
    ],
    ids=["sets", "nat"],
)
def test_an_ip6tables_of_1_4_7_says_what_to_do(netns, tmp_path, text, needs, lacking, hint):
    """In its own words."""
    host = OldHost(netns, tmp_path, "dash", "iptables-legacy")
    place = tmp_path / "tools/ip6tables-restore"
    real = place.readlink()
    place.unlink()
    (tmp_path / "said").write_text(f"ip6tables-restore v1.4.7: Couldn't load {lacking}:/x.so: cannot open\n")
    place.write_text(
        f"#!/bin/sh\ntext=$(cat)\ncase \"$text\" in *'{needs}'*) cat {tmp_path}/said >&2; exit 2 ;; esac\n"
        f'printf "%s\\n" "$text" | {real} "$@"\n'
    )
    place.chmod(0o755)
    head = "version: 1\nname: p\nzones: {eth0: eth0}\n"
    said = host.script(loaded(head + text % ""), *NOW, check=False)
    assert said.returncode == 1 and hint in said.stderr
    assert "FWPOLICY" not in host.rules()
    host.script(loaded(head + text % ", family: ipv4"), *NOW)
    assert needs in host.rules()


def test_an_iptables_that_cannot_wait_is_not_asked_to(netns, tmp_path):
    host = OldHost(netns, tmp_path, "dash", "iptables-legacy")
    place = tmp_path / "tools/iptables"
    place.unlink()
    place.write_text('#!/bin/sh\necho "iptables v1.4.7"\n')
    place.chmod(0o755)
    for command in ("iptables-restore", "ip6tables-restore"):
        place = tmp_path / "tools" / command
        real = place.readlink()
        place.unlink()
        place.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/said\nexec {real} "$@"\n')
        place.chmod(0o755)
    host.script(CLIENT, *NOW)
    assert set((tmp_path / "said").read_text().split("\n")) == {"--noflush", ""}
    assert "FWPOLICY-INPUT" in host.rules()


def test_sets_come_and_go(one):
    policies = [
        loaded(MANY.format(members=", ".join(f"10.0.{n * 2}.1" for n in range(count)))) for count in (20, 30)
    ]
    banned = ("nft", "add", "element", "inet", "fwpolicy", "banned_v4", "{ 198.51.100.9 timeout 1h }")
    listed = ("nft", "list", "set", "inet", "fwpolicy", "banned_v4")
    if one.backend != "nft":
        banned, listed = ("ipset", "add", "fwp-banned_v4", "198.51.100.9"), ("ipset", "save", "fwp-banned_v4")
    one.script(policies[0], *NOW)
    one.run(*banned)
    one.script(policies[1], *NOW)
    assert "198.51.100.9" in one.run(*listed).stdout, "who was banned stays so"
    one.script(policies[0], "apply", "--confirm", "30")
    one.tool("rollback")
    assert "198.51.100.9" in one.run(*listed).stdout
    if one.backend != "nft":
        assert len(one.run("ipset", "list", "-n").stdout.split()) == 3
    one.tool("undo")
    assert one.run("ipset", "list", "-n").stdout == ""


def test_an_apply_that_dies_is_taken_back(one, tmp_path):
    rules, files = one.rules(), one.files()
    text = script(CLIENT, one.backend)
    # In the middle of it, between the rules and what comes after them.
    text = text.replace("    purge_flows\n    while", "    kill -9 $$\n    while")
    assert one.script(text, *NOW, check=False).returncode != 0
    until(lambda: not one.state.exists())
    assert (one.rules(), one.files()) == (rules, files)


def test_the_boot_loads_what_counts_and_takes_back_what_does_not(one):
    one.script(SERVER, *NOW)
    rules = one.rules()
    one.tool("open")
    one.tool("boot")
    assert one.rules() == rules
    one.script(CLIENT, "apply", "--confirm", "60")
    waiting = one.rules()
    one.tool("boot")
    assert one.rules() == waiting, "the same boot: what waits"
    (one.root / "run/fwpolicy-script.applying").unlink()
    one.run(*RESTART[one.backend == "nft"])
    others(one)
    one.tool("boot")
    assert not (one.state / "pending").exists()
    assert one.rules() == rules


def test_the_boot_falls_back_where_the_rules_are_lost(one):
    one.script(POLICED, *NOW)
    current = one.state / "current"
    for name in ("backend", "rules.nft" if one.backend == "nft" else "rules.v4"):
        kept = (current / name).read_text()
        for text in (None, "", "".join(kept.splitlines(keepends=True)[:2])):
            (current / name).unlink()
            if text is not None and name != "backend":
                (current / name).write_text(text)
            one.run(*RESTART[one.backend == "nft"])
            done = one.tool("boot", check=False)
            assert done.returncode == 1 and "could not be loaded" in done.stderr
            assert "22" in str(one.rules()), "ssh-only"
            (current / name).write_text(kept)


# A kernel that has just come up.
RESTART = (
    ("sh", "-c", "for family in ip ip6; do for table in raw mangle nat filter; do for what in F X; do\n"
     "    ${family}tables -t $table -$what; done; done; done"),
    ("nft", "flush", "ruleset"),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", cases.CASES)
def test_real_packets_get_the_verdicts_of_the_table(case, backend, tmp_path):
    if backend != "nft" and case not in cases.SAID:
        pytest.skip("iptables cannot say it")
    policy = cases.policy(case)
    # The oracle's connections were made before.
    policy = replace(policy, apply=replace(policy.apply, conntrack="keep"))
    table = [row for row in cases.packets(case) if sendable(row[0]) and not cut_short(row[0])]
    assert len(table) >= 10
    path = tools(tmp_path / "tools", "busybox", backend)
    words = f"env PATH={path} FWPOLICY_ROOT={tmp_path} sh -s -- apply --no-confirm --no-persist"
    done = verdicts(
        "", [as_frame(packet) for packet, _, _ in table], restore=[(words, script(policy, backend))]
    )
    expected = ["accept" if verdict == "undecided" else verdict for _, verdict, _ in table]
    wrong = [
        f"{packet}: {did}, not {said}"
        for (packet, _, _), did, said in zip(table, done, expected, strict=True)
        if did != said
    ]
    assert not wrong, "\n".join(wrong)


def test_flows_of_the_time_service_end_and_no_others(one):
    for port in ("123", "53"):
        for source, destination in (("192.0.2.7", "192.0.2.1"), ("2001:db8::7", "2001:db8::1")):
            ends = ("-s", source, "-d", destination, "--sport", "5000", "--dport", port)
            one.run("conntrack", "-I", "-p", "udp", *ends, "--timeout", "100")
    keeping = replace(CLIENT, apply=replace(CLIENT.apply, conntrack="keep"))
    for policy, left in ((keeping, 4), (CLIENT, 2)):
        one.script(policy, *NOW)
        flows = [one.run("conntrack", "-L", "-f", family).stdout for family in ("ipv4", "ipv6")]
        assert "".join(flows).count("sport=5000") == left
        assert all("dport=53 " in each for each in flows)


def test_a_kernel_without_ipv6_is_asked_about(netns, tmp_path):
    """Only who says so gets IPv4 alone."""
    host = OldHost(netns, tmp_path, "busybox", "iptables-legacy")
    text = script(CLIENT, "iptables-legacy").replace("/proc/net/if_inet6", "/proc/net/none")
    said = host.script(text, *NOW, check=False)
    assert said.returncode == 1
    assert "only with --without-ipv6" in said.stderr
    host.script(text, *NOW, "--without-ipv6")
    assert "ip6tables-save: -A FWPOLICY" not in host.rules()
    assert "iptables-save: -A FWPOLICY" in host.rules()
    host.script(script(CLIENT, "iptables-legacy"), *NOW)
    assert "ip6tables-save: -A FWPOLICY" in host.rules()


def test_plan_says_what_apply_would_do_and_does_nothing(host):
    rules, files = host.rules(), host.files()
    first = host.script(CLIENT, "plan", check=False)
    assert first.returncode == 2, first.stderr
    assert "+++ rules." in first.stdout
    assert (host.rules(), host.files()) == (rules, files)
    host.script(CLIENT, *NOW)
    again = host.script(CLIENT, "plan", check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert "nothing to change" in again.stdout
    rules, files = host.rules(), host.files()
    other = host.script(SERVER, "plan", check=False)
    assert other.returncode == 2 and "'ntp-client' is applied now" in other.stdout
    assert told(host.files()) == told(files) and host.rules() == rules
    host.tool("open")
    opened = host.script(CLIENT, "plan", check=False)
    assert opened.returncode == 2 and "not those that were applied" in opened.stdout


def test_plan_refuses_what_apply_would(one):
    one.script(CLIENT, "apply", "--confirm", "30")
    waits = one.script(SERVER, "plan", check=False)
    assert waits.returncode == 1 and "waits to be confirmed" in waits.stderr
