"""The host's own seconds since its boot, in whatever time namespace they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fwpolicy.host.boottime import started, uptime

ASK = "import os; from fwpolicy.host.boottime import *; print(uptime(), started(os.getpid()))"


@pytest.mark.kernel
@pytest.mark.parametrize("wrong", ["1000000", "-1"])
def test_a_time_namespace_changes_nothing(wrong):
    begin = uptime()
    for options in (["--fork"], []):
        command = ["unshare", "--time", "--boottime", wrong, *options, sys.executable, "-c", ASK]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for found in map(float, said.split()):
            assert begin - 0.1 <= found <= uptime() + 0.1


def test_a_kernel_without_time_namespaces(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1/stat").write_text(f"1 (a b) S {' '.join(['0'] * 18)} 500 0")
    assert started(1, str(tmp_path)) == 5.0
