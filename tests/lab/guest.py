"""What tests do inside a host: run `fwpolicy` there, and compare everything that it could have touched."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from fwpolicy.record import record

if TYPE_CHECKING:
    from .hosts import Host

# Below these folders nothing changes by itself but what is left out: systemd's own, and drift files.
_TREE = """
import hashlib, json, os, stat, sys
skipped = set(sys.argv[1].split())
found = {}
def look(path):
    status = os.lstat(path)
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    found[path] = [oct(status.st_mode), status.st_uid, status.st_gid, content, status.st_mtime_ns]
for top in ("/etc", "/var/lib"):
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in skipped]
        for name in (*folders, *files):
            look(os.path.join(folder, name))
json.dump(found, sys.stdout)
"""
_OTHERS = "/var/lib/systemd /var/lib/private /var/lib/chrony /var/lib/ntp /var/lib/ntpsec /var/lib/openntpd"
REGULAR = "0o10"  # the first digits of a regular file's mode


# Asked of the gates of a policy inside: what is unmet, at once or after so many seconds.
_UNMET = """
import json, sys, time
from fwpolicy.deploy import gates
from fwpolicy.deploy.machine import machine
from fwpolicy.policy.load import load
policy = load((("gates.yaml", sys.stdin.buffer.read()),), None)
asked, host, since, seconds = policy.apply.gates, machine("/", None, None), *map(float, sys.argv[1:])
deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
found = gates.wait(asked, host, since, deadline, print) if seconds else gates.unmet(asked, host, since)
print(json.dumps(found))
"""


@record
class Found:
    """Everything of a host that `apply` could touch.

    `tree`: path to (mode, owner, group, content, modification time); `rules` with handles, which a
    second load would change; `units`: what the service manager says of each.
    """

    tree: dict[str, tuple[object, ...]]
    rules: str
    units: tuple[str, ...]

    def as_before(self) -> Found:
        """Without what a write and its undoing leave: the times of folders, and of links to units."""
        kept = {
            path: entry if str(entry[0]).startswith(REGULAR) else entry[:-1]
            for path, entry in self.tree.items()
        }
        return Found(kept, self.rules, self.units)


def fwpolicy(host: Host, *arguments: str, expect: int = 0) -> str:
    """What `fwpolicy ARGUMENTS` prints inside; AssertionError unless it exits with `expect`."""
    done = host.run("fwpolicy", *arguments, check=False)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == expect, (
        f"{host.name}: fwpolicy {' '.join(arguments)}: {done.returncode}\n{said}"
    )
    return said


def unmet(host: Host, policy: str, since: float, seconds: float = 0) -> tuple[str, ...]:
    """What of the gates of `policy` (its text) does not hold inside, or does not within `seconds`."""
    done = host.run("python3", "-c", _UNMET, str(since), str(seconds), input=policy)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def report(host: Host, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """The same with --json, read."""
    done = host.run("fwpolicy", *arguments, "--json", check=False)
    assert done.returncode == expect, (
        f"{host.name}: {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    )
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def rules(host: Host) -> str:
    """The ruleset with its handles, without its counters."""
    return host.run("nft", "--stateless", "--handle", "list", "ruleset").stdout


def own_rules(host: Host) -> str:
    """Our table's rules, without handles and counters."""
    return host.run("nft", "--stateless", "list", "table", "inet", "fwpolicy").stdout


def wait_settled(host: Host, seconds: float = 20) -> None:
    """Wait until the service manager has no job left: what a command set off, but did not wait for."""
    deadline = time.monotonic() + seconds
    while host.run("systemctl", "list-jobs", "--no-legend").stdout:
        assert time.monotonic() < deadline, f"{host.name}: the service manager does not come to rest"
        time.sleep(0.02)


def without_handles(ruleset: str) -> str:
    """The same rules, whoever loaded them how often."""
    return re.sub(r" # handle \d+$", "", ruleset, flags=re.MULTILINE)


def unit_state(host: Host, unit: str) -> str:
    """Whether a unit runs, is enabled, is masked, as systemctl(1) says it; or what stands for that."""
    if host.sysv:
        return _script_state(host, unit)
    properties = "--property=LoadState,ActiveState,UnitFileState"
    return host.run("systemctl", "show", properties, unit).stdout


def _script_state(host: Host, unit: str) -> str:
    """Its status, who may execute it, and where it is linked."""
    status = host.run("sh", f"/etc/init.d/{unit}", "status", check=False).returncode
    mode = host.run("stat", "--format=%A", f"/etc/init.d/{unit}").stdout
    places = (f"/etc/rc?.d/???{unit}", "-o", "-path", f"/etc/runlevels/*/{unit}")
    links = host.run("find", "/etc", "-path", *places).stdout.split()
    return f"{status} {mode}{' '.join(sorted(links))}"


def main_pid(host: Host, unit: str) -> int:
    """The process of a service, by its number inside; 0 if it does not run. sysvinit knows only names."""
    if host.sysv:
        return int(host.run("pgrep", "--exact", "--oldest", unit, check=False).stdout or 0)
    return int(host.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout)


def look(host: Host, *units: str) -> Found:
    """Everything that apply could touch, as it is now."""
    entries = json.loads(host.run("python3", "-c", _TREE, _OTHERS).stdout)
    tree = {path: tuple(entry) for path, entry in entries.items()}
    return Found(tree, rules(host), tuple(unit_state(host, unit) for unit in units))


def differences(before: Found, after: Found) -> list[str]:
    """What differs, for a message: paths with both entries, rules, units."""
    paths = sorted(before.tree.keys() | after.tree.keys())
    found = [
        f"{path}: {before.tree.get(path)} -> {after.tree.get(path)}"
        for path in paths
        if before.tree.get(path) != after.tree.get(path)
    ]
    if before.rules != after.rules:
        found.append(f"rules:\n{before.rules}->\n{after.rules}")
    found += [f"{one} -> {two}" for one, two in zip(before.units, after.units, strict=True) if one != two]
    return found
