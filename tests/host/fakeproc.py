"""A /proc in a folder: as much of proc(5) as fwpolicy.host.processes reads."""

from __future__ import annotations

import sys
from pathlib import Path


class FakeProc:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "net").mkdir(parents=True)
        self._namespaces(folder / "self", "1")
        for name in ("udp", "udp6", "tcp", "tcp6"):
            (folder / "net" / name).write_text("  sl  local_address ...\n")

    def process(
        self,
        pid: int,
        *arguments: str,
        exe: str = "",
        parent: int = 1,
        unit: str = "",
        namespace: str = "1",
        uid: int = 0,
    ) -> None:
        folder = self.folder / str(pid)
        self._namespaces(folder, namespace)
        (folder / "fd").mkdir()
        (folder / "cmdline").write_bytes("".join(f"{word}\0" for word in arguments).encode())
        name = (arguments[0] if arguments else "kthread").rpartition("/")[2][:15]
        (folder / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\nUid:\t{uid}\t0\t0\t0\n")
        (folder / "comm").write_text(name + "\n")
        (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")
        (folder / "net").symlink_to("../net")
        if exe:
            (folder / "exe").symlink_to(exe)

    def socket(
        self,
        table: str,
        address: str,
        port: int,
        inode: int,
        pid: int = 0,
        state: str = "07",
        peer: tuple[str, int] = ("00000000", 0),
    ) -> None:
        ends = f"{_end(address, port)} {_end(*peer)}"
        line = f" 1: {ends} {state} 0:0 00:0 0 0 0 {inode} 2 0\n"
        with (self.folder / "net" / table).open("a") as file:
            file.write(line)
        if pid:
            (self.folder / str(pid) / "fd" / str(inode)).symlink_to(f"socket:[{inode}]")

    def _namespaces(self, folder: Path, name: str) -> None:
        (folder / "ns").mkdir(parents=True)
        for kind in ("net", "pid"):
            (folder / "ns" / kind).symlink_to(f"{kind}:[{name}]")


def _end(address: str, port: int) -> str:
    data = bytes.fromhex(address)
    words = [data[at : at + 4] for at in range(0, len(data), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return f"{b''.join(words).hex().upper()}:{port:04X}"
