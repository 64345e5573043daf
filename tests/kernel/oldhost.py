"""A host without Python, as far as a namespace and a folder can be one: shell, tools, iptables."""

from __future__ import annotations

import shutil
from pathlib import Path

from fwpolicy.backends.iptables.refusal import Dialect
from fwpolicy.backends.nft.render import render
from fwpolicy.compiler.compile import compile_ruleset
from fwpolicy.deploy import xtproof
from fwpolicy.deploy.script import assemble
from tests.lab.holder import run

STATE = "var/lib/fwpolicy-script"
SHELLS = ("dash", "busybox", "bash")
BACKENDS = ("nft", "iptables-legacy", "iptables-nft")
# Of util-linux and procps, and what they must not be mistaken for.
_KEPT = {"ip", "sh", "unshare", "nsenter", "ps"}


def script(policy, backend: str) -> str:
    """The policy as a script for the backend."""
    if backend == "nft":
        return assemble.script_nft(policy, render(compile_ruleset(policy), policy.name)).text
    plain = xtproof.compiled(policy, None, Dialect(u32=False)) if policy.ntp else None
    return assemble.script_iptables(policy, xtproof.compiled(policy), plain).text


def tools(folder: Path, shell: str, backend: str) -> str:
    """A PATH on which `sh` is that shell, with its friends' tools, and `iptables` that variant."""
    folder.mkdir()
    if shell == "busybox":
        for applet in set(run("busybox", "--list").stdout.split()) - _KEPT:
            (folder / applet).symlink_to("/usr/bin/busybox")
    (folder / "sh").symlink_to(shutil.which(shell) or shell)
    for missing in ("python", "python3", "perl", "bash"):
        if missing != shell:
            (folder / missing).unlink(missing_ok=True)
            (folder / missing).write_text("#!/bin/dash\necho there is no $0 here >&2\nkill -9 $PPID\n")
            (folder / missing).chmod(0o755)
    variant = backend.partition("-")[2]
    for command in ("iptables", "ip6tables") if variant else ():
        for what in ("", "-save", "-restore"):
            (folder / f"{command}{what}").symlink_to(f"/usr/sbin/{command}-{variant}{what}")
    return f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"


class OldHost:
    """`netns`: its name; `root`: where its files are."""

    def __init__(self, netns: str, root: Path, shell: str = "dash", backend: str = "nft") -> None:
        self.netns, self.root, self.backend = netns, root / "root", backend
        self.path = tools(root / "tools", shell, backend)
        self.state = self.root / STATE
        for folder in ("etc/init.d", "etc/rcS.d", "etc/rc2.d", "run", "var/lib"):
            (self.root / folder).mkdir(parents=True)

    def run(self, *command: str, text: str | None = None, check: bool = True, **environment: str):
        """A command there; its result."""
        given = {"PATH": self.path, "FWPOLICY_ROOT": str(self.root)} | environment
        words = [f"{key}={value}" for key, value in given.items()]
        return run("ip", "netns", "exec", self.netns, "env", *words, *command, input=text, check=check)

    def script(self, policy, *arguments: str, check: bool = True, **environment: str):
        """What comes over SSH: the shell reads the script from its standard input."""
        text = policy if isinstance(policy, str) else script(policy, self.backend)
        return self.run("sh", "-s", "--", *arguments, text=text, check=check, **environment)

    def tool(self, *arguments: str, check: bool = True, **environment: str):
        """What the script has left there."""
        return self.run("sh", str(self.state / "tool/tool.sh"), *arguments, check=check, **environment)

    def rules(self) -> str:
        """What is there, of everybody, without what says nothing."""
        if self.backend == "nft":
            return self.run("nft", "-s", "list", "ruleset").stdout
        found = []
        for command in ("iptables-save", "ip6tables-save"):
            lines = self.run(command).stdout.splitlines()
            said = [line.partition(" [")[0] for line in lines if line[0] not in "#*" and line != "COMMIT"]
            found += [f"{command}: {line}" for line in said if " ACCEPT" not in line or line[0] != ":"]
        return "\n".join(sorted(found))

    def files(self) -> dict[str, tuple[bytes, int, int] | str]:
        """Every file: bytes, mode, time (busybox keeps whole seconds); every link: its target."""
        found: dict[str, tuple[bytes, int, int] | str] = {}
        for place in sorted(self.root.rglob("*")):
            name = str(place.relative_to(self.root))
            if place.is_symlink():
                found[name] = str(place.readlink())
            elif place.is_file():
                found[name] = (place.read_bytes(), place.stat().st_mode, int(place.stat().st_mtime))
            else:
                found[name] = "folder"
        return found
