"""rules.sh against reload.py and xtload.py: the same texts and rules, by each shell that a host may have."""

from __future__ import annotations

import subprocess

import pytest

from fwpolicy.backends.iptables import reload
from fwpolicy.backends.iptables.names import NOTHING
from fwpolicy.backends.iptables.render import render
from fwpolicy.deploy import rulesscript, xtload
from fwpolicy.deploy.script.pieces import piece
from fwpolicy.deploy.xtrules import FILES, SETS_FILE
from fwpolicy.host import xtables
from fwpolicy.host.xtables import XTables
from fwpolicy.ir.ruleset import FAMILY, TABLE, Ruleset, Table
from tests.golden import cases
from tests.kernel.test_iptables_load import COMMANDS, OTHERS, many, members, rules
from tests.kernel.xtprograms import VARIANTS, variant_path
from tests.lab import netns
from tests.lab.holder import run

pytestmark = pytest.mark.kernel

SHELLS = {"dash": ("dash", "mawk"), "busybox": ("busybox sh", "busybox")}
MARK = "#-- there --"


@pytest.fixture(params=SHELLS)
def script(request, tmp_path, monkeypatch):
    """Runs the script by a shell, with an awk; what it printed, None where it failed."""
    shell, awk = SHELLS[request.param]
    folder = tmp_path / "awk"
    folder.mkdir()
    (folder / "awk").symlink_to(f"/usr/bin/{awk}")
    monkeypatch.setenv("PATH", f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    (tmp_path / "rules.sh").write_text(rulesscript.loader("").text)

    def call(*arguments, given=""):
        command = (*shell.split(), str(tmp_path / "rules.sh"), *arguments)
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        call.errors = done.stderr
        return done.stdout if done.returncode == 0 else None

    return call


def written(folder, texts):
    """The files of a generation; the base of their names."""
    folder.mkdir()
    for name, each in zip(FILES, texts.rules, strict=True):
        (folder / name).write_text(each.text)
    if texts.sets:
        (folder / SETS_FILE).write_text(texts.sets.text)
    return str(folder / "rules")


def situations(variant):
    """What is saved in namespaces in which much has happened: of both families."""
    tables = XTables(variant)

    def saved():
        return [tables.saved(family, counted=counted) for family in (4, 6) for counted in (False, True)]

    def inside():
        found = saved()
        for command in COMMANDS:
            run(f"{command}-{variant}-restore", input=OTHERS[command])
        found += saved()
        for case in ("router", "bastion"):
            xtload.load(tables, cases.iptables(case))
            found += saved()
        for command in COMMANDS:
            words = ("-m", "comment", "--comment", 'say \\" -j FWPOLICY-INPUT', "-j", "RETURN")
            run(f"{command}-{variant}", "-I", "INPUT", *words)
            run(f"{command}-{variant}", "-I", "INPUT", "-g", "FWPOLICY-INPUT")
            run(f"{command}-{variant}", "-A", "OUTPUT", "-p", "tcp", "-j", "FWPOLICY-INPUT")
        return [*found, *saved()]

    return netns.call(inside)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_makes_the_same_text_of_everything(script, variant):
    wanted = [
        "",
        *(each.text for case in ("router", "ntp-client", "holes") for each in cases.iptables(case).rules),
    ]
    there = situations(variant)
    wanted += map(reload.ours, there)
    assert any("-I INPUT 2 -j FWPOLICY-INPUT" in text for text in wanted)
    for saved in there:
        assert script("ours", given=saved) == reload.ours(saved)
        for text in wanted:
            given = f"{text}\n{MARK}\n{saved}"
            assert script("changes", given=given) == reload.restore(text, saved)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_loads_what_python_loads(script, tmp_path, monkeypatch, variant):
    monkeypatch.setenv("PATH", f"{tmp_path}/awk:{variant_path(tmp_path / 'bin', variant)}")
    bases = {case: written(tmp_path / case, cases.iptables(case)) for case in ("router", "bastion")}
    bases["many"] = written(tmp_path / "many", many(20))
    texts = {"router": cases.iptables("router"), "bastion": cases.iptables("bastion"), "many": many(20)}

    def inside():
        for command in COMMANDS:
            run(f"{command}-restore", input=OTHERS[command])
        before, tables = rules(variant), XTables()
        for case, base in bases.items():
            assert script("load", base) is not None, script.errors
            by_script = rules(variant), members()
            xtload.load(tables, texts[case])
            assert (rules(variant), members()) == by_script
        assert script("take-out") is not None
        assert rules(variant) == before and xtables.ipsets()
        xtload.remove(tables)
        assert not xtables.ipsets()

    netns.call(inside)


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_families_or_neither(script, tmp_path, monkeypatch, variant):
    monkeypatch.setenv("PATH", f"{tmp_path}/awk:{variant_path(tmp_path / 'bin', variant)}")
    base = written(tmp_path / "many", many(20))
    second = tmp_path / "many/rules.v6"
    second.write_text(second.read_text().replace("COMMIT\n", "-A FWPOLICY-INPUT -j NOSUCH\nCOMMIT\n"))

    def inside():
        tables = XTables()
        xtload.load(tables, cases.iptables("router"))
        run("iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "-j", "RETURN")
        there = rules(variant)
        assert script("load", base) is None and "ip6tables-restore" in script.errors
        assert rules(variant) == there and not xtables.ipsets()

    netns.call(inside)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_puts_back_rules_and_sets(script, tmp_path, monkeypatch, variant):
    monkeypatch.setenv("PATH", f"{tmp_path}/awk:{variant_path(tmp_path / 'bin', variant)}")

    def inside():
        tables = XTables()
        for command in COMMANDS:
            run(f"{command}-restore", input=OTHERS[command])
        xtload.load(tables, many(20))
        run("ipset", "add", "fwp-banned_v4", "198.51.100.9")
        before = xtload.listing(tables)
        there = rules(variant), members()
        folder = tmp_path / "before"
        folder.mkdir()
        for name, text in zip(
            ("rules.v4", "rules.v6", "sets"), (*before.ours, "\n".join(before.sets)), strict=True
        ):
            (folder / name).write_text(text)
        xtload.load(tables, many(30))
        assert script("put-back", str(folder)) is not None, script.errors
        assert (rules(variant), members()) == there
        for name in ("rules.v4", "rules.v6", "sets"):
            (folder / name).write_text("")
        assert script("put-back", str(folder)) is not None, script.errors
        assert not xtload.listing(tables).is_ours and not xtables.ipsets()

    netns.call(inside)


def test_a_family_without_rules_is_whole_and_one_that_was_cut_is_not(script, tmp_path, monkeypatch):
    """As what comes over SSH to a host without Python tells it, too."""
    monkeypatch.setenv("PATH", f"{tmp_path}/awk:{variant_path(tmp_path / 'bin', 'nft')}")
    base = written(tmp_path / "p", cases.iptables("router"))
    nothing = render(Ruleset((Table(FAMILY, TABLE, (), ()),)), "p").rules[1].text
    assert nothing.endswith(f"\n{NOTHING}\n")
    assert NOTHING in piece("iptables.sh") and NOTHING in rulesscript.loader("").text

    def inside():
        for text in (nothing, "", nothing[:10], nothing.replace(NOTHING, "")):
            (tmp_path / "p/rules.v6").write_text(text)
            done = script("load", base)
            assert (done is not None) == (text == nothing) and ("cut short" in script.errors) == (
                done is None
            )

    netns.call(inside)


def test_what_it_does_not_know_it_tells(script):
    assert script("nonsense") is None and "usage" in script.errors
