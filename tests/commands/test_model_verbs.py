"""explain, diff and prove: questions of a policy or of any ruleset, and exact answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fwpolicy.backends.nft.render import render
from fwpolicy.cli import main
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import proof
from fwpolicy.errors import CheckFailedError
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.golden import cases

FOREIGN = Path(__file__).parents[1] / "model/foreign"
FIXTURES = Path(__file__).parents[1] / "model/nft/fixtures"
WEB = """\
version: 1
name: web
groups: {admin: [192.0.2.0/28, "2001:db8:1::/64"]}
zones: {lan: eth1}
input:
  default: drop
  allow:
    - {service: ssh, from: admin, id: admin-ssh}
    - {service: dns, in: lan}
    - {service: https, limit: 10/second}
output: {default: accept}
"""


@pytest.fixture
def web(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").write_text(WEB)
    return "web.yaml"


def said(capsys, *words: str) -> tuple[int, str]:
    code = main(list(words))
    return code, capsys.readouterr().out


def test_explain_names_the_line_and_the_rule(web, capsys):
    assert said(capsys, "explain", web, "tcp/22", "from", "192.0.2.3") == (
        0,
        "accept: this line allows it (step allow)\n"
        "  web.yaml:8: - {service: ssh, from: admin, id: admin-ssh}\n"
        '  compiled to: ip saddr @admin_v4 tcp dport 22 counter name "allow_input_admin-ssh" accept '
        'comment "allow"\n',
    )
    assert said(capsys, "explain", web, "tcp/22 from 198.51.100.1")[1].startswith(
        "drop: no line names it: default drop (step default)\n"
    )


def test_explain_lists_the_cases_where_the_answer_depends(web, capsys):
    code, text = said(capsys, "explain", web, "udp/53", "from", "198.51.100.1")
    lines = text.splitlines()
    assert code == 0 and lines[0] == "in lan:" and "  accept: this line allows it (step allow)" in lines
    assert "in none of lan:" in lines and "  drop: no line names it: default drop (step default)" in lines
    code, text = said(capsys, "explain", "--json", web, "udp/53", "from", "198.51.100.1")
    found = json.loads(text)
    assert [(case["when"], case["verdict"], case["step"]) for case in found["cases"]] == [
        (["in lan"], "accept", "allow"),
        (["in none of lan"], "drop", "default"),
    ]


def test_explain_takes_zones_and_tells_port_forwards(capsys):
    router = str(Path(__file__).parents[1] / "golden/router/policy.yaml")
    _, text = said(capsys, "explain", router, "ssh from 203.0.113.9 in lan")
    assert text.startswith("accept: this line allows it") and "compiled to: iifname" in text
    assert said(capsys, "explain", router, "ssh from 203.0.113.9 in eth1")[1].startswith("accept: ")
    _, text = said(capsys, "explain", router, "https from 203.0.113.9 in wan")
    assert text.startswith("drop: ")
    told = "but a new connection is redirected before that:\n  dnat to 192.0.2.10:8443: this port forward"
    assert told in text and 'counter name "nat_forward_tcp_443" dnat ip to 192.0.2.10:8443' in text
    assert "redirected" not in said(capsys, "explain", router, "ssh from 203.0.113.9 in wan")[1]


PARTS = """\
version: 1
name: parts
groups: {banned: {dynamic: 1h}}
zones: {wan: eth0, lan: eth1}
services: {mix: [tcp/8000-8001, udp/53]}
input:
  default: drop
  block: [{from: banned}]
  allow:
    - udp/53
    - udp/1000
    - {service: ssh, in: wan, expires: 2020-01-31}
output: {default: accept}
"""


@pytest.fixture
def parts(web):
    Path("parts.yaml").write_text(PARTS)
    return "parts.yaml"


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        ("dns from 192.0.2.9", {"udp/53 (mix)": "accept", "tcp/53 (dns)": "drop"}),
        ("udp/1000-1005 from 192.0.2.9", {"udp/1000": "accept", "udp/1001-1005": "drop"}),
        ("udp/999 from 192.0.2.9", {None: "drop"}),
        ("mix from 192.0.2.9", {"tcp/8000-8001 (mix)": "drop", "udp/53 (mix)": "accept"}),
        ("kerberos from 192.0.2.9", {None: "drop"}),
        ("kerberos to 192.0.2.9", {None: "accept"}),
        ("ping", {None: "drop"}),
        ("icmpv6/128", {None: "drop"}),
        (
            "ip/17 from 192.0.2.9",
            {"udp/53 (mix)": "accept", "udp/1000": "accept", "udp/{0-52,54-999,1001-65535}": "drop"},
        ),
    ],
)
def test_explain_answers_for_every_part_of_a_service(packet, wanted, parts, capsys):
    _, text = said(capsys, "explain", "--json", parts, packet, "source-in none")
    found = json.loads(text)
    told = found.get("cases", [found])
    assert {" or ".join(each.get("when", ())) or None: each["verdict"] for each in told} == wanted


def test_a_part_that_is_redirected_is_named(web, capsys):
    forward = "nat: {forward: [{in: wan, service: https, to: 192.0.2.10}]}\n"
    Path("r.yaml").write_text(
        f"version: 1\nname: r\nzones: {{wan: eth0}}\n{forward}input: {{default: drop}}\n"
    )
    _, text = said(capsys, "explain", "r.yaml", "tcp/80-443 from 203.0.113.9 in wan")
    assert "but a new connection tcp/443 (https) in wan is redirected before that:\n" in text, text


def test_explain_goes_by_the_groups_that_the_packet_is_in(parts, capsys):
    code, text = said(capsys, "explain", parts, "udp/53 from 192.0.2.9 source-in none")
    assert code == 0 and text.startswith("accept: ")
    for address in ("192.0.2.9", "2001:db8::9"):
        code, text = said(capsys, "explain", parts, f"udp/53 from {address} source-in banned")
        assert code == 0 and text.startswith("drop: this line blocks it")
    code, text = said(capsys, "explain", parts, "udp/53 from 192.0.2.9 source-in none destination-in banned")
    assert code == 0 and text.endswith("note: no line looks at destination-in banned\n")
    assert main(["explain", parts, "udp/53 from 192.0.2.9 source-in baned"]) == 1
    said_of_it = "fwpolicy: PACKET: 'baned' is not a dynamic group; did you mean 'banned'?\n"
    assert capsys.readouterr().err == said_of_it
    assert main(["explain", "web.yaml", "udp/53 source-in banned"]) == 1
    assert "dynamic groups: none is declared" in capsys.readouterr().err


def test_explain_of_a_ruleset_goes_by_its_groups(parts, capsys):
    assert main(["compile", parts]) == 0
    Path("parts.nft").write_text(capsys.readouterr().out)
    for name in ("banned", "banned_v4"):
        code, text = said(capsys, "explain", "parts.nft", f"udp/53 from 192.0.2.9 source-in {name}")
        assert code == 0 and text.startswith("drop: ")
    assert main(["explain", "parts.nft", "udp/53 from 192.0.2.9 source-in bogus"]) == 1


def test_an_interface_that_no_line_names_is_said(parts, capsys):
    _, text = said(capsys, "explain", parts, "ssh in wna source-in none")
    assert text.endswith("note: no line and no zone names the interface 'wna'; did you mean 'wan'?\n")
    assert "note" not in said(capsys, "explain", parts, "ssh in eth1 source-in none")[1]
    found = json.loads(said(capsys, "explain", "--json", parts, "ssh in eth7 source-in none")[1])
    assert found["notes"] == ["no line and no zone names the interface 'eth7'; did you mean 'eth1'?"]


def test_a_line_that_has_expired_decides_nothing_today(parts, capsys):
    packet = "tcp/22 from 192.0.2.9 in wan source-in none"
    _, text = said(capsys, "explain", parts, packet)
    assert text.startswith("accept: this line allows it")
    assert "\nbut that is before any line expires; today:\n  drop: no line names it: default drop" in text
    (now,) = json.loads(said(capsys, "explain", "--json", parts, packet)[1])["today"]
    assert now["verdict"] == "drop"
    assert "today" not in said(capsys, "explain", parts, f"{packet} at 2020-01-01")[1]
    assert "today" not in said(capsys, "explain", parts, "udp/53 from 192.0.2.9 source-in none")[1]


def test_explain_as_json(web, capsys):
    code, text = said(capsys, "explain", "--json", web, "tcp/443", "from", "198.51.100.1", "limits", "spent")
    found = json.loads(text)
    assert (code, found["verdict"], found["hook"], found["step"]) == (0, "drop", "input", "default")
    _, text = said(capsys, "explain", "--json", web, "tcp/443 from 198.51.100.1")
    found = json.loads(text)
    assert found["verdict"] == "accept" and found["origin"] == {"file": "web.yaml", "line": 10, "column": 7}
    assert 'limit name "allow_input_tcp_443"' in found["rule"]


def test_explain_says_undecided_of_what_an_overlay_leaves_to_others(capsys):
    code, text = said(capsys, "explain", "ntp-client", "tcp/22", "from", "192.0.2.3")
    assert (code, text) == (0, "undecided: the policy has no 'input': left to others (step default)\n")


def test_explain_of_what_is_no_packet(web, capsys):
    assert main(["explain", web, "tcp/x"]) == 1
    assert capsys.readouterr().err == "fwpolicy: PACKET: the port 'x' is not a number\n"


def test_explain_of_foreign_rulesets(capsys):
    code, text = said(capsys, "explain", str(FOREIGN / "ufw.v4"), "tcp/9", "from", "203.0.113.9")
    assert code == 0 and "-A ufw-reject-input -j REJECT" in text and text.startswith("to an address that is")
    code, text = said(capsys, "explain", str(FOREIGN / "docker.v4"), "tcp/80 from 203.0.113.9")
    assert "in another interface than docker0" in text and "-d 172.17.0.2/32 ! -i docker0 -j DROP" in text
    code, text = said(capsys, "explain", str(FIXTURES / "fail2ban.nft"), "tcp/22 from 203.0.113.9")
    assert text.startswith("reject: ") and "inet f2b-table f2b-chain" in text


def test_what_the_model_does_not_follow_is_named(capsys):
    _, text = said(capsys, "explain", str(FOREIGN / "firewalld.v4"), "tcp/22 from 203.0.113.9")
    assert "not followed by the model: " in text and "-j MARK --set-xmark 0x64" in text


def test_diff_tells_in_the_policys_words(web, capsys):
    changed = WEB.replace("from: admin, id: admin-ssh", "from: [admin, 198.51.100.7], id: admin-ssh")
    Path("new.yaml").write_text(changed.replace("    - {service: dns, in: lan}\n", ""))
    assert said(capsys, "diff", web, "new.yaml") == (
        2,
        "newly allowed\n"
        "  input tcp/22 (ssh) from 198.51.100.7\n"
        "      now accept by new.yaml:8: - {service: ssh, from: [admin, 198.51.100.7], id: admin-ssh}\n"
        "      before drop by web.yaml:5: input:\n"
        "      for example: input tcp/22 from 198.51.100.7:40000 to 192.0.2.1 state new\n"
        "newly denied\n"
        "  input tcp/53 (dns) or udp/53 (dns) in lan\n"
        "      now drop by new.yaml:5: input:\n"
        "      before accept by web.yaml:9: - {service: dns, in: lan}\n"
        "      for example: input tcp/53 from 203.0.113.9:40000 to 192.0.2.1 state new in eth1\n",
    )


def test_no_difference(web, capsys):
    """Other text, the same traffic; limits are the same where they let the same through."""
    Path("same.yaml").write_text(WEB.replace("192.0.2.0/28", "192.0.2.0/29, 192.0.2.8/29"))
    assert said(capsys, "diff", web, "same.yaml") == (0, "no difference: every packet meets the same end\n")
    Path("other.yaml").write_text(WEB.replace("10/second", "11/second"))
    code, text = said(capsys, "diff", web, "other.yaml")
    wanted = "beyond the limit rate 10/second burst 5 within the limit rate 11/second burst 5"
    assert code == 2 and wanted in text


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("negated-ports", "input tcp/{0-21,23-442,444-65535} IPv4 source port {0-21,23-442,444-65535}"),
        ("negated-range", "input udp/{0-999,2001-65535} IPv4"),
        ("range-of-ports", "input tcp/1001-1999 IPv4 source port {0-999,1001-1999,2001-65535}"),
    ],
)
def test_the_three_bugs_of_iptables_restore_translate(name, wrong, capsys):
    """1.8.9 drops `!` from multiport --ports and from --dport ranges, and makes two ports of a range."""
    folder = FOREIGN / "translate"
    code, text = said(capsys, "diff", str(folder / f"{name}.v4"), str(folder / f"{name}.nft"))
    assert code == 2 and f"\n  {wrong}\n" in text


def test_a_policy_of_a_git_revision(web, capsys):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    Path(web).write_text(WEB.replace("{service: dns, in: lan}", "{service: [dns, ntp], in: lan}"))
    code, text = said(capsys, "diff", "git:HEAD:web.yaml", web)
    assert code == 2 and "input udp/123 (ntp) in lan" in text
    assert "before drop by git:HEAD:web.yaml:5: input:" in text
    assert main(["diff", "git:NONE:web.yaml", web]) == 1


def test_what_a_revision_includes_is_the_revisions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "shared.yaml").write_text("input: {allow: [http]}\n")
    (tmp_path / "root.yaml").write_text("version: 1\ninclude: [shared.yaml]\ninput: {default: drop}\n")
    (tmp_path / "sub/web.yaml").write_text("version: 1\ninclude: [../shared.yaml]\ninput: {default: drop}\n")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"], ["branch", "topic/one"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "shared.yaml").write_text("# moved\ninput: {allow: [https]}\n")
    for revision in ("HEAD", "topic/one"):
        for path in ("root.yaml", "sub/web.yaml"):
            code, text = said(capsys, "diff", f"git:{revision}:{path}", path)
            assert code == 2, text
            assert f"before accept by git:{revision}:shared.yaml:1: input: {{allow: [http]}}" in text
            assert "now accept by shared.yaml:2: input: {allow: [https]}" in text
    (tmp_path / "shared.yaml").write_text("input: {allow: [nosuch]}\n")
    subprocess.run([*git, "commit", "-q", "-a", "-m", "wrong"], check=True)
    assert main(["explain", "git:HEAD:sub/web.yaml", "tcp/80 from 192.0.2.9"]) == 1
    assert "git:HEAD:shared.yaml:1:17: error: unknown service 'nosuch'" in capsys.readouterr().err


def test_prove(web, capsys):
    assert said(capsys, "prove", web) == (0, "proved: what it compiles to does what web.yaml does\n")
    code, text = said(capsys, "prove", "--json", web)
    assert (code, json.loads(text)["equal"]) == (0, True)
    assert main(["compile", web]) == 0
    Path("web.nft").write_text(capsys.readouterr().out)
    assert said(capsys, "prove", web, "--against", "web.nft")[0] == 0
    Path("web.nft").write_text(Path("web.nft").read_text().replace("tcp dport 22 ", "tcp dport 23 "))
    assert main(["prove", web, "--against", "web.nft"]) == 3
    failure = capsys.readouterr().err
    assert "packet: input tcp/22 from 192.0.2.1:40000" in failure or "input tcp/23" in failure


@pytest.mark.parametrize(
    ("instead", "is_numbered"),
    [
        ('iif "eth1"', True),
        ("iif { eth1 }", True),
        ('iifname "eth1" iif "lo" drop\n\t\tiif != lo iifname "eth1"', False),
        ('iifname "eth1"', False),
    ],
)
def test_an_interface_by_its_number_is_no_proof(instead, is_numbered, web, capsys):
    assert main(["compile", web]) == 0
    text = capsys.readouterr().out
    assert 'iifname "eth1"' in text
    Path("web.nft").write_text(text.replace('iifname "eth1"', instead))
    assert main(["prove", web, "--against", "web.nft"]) == (3 if is_numbered else 0)
    wanted = "by its number is another one when it is made anew:\n  web.nft:" if is_numbered else ""
    assert wanted in capsys.readouterr().err
    assert said(capsys, "prove", "web.nft", "--against", "web.nft")[0] == 0
    assert said(capsys, "diff", web, "web.nft")[0] == 0


def test_a_compiler_that_errs_is_stopped_with_a_packet_and_both_lines():
    policy = cases.policy("pbx")
    artifact = render(compile_ruleset(policy), policy.name)
    wrong = replace(artifact, text=artifact.text.replace("ip saddr @admin_v4 tcp dport 22 ", "tcp dport 22 "))
    with pytest.raises(CheckFailedError) as caught:
        proof.prove_compiled(policy, None, wrong)
    text = str(caught.value)
    assert "packet: input tcp/22 from 203.0.113.9:40000" in text
    assert "the policy: drop, step default" in text and "tcp dport 22 counter name" in text


def test_a_limit_of_another_rate_is_no_proof():
    policy = load((("web.yaml", WEB.encode()),), lambda path: b"")
    artifact = render(compile_ruleset(policy), policy.name)
    proof.prove_compiled(policy, None, artifact)
    wrong = replace(artifact, text=artifact.text.replace("rate 10/second", "rate 100/second"))
    with pytest.raises(CheckFailedError, match="limits"):
        proof.prove_compiled(policy, None, wrong)


def test_the_policys_own_tests_one_by_one(web, capsys):
    Path(web).write_text(WEB + "tests:\n  - {allow: ssh, from: admin}\n  - {deny: https, from: any}\n")
    code, text = said(capsys, "test", web)
    lines = text.splitlines()
    assert code == 3 and lines[0] == "held: web.yaml:13: - {allow: ssh, from: admin}"
    assert lines[1].startswith("web.yaml:14:5: error: test failed: the policy says accept, not deny, for: ")
    assert lines[-1] == "web: 1 held, 1 failed"
    code, text = said(capsys, "test", "--json", web)
    assert (code, [each["held"] for each in json.loads(text)["tests"]]) == (3, [True, False])
    Path(web).write_text(WEB)
    assert said(capsys, "test", web) == (
        0,
        "web: no tests; write some, as in: tests: [{deny: ssh, from: any}]\n",
    )
    assert said(capsys, "test", "ntp-client", "--quiet") == (0, "")


def test_lint_of_a_foreign_ruleset(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rules = ("-A INPUT -p tcp -m tcp --dport 1:100 -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 22 -j DROP")
    chains = ":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    Path("rules.v4").write_text(f"*filter\n{chains}" + "\n".join(rules) + "\nCOMMIT\n")
    code, text = said(capsys, "lint", "--json", "rules.v4")
    (finding,) = json.loads(text)["findings"]
    assert code == 3 and finding["kind"] == "contradicted" and finding["at"]["line"] == 6
    assert [other["line"] for other in finding["others"]] == [5]


CIRCLE = """\
table inet t {
    chain a { jump b; }
    chain b { jump a; }
    chain i { type filter hook input priority 0; jump a; }
}
"""


def test_jumps_that_lead_nowhere_are_errors_with_their_place(tmp_path, monkeypatch, capsys):
    """The kernel refuses circles; chains below chains beyond counting would end in a traceback."""
    monkeypatch.chdir(tmp_path)
    text = CIRCLE.replace("jump a; }", "jump a\n }").replace("jump b; }", "jump b\n }")
    Path("circle.nft").write_text(text)
    chains = "".join(f":c{n} - [0:0]\n" for n in range(500))
    jumps = "".join(f"-A c{n} -j c{n + 1}\n" for n in range(499))
    built_in = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    Path("deep.v4").write_text(f"*filter\n{built_in}{chains}-A INPUT -j c0\n{jumps}COMMIT\n")
    near = "".join(f"-A c{n} -j c{n + 1}\n" for n in range(60))
    Path("near.v4").write_text(f"*filter\n{built_in}{chains}-A INPUT -j c0\n{near}-A c60 -j DROP\nCOMMIT\n")
    for words in (["lint"], ["explain"], ["prove"], ["diff"]):
        more = {"explain": ["tcp/22 from 192.0.2.9"], "prove": ["--against", "near.v4"], "diff": ["near.v4"]}
        for name, why in (("circle.nft", "circle"), ("deep.v4", "is below more than 64 others")):
            assert main([*words, name, *more.get(words[0], [])]) == 1
            assert why in capsys.readouterr().err
    code, text = said(capsys, "explain", "near.v4", "tcp/22", "from", "192.0.2.9")
    assert (code, text.split(" (")[0]) == (0, "drop: this rule decides")
    assert main(["lint", "near.v4"]) == 0


def test_a_translation_that_differs_is_told_in_nfts_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    nat = "nat: {forward: [{in: wan, service: https, to: '2001:db8::1', port: 443}]}\n"
    Path("a.yaml").write_text(f"version: 1\nname: a\nzones: {{wan: eth0}}\n{nat}")
    Path("b.yaml").write_text(Path("a.yaml").read_text().replace("::1'", "::2'"))
    assert main(["prove", "a.yaml", "--against", "b.yaml"]) == 3
    assert "b.yaml: dnat to [2001:db8::2]:443, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["explain", "generation:\N{SUPERSCRIPT TWO}", "tcp/22"], "no such file"),
        (["explain", f"generation:{'1' * 5000}", "tcp/22"], "name too long"),
        (
            ["explain", "web.yaml", "tcp/22 from 192.0.2.1 in averyverylonginterface"],
            "no interface is called",
        ),
        (["explain", "git:HEAD:.", "tcp/22"], "git:HEAD:."),
        (["prove", "rules.nft"], "is no policy"),
    ],
)
def test_wrong_words_are_errors_and_never_tracebacks(words, why, web, capsys):
    Path("rules.nft").write_text("table inet t {\n}\n")
    assert main(words) == 1
    assert why in capsys.readouterr().err


def test_a_listing_as_json_is_an_operand(web, capsys):
    Path("live.json").write_text('{"nftables": [{"table": {"family": "inet", "name": "t", "handle": 1}}]}')
    code, text = said(capsys, "explain", "live.json", "tcp/22 from 192.0.2.1")
    assert (code, text) == (0, "accept: no chain says anything about it (step none)\n")
    Path("live.json").write_text('{"nftables": [')
    assert main(["explain", "live.json", "tcp/22"]) == 1 and "no JSON" in capsys.readouterr().err
