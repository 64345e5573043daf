"""`include`, `override`, `[+, ...]`: files that make one policy."""

from __future__ import annotations

import pytest

from fwpolicy.addresses import of
from fwpolicy.cli import main
from tests.policy.reading import HEAD, problems, read, warnings

BASE = (
    "groups: {lan: 10.0.0.0/8, app: [192.0.2.1]}\n"
    "input: {default: drop, allow: [{service: ssh, from: lan, id: admin}, http]}\n"
    "roles: {ntp: client-only}\napply: {foreign: keep}\n"
)


def test_lists_join_and_names_are_shared():
    top = (
        "include: base.yaml\nname: web\ninput: {allow: [{service: https, from: lan}], block: [{from: app}]}\n"
    )
    policy = read(HEAD + top, files={"base.yaml": "name: base\ndescription: the base\n" + BASE})
    assert (policy.name, policy.description) == ("web", "")
    assert [rule.origin.file for rule in policy.input.allow] == ["a.yaml", "base.yaml", "base.yaml"]
    assert policy.input.default == "drop"
    assert (policy.ntp.mode, policy.apply.foreign) == ("client-only", "keep")
    assert policy.files == ("a.yaml", "base.yaml")


def test_the_name_is_the_top_files_stem():
    assert read(HEAD + "include: base.yaml\n", files={"base.yaml": "name: base\n" + BASE}).name == "a"


def test_paths_are_relative_to_their_own_file():
    files = {
        "/etc/fw/parts/one.yaml": "include: [sub/two.yaml, ../three.yaml]\n",
        "/etc/fw/parts/sub/two.yaml": "groups: {feed: {file: feed.txt}}\n",
        "/etc/fw/parts/sub/feed.txt": "10.0.0.1\n",
        "/etc/fw/three.yaml": "input: {default: drop, block: [{from: feed, family: ipv4}]}\n",
    }
    policy = read(HEAD + "include: parts/one.yaml\n", names=("/etc/fw/web.yaml",), files=files)
    assert policy.input.block[0].match.source == of("10.0.0.1")
    assert policy.files[:2] == ("/etc/fw/web.yaml", "/etc/fw/parts/one.yaml")


def test_a_file_that_two_files_include_is_read_once():
    files = {
        "b.yaml": "include: [./base.yaml]\n",
        "c.yaml": "include: [x/../base.yaml]\n",
        "base.yaml": BASE,
    }
    policy = read(HEAD + "include: [b.yaml, c.yaml]\n", files=files)
    assert len(policy.input.allow) == 2
    assert policy.files == ("a.yaml", "b.yaml", "base.yaml", "c.yaml")


def test_an_operand_may_also_be_included():
    top, base = HEAD + "include: b.yaml\n", HEAD + BASE
    for order in ((top, base, ("a.yaml", "b.yaml")), (base, top, ("b.yaml", "a.yaml"))):
        policy = read(*order[:2], names=order[2], files={"b.yaml": base})
        assert len(policy.input.allow) == 2


def test_what_is_required_may_come_from_any_file():
    policy = read(HEAD + "include: base.yaml\ninput: {allow: [dns]}\n", files={"base.yaml": BASE})
    assert policy.input.default == "drop"
    wrong = problems(HEAD + "include: base.yaml\noutput: {allow: [dns]}\n", files={"base.yaml": BASE})
    assert wrong == ["a.yaml:3:1: 'output' has no 'default'"]


def test_an_override_puts_one_value_in_the_others_place():
    top = (
        "include: base.yaml\noverride: [input.default, roles.ntp, apply.foreign, admin, groups.app]\n"
        "input: {default: reject, allow: [{service: ssh, from: app, id: admin}]}\n"
        "roles: {ntp: closed}\napply: {foreign: refuse}\ngroups: {app: 192.0.2.7}\n"
    )
    policy = read(HEAD + top, files={"base.yaml": BASE})
    assert policy.input.default == "reject"
    assert (policy.ntp.mode, policy.apply.foreign) == ("closed", "refuse")
    admin, http = policy.input.allow
    assert (admin.id, admin.origin.file, admin.match.source) == ("admin", "a.yaml", of("192.0.2.7"))
    assert http.origin.file == "base.yaml"


def test_an_override_settles_what_two_included_files_say():
    files = {"b.yaml": "input: {default: drop}\n", "c.yaml": "input: {default: accept}\n"}
    top = "include: [b.yaml, c.yaml]\noverride: input.default\n"
    assert read(HEAD + top + "input: {default: reject}\n", files=files).input.default == "reject"
    assert len(problems(HEAD + top, files=files)) == 1


def test_an_override_reaches_through_files():
    files = {"b.yaml": "include: base.yaml\n", "base.yaml": BASE}
    top = "include: b.yaml\noverride: input.default\ninput: {default: reject}\n"
    assert read(HEAD + top, files=files).input.default == "reject"


def test_an_override_of_nothing_is_warned_of():
    top = HEAD + "include: base.yaml\noverride: [input.default, admin]\ninput: {default: drop}\n"
    said = warnings(read(top, files={"base.yaml": BASE}))
    assert "'admin' overrides nothing" in said


def test_groups_are_extended():
    files = {"base.yaml": BASE, "b.yaml": "include: base.yaml\ngroups: {app: {addresses: [+, 192.0.2.2]}}\n"}
    top = "include: b.yaml\ngroups: {app: [+, 192.0.2.7, lan]}\ninput: {allow: [{service: dns, from: app}]}\n"
    policy = read(HEAD + top, files=files)
    assert policy.input.allow[0].match.source == of("192.0.2.1-192.0.2.2", "192.0.2.7", "10.0.0.0/8")


def test_a_groups_file_and_an_optional_group_are_extended():
    files = {
        "base.yaml": "groups: {feed: {file: feed.txt}, app: {optional: true, addresses: []}}\n",
        "feed.txt": "10.0.0.1\n",
    }
    top = (
        "include: base.yaml\ngroups: {feed: [+, 10.0.0.2], app: [+, 10.0.0.3]}\n"
        "input: {default: drop, block: [{from: [feed, app]}]}\n"
    )
    assert read(HEAD + top, files=files).input.block[0].match.source == of("10.0.0.1-10.0.0.3")


@pytest.mark.parametrize("deep", [40])
def test_includes_without_end(deep):
    files = {f"f{n}.yaml": f"include: f{n + 1}.yaml\n" for n in range(deep)}
    (wrong,) = problems(HEAD + "include: f0.yaml\n", files=files)
    assert wrong.endswith("files include files more than 32 levels deep")


@pytest.mark.parametrize("operands", [("a", "b"), ("b", "a", "c"), ("c", "b", "a")])
def test_operands_that_include_each_other_are_an_answer_and_no_traceback(
    operands, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, other in {"a": "b", "b": "c" if len(operands) > 2 else "a", "c": "a"}.items():
        text = f"version: 1\ninclude: [{other}.yaml]\ninput: {{default: drop, allow: [ssh]}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    assert main(["check", *(f"{name}.yaml" for name in operands)]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


def test_one_file_under_two_names_is_given_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("version: 1\ninput: {default: drop, allow: [ssh]}\n")
    assert main(["check", "a.yaml", "./a.yaml"]) == 1
    assert "the file is given twice" in capsys.readouterr().err


def test_what_an_included_file_has_for_others_is_no_warning():
    shared = "groups: {mine: 10.0.0.1, theirs: 10.0.0.2}\nzones: {lan: eth1, dmz: eth2}\n"
    text = "include: [all.yaml]\ngroups: {left: 10.0.0.3}\n"
    text += "input: {default: drop, allow: [{service: ssh, from: mine, in: lan}]}\n"
    policy = read(HEAD + text, files={"all.yaml": shared})
    assert [each for each in warnings(policy) if "never" in each] == ["group 'left' is never used"]
