"""The Ansible collection on booted hosts, over real sshd: as its tarball installs it, by its own playbook.

One host has no Python and nothing of ours, and is booted by sysvinit; to the other one logs in as somebody
who is root by sudo alone. tests/hosts/test_ansible_fleet.py has six, and a lock-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..lab import guest
from ..lab.controller import Controller
from ..lab.roots import LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif("sysv-ssh" not in LAYERS, reason="needs the root that sysvinit boots"),
]

OPEN = "version: 1\nname: web\ninput: {default: drop, allow: [http, ssh]}\n"
FOLDERS = ("/var/lib/fwpolicy-push", "/var/lib/fwpolicy-script", "/var/lib/fwpolicy")
WHICH_ARE_THERE = (
    "sh",
    "-c",
    'for each in "$@"; do if [ -e "$each" ]; then echo "$each"; fi; done',
    "sh",
    *FOLDERS,
)


@pytest.fixture(scope="module")
def hosts(place: Lab) -> Iterator[tuple[Host, Host]]:
    with place.host("old", 71, "sysv-ssh") as old, place.host("new", 72, "ssh-sudo") as new:
        yield old, new


@pytest.fixture(scope="module")
def controller(place: Lab, hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Controller:
    old, new = hosts
    made = Controller(place, tmp_path_factory.mktemp("controller"))
    made.admit(old)
    made.admit(new, user="ops")
    new.install_fwpolicy()
    place.boot(old, new)
    return made


def inventory(controller: Controller, hosts: tuple[Host, Host], policy: str) -> None:
    every = {
        host.name: {"ansible_host": host.ipv4, "fwpolicy_policies": ["policies/web.yaml"]} for host in hosts
    }
    every["new"]["ansible_user"] = "ops"
    controller.inventory(every, {"web": policy})


def left_on(host: Host) -> list[str]:
    return host.run(*WHICH_ARE_THERE).stdout.split()


def test_a_rollout_changes_once_and_a_changed_bundle_nothing(
    controller: Controller, hosts: tuple[Host, Host]
) -> None:
    old, _ = hosts
    assert old.run("sh", "-c", "command -v python3 || command -v python", check=False).returncode != 0
    inventory(controller, hosts, OPEN)
    everything = controller.rollout("--check", "--diff", push_serial="100%")
    assert everything.code == 0, everything.said
    assert "tcp dport 22 counter name" in everything.said
    assert all(everything.changed(host.name) for host in hosts)
    assert [left_on(host) for host in hosts] == [[], []]
    once = controller.rollout()
    assert once.code == 0, once.said
    assert all(once.changed(host.name) and "tcp dport 22" in guest.own_rules(host) for host in hosts)
    again = controller.rollout(build=False)
    assert again.code == 0 and not any(again.changed(host.name) for host in hosts), again.said
    assert [host.run("find", "/var/lib", "-name", "work.*").stdout for host in hosts] == ["", ""]
    for host in hosts:
        bundle = controller.bundles / f"{host.name}.fwb"
        bundle.write_bytes(bundle.read_bytes().replace(b"dport 22 ", b"dport 23 ", 1))
    rules = [guest.rules(host) for host in hosts]
    changed = controller.rollout(build=False, push_serial="100%")
    assert changed.code == 2 and changed.said.count("the signature does not hold") >= 2, changed.said
    assert [guest.rules(host) for host in hosts] == rules
