"""Completions, asked of the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fwpolicy.cli import COMMANDS, main, parsers
from fwpolicy.policy.services import BUILT_IN
from fwpolicy.reference.verbs import verbs

SHIPPED = {path.stem for path in (Path(__file__).parents[2] / "policies").glob("*.yaml")}
SHELLS = ("bash", "zsh", "fish")


def needs(shell: str) -> None:
    if shutil.which(shell):
        return
    if os.environ.get("CI"):
        pytest.fail(f"needs {shell}; in CI a skip is a failure", pytrace=False)
    pytest.skip(f"needs {shell}")


@pytest.fixture
def scripts(tmp_path, capsys):
    """The script of each shell, and a folder to complete in."""
    found = {}
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        found[shell] = tmp_path / f"script.{shell}"
        found[shell].write_text(capsys.readouterr().out)
    here = tmp_path / "here"
    here.mkdir()
    for name in ("web.yaml", "web two.yml", "notes.txt"):
        (here / name).touch()
    (here / "sub").mkdir()
    return found


def bash(scripts, *words: str) -> set[str]:
    needs("bash")
    code = '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fwpolicy'
    code += '; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "--norc", "-uc", code, "bash", str(scripts["bash"]), "fwpolicy", *words],
        cwd=scripts["bash"].parent / "here",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.splitlines()) - {""}


def fish(scripts, *words: str) -> set[str]:
    needs("fish")
    line = " ".join(("fwpolicy", *words))
    done = subprocess.run(
        [
            "fish",
            "--no-config",
            "-c",
            'source $argv[1]; complete --do-complete "$argv[2]"',
            str(scripts["fish"]),
            line,
        ],
        cwd=scripts["fish"].parent / "here",
        env=os.environ | {"HOME": str(scripts["fish"].parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return {row.partition("\t")[0] for row in done.stdout.splitlines()}


def zsh(scripts, *words: str) -> str:
    """What the terminal shows after a Tab behind the words: completed, and listed."""
    needs("zsh")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(scripts["zsh"].parent / "here")
        os.environ |= {"TERM": "dumb", "PS1": "READY> ", "ZDOTDIR": "/nonexistent", "COLUMNS": "200"}
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        _until(terminal, "READY> ")
        setup = (
            f"autoload -U compinit; compinit -u -D; setopt nobeep; source '{scripts['zsh']}'; PS1='NOW> '\r"
        )
        os.write(terminal, setup.encode())
        _until(terminal, "\rNOW> ")
        os.write(terminal, " ".join(("fwpolicy", *words)).encode() + b"\t")
        return _until(terminal, None)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def _until(terminal: int, prompt: str | None) -> str:
    """The terminal's text until the prompt, or until nothing has come for a second."""
    text, deadline = "", time.monotonic() + 30
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1 if prompt is None and text.strip() else 0.1)
        if ready:
            text += os.read(terminal, 65536).decode(errors="replace").replace("\r\n", "\n")
        elif prompt is None and text.strip():
            return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
        if prompt is not None and prompt in text:
            return text
    raise AssertionError(f"no {prompt!r} in {text!r}")


def test_the_parsers_are_read():
    found = {verb.name: verb for verb in verbs(parsers())}
    assert list(found) == list(COMMANDS)
    root = next(option for option in found["plan"].options if "--root" in option.flags)
    assert (root.metavar, root.kind, root.many) == ("DIR", "directory", False)
    assert found["check"].operands[0].kind == "policy" and found["check"].operands[0].many
    assert all(option.text for verb in found.values() for option in verb.options)
    assert found["services"].operands[0].optional and not found["plan"].operands[0].optional


@pytest.mark.parametrize("shell", SHELLS)
def test_the_syntax(shell, scripts):
    needs(shell)
    subprocess.run([shell, "-n", str(scripts[shell])], check=True, capture_output=True)


def test_bash(scripts):
    assert bash(scripts, "") == {*COMMANDS, "--help", "--version"}
    assert bash(scripts, "ch") == {"check"}
    assert bash(scripts, "check", "") == SHIPPED | {"web.yaml", "web two.yml", "sub"}
    assert bash(scripts, "apply", "ntp-c") == {"ntp-client", "ntp-closed"}
    assert bash(scripts, "plan", "web.yaml", "--no-") == {"--no-persist", "--no-daemon", "--no-prove"}
    assert bash(scripts, "plan", "--root", "") == {"sub"}
    assert bash(scripts, "plan", "--root", "=", "s") == {"sub"}
    assert bash(scripts, "plan", "--root", "=") == {"sub"}
    assert bash(scripts, "compile", "--backend", "") == {"nft", "iptables"}
    assert bash(scripts, "completion", "") == set(SHELLS)
    assert bash(scripts, "services", "") == set(BUILT_IN)
    assert bash(scripts, "status", "") == set()
    assert bash(scripts, "probe", "--wait", "") == set()
    assert bash(scripts, "probe", "--interface", "lo") == {"lo"}
    assert bash(scripts, "nosuch", "") == set()


def test_bash_offers_every_option_of_every_verb(scripts):
    for verb in verbs(parsers()):
        flags = {flag for option in verb.options for flag in option.flags}
        assert bash(scripts, verb.name, "-") == flags


def test_fish(scripts):
    assert fish(scripts, "") >= set(COMMANDS)
    assert fish(scripts, "ch") >= {"check"}
    assert fish(scripts, "check", "ntp") == {name for name in SHIPPED if name.startswith("ntp")}
    assert {"web.yaml", "web two.yml"} <= fish(scripts, "check", "we")
    assert fish(scripts, "plan", "--no-") == {"--no-persist", "--no-daemon", "--no-prove"}
    assert fish(scripts, "plan", "--root", "s") == {"sub/"}
    assert fish(scripts, "completion", "b") == {"bash"}
    assert fish(scripts, "services", "ssh") == {"ssh"}
    assert fish(scripts, "probe", "--interface", "lo") == {"lo"}


def test_zsh(scripts):
    assert "check" in zsh(scripts, "ch")
    shown = zsh(scripts, "")
    assert all(verb in shown for verb in COMMANDS)
    shown = zsh(scripts, "check ")
    assert all(name in shown for name in (*SHIPPED, "web.yaml", "sub")) and "notes.txt" not in shown
    shown = zsh(scripts, "plan --no-")
    assert "--no-persist" in shown and "--no-daemon" in shown and "--root" not in shown
    assert "--root=sub" in zsh(scripts, "plan --root=")
    assert "plan --root sub" in zsh(scripts, "plan --root s")
    assert "completion bash" in zsh(scripts, "completion b")
    assert "nft" in zsh(scripts, "compile --backend ")
