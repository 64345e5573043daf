"""`make vagrant-test`: the machines of vagrant/Vagrantfile, open, under policy, rebooted, asked each time.

    python -m tests.lab.vagrant [lxc | libvirt | virtualbox]

With lxc everything happens in namespaces made for it (boxes.Containers); with the others Vagrant works as
it always does. The steps and what is asked are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from fwpolicy.record import record

from . import boxes, cgroups
from .boxes import DIRECTORY, KINDS, Containers
from .demo import DemoError, require, say
from .holder import CommandError, run
from .roots import Roots, default_directory, write

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

PROVIDERS = ("lxc", "libvirt", "virtualbox")
MACHINES = ("server", "attacker", "host", "pbx")
UNDER_POLICY = ("host", "pbx")
NUMBERS = {"server": 10, "attacker": 66, "host": 11, "pbx": 12}  # Vagrantfile's
# Nobody loads it at boot: gone means that the rules of before are gone.
BY_HAND = "fwpolicy_test_by_hand"
# adjtimex(2) that changes nothing: EPERM says that nothing in there sets a clock.
_READ_CLOCK = "import ctypes; print(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)))"
_HOURS = 3 * 3600
# Enough of VirtualBox for `vagrant validate`, which wants to know its version.
_VBOXMANAGE = """\
#!/bin/sh
if [ "$1" = --version ]; then echo 7.0.20r163906; fi
"""


@record
class Answers:
    """What the attacker got of one machine over both families, and whether the server answered, too.

    `ssh`: whether its SSH answers the attacker, which is not what the NTP role is about.
    """

    sent: int
    answered: int
    factor: float
    verdicts: frozenset[str]
    control: bool
    ssh: bool

    def __str__(self) -> str:
        most = f", at most {self.factor:g} times the question" if self.answered else ""
        return (
            f"{self.answered} of {self.sent} probes answered{most}; SSH {'answers' if self.ssh else 'silent'}"
        )


class Vagrant:
    """Vagrant's commands with one provider; what they print goes to a log below build/."""

    def __init__(self, provider: str, prefix: tuple[str, ...] = ()) -> None:
        self._prefix = prefix
        self._environment = boxes.environment(provider)
        self._log = boxes.directory(provider) / "log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_text("")

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`vagrant ARGUMENTS`; DemoError with the end of what it said when it fails."""
        command = ("vagrant", *arguments)
        done = run(*command, prefix=self._prefix, check=False, timeout=_HOURS, env=self._environment)
        with self._log.open("a") as log:
            log.write(f"$ {shlex.join(command)}\n{done.stdout}{done.stderr}")
        if check:
            last = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            require(done.returncode == 0, f"{shlex.join(command)}: exit {done.returncode}\n{last}")
        return done

    def ssh(self, machine: str, *command: str, check: bool = True) -> str:
        """What `command` prints in a machine, as root there."""
        words = shlex.join(("sudo", *command))  # ssh takes one text, whatever we do
        return self.run("ssh", machine, "--no-tty", "--command", words, check=check).stdout

    def provision(self, name: str) -> str:
        """Run one provisioner on both machines under policy; what it printed."""
        return self.run("provision", *UNDER_POLICY, "--provision-with", name).stdout


def validate(provider: str) -> str:
    """What `vagrant validate` says of the Vagrantfile's blocks for a provider that nobody starts here."""
    if provider == "libvirt" and not boxes.has("vagrant-libvirt"):
        return "not validated: vagrant-libvirt is not installed"
    stub = DIRECTORY / "bin" / "VBoxManage"
    write(stub, _VBOXMANAGE, 0o755)
    environment = boxes.environment("lxc") | {"VAGRANT_DEFAULT_PROVIDER": provider}
    environment["PATH"] = f"{stub.parent}:{environment['PATH']}"
    for emulated in ("0", "1") if provider == "libvirt" else ("0",):
        done = run("vagrant", "validate", check=False, env=environment | {"FWPOLICY_EMULATED": emulated})
        require(done.returncode == 0, f"vagrant validate, {provider}:\n{done.stdout}{done.stderr}")
    return "validated only (vagrant validate), not started"


class Steps:
    """Headings with the seconds since the beginning, and at the end what each took."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._took: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print the heading, and remember how long what follows took."""
        began = time.monotonic()
        say(f"\n==> [{began - self._began:3.0f} s] {title}")
        yield
        self._took.append((title, time.monotonic() - began))

    def __str__(self) -> str:
        rows = [*self._took, ("in all", time.monotonic() - self._began)]
        return "\n".join(f"{seconds:7.1f} s  {title}" for title, seconds in rows)


def main(arguments: list[str]) -> int:
    """0 when everything was as promised."""
    provider = arguments[0] if arguments else "lxc"
    if provider not in PROVIDERS:
        print(f"vagrant-test: unknown provider '{provider}'; known: {', '.join(PROVIDERS)}", file=sys.stderr)
        return 64
    try:
        _check_tools(provider)
        _in_containers() if provider == "lxc" else _story(Vagrant(provider), Steps(), guarded=False)
    except KeyboardInterrupt:
        print("vagrant-test: interrupted", file=sys.stderr)
        return 130
    except (DemoError, CommandError) as error:
        print(f"vagrant-test: FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def _check_tools(provider: str) -> None:
    if provider != "lxc":
        require(shutil.which("vagrant"), "missing here: vagrant")
        return
    require(os.geteuid() == 0, "it makes namespaces and containers, which takes root: sudo make vagrant-test")
    packages = boxes.missing()
    require(not packages, f"missing here: apt install {' '.join(packages)}")


def _in_containers() -> None:
    steps, roots = Steps(), Roots(default_directory())
    try:
        with steps.step("Boxes: Debian 12 with chrony, with ntpsec, with the ntpd of Debian 11"):
            for kind in KINDS:
                boxes.make(kind, roots)
    finally:
        roots.close()
    cgroups.remove_stale()
    for gone in ("machines", "home/boxes"):  # of a run that was killed, and boxes of before
        shutil.rmtree(DIRECTORY / gone, ignore_errors=True)
    containers = Containers()
    try:
        prefix = (*cgroups.launcher("vagrant"), *containers.holder.prefix)
        vagrant = Vagrant("lxc", prefix)
        with steps.step("vagrant validate for the other providers"):
            for other in PROVIDERS[1:]:
                say(f"    {other}: {validate(other)}")
        _story(vagrant, steps, guarded=True)
    finally:
        containers.close()
        cgroups.remove("vagrant")


def _story(vagrant: Vagrant, steps: Steps, *, guarded: bool) -> None:
    try:
        _tell(vagrant, steps, guarded)
    finally:
        with steps.step("vagrant destroy"):
            vagrant.run("destroy", "--force")
    say(f"\n{steps}")


def _tell(vagrant: Vagrant, steps: Steps, guarded: bool) -> None:
    with steps.step("vagrant up: a time server, an attacker, and two machines wide open"):
        vagrant.run("up", "--no-parallel")
    if guarded:
        _require_guarded_clock(vagrant)
    with steps.step("The attacker asks, before anything is applied"):
        before = _ask(vagrant)
        for name in UNDER_POLICY:
            require(before[name].answered, f"{name} should be open before its policy is applied")
            require(before[name].ssh, f"{name}: SSH should answer before its policy is applied")
    with steps.step("vagrant provision --provision-with apply: policies/ntp-client.yaml, and pbx.yaml"):
        say(_of_fwpolicy(vagrant.provision("apply")))
        say(_of_fwpolicy(vagrant.provision("confirm")))
    with steps.step("The attacker asks again"):
        _require_closed(_ask(vagrant))
    with steps.step("Are they synchronised?"):
        say(_of_fwpolicy(vagrant.provision("synchronised")))
    with steps.step("vagrant reload: both reboot"):
        _reboot(vagrant)
    with steps.step("The attacker asks after the reboot"):
        _require_closed(_ask(vagrant))
    with steps.step("Are they synchronised, and what was applied?"):
        say(_of_fwpolicy(vagrant.provision("synchronised")))
        for name in UNDER_POLICY:
            say(f"    {name}: {vagrant.ssh(name, 'fwpolicy', 'status').splitlines()[0]}")


def _require_guarded_clock(vagrant: Vagrant) -> None:
    for name in MACHINES:
        said = vagrant.ssh(name, "python3", "-c", _READ_CLOCK).strip()
        require(said == "-1", f"{name} could set this machine's clock: adjtimex gave {said}")


def _reboot(vagrant: Vagrant) -> None:
    for name in UNDER_POLICY:
        vagrant.ssh(name, "nft", "add", "table", "inet", BY_HAND)
    vagrant.run("reload", *UNDER_POLICY)
    for name in UNDER_POLICY:
        tables = vagrant.ssh(name, "nft", "list", "tables").split()
        require(BY_HAND not in tables, f"{name} did not reboot: the rules of before are still there")
        require("fwpolicy" in tables, f"{name}: no table of ours after the reboot: {tables}")
        say(f"    {name}: tables {' '.join(tables)}")


def _ask(vagrant: Vagrant) -> dict[str, Answers]:
    """Everything that the attacker gets: each machine under policy, printed, too."""
    controls = [word for address in _addresses("server") for word in ("--control", address)]
    targets = [address for name in UNDER_POLICY for address in _addresses(name)]
    timing = ("--spacing", "10")
    said = vagrant.ssh("attacker", "fwpolicy", "probe", *targets, *controls, *timing, "--json", check=False)
    require(said.startswith("{"), f"the attacker's probe did not run:\n{said}")
    document = json.loads(said)
    keys = ("ssh-keyscan", "-T", "3", "-t", "ed25519")
    greeted = vagrant.ssh("attacker", *keys, *targets, check=False)
    found = {name: _answers(document, name, greeted) for name in UNDER_POLICY}
    for name, answers in found.items():
        say(f"    {name}: {answers}; the server {'answers' if answers.control else 'DOES NOT ANSWER'}")
    return found


def _answers(document: dict[str, Any], name: str, greeted: str) -> Answers:
    addresses = _addresses(name)
    hosts = [each for each in document["hosts"] if each["address"] in addresses]
    probes = [each for each in document["probes"] if each["address"] in addresses and each["sent"]]
    controls = [each["control"] for each in hosts]
    return Answers(
        len(probes),
        sum(each["outcome"] == "answered" for each in probes),
        max((each["factor"] or 0 for each in probes), default=0),
        frozenset(each["verdict"] for each in hosts),
        # Where something answers, nothing depends on the control, and it is not asked again.
        all(each["before"] == "answered" and each["after"] in {"answered", ""} for each in controls),
        any(line.partition(" ")[0] in addresses for line in greeted.splitlines()),
    )


def _addresses(name: str) -> tuple[str, str]:
    return f"192.168.56.{NUMBERS[name]}", f"fd00:56::{NUMBERS[name]}"


def _require_closed(found: dict[str, Answers]) -> None:
    for name, answers in found.items():
        require(answers.verdicts == {"CLOSED"}, f"{name}: the verdicts are {sorted(answers.verdicts)}")
        require(answers.control and not answers.answered, f"{name}: {answers}")
    # The overlay is about NTP alone, the PBX's policy about the whole machine.
    require(found["host"].ssh, "host: SSH should answer as before")
    require(not found["pbx"].ssh, "pbx: SSH answers the attacker")


def _of_fwpolicy(said: str) -> str:
    """What the scripts in the machines printed, without what Vagrant says of itself."""
    lines = [line for line in said.splitlines() if line.startswith("    ") and "Running: " not in line]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
