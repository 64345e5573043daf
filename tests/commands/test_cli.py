"""The contract with scripts: verbs, exit codes, what goes where."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

import fwpolicy
from fwpolicy.cli import COMMANDS, main

CHECKOUT = Path(__file__).parents[2]
ONE_RULE = "version: 1\nname: one\ninput: {default: drop, allow: [ssh]}\n"


@pytest.fixture
def one_rule(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(ONE_RULE)
    return str(path)


def test_bare_fwpolicy_shows_a_newcomer_five_commands(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"fwpolicy {verb} " in shown for verb in ("check", "plan", "apply", "status", "remove"))


def test_help_names_every_verb_and_every_verb_has_help(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for verb in COMMANDS:
        assert f"  {verb} " in shown
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0
        assert f"usage: fwpolicy {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["chekc"], ["check"], ["check", "--no-such"], ["apply", "a", "--backend", "pf"]]
)
def test_wrong_usage_is_64(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 64
    assert capsys.readouterr().err


def test_a_mistyped_verb_gets_the_nearest(capsys):
    with pytest.raises(SystemExit):
        main(["chekc"])
    assert "did you mean 'check'?" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fwpolicy {fwpolicy.VERSION}\n"


def test_the_public_api_is_these_names():
    named = ["apply", "compile", "diff", "explain", "load", "plan", "program", "prove", "question", "render"]
    assert dir(fwpolicy) == ["VERSION", *named]
    policy = fwpolicy.load((("one.yaml", ONE_RULE.encode()),), lambda path: b"")
    assert "tcp dport 22" in fwpolicy.render(fwpolicy.compile(policy), policy.name).text
    program = fwpolicy.program(policy)
    (case,) = fwpolicy.explain(program, fwpolicy.question("tcp/22 from 192.0.2.9"))
    assert case.decided.kind == "accept" and list(fwpolicy.diff(program, program)) == []
    with pytest.raises(AttributeError):
        fwpolicy.nothing  # noqa: B018


def test_check(one_rule, capsys):
    assert main(["check", one_rule]) == 0
    assert capsys.readouterr().out == "one: ok and proved, input: default drop\n"
    assert main(["check", "--quiet", one_rule]) == 0
    assert capsys.readouterr().out == ""
    assert main(["check", "--json", one_rule]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["changed"], report["policy"]) == (True, False, "one")


def test_check_of_a_wrong_policy(tmp_path, capsys):
    path = tmp_path / "wrong.yaml"
    path.write_text("version: 1\ninput: {default: drop, allow: [sshh]}\n")
    assert main(["check", str(path)]) == 1
    shown = capsys.readouterr()
    assert f"{path}:2:32: error: " in shown.err and shown.out == ""
    assert main(["check", "--json", str(path)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["problems"][0]["at"] == {"file": str(path), "line": 2, "column": 32}


def test_a_test_that_fails_is_3_and_shows_a_packet(tmp_path, capsys):
    path = tmp_path / "failing.yaml"
    path.write_text(
        ONE_RULE + "tests:\n  - {deny: ssh, from: 192.0.2.0/24}\n  - {allow: ssh, from: 192.0.2.1}\n"
    )
    assert main(["check", str(path)]) == 3
    shown = capsys.readouterr().err
    assert f"{path}:5:5: error: test failed" in shown
    assert "input tcp/22 from 192.0.2.0:40000" in shown and "line 3" in shown


def test_a_failing_test_stops_plan_and_apply(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    path = tmp_path / "failing.yaml"
    path.write_text(ONE_RULE + "tests: [{deny: ssh, from: any}]\n")
    (tmp_path / "root").mkdir()
    for verb in ("plan", "apply"):
        assert main([verb, "--root", str(tmp_path / "root"), str(path)]) == 3
    assert list((tmp_path / "root").iterdir()) == []


def test_compile_is_the_same_bytes_every_time_and_everywhere(capsys):
    texts = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-m", "fwpolicy", "compile", "ntp-client"],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        texts.add(done.stdout)
    assert len(texts) == 1
    assert texts.pop().decode() == (CHECKOUT / "tests/golden/ntp-client/ruleset.nft").read_text()


def test_compile_into_a_folder(tmp_path, capsys):
    target = tmp_path / "build"
    assert main(["compile", "ntp-client", "-o", str(target)]) == 0
    names = {path.name for path in target.iterdir()}
    assert {"ruleset.nft", "boot.sh", "fwpolicy.service", "chrony.conf", "ntp.conf", "ntpsec.conf"} <= names
    assert not any(path.stat().st_mode & stat.S_IWOTH for path in target.iterdir())
    first = {path.name: path.read_bytes() for path in target.iterdir()}
    assert main(["compile", "ntp-client", "-o", str(target)]) == 0
    assert {path.name: path.read_bytes() for path in target.iterdir()} == first


@pytest.mark.parametrize(
    "words",
    [
        ["compile", "ntp-client", "-o", "-"],
        ["compile", "--all", "-o", "-"],
        ["bundle", "--all", "--key", "k", "-o", "-"],
        ["plan", "ntp-client", "-o", "-"],
        ["report", "--all", "-o", "-", "--json"],
    ],
)
def test_no_place_is_called_as_stdout_is(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 64
    assert "stdout" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["init"], ["status", "--prometheus"]])
def test_stdout_may_be_said(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = ["--root", str(tmp_path)] if words[0] == "status" else []
    main([*words, *root, "-o", "-"])
    assert capsys.readouterr().out.startswith(("# ", "version: ")) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["--version"], ["check", "--help"], ["services"], ["schema"]]
)
def test_a_full_disk_is_a_message(words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fwpolicy", *words],
            cwd=CHECKOUT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "fwpolicy: No space left on device\n")


@pytest.mark.parametrize("words", [["--help"], ["services"], ["check", "ntp-client"]])
def test_who_closed_the_output_hears_nothing(words):
    command = [sys.executable, "-m", "fwpolicy", *words]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=CHECKOUT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_input_is_an_empty_one():
    for words in (["check", "-"], ["plan", "--bundle", "-", "--signers", "/dev/null"]):
        command = [sys.executable, "-m", "fwpolicy", *words]
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" <&-', "sh", *command], cwd=CHECKOUT, capture_output=True, check=False
        )
        assert done.returncode == 1 and done.stderr.startswith((b"<stdin>:1:1: error", b"fwpolicy: "))
        assert b"Traceback" not in done.stderr


def test_no_error_goes_where_the_output_goes():
    command = [sys.executable, "-m", "fwpolicy", "check", "./nowhere"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command], cwd=CHECKOUT, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_without_its_only_library(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "fwpolicy.yamltree", raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["check", "ntp-client"]) == 1
    said = capsys.readouterr().err
    assert said == f"fwpolicy: {sys.executable} has no PyYAML: install it (Debian: python3-yaml)\n"


def test_an_encoding_that_lacks_a_character_is_no_traceback(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("version: 1\ninput: {default: drop, allow: [caf\u00e9]}\n")
    done = subprocess.run(
        [sys.executable, "-m", "fwpolicy", "check", str(path)],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "caf\\xe9" in done.stderr and "Traceback" not in done.stderr


def test_standard_input_is_an_operand(one_rule, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fwpolicy", "check", "-"],
        cwd=CHECKOUT,
        input=ONE_RULE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "one: ok and proved, input: default drop\n")


def test_a_closed_pipe_is_no_traceback(one_rule):
    with subprocess.Popen(
        [sys.executable, "-m", "fwpolicy", "compile", one_rule],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait()


@pytest.mark.parametrize("both", ["", "2>&1"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_who_reads_nothing_changes_no_result(tmp_path, both, unbuffered):
    """Not even where nobody reads what is said on the way; `| true` is over before anything is said."""
    wrong, late, fine = (tmp_path / f"{name}.yaml" for name in ("wrong", "late", "fine"))
    fine.write_text("version: 1\nname: p\ninput: {default: drop, allow: [ssh, ssh]}\n")
    wrong.write_text("version: 1\nname: p\nnonsense: 1\n")
    late.write_text(f"{fine.read_text()}tests: [{{deny: ssh, from: 192.0.2.1}}]\n")
    image = tmp_path / "image"
    image.mkdir()
    program = f"{sys.executable} -m fwpolicy"
    for words, code in {
        f"test {late}": 3,
        f"check {wrong}": 1,
        f"check {fine}": 0,
        f"apply --root {image} --no-daemon {fine}": 0,
        f"status --root {image}": 0,
        f"status --root {tmp_path}": 2,
        "nonsense": 64,
        "test --nonsense": 64,
    }.items():
        script = f"set -o pipefail; {{ sleep 0.2; {program} {words}; }} {both} | true"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=CHECKOUT,
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
        assert done.returncode == code, words
        assert b"Traceback" not in done.stderr and b"roken pipe" not in done.stderr
    assert (image / "var/lib/fwpolicy/running/ruleset.nft").exists()


# Without root


def image(folder: Path) -> Path:
    """A system image in which chrony is installed and starts at boot."""
    for name in (
        "etc/chrony",
        "usr/sbin",
        "usr/lib/systemd/system",
        "etc/systemd/system/multi-user.target.wants",
    ):
        (folder / name).mkdir(parents=True)
    (folder / "etc/chrony/chrony.conf").write_text("pool deb.example iburst\nallow\n")
    (folder / "usr/sbin/chronyd").write_bytes(b"\x7fELF chronyd (chrony) version %s")
    (folder / "usr/sbin/chronyd").chmod(0o755)
    (folder / "usr/lib/systemd/system/chrony.service").write_text(
        "[Service]\nExecStart=/usr/sbin/chronyd\n[Install]\nWantedBy=multi-user.target\n"
    )
    wants = folder / "etc/systemd/system/multi-user.target.wants/chrony.service"
    wants.symlink_to("/usr/lib/systemd/system/chrony.service")
    return folder


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["services"], 0, "zabbix-server    tcp/10051", ""),
        (["check", "/nowhere.yaml"], 1, "", "fwpolicy: /nowhere.yaml: no such file"),
        (["nonsense"], 64, "", "fwpolicy: no command 'nonsense' (see: fwpolicy --help)"),
        (["--version"], 0, f"fwpolicy {fwpolicy.VERSION}", ""),
    ],
)
def test_the_program_ends_at_once_when_all_is_said(words, code, out, err):
    """Into pipes, where nothing is written before it is flushed."""
    command = [sys.executable, "-c", "from fwpolicy.cli import program; program()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert (done.returncode, done.stderr.strip()) == (code, err)
    assert done.stdout.rstrip("\n").endswith(out)


def test_plan_of_an_image(tmp_path, capsys):
    root = image(tmp_path / "image")
    assert main(["plan", "--root", str(root), "ntp-client"]) == 2
    shown = capsys.readouterr().out
    assert "time daemon: chrony" in shown and "+port 0" in shown and "+#fwpolicy# allow" in shown
    assert main(["plan", "--json", "--root", str(root), "ntp-client"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["changed"] and report["daemons"][0]["files"][0]["path"] == "/etc/chrony/chrony.conf"
    assert (root / "etc/chrony/chrony.conf").read_text() == "pool deb.example iburst\nallow\n"


def test_apply_to_an_image_and_remove(tmp_path, capsys):
    root = image(tmp_path / "image")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert main(["apply", "--root", str(root), "ntp-client"]) == 0
    assert "port 0" in (root / "etc/chrony/chrony.conf").read_text()
    assert (root / "etc/systemd/system/sysinit.target.wants/fwpolicy.service").is_symlink()
    assert (root / "var/lib/fwpolicy/current/ruleset.nft").exists()
    capsys.readouterr()
    assert main(["apply", "--root", str(root), "ntp-client"]) == 0
    assert capsys.readouterr().out == "ntp-client: nothing to change\n"
    assert main(["remove", "--root", str(root)]) == 0
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.fixture
def readable_checkout():
    """A copy of the program that anybody may read: the checkout may lie in a folder of root's."""
    folder = Path(tempfile.mkdtemp(prefix="fwpolicy-test-"))
    folder.chmod(0o755)
    shutil.copytree(CHECKOUT / "fwpolicy", folder / "fwpolicy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "policies", folder / "policies")
    shutil.copytree(Path(yaml.__file__).parent, folder / "yaml")
    image(folder / "image")
    yield folder
    shutil.rmtree(folder)


def as_nobody(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run(
        [os.path.realpath(sys.executable), "-B", "-m", "fwpolicy", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **user,
    )


@pytest.mark.kernel
def test_without_root(readable_checkout):
    """check, compile and plan --root work; apply says in one line what it lacks."""
    check = as_nobody(readable_checkout, "check", "policies/ntp-client.yaml")
    assert (check.returncode, check.stderr) == (0, "")
    assert as_nobody(readable_checkout, "compile", "ntp-client").stdout.startswith("#!/usr/sbin/nft -f\n")
    plan = as_nobody(readable_checkout, "plan", "--root", "image", "ntp-client")
    assert plan.returncode == 2 and "+port 0" in plan.stdout
    done = as_nobody(readable_checkout, "test", "--kernel", "ntp-client")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("fwpolicy: test --kernel takes root (CAP_NET_ADMIN); try: sudo fwpolicy ")
    for verb in (("apply", "ntp-client"), ("remove",), ("status",)):
        done = as_nobody(readable_checkout, *verb)
        assert done.returncode == 1 and done.stdout == ""
        assert (
            done.stderr
            == f"fwpolicy: {verb[0]} takes root (CAP_NET_ADMIN); try: sudo fwpolicy {verb[0]} ...\n"
        )


@pytest.mark.kernel
def test_plan_without_root_says_what_it_could_not_see(readable_checkout):
    done = as_nobody(readable_checkout, "plan", "ntp-client", "--no-daemon")
    assert done.returncode == 2
    assert "the live ruleset was not looked at" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        *(["check"], ["plan"], ["apply"], ["test"], ["lint"], ["lock"], ["explain"], ["prove"]),
        *(["check", "--all"], ["lint", "--all"], ["lock", "--all"]),
    ],
)
def test_a_failure_is_one_object_of_json_too(words, tmp_path, capsys):
    more = ["tcp/22", "from", "192.0.2.1"] if words == ["explain"] else []
    assert main([*words, "--json", str(tmp_path / "nope.yaml"), *more]) == 1
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    report = json.loads(line)
    assert (report["ok"], report["changed"], report["problems"]) == (False, False, [])
    assert "nope.yaml: " in report["message"] and report["message"] in said.err


@pytest.mark.parametrize("verb", ["plan", "apply", "lint", "prove"])
def test_a_wrong_policy_tells_programs_where(verb, tmp_path, capsys):
    path = tmp_path / "wrong.yaml"
    path.write_text("version: 1\ninput: {default: drop, alow: [ssh]}\n")
    assert main([verb, "--json", str(path)]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["at"] == {"file": str(path), "line": 2, "column": 24}


def test_a_plan_that_cannot_be_saved_is_told_once(tmp_path, capsys):
    plan = ["plan", "--json", "-o", str(tmp_path / "no" / "plan"), "--root", str(tmp_path), "ntp-client"]
    assert main(plan) == 1
    assert json.loads(capsys.readouterr().out)["policy"] == "ntp-client"
