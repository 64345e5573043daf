"""What runs boot.sh under each init system: scripts that a shell takes, and that their tools can read."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from fwpolicy.deploy.persist import boot_files
from fwpolicy.deploy.starters import SCRIPT_PATH, STARTERS, UNIT, UNIT_PATH, is_starter, starter
from tests.policy.reading import read

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "version: 1\nname: web\ninput: {default: drop, allow: [http]}\napply: {drift: report}\n"
SCRIPTS = ("sysv", "chkconfig", "openrc")


def script(init: str, state: str = "/var/lib/fwpolicy") -> str:
    (only,) = STARTERS[init](state)
    assert (only.name, only.mode) == (SCRIPT_PATH, 0o755)
    return only.text


@pytest.mark.parametrize("init", STARTERS)
def test_each_has_its_files_and_only_systemd_a_timer(init: str) -> None:
    names = [each.name for each in boot_files(read(POLICY), "/var/lib/fwpolicy", init)]
    assert names[0] == "/var/lib/fwpolicy/boot.sh" and "/var/lib/fwpolicy/fallback.nft" in names
    assert (UNIT_PATH in names) == (init == "systemd") == any("timer" in name for name in names)
    assert (SCRIPT_PATH in names) == (init in SCRIPTS)
    files = boot_files(read(POLICY), "/var/lib/fwpolicy", init)
    assert starter(files) == (SCRIPT_PATH if init in SCRIPTS else UNIT)
    assert [is_starter(name) for name in names] == [not name.startswith("/var/lib") for name in names]


@pytest.mark.parametrize("init", SCRIPTS)
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_shell_takes_it(init: str, shell: str) -> None:
    subprocess.run((shell, "-n"), input=script(init), text=True, check=True)


def test_the_headers() -> None:
    header = script("sysv").partition("### END INIT INFO")[0]
    keys = dict(re.findall(r"^# ([\w-]+): +(.+)$", header, re.MULTILINE))
    assert keys["Provides"] == "fwpolicy" and keys["Default-Start"] == "S"
    assert "networking" in keys["X-Start-Before"].split()
    # chkconfig(8): runlevels, and two priorities; with both headers it would go by the other one.
    assert re.search(r"^# chkconfig: 2345 09 91\n# description: \S", script("chkconfig"), re.MULTILINE)
    assert "INIT INFO" not in script("chkconfig")
    assert script("openrc").startswith("#!/sbin/openrc-run\n")
    assert re.search(r"^    before net networking$", script("openrc"), re.MULTILINE)


def test_started_once_a_boot_and_loaded_again_when_asked(tmp_path: Path) -> None:
    loads, done = tmp_path / "loads", tmp_path / "done"
    (tmp_path / "boot.sh").write_text(f"echo load >> {loads}; exit ${{RESULT-0}}\n")
    text = script("sysv", str(tmp_path)).replace("/run/fwpolicy.loaded", str(done))
    (tmp_path / "fwpolicy").write_text(text)

    def call(verb: str, result: int = 0) -> int:
        command = ("sh", str(tmp_path / "fwpolicy"), verb)
        return subprocess.run(
            command, env={"RESULT": str(result)}, capture_output=True, check=False
        ).returncode

    def count() -> int:
        return loads.read_text().count("load") if loads.exists() else 0

    assert (call("status"), call("nonsense"), count()) == (3, 2, 0)
    assert call("start", 1) == 1 and call("status") == 3  # the kernel refused the rules
    assert (call("start"), call("start"), call("status"), count()) == (0, 0, 0, 2)
    assert (call("restart"), call("reload"), count()) == (0, 0, 4)
    assert (call("stop"), call("stop"), call("status"), count()) == (0, 0, 3, 4)
