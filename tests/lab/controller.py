"""A controller: a repository of policies, keys, and ansible-core with our collection as its tarball has it.

It runs in the lab's network, and reaches hosts by their sshd alone.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwpolicy.record import record

from .holder import run
from .hosts import CHECKOUT

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from .hosts import Host, Lab

COLLECTION = CHECKOUT / "deploy/ansible/ansible_collections/fwpolicy/fwpolicy"
BIN = Path(sys.executable).parent
SIGNER = "release@example.org"
# A short path: a control socket's is limited (unix(7)), and the holder's /run is nobody else's.
_HOME = "/run/ansible"
_CONFIGURATION = f"""\
[defaults]
host_key_checking = False
interpreter_python = auto_silent
stdout_callback = ansible.builtin.default
result_format = yaml
forks = 6
timeout = 4
retry_files_enabled = False
[ssh_connection]
control_path_dir = {_HOME}/cp
ssh_args = -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
"""
_WHO = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada Example"), ("EMAIL", "ada@example.org"))
}


@record
class Ran:
    """A playbook's run: its status, all that it printed, and by host how many tasks were ok, changed, ..."""

    code: int
    said: str
    stats: dict[str, dict[str, int]]

    def changed(self, host: str) -> bool:
        return self.stats[host]["changed"] > 0


class Controller:
    """`folder` is its home: `repository/`, keys, bundles, collections."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.repository, self.bundles = folder / "repository", folder / "bundles"
        self.repository.mkdir()
        for name in ("login", "release", "stranger"):
            self.here("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
        self.signers = f'{SIGNER} namespaces="fwpolicy-bundle" {(folder / "release.pub").read_text()}'
        (folder / "allowed_signers").write_text(self.signers)
        (folder / "ansible.cfg").write_text(_CONFIGURATION)
        self.git("init", "-q", "-b", "main")
        self._install()

    def _install(self) -> None:
        """As anybody installs it."""
        galaxy = str(BIN / "ansible-galaxy")
        self.here(galaxy, "collection", "build", str(COLLECTION), "--output-path", str(self.folder))
        (tarball,) = self.folder.glob("fwpolicy-fwpolicy-*.tar.gz")
        self.here(
            galaxy, "collection", "install", str(tarball), "--offline", "-p", str(self.folder / "collections")
        )

    def here(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command of the controller's, without the lab's network."""
        return run(*command, check=check, cwd=self.folder, env=self._environment(), **options)

    def git(self, *words: str) -> str:
        return self.here("git", "-C", str(self.repository), *words).stdout.strip()

    def _environment(self) -> dict[str, str]:
        return (
            os.environ
            | _WHO
            | {
                "HOME": str(self.folder),
                "LC_ALL": "C.UTF-8",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
                "ANSIBLE_NOCOLOR": "1",
            }
        )

    # --- hosts --------------------------------------------------------------------------------

    def admit(self, host: Host, *, user: str = "root") -> None:
        """Before it boots: sshd with keys, who may log in, and who may sign."""
        host.run("ssh-keygen", "-A")
        home = "/root"
        if user != "root":
            home = f"/home/{user}"
            host.run("useradd", "--create-home", user)
            host.write(f"/etc/sudoers.d/{user}", f"{user} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
        host.run("mkdir", "-p", "-m", "700", f"{home}/.ssh")
        host.write(f"{home}/.ssh/authorized_keys", (self.folder / "login.pub").read_text(), 0o600)
        host.run("chown", "-R", f"{user}:", f"{home}/.ssh")
        host.write("/etc/fwpolicy/allowed_signers", self.signers)

    def inventory(self, hosts: Mapping[str, Mapping[str, object]], policies: Mapping[str, str]) -> None:
        """What the repository says from now on, committed: variables by host, policies by file."""
        common = {"ansible_user": "root", "ansible_ssh_private_key_file": str(self.folder / "login")}
        every = {"all": {"vars": common, "hosts": {name: dict(values) for name, values in hosts.items()}}}
        # Each JSON text is one of YAML.
        (self.repository / "inventory.yaml").write_text(json.dumps(every, indent=1))
        (self.repository / "policies").mkdir(exist_ok=True)
        for name, text in policies.items():
            (self.repository / f"policies/{name}.yaml").write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")

    # --- Ansible ------------------------------------------------------------------------------

    def rollout(self, *words: str, build: bool = True, **variables: object) -> Ran:
        """The collection's playbook, with extra variables."""
        every = {
            "push_bundles": str(self.bundles),
            "push_key": str(self.folder / "release") if build else "",
            "push_command": str(BIN / "fwpolicy"),
            **variables,
        }
        return self.play("fwpolicy.fwpolicy.rollout", *words, "-e", json.dumps(every))

    def module(self, host: str, name: str, *words: str, **arguments: object) -> dict[str, Any]:
        """What one of our modules gives for one host; `printed` is what --diff shows."""
        given = ("-a", json.dumps(arguments)) if arguments else ()
        done = self.ansible("ansible", host, "-m", f"fwpolicy.fwpolicy.{name}", *given, *words)
        start = done.stdout.index("=> {")
        found: dict[str, Any] = json.loads(done.stdout[start + 3 :])
        return found | {"printed": done.stdout[:start], "failed": done.returncode != 0}

    def bundle(self) -> None:
        """Make everybody's bundle anew."""
        self.bundle_with(str(self.folder / "release"), self.bundles)

    def bundle_with(self, key: str, folder: Path) -> None:
        """Signed by another key, in another folder."""
        words = ("--all", str(self.repository), "-o", str(folder), "--key", key)
        self.here(str(BIN / "fwpolicy"), "bundle", *words)

    def play(self, playbook: str, *words: str) -> Ran:
        """ansible-playbook in the lab's network; `playbook` is a name, or a file's path."""
        done = self.ansible("ansible-playbook", playbook, *words)
        return Ran(done.returncode, f"{done.stdout}{done.stderr}", _stats(done.stdout))

    def hang_up(self) -> None:
        """No connection of before is used again; those that are open go by themselves."""
        self.lab.holder.run("rm", "-rf", f"{_HOME}/cp")

    def ansible(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """One of ansible-core's programs, with our inventory."""
        mine = {"ANSIBLE_HOME": _HOME, "ANSIBLE_LOCAL_TEMP": f"{_HOME}/tmp"}
        inventory = str(self.repository / "inventory.yaml")
        environment = self._environment() | mine
        words = ("-i", inventory, *words)
        return self.lab.holder.run(str(BIN / program), *words, check=False, env=environment, timeout=300)


def _stats(said: str) -> dict[str, dict[str, int]]:
    """The recap: `HOST : ok=1 changed=0 unreachable=0 failed=0 ...`."""
    found = {}
    for line in said.partition("PLAY RECAP")[2].splitlines()[1:]:
        host, colon, counts = line.partition(":")
        if colon and "ok=" in counts:
            found[host.strip()] = {
                name: int(value) for name, value in (each.split("=") for each in counts.split())
            }
    return found
