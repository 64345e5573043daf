"""check, compile and lock over every host of an inventory."""

from __future__ import annotations

import json
import os
import socket
import stat
import time

import pytest

from fwpolicy.cli import main
from fwpolicy.fleet import run as running
from tests.fleet import generated
from tests.fleet.conftest import BASE, INVENTORY, WEB


def tree(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_check(fleet, capsys):
    assert main(["check", "--all"]) == 0
    said = capsys.readouterr()
    assert said.out == "inventory.yaml: ok and proved: 5 hosts of 3 different policies, 3 tests held\n"
    assert "warning: IPv4 only" in said.err
    assert main(["check", "--all", "--quiet", str(fleet.path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["check", "--all", "--json", "inventory.yaml"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["changed"], report["proved"]) == (True, False, True)
    assert [unit["hosts"] for unit in report["units"]] == [
        ["web-01", "web-02", "web-03"],
        ["db-01"],
        ["db-02"],
    ]


def test_what_is_wrong_is_told_once_with_its_hosts(fleet, capsys):
    fleet.write(policies__base=BASE.replace("ssh", "shh", 1))
    assert main(["check", "--all"]) == 1
    said = capsys.readouterr().err
    assert said.count("policies/base.yaml:6:17: error: unknown service 'shh'") == 1
    assert "\n  on all (5 hosts)\n" in said
    fleet.write(policies__base=BASE, policies__web=WEB.replace("https", "ssh"))
    assert main(["check", "--all", "--json"]) == 0
    fleet.write(policies__web=WEB + "tests: [{deny: https, from: any}]\n")
    assert main(["check", "--all"]) == 3
    said = capsys.readouterr().err
    assert "policies/web.yaml:3:9: error: test failed" in said and "on web (3 hosts)" in said
    fleet.write(policies__db="version: 1\ninput: {allow: [nosuch]}\n")
    assert main(["check", "--all"]) == 1  # of 1 and 3


def test_a_policy_that_is_not_there_is_an_error_of_the_inventory(fleet, capsys):
    fleet.write(inventory=INVENTORY.replace("policies/web.yaml", "policies/wbe.yaml"))
    assert main(["check", "--all"]) == 1
    assert (
        "inventory.yaml:4:54: error: cannot read policies/wbe.yaml: No such file or directory"
        in capsys.readouterr().err
    )


def test_what_operands_are_wrong(fleet, capsys):
    for words in (["check", "--all", "a", "b"], ["compile", "--all"], ["compile"], ["lock"], ["diff", "a"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 64
    assert main(["check", "--all", "nowhere.yaml"]) == 1
    assert main(["check", "--all", "policies"]) == 1
    assert "policies: has no inventory.yaml or inventory.yml" in capsys.readouterr().err
    fleet.write(empty="all: {hosts: {a: }}\n")
    assert main(["check", "--all", "empty.yaml"]) == 1
    assert "no host has fwpolicy_policies" in capsys.readouterr().err


def test_compile_writes_what_a_single_compile_writes(fleet, capsys):
    assert main(["compile", "--all", "-o", "build", "--quiet"]) == 0
    words = ["compile", "--quiet", "policies/base.yaml", "policies/web.yaml", "-o", "one"]
    assert main(words) == 0
    for host in ("web-01", "web-02", "web-03"):
        assert tree(fleet.path / "build" / host) == tree(fleet.path / "one")
    assert stat.S_IMODE((fleet.path / "build/web-01/ruleset.nft").stat().st_mode) == 0o600
    assert tree(fleet.path / "build/db-01") != tree(fleet.path / "build/db-02")


def test_hosts_beside_nat(fleet, capsys):
    fleet.write(
        policies__base=BASE + "roles: {ntp: closed}\n",
        inventory=INVENTORY.replace("base.yaml]}", "base.yaml], fwpolicy_beside_nat: true}"),
    )
    assert main(["compile", "--all", "-o", "build", "--quiet"]) == 0
    for host, more in (("db-01", ["policies/db.yaml"]), ("db-02", ["--beside-nat"])):
        assert main(["compile", "--quiet", "policies/base.yaml", *more, "-o", f"one/{host}"]) == 0
        assert tree(fleet.path / "build" / host) == tree(fleet.path / "one" / host)
    assert main(["compile", "--quiet", "policies/base.yaml", "-o", "without"]) == 0
    assert tree(fleet.path / "without") != tree(fleet.path / "build/db-02")
    fleet.write(inventory=INVENTORY.replace("base.yaml]}", "base.yaml], fwpolicy_beside_nat: yes}"))
    assert main(["check", "--all"]) == 1
    assert "'fwpolicy_beside_nat' must be true or false, not 'yes'" in capsys.readouterr().err


def test_only_what_changed_is_written(fleet, capsys):
    main(["compile", "--all", "-o", "build"])
    assert "build: 5 written, 0 unchanged" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in (fleet.path / "build").rglob("*")}
    fleet.write(policies__web=WEB.replace("https", "http"))
    main(["compile", "--all", "-o", "build"])
    said = capsys.readouterr().err
    assert "build: 3 written, 2 unchanged" in said and "(2 from the cache)" in said
    changed = {
        path.parent.name
        for path, then in before.items()
        if path.is_file() and path.stat().st_mtime_ns != then
    }
    assert changed == {"web-01", "web-02", "web-03"}
    # A host that is gone takes its files along, and nothing else.
    fleet.file("build/web-03/mine.txt", "kept")
    fleet.write(inventory=INVENTORY.replace("web-[01:03]", "web-[01:02]").replace("db-01", "db-09"))
    main(["compile", "--all", "-o", "build"])
    assert "1 written, 3 unchanged, 2 removed" in capsys.readouterr().err
    assert not (fleet.path / "build/db-01").exists()
    assert [path.name for path in (fleet.path / "build/web-03").iterdir()] == ["mine.txt"]


def test_nothing_is_written_where_one_host_is_wrong(fleet, capsys):
    main(["compile", "--all", "-o", "build", "--quiet"])
    before = tree(fleet.path / "build")
    fleet.write(
        policies__web=WEB.replace("https", "http"), policies__db=WEB + "tests: [{deny: https, from: any}]\n"
    )
    assert main(["compile", "--all", "-o", "build"]) == 3
    assert tree(fleet.path / "build") == before
    assert main(["compile", "--all", "-o", "other"]) == 3
    assert not (fleet.path / "other").exists()


def test_output_that_somebody_else_arranged_is_refused(fleet, capsys):
    (fleet.path / "build").mkdir()
    (fleet.path / "build/web-01").symlink_to("/tmp")
    assert main(["compile", "--all", "-o", "build", "--quiet"]) == 1
    assert "build/web-01: is a symbolic link" in capsys.readouterr().err
    assert tree(fleet.path / "build") == {}
    (fleet.path / "build/web-01").unlink()
    for index in ("{", "[]", '{"files": {"../../etc": ["passwd"]}}', '{"files": {"a": ["../x"]}}'):
        fleet.file("build/fleet.json", index)
        assert main(["compile", "--all", "-o", "build", "--quiet"]) == 1


def test_the_same_bytes_without_network_and_cache(fleet, monkeypatch, capsys):
    lock = (
        'version: 1\ngroups:\n  mirrors: {hosts: [deb.example.org], addresses: [192.0.2.3, "2001:db8::3"]}\n'
    )
    fleet.file("policies/base.lock", lock)
    fleet.write(
        policies__web=WEB
        + "groups: {mirrors: {hosts: [deb.example.org]}}\noutput: {default: drop, allow: [{to: mirrors}]}\n"
    )
    assert main(["compile", "--all", "-o", "first", "--quiet"]) == 0

    def nothing(*_args, **_more):
        raise AssertionError("a name was resolved")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    monkeypatch.setattr(socket, "socket", nothing)
    assert main(["compile", "--all", "--offline", "--no-cache", "-o", "second", "--quiet"]) == 0
    assert tree(fleet.path / "first") == tree(fleet.path / "second")
    assert b"192.0.2.3" in (fleet.path / "second/web-01/ruleset.nft").read_bytes()
    assert main(["check", "--offline", "policies/base.yaml", "policies/web.yaml", "--quiet"]) == 0


@pytest.fixture
def builds(monkeypatch):
    """How many units were built, in this process."""
    seen = []
    real = running.build

    def build(unit, *rest):
        seen.append(unit.hosts)
        return real(unit, *rest)

    monkeypatch.setattr(running, "build", build)
    monkeypatch.setattr(running.workers, "processors", lambda: 1)
    return seen


def test_results_are_kept_by_content(fleet, builds, capsys):
    def built() -> int:
        builds.clear()
        assert main(["check", "--all", "--quiet"]) == 0
        return len(builds)

    assert built() == 3
    assert built() == 0
    web = fleet.path / "policies/web.yaml"
    web.touch()
    assert built() == 0  # a time stamp says nothing
    then = web.stat()
    web.write_text(WEB.replace("https", "telnt").replace("telnt", "imaps"))
    os.utime(web, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert built() == 1  # ... whatever it says
    web.write_text(WEB)
    assert built() == 0  # back again
    # A file that was not there is part of it, too.
    fleet.write(policies__web="version: 1\ninclude: [more.yaml]\ninput: {allow: [https]}\n")
    assert main(["check", "--all"]) == 1
    fleet.write(policies__more="services: {a: tcp/1}\n")
    assert built() == 1
    fleet.write(policies__more="services: {a: tcp/2}\n")
    assert built() == 1
    builds.clear()
    assert main(["check", "--all", "--quiet", "--no-cache"]) == 0
    assert len(builds) == 3


def ascii_start(text: str) -> str:
    return ascii(text[:9])


def test_a_kept_result_ends_with_the_day_where_a_line_ends(fleet, builds, monkeypatch):
    fleet.write(policies__web="version: 1\ninput: {allow: [{service: https, expires: 2030-01-31}]}\n")
    for day, count in ((20000, 3), (20000.5, 0), (20001, 1)):
        monkeypatch.setattr(time, "time", lambda day=day: day * 86400)
        builds.clear()
        assert main(["check", "--all", "--quiet"]) == 0
        assert len(builds) == count


def test_nothing_wrong_is_kept_and_nothing_cut_short_believed(fleet, builds, tmp_path):
    fleet.write(policies__web=WEB + "tests: [{deny: https, from: any}]\n")
    for _ in range(2):
        assert main(["check", "--all", "--quiet"]) == 3
    assert len(builds) == 3 + 1
    fleet.write(policies__web=WEB)
    assert main(["check", "--all", "--quiet"]) == 0
    builds.clear()
    for path in (tmp_path / "cache").rglob("made/*/*"):
        path.write_bytes(path.read_bytes()[:-9])
    assert main(["check", "--all", "--quiet"]) == 0
    assert len(builds) == 3


@pytest.mark.parametrize(
    "damage",
    ["", "{", "null", "7", "{}", "[1]", '"web.yaml"', '["a\\u0000b", "\\ud800"]', "[" * 200_000, "\xff\xfe"],
    ids=ascii_start,
)
def test_a_damaged_cache_costs_time_and_nothing_else(fleet, builds, tmp_path, damage):
    """Whichever half of it is damaged, and of whichever verb."""
    fleet.commit()
    report = ["report", "--all", "-o", "report.html"]
    verbs = (["check", "--all", "--quiet"], ["diff", "--all", "git:HEAD"], report)
    for verb in verbs:
        assert main(verb) == 0
    for kind in ("read", "made"):
        builds.clear()
        for verb in verbs:
            for path in (tmp_path / "cache").rglob(f"{kind}/*/*"):
                path.write_bytes(damage.encode("latin-1"))
            assert main(verb) == 0
        assert len(builds) == 6


def test_a_cache_that_others_can_write_to_is_not_believed(fleet, tmp_path, capsys):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    assert main(["check", "--all", "--cache", str(shared)]) == 1
    assert "others can write here" in capsys.readouterr().err
    assert main(["check", "--all", "--cache", str(shared / "own"), "--quiet"]) == 0


def test_groups_and_zones_of_a_host(repo, capsys):
    repo.write(
        policy="version: 1\ninput: {default: drop, allow: [{service: ssh, from: peers, in: wan}]}\n",
        inventory=(
            "all:\n  vars:\n    fwpolicy_policies: [policy.yaml]\n    fwpolicy_zones: {wan: eth0}\n"
            '  hosts:\n    one: {fwpolicy_groups: {peers: [192.0.2.1, "2001:db8::1"]}}\n'
            '    two: {fwpolicy_groups: {peers: [192.0.2.2, "2001:db8::2"]}, fwpolicy_zones: {wan: ens3}}\n'
        ),
    )
    assert main(["compile", "--all", "-o", "build"]) == 0
    one, two = ((repo.path / f"build/{host}/ruleset.nft").read_text() for host in ("one", "two"))
    assert "192.0.2.1" in one and '"eth0"' in one and "192.0.2.2" not in one
    assert "192.0.2.2" in two and '"ens3"' in two
    capsys.readouterr()
    text = (repo.path / "inventory.yaml").read_text()
    repo.write(inventory=text.replace("192.0.2.2", "192.0.2.256"))
    assert main(["check", "--all"]) == 1
    said = capsys.readouterr().err
    assert "inventory.yaml:7:37: error:" in said and "on two" in said
    repo.write(inventory=text.replace("peers: [192.0.2.2", "peers: {nosuch: 1}, b: [192.0.2.2"))
    assert main(["check", "--all"]) == 1
    assert "inventory.yaml:7:" in capsys.readouterr().err


def test_a_repository_that_leads_out_of_its_folder_is_refused(fleet, tmp_path, capsys):
    outside = tmp_path / "outside.yaml"
    outside.write_text(WEB)
    (fleet.path / "policies/web.yaml").unlink()
    (fleet.path / "policies/web.yaml").symlink_to(outside)
    assert main(["check", "--all"]) == 1
    assert f"policies/web.yaml: is outside of the repository ({fleet.path})" in capsys.readouterr().err
    (fleet.path / "policies/web.yaml").unlink()
    fleet.write(policies__web=WEB + "include: [../../outside.yaml]\n")
    assert main(["check", "--all"]) == 1
    assert "cannot read ../outside.yaml: is outside of the repository" in capsys.readouterr().err
    # In a git repository its root is what counts.
    fleet.write(policies__web=WEB)
    fleet.file(
        "sites/a/inventory.yaml", "all: {hosts: {h: {fwpolicy_policies: [../../policies/base.yaml]}}}\n"
    )
    assert main(["check", "--all", "sites/a"]) == 1
    fleet.commit()
    assert main(["check", "--all", "sites/a"]) == 0


def test_variables_in_files_that_only_ansible_reads_are_refused(fleet, capsys):
    fleet.file("host_vars/web-01/main.yml", "a: 1\nfwpolicy_policies: [x.yaml]\n")
    assert main(["check", "--all"]) == 1
    said = capsys.readouterr().err
    assert "host_vars/web-01/main.yml:2:1: error: 'fwpolicy_policies' is read from the inventory only" in said
    fleet.file("host_vars/web-01/main.yml", "a: 1\n")
    fleet.file("group_vars/all.yml", "ansible_user: root\n")
    assert main(["check", "--all", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("all.yml", "{fwpolicy_beside_nat: true}\n", "1:2"),
        ("all.json", '{\n\t"a": [1],\n\t"fwpolicy_beside_nat": true}\n', "3:2"),
        ("all", '{"fwpolicy_beside_nat": true}', "1:2"),
        ("all.yml", "? fwpolicy_beside_nat\n: true\n", "1:3"),
        ("all.yml", "x: &a {fwpolicy_beside_nat: true}\n<<: *a\n", "1:8"),
        ("all.yml", "x: &a\n  fwpolicy_beside_nat: true\n<<: [*a, {b: c}]\n", "2:3"),
        ("all.yml", "s: !vault |\n  1234\nfwpolicy_beside_nat: true\n", "3:1"),
        # What we cannot parse: by its lines.
        ("all.yml", "a: b: c\nfwpolicy_beside_nat: true\n", "2:1"),
        ("all.yml", "? [a]\n: b\n? fwpolicy_beside_nat\n: true\n", "3:3"),
    ],
)
def test_however_they_are_written(fleet, capsys, name, text, place):
    fleet.file(f"group_vars/{name}", text)
    assert main(["check", "--all"]) == 1
    assert f"group_vars/{name}:{place}: error: 'fwpolicy_beside_nat' is read" in capsys.readouterr().err


def test_what_is_no_variable_may_be_called_like_one(fleet, capsys):
    fleet.file("group_vars/all.yml", "x: {fwpolicy_zones: 1}\ny: |\n  fwpolicy_zones: {a: b}\n")
    assert main(["check", "--all"]) == 0, capsys.readouterr().err


def test_shipped_policies_belong_to_every_repository(repo, capsys):
    repo.write(inventory="all: {hosts: {a: {fwpolicy_policies: ntp-client}}}\n")
    assert main(["check", "--all"]) == 0
    assert "1 host of 1 policy" in capsys.readouterr().out


@pytest.mark.parametrize("place", [".", "..", "inventory.yaml"])
def test_the_hint_of_a_fleets_lock_is_of_the_whole_fleet(fleet, monkeypatch, capsys, place):
    """lock of the policy alone would not know the hosts' own groups."""
    fleet.write(
        inventory=INVENTORY.replace("db-01:", "db-01: {fwpolicy_groups: {peer: {hosts: [b.example.org]}}}"),
        policies__db="version: 1\noutput: {default: drop, allow: [{to: peer}]}\n",
    )
    monkeypatch.chdir(fleet.path / ("policies" if place == ".." else "."))
    assert main(["check", "--all", place]) == 1
    words = "--all" if place != ".." else "--all ../inventory.yaml"
    assert f"hint: resolve and commit them: fwpolicy lock {words}\n" in capsys.readouterr().err


def test_lock(fleet, monkeypatch, capsys):
    def getaddrinfo(host, port, family, kind):
        return [(family, kind, 0, "", (f"192.0.2.{len(host)}", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    more = "groups: {%s: {hosts: [%s]}}\noutput: {default: drop, allow: [{to: %s}]}\n"
    fleet.write(
        policies__web=WEB + more % ("mirrors", "deb.example.org", "mirrors"),
        policies__db="version: 1\n" + more % ("backup", "b.example.org", "backup"),
    )
    assert main(["check", "--all"]) == 1
    assert main(["lock", "--all", "--offline"]) == 1
    capsys.readouterr()
    assert main(["lock", "--all"]) == 0
    assert capsys.readouterr().out == (
        "backup: 1 address (1 new, 0 gone)\nmirrors: 1 address (1 new, 0 gone)\n"
        "policies/base.lock: written; commit it\n"
    )
    assert main(["check", "--all", "--quiet"]) == 0
    assert main(["lock", "--all", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["changed"] is False and report["files"][0]["file"] == "policies/base.lock"
    fleet.write(policies__db="version: 1\n" + more % ("mirrors", "b.example.org", "mirrors"))
    assert main(["lock", "--all"]) == 1
    assert "group 'mirrors' has other hosts here than at policies/web.yaml:3:10" in capsys.readouterr().err


def test_many_hosts_cost_what_their_policies_cost(repo, builds, capsys):
    generated.write(repo.path / "big", hosts=120, policies=8)
    began = time.monotonic()
    assert main(["compile", "--all", "big", "-o", "build", "--quiet"]) == 0
    cold = time.monotonic() - began
    assert len(builds) < 30 and len(list((repo.path / "build").iterdir())) == 121
    builds.clear()
    began = time.monotonic()
    assert main(["check", "--all", "big", "--quiet"]) == 0
    assert builds == [] and time.monotonic() - began < cold / 3


def test_processes_give_the_same_as_one(fleet, monkeypatch, capsys):
    reports = []
    for number in (1, 3):
        monkeypatch.setattr(running.workers, "processors", lambda number=number: number)
        assert main(["check", "--all", "--no-cache", "--json"]) == 0
        reports.append(capsys.readouterr().out)
    assert reports[0] == reports[1]
