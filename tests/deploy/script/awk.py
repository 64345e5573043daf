"""The script's awk programs under every awk of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PIECES = Path(__file__).parents[3] / "fwpolicy" / "deploy" / "script"
KNOWN = {
    "mawk": ("mawk",),
    "busybox": ("busybox", "awk"),
    "gawk": ("gawk", "--posix"),
    "bwk": ("original-awk",),
}
AWKS = {name: command for name, command in KNOWN.items() if shutil.which(command[0])}


def awk(name: str, program: str, *files: Path, **values: object) -> str:
    """What the program prints."""
    given = [word for key, value in values.items() for word in ("-v", f"{key}={value}")]
    command = (*AWKS[name], *given, "-f", str(PIECES / program), *map(str, files))
    # No text mode: it takes carriage returns away.
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"})
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return done.stdout.decode()
