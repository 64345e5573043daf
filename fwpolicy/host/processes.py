"""Who runs on this host and who listens, from /proc alone (proc(5)); no tool is started.

Processes of containers show up in /proc of their host too, with its configuration paths meaning other
files: only those in our own network and PID namespaces count.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fwpolicy import addresses
from fwpolicy.addresses import AddressSet
from fwpolicy.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@record
class Process:
    """A process: `exe` is the program's path ("" if we may not know), `name` its comm (15 characters).

    `uid` is its real user; `unit` the systemd service whose control group it is in, "" for none. What
    somebody starts by hand may be in the group of the service that let him in (ssh.service).
    """

    pid: int
    parent: int
    name: str
    exe: str
    arguments: tuple[str, ...]
    uid: int = 0
    unit: str = ""


@record
class Listener:
    """A socket that takes packets from anybody: listening TCP, or UDP without a fixed other end.

    `pid` is None where we may not know, then `process` is "". `unit`: as Process has it.
    """

    protocol: str
    family: int
    address: str
    port: int
    pid: int | None
    process: str
    unit: str = ""


@record
class Connection:
    """An established TCP connection: our address and port, and the other end's."""

    address: str
    port: int
    peer: str
    peer_port: int


# include/net/tcp_states.h: TCP_LISTEN, TCP_CLOSE (as is an unconnected UDP socket), TCP_ESTABLISHED.
_OPEN = {"tcp": "0A", "udp": "07"}
_ESTABLISHED = "01"
_NAMESPACES = ("net", "pid")


def processes(proc: str = "/proc") -> tuple[Process, ...]:
    """The processes of our network and PID namespaces, by PID. Kernel threads are left out."""
    return tuple(sorted(_processes(Path(proc)), key=lambda process: process.pid))


def _processes(proc: Path) -> Iterator[Process]:
    ours = _namespaces(proc / "self")
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes()
            status = (folder / "status").read_text(errors="replace")
        except OSError:
            continue  # it ended while we looked
        theirs = _namespaces(folder)
        if not arguments or any(theirs.get(kind, ours[kind]) != ours[kind] for kind in ours):
            continue
        yield _process(folder, arguments, status)


def _process(folder: Path, arguments: bytes, status: str) -> Process:
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    words = arguments.decode("utf-8", "surrogateescape").rstrip("\0").split("\0")
    name, parent = fields.get("Name", "").strip(), int(fields.get("PPid", "0"))
    uid = int(fields["Uid"].split()[0])
    # After an upgrade of its package the program that runs is no longer on disk (proc(5), exe).
    exe = _link(folder / "exe").removesuffix(" (deleted)")
    return Process(int(folder.name), parent, name, exe, tuple(words), uid, _unit(folder))


def _unit(folder: Path) -> str:
    """From its control group: systemd names one after each unit (systemd.resource-control(5))."""
    try:
        lines = (folder / "cgroup").read_text().splitlines()
    except OSError:
        return ""
    units = [part for line in lines for part in line.split("/") if part.endswith(".service")]
    # What is below the first is the service's own affair: a user's manager (user@1000.service) names
    # groups after units of that user's choice.
    return units[0] if units else ""


def _namespaces(folder: Path) -> dict[str, str]:
    """The namespaces that we may know (those of other users' processes need a privilege)."""
    found = {kind: _link(folder / "ns" / kind) for kind in _NAMESPACES}
    return {kind: link for kind, link in found.items() if link}


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def option(arguments: tuple[str, ...], letter: str, with_argument: str, long: str = "") -> str | None:
    """The argument of option `-letter` or `--long` as getopt(3) reads it; the last one counts.

    `with_argument` are the letters of the program's options that take an argument.
    """
    value = None
    at = 1
    while at < len(arguments):
        word = arguments[at]
        at += 1
        if long and word == f"--{long}":
            value = arguments[at] if at < len(arguments) else value
        elif long and word.startswith(f"--{long}="):
            value = word.partition("=")[2]
        elif word.startswith("-") and not word.startswith("--"):
            for place, flag in enumerate(word[1:], 1):
                if flag not in with_argument:
                    continue
                rest = word[place + 1 :]
                if not rest and at < len(arguments):
                    rest = arguments[at]
                    at += 1
                value = rest if flag == letter else value
                break
    return value


def listeners(protocol: str, port: int | None = None, proc: str = "/proc") -> tuple[Listener, ...]:
    """Who listens on "udp" or "tcp" (on `port`), in both families; IPv6 sockets that take IPv4 once."""
    folder = Path(proc)
    found = []
    for family, suffix in ((4, ""), (6, "6")):
        for line in _net_lines(folder, protocol + suffix)[1:]:
            fields = line.split()
            address, here = _end(fields[1])
            if fields[3] == _OPEN[protocol] and port in {None, here}:
                found.append((family, address, here, fields[9]))
    owners = _owners(folder, {inode for *_, inode in found})
    return tuple(
        Listener(protocol, family, address, here, *owners.get(inode, (None, "", "")))
        for family, address, here, inode in found
    )


def connections(pid: int, proc: str = "/proc") -> tuple[Connection, ...]:
    """The TCP connections whose sockets a process holds, by descriptor; () where we may not know."""
    folder = Path(proc) / str(pid)
    try:
        descriptors = sorted(int(entry.name) for entry in (folder / "fd").iterdir())
        links = [_link(folder / "fd" / str(number)) for number in descriptors]
        tables = [(folder / "net" / name).read_text() for name in ("tcp", "tcp6")]
    except OSError:
        return ()
    by_link = {}
    for line in (line for table in tables for line in table.splitlines()[1:]):
        fields = line.split()
        if fields[3] == _ESTABLISHED:
            by_link[f"socket:[{fields[9]}]"] = Connection(*_end(fields[1]), *_end(fields[2]))
    return tuple(by_link[link] for link in dict.fromkeys(links) if link in by_link)


def ephemeral_ports(proc: str = "/proc") -> tuple[int, int]:
    """The range from which a socket gets its port that asks for none (ip(7))."""
    try:
        first, last = (Path(proc) / "sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return 32768, 60999
    return int(first), int(last)


def _end(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    return _address(address), int(port, 16)


def _net_lines(proc: Path, name: str) -> list[str]:
    # /proc/net is the main thread's; a thread that entered another namespace must look at its own.
    for folder in (proc / "thread-self" / "net", proc / "net"):
        try:
            return (folder / name).read_text().splitlines()
        except OSError:
            continue
    return []


def _address(text: str) -> str:
    """The kernel prints 32-bit words in its own byte order."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    ordered = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return addresses.format_address(4 if len(ordered) == 4 else 6, int.from_bytes(ordered, "big"))


def _owners(proc: Path, inodes: set[str]) -> dict[str, tuple[int, str, str]]:
    """inode -> (PID, name, unit); the lowest PID of those that share a socket."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    owners: dict[str, tuple[int, str, str]] = {}
    if not wanted:
        return owners
    for pid in sorted(int(folder.name) for folder in proc.iterdir() if folder.name.isdigit()):
        folder = proc / str(pid)
        try:
            links = [_link(Path(entry.path)) for entry in os.scandir(folder / "fd")]
            name = (folder / "comm").read_text(errors="replace").strip()
        except OSError:
            continue
        for link in links:
            if link in wanted and wanted[link] not in owners:
                owners[wanted[link]] = (pid, name, _unit(folder))
    return owners


def interfaces(proc: str = "/proc") -> tuple[str, ...]:
    """The names of this network namespace's interfaces, loopback's among them."""
    lines = _net_lines(Path(proc), "dev")[2:]
    return tuple(line.partition(":")[0].strip() for line in lines)


def own_addresses(proc: str = "/proc") -> AddressSet:
    """Every address that is this host's own, loopback's among them."""
    items = list(_leaves(Path(proc), "LOCAL"))
    for line in _net_lines(Path(proc), "if_inet6"):
        value = int(line.split()[0], 16)
        items.append((6, value, value))
    return addresses.collect(items)


def broadcast_addresses(proc: str = "/proc") -> AddressSet:
    """The addresses by which all hosts of a network are called, this one among them."""
    return addresses.collect(_leaves(Path(proc), "BROADCAST"))


def _leaves(proc: Path, kind: str) -> Iterator[tuple[int, int, int]]:
    network = ""
    for line in _net_lines(proc, "fib_trie"):
        text = line.strip()
        # A leaf's address, and under it what the kernel does with it: "/32 host LOCAL".
        if text.startswith("|-- "):
            network = text[4:]
        elif text.startswith("/") and text.endswith((f"host {kind}", f"link {kind}")):
            yield addresses.parse(network + text.split()[0])
