"""Questions of what a kernel really holds: other tools' tables beside ours, and ours after an edit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import proof
from fwpolicy.errors import CheckFailedError
from fwpolicy.host.libnftables import Nftables
from fwpolicy.host.netns import NoScratchError, scratch
from tests.golden import cases

pytestmark = pytest.mark.kernel

POLICY = """\
version: 1
name: web
groups: {admin: [192.0.2.0/28, "2001:db8:1::/64"]}
input:
  default: drop
  allow:
    - {service: ssh, from: admin, id: admin-ssh}
    - {service: https, limit: 10/second}
    - {service: dns, limit: 100/second, per: source, max: 20}
output: {default: accept}
"""
# What docker's iptables-nft leaves in `nft list`: chains of iptables, native rules of its newer versions.
DOCKER = """\
table ip raw {
    chain PREROUTING { type filter hook prerouting priority raw; policy accept;
        ip daddr 172.17.0.2 iifname != "docker0" counter drop
    }
}
table ip filter {
    chain DOCKER-USER { counter return; }
    chain DOCKER { iifname != "docker0" oifname "docker0" ip daddr 172.17.0.2 tcp dport 80 accept
        iifname != "docker0" oifname "docker0" counter drop
    }
    chain FORWARD { type filter hook forward priority filter; policy drop;
        jump DOCKER-USER
        oifname "docker0" ct state related,established accept
        oifname "docker0" jump DOCKER
        iifname "docker0" accept
    }
    chain INPUT { type filter hook input priority filter; policy accept;
        udp dport 123 ip saddr 203.0.113.0/24 counter drop comment "f2b-ntp"
    }
}
"""

# `docker run -p 123:123/udp`.
PUBLISHED = """\
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p udp -m udp --dport 123 -j DNAT --to-destination 172.17.0.2:123
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
-A FORWARD -o docker0 -j DOCKER
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p udp -m udp --dport 123 -j ACCEPT
COMMIT
"""


@pytest.fixture
def host(netns, tmp_path, monkeypatch, capsys):
    """Runs a verb in the namespace: (exit code, what it printed)."""
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").write_text(POLICY)

    def call(verb, *arguments):
        code = main([verb, "--netns", netns, "--state-dir", str(tmp_path / "state"), *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    call.netns = netns
    return call


def nft(host, text):
    subprocess.run(["ip", "netns", "exec", host.netns, "nft", "-f", "-"], input=text, text=True, check=True)


def test_explain_live_names_the_chain_that_decides_among_foreign_tables(host):
    nft(host, DOCKER)
    forwarded = ("ntp", "from", "203.0.113.9", "to", "192.0.2.1", "in", "eth0")
    code, text = host("explain", "live", *forwarded, "out", "eth1")
    assert (code, text) == (0, "drop: the policy of chain ip filter FORWARD (step ip filter FORWARD)\n")
    code, text = host("explain", "live", *forwarded, "out", "docker0")
    assert code == 0 and "ip filter DOCKER: " in text and text.startswith("drop: this rule decides")
    code, text = host("explain", "live", "input", "ntp", "from", "203.0.113.9")
    lines = text.splitlines()
    assert code == 0 and "to 172.17.0.2 in another interface than docker0:" in lines, text
    assert any("ip filter INPUT" in line and "203.0.113.0/24" in line for line in lines), text
    assert any("ip raw PREROUTING" in line and "172.17.0.2" in line for line in lines), text


def test_explain_live_tells_what_docker_redirects_before_any_input_chain_sees_it(host):
    iptables = ["ip", "netns", "exec", host.netns, "iptables-nft-restore"]
    subprocess.run(iptables, input=PUBLISHED, text=True, check=True)
    accept = "accept: the policy of chain ip filter INPUT (step ip filter INPUT)\n"
    code, text = host("explain", "live", "ntp", "from", "203.0.113.9")
    assert code == 0 and text.startswith(accept)
    told = "but a new connection in another interface than docker0 is redirected before that:\n"
    assert told + "  dnat to 172.17.0.2:123: this rule decides (step ip nat DOCKER)\n" in text
    assert host("explain", "live", "ntp", "from", "203.0.113.9", "in", "docker0") == (0, accept)
    assert host("explain", "live", "ntp", "from", "203.0.113.9", "state", "established") == (0, accept)
    _, text = host("explain", "--json", "live", "ntp", "from", "203.0.113.9")
    (sent,) = json.loads(text)["redirected"]
    assert (sent["verdict"], sent["hook"]) == ("dnat to 172.17.0.2:123", "dstnat")


def test_explain_live_knows_what_nft_only_names_of_iptables_rules(host):
    iptables = ["ip", "netns", "exec", host.netns, "iptables-nft", "-A", "INPUT"]
    rule = ["-p", "tcp", "-m", "multiport", "--dports", "25,26", "-j", "REJECT", "--reject-with", "tcp-reset"]
    subprocess.run([*iptables, *rule], check=True)
    code, text = host("explain", "live", "tcp/25", "from", "203.0.113.9")
    assert code == 0 and text.startswith("reject: this rule decides (step ip filter INPUT)"), text
    assert "--dports 25,26" in text and "not followed by the model" not in text
    assert host("explain", "live", "tcp/27", "from", "203.0.113.9")[1].startswith("accept: ")


def test_explain_live_sees_iptables_legacy_beside_nft(host):
    nft(host, "add table inet mine\nadd chain inet mine in { type filter hook input priority -5; }\n")
    nft(host, "add rule inet mine in tcp dport 80 accept\n")
    legacy = ["ip", "netns", "exec", host.netns, "iptables-legacy"]
    subprocess.run([*legacy, "-A", "INPUT", "-s", "203.0.113.0/24", "-j", "DROP"], check=True)
    code, text = host("explain", "live", "tcp/80", "from", "203.0.113.9")
    assert code == 0 and text.startswith("drop: this rule decides (step ip filter INPUT)")
    assert "-A INPUT -s 203.0.113.0/24 -j DROP" in text
    assert host("explain", "live", "tcp/80", "from", "198.51.100.1")[1].startswith("accept: ")


def test_explain_live_follows_both_where_iptables_nft_and_legacy_have_one_table(host):
    for variant, source in (("nft", "198.51.100.0/24"), ("legacy", "203.0.113.0/24")):
        iptables = ["ip", "netns", "exec", host.netns, f"iptables-{variant}"]
        rule = ["-s", source, "-m", "limit", "--limit", "5/second", "-j", "DROP"]
        subprocess.run([*iptables, "-A", "INPUT", *rule], check=True)
    code, text = host("explain", "live", "tcp/80", "from", "203.0.113.9")
    assert code == 0 and text.startswith("drop: this rule decides (step ip filter(legacy) INPUT)"), text
    code, text = host("explain", "live", "tcp/80", "from", "198.51.100.9")
    assert code == 0 and text.startswith("drop: this rule decides (step ip filter INPUT)"), text
    assert host("explain", "live", "tcp/80", "from", "192.0.2.9")[1].startswith("accept: ")


def test_a_dormant_table_filters_nothing(host):
    assert host("apply", "web.yaml", "--no-confirm")[0] == 0
    nft(host, "add table inet fwpolicy { flags dormant; }\n")
    code, text = host("prove", "web.yaml", "--against", "live")
    assert code == 3 and "live: accept, by a chain's policy, or left to others" in text
    assert host("explain", "live", "tcp/23", "from", "192.0.2.9")[1].startswith("accept: no chain says")
    code, text = host("status")
    assert (
        code == 2
        and "table inet fwpolicy is dormant: nothing is filtered" in text
        and "newly allowed" in text
    )
    code, text = host("status", "--json")
    assert json.loads(text)["traffic"][0]["now"] == "allowed"
    assert host("status", "--heal")[0] == 0
    assert host("prove", "web.yaml", "--against", "live")[0] == 0


def test_a_listing_of_nft_whose_flags_nobody_can_read_is_no_proof(host):
    """nft 1.0.6 prints freed memory for a table's only flag, in JSON alone."""
    assert host("apply", "web.yaml", "--no-confirm")[0] == 0
    nft(host, "add table inet fwpolicy { flags dormant; }\n")
    command = ["ip", "netns", "exec", host.netns, "nft", "-j", "list", "ruleset"]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for entry in listing["nftables"]:
        if "table" in entry:
            entry["table"]["flags"] = "inet"
    Path("live.json").write_text(json.dumps(listing))
    code, text = host("prove", "web.yaml", "--against", "live.json")
    assert code == 3 and "live.json: inet fwpolicy: its flags cannot be read: it may be dormant" in text
    code, text = host("diff", "web.yaml", "live.json")
    assert text.startswith("no difference but what the model does not follow\n"), text
    assert len(json.loads(host("diff", "--json", "web.yaml", "live.json")[1])["unmodelled"]) == 1


def test_iptables_rules_of_ours_in_a_dormant_table_are_drift_and_no_place_to_apply_to(host):
    Path("web.yaml").write_text("version: 1\nname: w\ninput: {default: drop, allow: [ssh]}\n")
    apply = ("apply", "web.yaml", "--no-confirm", "--backend", "iptables")
    assert host(*apply)[0] == 0
    assert host("status")[0] == 0
    nft(host, "add table ip6 filter { flags dormant; }\n")
    told = "table ip6 filter is dormant: nothing in it is filtered; wake it: nft add table ip6 filter"
    for verb in (("status",), ("status", "--heal")):
        code, text = host(*verb)
        assert code == 2 and told in text
    assert host("prove", "web.yaml", "--against", "live")[0] == 3
    code, text = host(*apply)
    assert code == 1 and told in text
    nft(host, "add table ip6 filter\nadd table ip mangle { flags dormant; }\n")
    assert host("status")[0] == 0
    assert host("prove", "web.yaml", "--against", "live")[0] == 0


def test_drift_to_an_interface_by_its_number_is_said(host):
    subprocess.run(["ip", "-n", host.netns, "link", "add", "wan0", "type", "veth"], check=True)
    line = "    - {service: ssh, in: wan}\n"
    Path("web.yaml").write_text(
        f"version: 1\nname: w\nzones: {{wan: wan0}}\ninput:\n  default: drop\n  allow:\n{line}"
    )
    assert host("apply", "web.yaml", "--no-confirm")[0] == 0
    command = ["ip", "netns", "exec", host.netns, "nft", "-a", "list", "chain", "inet", "fwpolicy", "input"]
    rules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    (rule,) = (each.strip() for each in rules if "wan0" in each)
    text, _, handle = rule.partition(" # handle ")
    by_number = text.replace("iifname", "iif")
    nft(host, f"replace rule inet fwpolicy input handle {handle} {by_number}\n")
    code, text = host("status")
    assert code == 2 and "the same traffic all the same" in text
    assert "note: this knows an interface by its number, and ends when that is made anew: " in text


def test_a_dormant_table_of_iptables_filters_nothing(host):
    iptables = ["ip", "netns", "exec", host.netns, "iptables-nft", "-A", "INPUT"]
    rule = ["-p", "tcp", "-m", "multiport", "--dports", "25,26", "-j", "DROP"]
    subprocess.run([*iptables, *rule], check=True)
    assert host("explain", "live", "tcp/25", "from", "203.0.113.9")[1].startswith("drop: ")
    nft(host, "add table ip filter { flags dormant; }\n")
    assert host("explain", "live", "tcp/25", "from", "203.0.113.9")[1].startswith("accept: ")


def test_apply_proves_and_prove_against_live_notices_an_edit(host):
    code, text = host("apply", "web.yaml")
    assert code == 0 and "proved: in a scratch namespace" in text and "read them back and proved them" in text
    assert host("prove", "web.yaml", "--against", "live") == (0, "proved: live does what web.yaml does\n")
    assert host("prove", "generation:1", "--against", "live")[0] == 0
    assert host("diff", "web.yaml", "live") == (0, "no difference: every packet meets the same end\n")
    nft(host, "insert rule inet fwpolicy input ip saddr 198.51.100.7 tcp dport 22 accept\n")
    code, text = host("prove", "web.yaml", "--against", "live")
    assert code == 3 and "packet: input tcp/22 from 198.51.100.7:40000" in text
    assert "live: accept" in text and "web.yaml: drop, step default (web.yaml:4:1)" in text
    code, text = host("diff", "generation:1", "live")
    assert code == 2 and "newly allowed\n  input tcp/22 (ssh) from 198.51.100.7 " in text
    assert "live: inet fwpolicy input: ip saddr 198.51.100.7 tcp dport 22 accept" in text
    code, text = host("diff", "--json", "generation:1", "live")
    assert json.loads(text)["changes"][0]["now"] == "allowed"


def test_plan_tells_the_traffic_that_changes(host):
    code, text = host("plan", "web.yaml")
    assert code == 2 and "\nnewly denied\n" in text and "newly allowed" not in text
    assert host("apply", "web.yaml")[0] == 0
    assert "newly" not in host("plan", "web.yaml")[1]
    Path("web.yaml").write_text(POLICY.replace("from: admin, id", "from: [admin, 198.51.100.7], id"))
    code, text = host("plan", "web.yaml")
    assert code == 2 and "newly denied" not in text
    assert "newly allowed\n  input tcp/22 (ssh) from 198.51.100.7\n      now accept by web.yaml:7: " in text
    assert 'before drop by live: inet fwpolicy input: counter name "default_input" drop' in text
    code, text = host("plan", "--json", "web.yaml")
    (change,) = json.loads(text)["traffic"]
    assert change["now"] == "allowed" and change["classes"] == ["input tcp/22 (ssh) from 198.51.100.7"]


def test_an_apply_whose_proof_fails_changes_nothing(host, monkeypatch):
    def wrong(emitted, listing, where):
        if where == "live":
            raise CheckFailedError("proof failed: for the test")

    monkeypatch.setattr("fwpolicy.deploy.proof.prove_listed", wrong)
    code, text = host("apply", "web.yaml")
    assert code == 3 and "proof failed: for the test" in text
    assert host("status")[0] == 2
    listed = subprocess.run(
        ["ip", "netns", "exec", host.netns, "nft", "list", "ruleset"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout == ""
    assert host("apply", "--no-prove", "web.yaml")[0] == 0


@pytest.mark.parametrize("case", cases.CASES)
def test_every_golden_case_is_proved_in_a_scratch_namespace(case):
    policy = cases.policy(case)
    proof.prove_compiled(policy, None, proof.compiled(policy))
    proof.prove_in_scratch(compile_ruleset(policy), policy.name)


def test_what_a_kernel_lists_otherwise_is_refused_with_a_packet():
    policy = cases.policy("pbx")
    artifact = proof.compiled(policy)
    emitted = proof.prove_compiled(policy, None, artifact)
    with scratch():
        kernel = Nftables()
        kernel.load(artifact.text)
        kernel.load("add element inet fwpolicy admin_v4 { 198.51.100.99 }\n")
        listing = kernel.listing("table inet fwpolicy")
    with pytest.raises(CheckFailedError, match=r"from 198\.51\.100\.99:40000"):
        proof.prove_listed(emitted, listing, "live")


def test_what_the_model_does_not_follow_is_no_proof(host):
    """`notrack` decides nothing itself, and everything that connection tracking is asked about later."""
    assert host("apply", "web.yaml")[0] == 0
    nft(host, "add chain inet fwpolicy early { type filter hook prerouting priority -300; }\n")
    nft(host, "add rule inet fwpolicy early tcp dport 22 notrack\n")
    code, text = host("prove", "web.yaml", "--against", "live")
    assert (
        code == 3
        and "not followed by the model" in text
        and "inet fwpolicy early: tcp dport 22 notrack" in text
    )


def test_a_strangers_rule_in_our_table_is_drift_that_apply_mends(host):
    """Without a limit in its braces, `add @SET` has a shape that none of our rules has."""
    Path("web.yaml").write_text(
        POLICY.replace("  default: drop\n", "  default: drop\n  block: [{from: banned}]\n")
    )
    text = Path("web.yaml").read_text().replace("groups: {", "groups: {banned: {dynamic: 1h}, ")
    Path("web.yaml").write_text(text)
    assert host("apply", "web.yaml")[0] == 0
    nft(host, "insert rule inet fwpolicy input ip saddr 0.0.0.0/0 add @banned_v4 { ip saddr }\n")
    code, said = host("status")
    assert code == 2 and "what fwpolicy never writes" in said
    assert host("apply", "web.yaml")[0] == 0
    assert host("status")[0] == 0


def test_where_no_namespace_can_be_made_it_is_said(monkeypatch):
    monkeypatch.setattr("fwpolicy.host.netns._CLONE_NEWNET", 1)
    with pytest.raises(NoScratchError, match="cannot make a network namespace"), scratch():
        pass
