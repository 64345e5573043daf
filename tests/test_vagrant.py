"""vagrant/ without Vagrant: what the Vagrantfile names is there, and agrees with the boxes and the steps."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fwpolicy import cli

from .lab import boxes, roots, vagrant
from .lab.demo import DemoError
from .lab.vagrant import NUMBERS, PROVIDERS, UNDER_POLICY, Answers

CHECKOUT = Path(__file__).parents[1]
VAGRANT = CHECKOUT / "vagrant"
VAGRANTFILE = (VAGRANT / "Vagrantfile").read_text()
README = (VAGRANT / "README.md").read_text()
SCRIPTS = sorted(VAGRANT.rglob("*.sh"))
NODE = re.compile(r'^  "(\w+)" => Node\.new\((.*)\),$', re.MULTILINE)
NODES = dict(NODE.findall(VAGRANTFILE))


def _field(name: str, field: str) -> str:
    """A field of a machine in NODES; "" where it has none."""
    found = re.search(rf'{field}: (?:"([^"]+)"|(\d+)|%w\[([^]]+)\])', NODES[name])
    return next(filter(None, found.groups())) if found else ""


def _provisioners() -> set[str]:
    """The scripts that provision_by is given, by name; those called after their machine, too."""
    named = set(re.findall(r'provision_by vm, "(\w+)"', VAGRANTFILE))
    own = re.search(r"provision_by vm, name if %w\[([\w ]+)\]", VAGRANTFILE)
    assert own
    return named | set(own[1].split())


def test_there_are_the_machines_that_the_steps_ask() -> None:
    assert {name: int(_field(name, "number")) for name in NODES} == NUMBERS
    assert {name for name in NODES if _field(name, "policy")} == set(UNDER_POLICY)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_a_script(script: Path) -> None:
    text = script.read_text()
    assert text.startswith(f"#!/bin/sh\n# {script.name}")
    assert "\nset -eu\n" in text
    done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_provisioner_has_its_script_and_every_script_its_provisioner() -> None:
    assert _provisioners() == {path.stem for path in (VAGRANT / "provision").glob("*.sh")}


def test_files_that_the_vagrantfile_names_are_there() -> None:
    for name in re.findall(r'File\.join\(__dir__, "([^"]+)"\)', VAGRANTFILE):
        assert (VAGRANT / name).is_file()
    inside = re.findall(r'"/fwpolicy/([^"]+)"', VAGRANTFILE)
    assert inside
    for name in inside:
        assert (CHECKOUT / name).is_file()


@pytest.mark.parametrize("name", UNDER_POLICY)
def test_its_policy_passes_its_own_tests(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    policy = _field(name, "policy").replace("/fwpolicy/", f"{CHECKOUT}/")
    assert cli.main(["check", policy]) == 0, capsys.readouterr().err


def test_vagrant_itself_is_let_in_by_the_pbx() -> None:
    # Its side of the connection, with each provider; the attacker's addresses are in the policy's own tests.
    policy = (VAGRANT / "pbx.yaml").read_text()
    for gateway in ("10.0.2.2", "192.168.121.1", boxes.GATEWAY):
        assert re.search(rf"admin: \[.*\b{re.escape(gateway)}[],]", policy)
    assert f"192.168.56.{NUMBERS['attacker']}" in policy


def test_a_box_has_every_package_so_that_no_mirror_is_asked() -> None:
    common = re.search(r"^PACKAGES = %w\[(.*)\]", VAGRANTFILE, re.MULTILINE)
    assert common
    for name in NODES:
        layer = roots.LAYERS[f"box-{_field(name, 'daemon')}"]
        wanted = (common[1] + " " + _field(name, "packages")).split()
        packages = {package.partition("/")[0] for package in wanted}
        # openssh-server depends on the client.
        assert packages - {"openssh-client"} <= {*roots.BASE_PACKAGES, *layer.packages}
    assert {_field(name, "daemon") for name in NODES} == set(boxes.KINDS)


def test_no_guest_of_lxc_sets_the_clock() -> None:
    assert 'customize "seccomp.profile"' in VAGRANTFILE
    denied = (VAGRANT / "clock.seccomp").read_text().splitlines()
    assert denied[:2] == ["2", "denylist"]
    for call in ("adjtimex", "clock_adjtime", "clock_settime", "settimeofday"):
        assert f"{call} errno 1" in denied


def test_the_guests_ask_the_server_there_is() -> None:
    for name in UNDER_POLICY:
        script = (VAGRANT / "provision" / f"{name}.sh").read_text()
        for server in (f"192.168.56.{NUMBERS['server']}", f"fd00:56::{NUMBERS['server']}"):
            assert f"server {server} iburst" in script


def test_the_one_command_of_the_readme_is_in_the_makefile() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    commands = set(re.findall(r"^\$ make (\S+)", README, re.MULTILINE))
    assert commands == {"vagrant-test"}
    assert re.search(r"^vagrant-test:", makefile, re.MULTILINE)
    assert "vagrant-test" in makefile.partition(".PHONY:")[2].partition("\n")[0].split()
    for path in re.findall(r"vagrant/\S+\.sh", makefile):
        assert (CHECKOUT / path).is_file()
    for provider in PROVIDERS:
        assert re.search(rf"\| {provider}\b", README, re.IGNORECASE), provider


def test_the_readme_explains_every_setting() -> None:
    for name in re.findall(r'"(FWPOLICY_\w+)"', VAGRANTFILE):
        assert f"`{name}" in README


def test_an_unknown_provider_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert vagrant.main(["vmware"]) == 64
    assert "'vmware'; known: lxc, libvirt, virtualbox" in capsys.readouterr().err


CLOSED = {
    "host": Answers(178, 0, 0, frozenset({"CLOSED"}), control=True, ssh=True),
    "pbx": Answers(178, 0, 0, frozenset({"CLOSED"}), control=True, ssh=False),
}
NOT_CLOSED = {
    "one answer": ("host", {"answered": 1}),
    "one address is open": ("pbx", {"verdicts": frozenset({"CLOSED", "OPEN"})}),
    "the server is silent, too": ("host", {"control": False}),
    "nobody was asked": ("host", {"verdicts": frozenset()}),
    "the overlay closed more": ("host", {"ssh": False}),
    "the PBX lets the attacker log in": ("pbx", {"ssh": True}),
}


def test_closed_machines_pass() -> None:
    vagrant._require_closed(CLOSED)


@pytest.mark.parametrize("case", NOT_CLOSED)
def test_what_is_not_closed_fails_the_run(case: str) -> None:
    name, wrong = NOT_CLOSED[case]
    fields = {field: getattr(CLOSED[name], field) for field in Answers.__annotations__}
    with pytest.raises(DemoError, match=name):
        vagrant._require_closed(CLOSED | {name: Answers(**(fields | wrong))})


def test_what_the_probe_reports_is_counted_for_each_machine() -> None:
    control = {"before": "answered", "after": ""}
    hosts = [
        {"address": address, "verdict": verdict, "control": control}
        for address, verdict in (
            ("192.168.56.11", "OPEN"),
            ("fd00:56::11", "CLOSED"),
            ("192.168.56.12", "CLOSED"),
        )
    ]
    probes = [
        {"address": "192.168.56.11", "sent": 1, "outcome": "answered", "factor": 31.0},
        {"address": "fd00:56::11", "sent": 1, "outcome": "silent", "factor": 0.0},
        {"address": "fd00:56::11", "sent": 0, "outcome": "not sent", "factor": 0.0},
        {"address": "192.168.56.12", "sent": 1, "outcome": "silent", "factor": 0.0},
    ]
    document = {"hosts": hosts, "probes": probes}
    greeted = "# a comment\n192.168.56.110 ssh-ed25519 AAAA\nfd00:56::12 ssh-ed25519 AAAA\n"
    both = frozenset({"OPEN", "CLOSED"})
    assert vagrant._answers(document, "host", greeted) == Answers(2, 1, 31.0, both, control=True, ssh=False)
    pbx = vagrant._answers(document, "pbx", greeted)
    assert (pbx.sent, pbx.answered, pbx.ssh) == (1, 0, True)
