"""diff --all: what a pull request's comment says."""

from __future__ import annotations

import json

import pytest

from fwpolicy.cli import main
from fwpolicy.commands.markdown import code
from fwpolicy.fleet import changes as module
from fwpolicy.fleet.risk import risks
from fwpolicy.model.compare import changes
from fwpolicy.model.of_policy import of_policy
from tests.fleet.conftest import BASE, DB, INVENTORY, WEB
from tests.policy.reading import read


def diff(capsys, *words: str) -> dict:
    code = main(["diff", "--all", "git:HEAD", "--json", "--quiet", *words])
    said = capsys.readouterr()
    assert said.err == ""
    return {"code": code} | json.loads(said.out)


def test_nothing_differs(fleet, capsys):
    fleet.commit()
    report = diff(capsys)
    assert (report["code"], report["changes"], report["same"]) == (0, [], 5)
    fleet.write(policies__web="# a comment\n" + WEB)
    assert diff(capsys)["same"] == 5
    assert main(["diff", "--all", "git:HEAD"]) == 0
    assert (
        "No difference: on 5 hosts every packet meets the same end as in `HEAD`." in capsys.readouterr().out
    )


def test_a_change_of_a_group(fleet, capsys):
    fleet.commit()
    fleet.write(policies__web=WEB.replace("[https]", "[https, {service: http, from: 198.51.100.0/24}]"))
    report = diff(capsys)
    (change,) = report["changes"]
    assert report["code"] == 2 and report["same"] == 2
    assert change["now"] == "allowed" and change["hook"] == "input" and change["risk"] == 0
    assert change["classes"] == ["input tcp/80 (http) from 198.51.100.0/24"]
    assert change["groups"] == ["web"] and change["hosts"] == ["web-01", "web-02", "web-03"]
    assert change["new"]["by"].startswith("policies/web.yaml:2: input: {allow: [https, {service: http")
    assert change["old"] == {"verdict": "drop", "by": "policies/base.yaml:3: input:"}


def test_the_same_change_of_different_policies_is_one(fleet, capsys):
    fleet.commit()
    fleet.write(policies__base=BASE.replace("192.0.2.0/24", "192.0.2.0/25"))
    (change,) = diff(capsys)["changes"]
    assert change["now"] == "denied" and change["groups"] == ["all"] and len(change["hosts"]) == 5
    assert change["old"]["by"] == "policies/base.yaml:6: - {service: ssh, from: 192.0.2.0/24}"
    assert main(["diff", "--all", "git:HEAD"]) == 2
    text = capsys.readouterr().out
    assert text.count("192.0.2.128/25") == 1 and "### Newly denied\n\n#### all (5 hosts)" in text
    assert "`db-02`" in text


def test_risky_widenings_come_first(fleet, capsys):
    fleet.commit()
    fleet.write(
        policies__web=WEB.replace("[https]", "[https, imaps, {service: telnet, from: 10.0.0.0/8}]"),
        policies__db=DB.replace("10.0.0.0/8, family: ipv4", "any"),
        policies__base=BASE.replace("192.0.2.0/24", "192.0.2.0/25"),
    )
    found = diff(capsys)["changes"]
    assert [(each["risk"], each["now"]) for each in found] == [
        (3, "allowed"),
        (2, "allowed"),
        (1, "allowed"),
        (0, "denied"),
    ]
    assert found[0]["risks"] == ["from the Internet", "administrative: sql"]
    assert found[2]["risks"] == ["administrative: telnet"]
    main(["diff", "--all", "git:HEAD"])
    text = capsys.readouterr().out
    places = [
        text.index(each) for each in ("Risky", "tcp/5432", "tcp/993", "tcp/23", "Newly denied", "tcp/22")
    ]
    assert places == sorted(places)
    assert "**from the Internet, administrative: sql**" in text and "**3 risky**" in text


@pytest.mark.parametrize(
    ("line", "level", "why"),
    [
        ("{service: https, from: 203.0.113.0/24}", 0, ()),
        ("{service: https, from: 8.0.0.0/7}", 2, ("from the Internet",)),
        ("{service: https, from: 10.0.0.0/8}", 0, ()),
        ("{service: https, from: '2a00::/12'}", 2, ("from the Internet",)),
        ("{service: https, from: '2001:db8::/32'}", 0, ()),
        ("{service: tcp/1-65535, from: 192.0.2.0/24}", 1, ("most ports",)),
        ("{from: 192.0.2.0/24}", 1, ("most ports",)),
        ("{from: internet}", 3, ("from the Internet", "most ports")),
        ("ping", 2, ("from the Internet",)),
        ("{service: ssh, from: any}", 3, ("from the Internet", "administrative: ssh")),
        # A range is what it is, and not each service that has a port in it ...
        ("{service: rtp, from: 192.0.2.0/24}", 0, ()),
        ("{service: udp/10000-20000, from: any}", 2, ("from the Internet", "10,001 ports")),
        ("{service: tcp/10000-20000, from: 192.0.2.0/24}", 0, ()),
        ("{service: tcp/9000-10000}", 2, ("from the Internet", "1,001 ports")),
        # ... unless it is small, or there are several of them,
        ("{service: udp/11000-11999, from: 192.0.2.0/24}", 1, ("administrative: memcached",)),
        ("{service: tcp/9001-10000}", 3, ("from the Internet", "administrative: elasticsearch")),
        (
            "{service: [tcp/1500-3300, tcp/6300-7300], from: 192.0.2.0/24}",
            1,
            (
                *("administrative: sql", "administrative: nfs", "administrative: docker"),
                *("administrative: etcd", "administrative: redis", "administrative: kubernetes"),
                *("1,801 ports", "1,001 ports"),
            ),
        ),
        # or one of them answers under an address that is not the one who asks.
        ("{service: udp/10000-19999}", 3, ("from the Internet", "amplifier: memcached", "10,000 ports")),
        ("{service: udp/10000-19999, from: 192.0.2.0/24}", 0, ()),
        ("{service: udp/1900}", 3, ("from the Internet", "amplifier: ssdp")),
        ("{service: udp/1900, from: 192.0.2.0/24}", 0, ()),
        ("{service: [tcp/1900, dns, ntp]}", 2, ("from the Internet",)),
        ("{service: memcached, from: any}", 3, ("from the Internet", "administrative: memcached")),
        ("{service: udp/11211, from: any}", 3, ("from the Internet", "administrative: memcached")),
    ],
)
def test_what_is_risky(line, level, why):
    old = of_policy(read("version: 1\ninput: {default: drop}\n"))
    new = of_policy(read(f"version: 1\ninput: {{default: drop, allow: [{line}]}}\n"))
    found = [risks(change) for change in changes(old, new)]
    assert max(each[0] for each in found) == level
    assert why in [each[1] for each in found]
    # Whoever closes it again, or lets it out, is not to be warned of.
    assert all(risks(change) == (0, ()) for change in changes(new, old))


@pytest.mark.parametrize(
    ("service", "port", "level"),
    [("tcp/22", 2222, 3), ("tcp/2222", 22, 3), ("tcp/8080", 80, 2), ("udp/1900", 9, 3), ("udp/9", 1900, 3)],
)
def test_a_port_forward_is_rated_by_both_its_ports(service, port, level):
    text = "version: 1\nzones: {wan: eth0}\nforward: {default: drop}\nnat: {masquerade: [{out: wan}]%s}\n"
    forward = f", forward: [{{in: wan, service: {service}, to: 10.0.0.40, port: {port}}}]"
    old, new = of_policy(read(text % "")), of_policy(read(text % forward))
    assert max(risks(change)[0] for change in changes(old, new)) == level
    # A line beside one is not about all the ports that it leaves.
    more = text.replace("{default: drop}", "{default: drop, allow: [{service: tcp/8080, in: wan}]}")
    old, new = of_policy(read(text % forward)), of_policy(read(more % forward))
    assert max(risks(change)[0] for change in changes(old, new)) == 2


def test_many_narrow_lines_are_one_wide_one(fleet, capsys):
    fleet.commit()
    lines = [
        f"    - {{service: tcp/{22 if n % 2 else '20-25'}, from: {n // 2 + 20}.{n % 2 * 128}.0.0/9}}\n"
        for n in range(60)
    ]
    fleet.write(policies__web="version: 1\ninput:\n  allow:\n" + "".join(lines[:1]))
    report = diff(capsys, "--risk", "2")
    assert (report["code"], max(each["risk"] for each in report["changes"])) == (2, 1)
    fleet.write(policies__web="version: 1\ninput:\n  allow:\n" + "".join(lines))
    report = diff(capsys, "--risk", "3")
    opened = [each["risk"] for each in report["changes"] if each["now"] == "allowed"]
    assert report["code"] == 3 and set(opened) == {3} and len(opened) == 60
    assert report["changes"][0]["risks"][0] == "from the Internet, with other lines"
    text = "version: 1\ninput:\n  allow:\n" + "".join(lines)
    fleet.write(policies__web=text.replace("tcp/20-25", "udp/1900").replace("tcp/22", "udp/1900"))
    report = diff(capsys, "--risk", "3")
    assert report["code"] == 3 and "amplifier: ssdp" in report["changes"][0]["risks"]
    # What is beside them and from nowhere on the Internet is not among them.
    fleet.write(policies__web=text + "    - {service: ssh, from: 10.0.0.0/8}\n")
    (own,) = (each for each in diff(capsys)["changes"] if "10.0.0.0/8" in str(each["classes"]))
    assert own["risk"] == 1
    # Of different ports none is open to many.
    narrow = [
        line.replace("tcp/22", f"udp/{n + 3000}").replace("20-25", f"{n + 3000}")
        for n, line in enumerate(lines)
    ]
    fleet.write(policies__web="version: 1\ninput:\n  allow:\n" + "".join(narrow))
    assert diff(capsys, "--risk", "2")["code"] == 2


def test_a_line_that_is_over_opens_nothing_and_its_end_denies_nothing(fleet, capsys):
    fleet.commit()
    over = BASE.replace("  allow:\n", "  allow:\n    - {service: ssh, from: any, expires: 2020-01-01}\n")
    fleet.write(policies__base=over)
    report = diff(capsys, "--risk", "1")
    assert (report["code"], report["changes"], report["same"]) == (0, [], 5)
    fleet.commit()
    fleet.write(policies__base=BASE)
    assert diff(capsys)["changes"] == []


def test_a_line_that_is_not_over_opens(fleet, capsys):
    fleet.commit()
    ends = BASE.replace("  allow:\n", "  allow:\n    - {service: ssh, from: any, expires: 2090-01-01}\n")
    fleet.write(policies__base=ends)
    report = diff(capsys, "--risk", "3")
    (change,) = report["changes"]
    assert report["code"] == 3 and "before 2090-01-02" in change["classes"][0]


def test_of_a_new_host_what_is_over_is_not_told(fleet, capsys):
    fleet.commit()
    fleet.write(
        policies__over=BASE.replace("allow:", "allow:\n    - {service: tcp/23, expires: 2020-01-01}", 1),
        inventory=INVENTORY + "        db-03: {fwpolicy_policies: [policies/over.yaml]}\n",
    )
    report = diff(capsys, "--risk", "3")
    assert report["added"] == ["db-03"] and "tcp/23" not in json.dumps(report["changes"])


def test_what_goes_out_is_not_risky():
    old = of_policy(read("version: 1\noutput: {default: drop}\n"))
    new = of_policy(read("version: 1\noutput: {default: accept}\n"))
    assert {risks(change) for change in changes(old, new)} == {(0, ())}


def test_hosts_that_come_and_go(fleet, capsys):
    fleet.commit()
    fleet.write(inventory=INVENTORY.replace("web-[01:03]", "web-[02:04]"))
    report = diff(capsys)
    assert (report["code"], report["added"], report["removed"], report["same"]) == (
        2,
        ["web-04"],
        ["web-01"],
        4,
    )
    main(["diff", "--all", "git:HEAD"])
    text = capsys.readouterr().out
    assert "### Hosts added\n\nweb-04" in text and "### Hosts removed\n\nweb-01" in text
    # What the new one brings is new, as far as it is risky.
    https, ssh = report["changes"]
    assert [(each["risk"], each["now"], each["hosts"]) for each in (https, ssh)] == [
        (2, "allowed", ["web-04"]),
        (1, "allowed", ["web-04"]),
    ]
    assert https["old"] == ssh["old"] == {"verdict": "nothing", "by": "the host is new"}
    assert "**2 risky openings** of hosts that are new.\n\nNo difference: on 4 hosts" in text
    assert ":warning: Risky" in text and "#### web-04\n\n- newly allowed: `input tcp/443 (https)`" in text
    assert "  - before nothing: `the host is new`" in text


def test_a_new_host_that_opens_what_no_review_would_let_through(fleet, capsys):
    fleet.commit()
    new = "        web-99: {fwpolicy_policies: [policies/base.yaml, policies/open.yaml]}\n"
    fleet.write(inventory=INVENTORY.replace("    db:\n", f"{new}    db:\n"))
    for policy, level in (
        ("input: {allow: [telnet]}", 3),
        ("input: {allow: [{service: telnet, from: 192.0.2.0/24}]}", 1),
        ("zones: {wan: eth0}\nforward: {default: drop, allow: [{service: ssh, in: wan}]}", 3),
        ("forward: {default: drop}", 1),
    ):
        fleet.write(policies__open=f"version: 1\n{policy}\n")
        report = diff(capsys)
        assert max(each["risk"] for each in report["changes"]) == level, policy
        assert main(["diff", "--all", "git:HEAD", "--quiet", "--risk", "3"]) == (3 if level == 3 else 2)
    # Whoever says nothing of input leaves it to others: that is no better.
    fleet.write(
        inventory=INVENTORY.replace("    db:\n", f"{new.replace('policies/base.yaml, ', '')}    db:\n")
    )
    fleet.write(policies__open="version: 1\nroles: {ntp: client-only}\n")
    assert max(each["risk"] for each in diff(capsys)["changes"]) == 3
    fleet.write(policies__open="version: 1\ninput: {allow: [nosuch]}\n")
    found = diff(capsys)
    assert found["code"] == 1 and found["wrong"][0]["hosts"] == ["web-99"]


def test_a_host_that_moves_to_other_policies(fleet, capsys):
    fleet.commit()
    fleet.write(inventory=INVENTORY.replace("base.yaml, policies/db.yaml", "base.yaml"))
    (change,) = diff(capsys)["changes"]
    assert change["hosts"] == ["db-01"] and change["now"] == "denied"


def test_a_revision_with_a_slash_and_another_folder(fleet, capsys, monkeypatch):
    fleet.commit()
    fleet.git("branch", "topic/one")
    fleet.write(policies__web=WEB.replace("https", "http"))
    fleet.commit(day=2)
    assert main(["diff", "--all", "git:topic/one", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["changes"]
    assert {each["now"] for each in found} == {"allowed", "denied"}
    assert (
        main(["diff", "--all", "git:topic/one:inventory.yaml", str(fleet.path / "inventory.yaml"), "--quiet"])
        == 2
    )
    monkeypatch.chdir(fleet.path / "policies")
    assert main(["diff", "--all", "git:topic/one", "..", "--quiet"]) == 2


def test_what_cannot_be_compared(fleet, capsys):
    fleet.write(policies__web=WEB.replace("https", "htttps"))
    fleet.commit()
    fleet.write(policies__web=WEB)
    report = diff(capsys)
    assert report["code"] == 1 and report["same"] == 2
    (wrong,) = report["wrong"]
    assert report["not_compared"] == 3
    assert "unknown service 'htttps'" in wrong["message"] and wrong["hosts"] == ["web-01", "web-02", "web-03"]
    main(["diff", "--all", "git:HEAD"])
    text = capsys.readouterr().out
    assert "### Not compared: web (3 hosts)\n\n```text\npolicies/web.yaml:2:17: error" in text
    first = "**2 of 5 hosts compared**; what changes on the others is not known."
    told = (
        f"## What this does to traffic\n\n{first}\n\nAgainst `HEAD`: 0 changes on 0 of 2 hosts, none risky.\n"
    )
    assert text.startswith(told)


def test_nothing_compared_is_not_nothing_risky(fleet, capsys):
    fleet.commit()
    fleet.write(policies__base=BASE.replace("ssh", "nosuch"))
    assert main(["diff", "--all", "git:HEAD"]) == 1
    text = capsys.readouterr().out
    assert "**0 of 5 hosts compared**" in text and "risky" not in text
    assert main(["diff", "--all", "git:HEAD"]) == 1
    assert main(["diff", "--all", "git:nosuch"]) == 1
    assert main(["diff", "--all", "HEAD"]) == 1
    assert "the old side is a revision, as in git:origin/main" in capsys.readouterr().err
    assert main(["diff", "--all", "git:--help"]) == 1


def test_nothing_of_a_policy_is_markup(fleet, capsys):
    fleet.commit()
    fleet.write(policies__web="version: 1\ninput:\n  allow:\n    - https\n    - http # ``<b>`` ![x](y)\n")
    main(["diff", "--all", "git:HEAD"])
    assert "``` policies/web.yaml:5: - http # ``<b>`` ![x](y) ```" in capsys.readouterr().out
    assert (
        code("a`b") == "`` a`b ``"
        and code("") == "`  `"
        and code("a\x1bb") == "`a\N{REPLACEMENT CHARACTER}b`"
    )


def test_what_is_known_is_not_read_again(fleet, capsys, monkeypatch):
    fleet.commit()
    assert main(["check", "--all", "--quiet"]) == 0
    fleet.write(policies__web=WEB.replace("https", "http"))
    assert main(["check", "--all", "--quiet"]) == 0
    pairs = []
    real = module._of_pair

    def of_pair(*words):
        pairs.append(words[1].hosts)
        return real(*words)

    monkeypatch.setattr(module, "_of_pair", of_pair)
    monkeypatch.setattr("fwpolicy.host.workers.processors", lambda: 1)
    found = diff(capsys)["changes"]
    assert pairs == [("web-01", "web-02", "web-03")] and len(found) == 2
    pairs.clear()
    assert diff(capsys, "--no-cache")["changes"] == found
    assert len(pairs) == 3


def test_git_is_never_given_an_option(fleet, capsys):
    fleet.commit()
    assert main(["diff", "--all", "git:-p"]) == 1
    assert "no revision begins so" in capsys.readouterr().err


def test_a_comment_is_never_longer_than_one_may_be(repo, capsys):
    hosts = "".join(f"  h[{n}00:{n}99]:\n" for n in range(1, 4))
    lines = "".join(f"    - {{service: tcp/{port}, comment: {'c' * 90}}}\n" for port in range(1, 700, 2))
    repo.write(
        inventory=f"a:\n  hosts:\n{hosts.replace('  h', '    h')}  vars: {{fwpolicy_policies: p.yaml}}\n",
        p="version: 1\ninput:\n  default: drop\n  allow:\n" + lines,
    )
    repo.commit()
    repo.write(
        p="version: 1\ninput:\n  default: drop\n  allow:\n" + lines.replace("}", ", from: 192.0.2.0/24}")
    )
    assert main(["diff", "--all", "git:HEAD"]) == 2
    text = capsys.readouterr().out
    assert 50_000 < len(text) < 60_200 and text.endswith("`--json` has all.\n")
    assert text.count("<details>") == text.count("</details>") > 0 and "and 200 more" in text


@pytest.mark.parametrize(
    ("opened", "level"), [("ssh", 3), ("http", 2), ("{service: ssh, from: 10.0.0.0/9}", 1)]
)
def test_what_opens_too_much_is_3(fleet, capsys, opened, level):
    fleet.commit()
    fleet.write(policies__web=WEB.replace("[https]", f"[https, {opened}]"))
    for most in (1, 2, 3):
        assert main(["diff", "--all", "git:HEAD", "--risk", str(most)]) == (3 if level >= most else 2)
    fleet.write(policies__db="version: 1\ninput: {allow: [nosuch]}\n")
    assert main(["diff", "--all", "git:HEAD", "--risk", "1"]) == 1  # of 1 and 3


@pytest.mark.parametrize("words", [["--all", "git:HEAD", "--risk", "4"], ["a.yaml", "b.yaml", "--risk", "1"]])
def test_usage_of_risk(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["diff", *words])
    assert ended.value.code == 64


def test_a_host_that_loses_its_policies_is_the_highest_risk(fleet, capsys):
    fleet.commit()
    bare = INVENTORY.replace("      vars: {fwpolicy_policies: [policies/base.yaml, policies/db.yaml]}\n", "")
    fleet.write(inventory=bare)
    report = diff(capsys, "--risk", "3")
    assert report["code"] == 3
    assert (report["abandoned"], report["removed"], report["same"]) == (["db-01"], [], 4)
    assert main(["diff", "--all", "git:HEAD"]) == 2
    text = capsys.readouterr().out
    assert "**1 host** without a policy from now on.\n" in text and "Hosts removed" not in text
    assert "Risky: look here first\n\n#### Without a policy from now on: db-01\n\nThey are in" in text
    # The other way round it is a host that is new.
    fleet.commit()
    fleet.write(inventory=INVENTORY)
    assert diff(capsys)["added"] == ["db-01"]


RULES = """\
version: 1
groups: {admin: [192.0.2.0/24]}
never:
  - {allow: ntp, from: internet}
  - {allow: ssh, from: any, except: {from: admin}, hosts: db}
always:
  - {allow: ssh, from: 192.0.2.7}
"""
RULED = "all:\n  vars: {fwpolicy_invariants: [rules.yaml]}\n" + INVENTORY.removeprefix("all:\n")


@pytest.fixture
def ruled(fleet):
    fleet.write(inventory=RULED, rules=RULES)
    fleet.commit()
    return fleet


def rules(capsys, *words: str) -> tuple[int, list[tuple[str, str, int, list[str]]]]:
    report = diff(capsys, *words)
    found = [(each["now"], each["text"], each["risk"], each["groups"]) for each in report["invariants"]]
    return report["code"], found


def test_an_invariant_that_is_gone_is_risky(ruled, capsys):
    assert rules(capsys) == (0, [])
    ruled.write(rules="# moved\n" + RULES)
    assert rules(capsys) == (0, [])
    ruled.write(rules=RULES.replace("  - {allow: ntp, from: internet}\n", ""))
    line = "never: {allow: ntp, from: internet}"
    assert rules(capsys, "--risk", "3") == (3, [("gone", line, 3, ["all"])])
    assert main(["diff", "--all", "git:HEAD"]) == 2
    text = capsys.readouterr().out
    assert "**1 rule about rules** asked for no longer.\n" in text
    assert "#### all (5 hosts)\n" in text and f"- asked for no longer: `{line}` (`rules.yaml:4`)\n" in text


def test_without_the_variable_all_are_gone(ruled, capsys):
    ruled.write(inventory=INVENTORY)
    code, found = rules(capsys, "--risk", "1")
    assert code == 3 and {each[0] for each in found} == {"gone"} and len(found) == 3
    assert sorted(groups for *_, groups in found) == [["all"], ["all"], ["db"]]


def test_what_others_ask_for_as_well_is_no_risk(ruled, capsys):
    ruled.write(rules=RULES.replace("ntp, from: internet", "[ntp, dns], from: any"))
    code, found = rules(capsys, "--risk", "1")
    assert code == 2 and [each[::2] for each in found] == [("gone", 0), ("new", 0)]
    ruled.write(rules=RULES.replace("from: internet}", "from: internet, except: {from: 8.8.8.8}}"))
    code, found = rules(capsys, "--risk", "3")
    assert code == 3 and [each[::2] for each in found] == [("gone", 3), ("new", 0)]
    main(["diff", "--all", "git:HEAD"])
    assert "### Rules about rules\n\n#### all (5 hosts)" in capsys.readouterr().out


def test_the_same_words_that_mean_something_else(ruled, capsys):
    line = "never: {allow: ssh, from: any, except: {from: admin}, hosts: db}"
    for members, level in (("192.0.2.0/24, 198.51.100.0/24", 3), ("192.0.2.0/25", 0)):
        ruled.write(rules=RULES.replace("192.0.2.0/24", members))
        assert rules(capsys)[1] == [("changed", line, level, ["db"])]


def test_a_host_that_an_invariant_is_no_longer_about(ruled, capsys):
    ruled.write(inventory=RULED.replace("        db-02:", "    other:\n      hosts:\n        db-02:"))
    report = diff(capsys, "--risk", "3")
    assert (report["code"], report["changes"]) == (3, [])
    assert [(each["now"], each["hosts"]) for each in report["invariants"]] == [("gone", ["db-02"])]


def test_invariants_that_are_wrong_are_not_compared(ruled, capsys):
    ruled.write(rules=RULES.replace("ntp", "nosuch"))
    report = diff(capsys)
    assert report["code"] == 1 and report["wrong"][0]["hosts"] == []
    main(["diff", "--all", "git:HEAD"])
    assert "### Not compared: rules about rules\n" in capsys.readouterr().out


def linked(fleet, capsys) -> None:
    fleet.commit()
    fleet.write(policies__web=WEB.replace("https", "http"))
    report = diff(capsys)
    assert (report["code"], report["wrong"], len(report["changes"])) == (2, [], 2)


def test_a_link_to_a_file_is_followed(fleet, capsys):
    (fleet.path / "policies" / "base.yaml").rename(fleet.path / "real.yaml")
    (fleet.path / "policies" / "base.yaml").symlink_to("../real.yaml")
    linked(fleet, capsys)


def test_a_link_to_a_folder_is_followed(fleet, capsys):
    (fleet.path / "policies").rename(fleet.path / "q")
    (fleet.path / "policies").symlink_to("q")
    linked(fleet, capsys)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("../../outside.yaml", "is a link that leads out of the repository"),
        ("nothing.yaml", "is a link to what is not in the repository"),
        ("base.yaml", "is a link that leads back to itself"),
    ],
)
def test_no_other_link_is(fleet, capsys, target, why):
    base = fleet.path / "policies" / "base.yaml"
    base.unlink()
    base.symlink_to(target)
    fleet.commit()
    base.unlink()
    fleet.write(policies__base=BASE)
    report = diff(capsys)
    assert report["code"] == 1 and report["not_compared"] == 5
    assert f"git:HEAD:policies/base.yaml: {why}" in report["wrong"][0]["message"]


@pytest.mark.parametrize("where", [".", "policies", ".."])
def test_the_inventory_by_its_whole_path(fleet, capsys, monkeypatch, where):
    fleet.commit()
    fleet.write(policies__web=WEB.replace("https", "http"))
    monkeypatch.chdir(fleet.path / where)
    for operand in (fleet.path, fleet.path / "inventory.yaml"):
        assert main(["diff", "--all", "--json", "git:HEAD", str(operand)]) == 2
        report = json.loads(capsys.readouterr().out)
        assert (report["wrong"], len(report["changes"])) == ([], 2)
