"""A daemon whose init script does not wait for its end when it restarts it, restarted by scripts of ours."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from fwpolicy.deploy.script.pieces import piece
from fwpolicy.deploy.undoscript import Before, script

if TYPE_CHECKING:
    from pathlib import Path

# As Debian's of chrony: its end comes a while after the stop, and until then it is not started again.
INIT_SCRIPT = """\
#!/bin/sh
runs={place}/runs
echo "$1" >> {place}/called
case "$1" in
status) [ -e $runs ] ;;
start) [ -e $runs ] || touch $runs ;;
stop) (sleep 0.2; rm -f $runs) >/dev/null 2>&1 & ;;
restart) $0 stop; $0 start ;;
esac
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Path:
    """Its init script; it runs."""
    folder = tmp_path / "etc/init.d"
    folder.mkdir(parents=True)
    path = folder / "slow"
    path.write_text(INIT_SCRIPT.format(place=tmp_path))
    path.chmod(0o755)
    (tmp_path / "runs").touch()
    return path


def assert_up_again(place: Path) -> None:
    assert (place / "called").read_text().split() == ["restart", "stop", "start", "status", "start"]
    assert (place / "runs").exists()


def test_by_the_script_for_hosts_without_python(daemon: Path, tmp_path: Path) -> None:
    settings = f"root={tmp_path} init=sysv"
    text = "\n".join((piece("base.sh"), piece("services.sh"), settings, "unit_restart slow\n"))
    subprocess.run(["sh", "-s"], input=text, text=True, check=True, timeout=30)
    assert_up_again(tmp_path)


def test_by_the_journals_script(daemon: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "journal").mkdir(parents=True)
    (state / "journal/id").write_text("1")
    restart = (str(daemon), "restart")
    before = Before(1, (), (), (), (), (), (), (restart,), ())
    text = script(before, "1", str(state), str(tmp_path / "marker"))
    subprocess.run(["sh", "-s", "live"], input=text, text=True, check=True, timeout=30)
    assert_up_again(tmp_path)
    assert not state.exists()


def test_systemds_restart_is_done_when_it_returns(tmp_path: Path) -> None:
    before = Before(1, (), (), (), (), (), (), (("systemctl", "restart", "ntp.service"),), ())
    assert "revive systemctl" not in script(before, "1", str(tmp_path), str(tmp_path / "marker"))
