"""The script's text: every shell reads it, nothing in it is a command by mistake, the bytes stay the same."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from fwpolicy.backends.iptables.refusal import Dialect
from fwpolicy.backends.nft.render import render
from fwpolicy.cli import main
from fwpolicy.deploy import xtproof
from fwpolicy.deploy.script import assemble
from fwpolicy.record import replace
from tests.golden import cases
from tests.property.strategies import loaded

SHELLS = [
    words
    for words in (("dash",), ("busybox", "sh"), ("bash",), ("bash", "--posix"))
    if shutil.which(words[0])
]
# What a shell or a heredoc could trip over; bytes 0x81 to 0x88 are dash's own marks.
HOSTILE = "$(touch /tmp/x) `id` ${HOME} \\\\ ' EOF FWPOLICY ! %s \\n é \u0141\u0101\u0142 \u2028 €"


def nft(case: str = "ntp-client"):
    policy = cases.policy(case)
    return assemble.script_nft(policy, rendered(policy, case))


def rendered(policy, case: str):
    return render(cases.ruleset(case), policy.name)


def iptables(case: str = "ntp-client"):
    return assemble.script_iptables(cases.policy(case), cases.iptables(case), None)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("made", [nft, iptables])
def test_every_shell_reads_it(shell, made, tmp_path):
    whole = made().text
    for number, text in enumerate([whole, *inner(whole)]):
        place = tmp_path / f"{number}.sh"
        place.write_text(text)
        done = subprocess.run([*shell, "-n", place], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def inner(text: str) -> list[str]:
    """The programs that the script carries."""
    found = re.findall(
        r"put (?:tool\.sh|init\.lsb|init\.chkconfig) <<'(FWPOLICY_*)'\n(.*?)\n\1\n", text, re.DOTALL
    )
    assert len(found) == 3
    return [body + "\n" for _, body in found]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="needs shellcheck")
def test_shellcheck_has_nothing_to_say(tmp_path):
    place = tmp_path / "script.sh"
    # Globals that other functions set, files read by another awk, and words that are no two.
    leave = "SC2317,SC2154,SC2034,SC2086,SC2094,SC2174,SC2181"
    for text in (nft().text, *inner(nft().text)):
        place.write_text(text)
        done = subprocess.run(
            ["shellcheck", "-s", "sh", "-e", leave, place], capture_output=True, text=True, check=False
        )
        assert done.stdout == ""


def test_no_word_of_bash_alone():
    for text in inner(nft().text):
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        assert not [
            line
            for line in lines
            if re.search(r"\[\[ |^\s*local\b|\bfunction\b|<<<|\bsource\b|&>|\bmktemp\b", line)
        ]


def test_the_same_bytes_every_time(capsys):
    printed = []
    for _ in range(2):
        assert main(["compile", "ntp-client", "--format", "script", "--backend", "iptables"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].startswith("#!/bin/sh\n")


def test_it_is_written_as_a_program(tmp_path, capsys):
    assert main(["compile", "ntp-client", "--format", "script", "-o", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fwpolicy.sh"]
    assert (tmp_path / "fwpolicy.sh").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_text_arrives_as_it_is(shell, tmp_path):
    text = f"{HOSTILE}\nFWPOLICY\nFWPOLICY_\n" + "".join(map(chr, range(1, 0x180))) + "\n"
    program = f'box="{tmp_path}"; failed=\nput() {{ cat > "$box/$1" || failed=1; }}\nunpack() {{\n'
    program += assemble._put("text", text) + "}\nunpack\n"
    done = subprocess.run([*shell, "-s"], input=program.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "text").read_bytes() == text.encode()


def test_a_name_ends_no_comment():
    policy = replace(cases.policy("ntp-client"), name="a\nrm -rf /\r\nb")
    text = assemble.script_nft(policy, rendered(policy, "ntp-client")).text
    assert "\nrm -rf" not in text


def test_what_a_script_does_not_do_is_said(capsys, tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text(
        "version: 1\nname: p\nroles: {ntp: {mode: client-only, servers: from-daemon}}\n"
        "apply: {drift: heal, gates: [synchronised], confirm: 30s}\n"
    )
    assert main(["compile", str(policy), "--format", "script"]) == 0
    said = capsys.readouterr()
    for word in ("gates", "drift: heal", "from-daemon"):
        assert word in said.err
    assert "put confirm <<'FWPOLICY'\n30\n" in said.out


def test_all_takes_no_script(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["compile", "--all", ".", "--format", "script"])
    assert stopped.value.code == 64


def test_without_u32_is_a_choice_made_on_the_host():
    policy = cases.policy("ntp-client")
    plain = xtproof.compiled(policy, None, Dialect(u32=False))
    text = assemble.script_iptables(policy, cases.iptables("ntp-client"), plain).text
    assert "put plain.v4" in text
    policy = loaded("version: 1\nname: p\ninput: {default: drop, allow: [{service: ssh}]}\n")
    same = xtproof.compiled(policy)
    assert "put plain.v4" not in assemble.script_iptables(policy, same, same).text
