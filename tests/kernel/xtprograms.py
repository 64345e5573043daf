"""What a host calls iptables: one variant, under the plain names, first in the search path."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIANTS = ("legacy", "nft")


def variant_path(folder: Path, variant: str) -> str:
    """A PATH in which iptables and ip6tables are `variant`."""
    program = shutil.which(f"xtables-{variant}-multi")
    assert program
    folder.mkdir(parents=True)
    for name in ("iptables", "ip6tables"):
        for what in ("", "-save", "-restore"):
            (folder / f"{name}{what}").symlink_to(program)
    return f"{folder}:{os.environ['PATH']}"
