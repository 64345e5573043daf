"""A rollout over six booted hosts in which the third locks the operator out; and each way that one can go.

The second is booted by sysvinit, has no Python and nothing of ours; the fourth is reached by sudo.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ..lab import guest
from ..lab.controller import SIGNER, Controller
from .test_ansible import OPEN, left_on, pytestmark
from .test_script_sysv import tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lab.hosts import Host, Lab

pytestmark = [*pytestmark, pytest.mark.slow]

SHUT = OPEN.replace(", ssh", "")
OTHER = OPEN.replace("http,", "https,")
GATED = OPEN + "output: {default: accept}\napply: {gates: [{reach: ssh, to: ADDRESS}]}\n"
WINDOW = 12
# An ssh-keygen of before OpenSSH 8.2.
OLD_KEYGEN = '#!/bin/sh\necho "unknown option -- Y" >&2\nexit 1\n'


@pytest.fixture(scope="module")
def six(place: Lab) -> Iterator[tuple[Host, ...]]:
    roots = ("ssh", "sysv-ssh", "ssh", "ssh-sudo", "ssh", "ssh")
    made = tuple(place.host(f"h{number}", 80 + number, root) for number, root in enumerate(roots, 1))
    yield made
    for host in made:
        host.kill()


@pytest.fixture(scope="module")
def controller(place: Lab, six: tuple[Host, ...], tmp_path_factory: pytest.TempPathFactory) -> Controller:
    made = Controller(place, tmp_path_factory.mktemp("controller"))
    for host in six:
        made.admit(host, user="ops" if host.name == "h4" else "root")
        if not host.sysv:
            host.install_fwpolicy()
    place.boot(*six)
    return made


@pytest.fixture(autouse=True)
def bare(controller: Controller, six: tuple[Host, ...]) -> Iterator[None]:
    """Every host without a policy, before and after."""
    yield
    for host in six:
        if host.sysv:
            host.run("sh", "-c", "sh /var/lib/fwpolicy-script/tool/tool.sh undo; rm -rf /var/lib/fwpolicy*")
        else:
            guest.fwpolicy(host, "remove")


def say(controller: Controller, six: tuple[Host, ...], *, third: str, **policies: str) -> None:
    """Commit that each host has policy web, the third the one that is called `third`."""
    hosts: dict[str, dict[str, Any]] = {
        host.name: {"ansible_host": host.ipv4, "fwpolicy_policies": ["policies/web.yaml"]} for host in six
    }
    hosts["h3"] |= {"fwpolicy_policies": [f"policies/{third}.yaml"], "push_force": True}
    hosts["h4"]["ansible_user"] = "ops"
    # After the third: it has no policy, is not there, and nobody asks it for anything.
    every = list(hosts.items())
    hosts = dict([*every[:3], ("aside", {"ansible_host": "192.168.77.250"}), *every[3:]])
    controller.inventory(hosts, policies)


def look(host: Host) -> object:
    """Everything that could be touched."""
    if host.sysv:
        return tree(host), guest.rules(host), left_on(host)
    return guest.look(host)


def test_the_third_locks_the_operator_out(controller: Controller, six: tuple[Host, ...]) -> None:
    say(controller, six, third="shut", web=OPEN, shut=SHUT)
    before = [look(host) for host in six]
    ran = controller.rollout(push_serial=[1, 3, "100%"], push_confirm=WINDOW)
    assert ran.code == 2, ran.said
    assert "no new connection could be opened" in ran.said
    assert "the host has taken it back" in ran.said
    # The canary counts; the other one of its batch has gone back; nobody has logged in to those after it.
    assert "tcp dport 22" in guest.own_rules(six[0])
    assert six[1].run("nft", "list", "tables").stdout == ""
    assert left_on(six[1]) == [], (
        f"{six[1].run('find', '/var/lib/fwpolicy-push', check=False).stdout}{ran.said}"
    )
    third_before, third = before[2], look(six[2])
    assert isinstance(third_before, guest.Found) and isinstance(third, guest.Found)
    assert third.rules == third_before.rules
    assert controller.module("h3", "status")["applied"] is False
    for host, was in zip(six[3:], before[3:], strict=True):
        found = look(host)
        assert isinstance(was, guest.Found) and isinstance(found, guest.Found)
        assert guest.differences(was, found) == []
        assert host.name not in ran.stats
        assert "Accepted publickey" not in host.journal("ssh.service")


def test_batches_before_are_taken_back_if_that_is_asked_for(
    controller: Controller, six: tuple[Host, ...]
) -> None:
    say(controller, six, third="shut", web=OPEN, shut=SHUT)
    ran = controller.rollout(push_serial=[2, 1, "100%"], push_confirm=WINDOW, push_take_all_back=True)
    assert ran.code == 2, ran.said
    assert [host.run("nft", "list", "tables").stdout for host in six] == [""] * 6
    assert left_on(six[1]) == []


def test_who_cannot_be_reached_ends_it(controller: Controller, six: tuple[Host, ...]) -> None:
    say(controller, six, third="web", web=OPEN)
    controller.hang_up()
    six[2].run("systemctl", "stop", "ssh.service", "ssh.socket")
    ran = controller.rollout(push_serial=[1, 3, "100%"])
    six[2].run("systemctl", "start", "ssh.service")
    assert ran.code == 2 and "the host cannot be reached" in ran.said
    assert "tcp dport 22" in guest.own_rules(six[0])
    assert [host.run("nft", "list", "tables").stdout for host in six[1:]] == [""] * 5


def test_a_good_rollout_changes_each_once(controller: Controller, six: tuple[Host, ...]) -> None:
    say(controller, six, third="web", web=OPEN)
    before = [guest.rules(host) for host in six]
    checked = controller.rollout("--check")
    assert checked.code == 0 and all(checked.changed(host.name) for host in six), checked.said
    assert [guest.rules(host) for host in six] == before
    assert all(left_on(host) == [] for host in six)
    ran = controller.rollout()
    assert ran.code == 0, ran.said
    assert all(ran.changed(host.name) and "tcp dport 22" in guest.own_rules(host) for host in six)
    again = controller.rollout()
    assert again.code == 0 and not any(again.changed(host.name) for host in six), again.said
    for host in six:
        found = controller.module(host.name, "status", *become(host))
        assert found.get("as_applied") and not found["waits"], found
        assert found["bundle"]["commit"] == controller.git("rev-parse", "HEAD")


def become(host: Host) -> tuple[str, ...]:
    return ("--become",) if host.name == "h4" else ()


def apply(controller: Controller, host: Host, *words: str, **arguments: object) -> dict[str, Any]:
    """The module itself, with the bundle that there is."""
    bundle = str(controller.bundles / f"{host.name}.fwb")
    return controller.module(host.name, "apply", *words, **{"bundle": bundle, **arguments})


@pytest.mark.parametrize("number", [1, 2], ids=["fwpolicy", "script"])
def test_one_host(controller: Controller, six: tuple[Host, ...], number: int) -> None:
    """What is refused, what is shown, and the way back."""
    host = six[number - 1]
    say(controller, six, third="web", web=OPEN)
    controller.bundle()
    kept = controller.folder / "kept.fwb"
    shutil.copyfile(controller.bundles / f"{host.name}.fwb", kept)
    first = apply(controller, host)
    assert first["changed"] and first["confirmed"] and first["verified"] == "host", first
    assert (first["policy"], first["commit"]) == ("web", controller.git("rev-parse", "HEAD"))
    say(controller, six, third="web", web=OTHER)
    controller.bundle()
    shown = apply(controller, host, "--check", "--diff")
    assert shown["changed"] and "443" in shown["printed"], shown
    second = apply(controller, host, "--diff")
    assert second["changed"] and second["confirmed"] and "443" in second["printed"], second
    assert second["number"] == first["number"] + 1
    rules = guest.rules(host)
    assert "older than number" in apply(controller, host, bundle=str(kept))["msg"]
    other = apply(controller, host, bundle=str(controller.bundles / "h5.fwb"))
    assert "the bundle is h5's" in other["msg"]
    data = kept.read_bytes()
    for name, wrong in {"short": data[:-1024], "longer": data + b"\0", "none": b"hello\n"}.items():
        place = controller.folder / name
        place.write_bytes(wrong)
        assert apply(controller, host, bundle=str(place), older=True)["failed"], name
    stranger = str(controller.folder / "stranger")
    controller.bundle_with(stranger, controller.folder / "strange")
    strange = apply(controller, host, bundle=str(controller.folder / f"strange/{host.name}.fwb"))
    assert "the signature is of nobody" in strange["msg"]
    assert guest.rules(host) == rules
    assert controller.module(host.name, "rollback", applied=second)["changed"]
    assert "dport 80 " in guest.own_rules(host)
    assert not controller.module(host.name, "rollback", applied=second)["changed"]
    assert controller.module(host.name, "rollback", applied=first)["changed"] is (number == 2)


def test_held_it_waits_and_is_taken_back(controller: Controller, six: tuple[Host, ...]) -> None:
    say(controller, six, third="web", web=OPEN)
    controller.bundle()
    for host in six[:2]:
        held = apply(controller, host, hold=True, confirm=60)
        assert held["waits"] and not held["confirmed"], held
        asked = controller.module(host.name, "status")
        assert asked.get("waits"), asked
        assert controller.module(host.name, "rollback", applied=held)["changed"]
        assert host.run("nft", "list", "tables").stdout == ""
        late = controller.module(host.name, "confirm", required=True)
        assert "nothing waits" in late["msg"]
        assert apply(controller, host, hold=True)["waits"]
        assert controller.module(host.name, "confirm")["changed"]
        assert not controller.module(host.name, "confirm")["changed"]


def test_a_lockout_that_the_host_can_see_is_refused_at_once(
    controller: Controller, six: tuple[Host, ...]
) -> None:
    say(controller, six, third="shut", web=OPEN, shut=SHUT)
    controller.bundle()
    refused = apply(controller, six[2])
    assert "could not be opened again" in refused["msg"], refused
    assert six[2].run("nft", "list", "tables").stdout == ""


def test_gates_decide_and_a_lockout_counts_nevertheless(
    controller: Controller, six: tuple[Host, ...]
) -> None:
    holds = GATED.replace("ADDRESS", six[4].ipv4)
    say(controller, six, third="shut", web=holds, shut=holds.replace("http, ssh", "http"))
    controller.bundle()
    good = apply(controller, six[0], confirm=WINDOW)
    assert good["changed"] and good["confirmed"], good
    assert "tcp dport 22" in guest.own_rules(six[0])
    shut_out = apply(controller, six[2], confirm=WINDOW, force=True)
    assert shut_out.get("taken_back") and "over the old one" in shut_out["msg"], shut_out
    assert six[2].run("nft", "list", "tables").stdout == ""
    say(controller, six, third="web", web=GATED.replace("ADDRESS", "192.168.77.250"))
    controller.bundle()
    unmet = apply(controller, six[4], confirm=5)
    assert "a gate does not hold" in unmet["msg"], unmet
    assert six[4].run("nft", "list", "tables").stdout == ""


def test_where_ssh_keygen_is_too_old_the_controller_verifies(
    controller: Controller, six: tuple[Host, ...]
) -> None:
    old = six[1]
    say(controller, six, third="web", web=OPEN)
    controller.bundle()
    old.write("/usr/local/bin/ssh-keygen", OLD_KEYGEN, 0o755)
    assert "verify: controller" in apply(controller, old)["msg"]
    signers = str(controller.folder / "allowed_signers")
    found = apply(controller, old, controller_signers=signers)
    assert (found["verified"], found["signer"]) == ("controller", SIGNER), found
    old.run("rm", "/usr/local/bin/ssh-keygen")
    old.run("chmod", "666", "/etc/fwpolicy/allowed_signers")
    assert "others than root can change it" in apply(controller, old)["msg"]
    old.run("chmod", "644", "/etc/fwpolicy/allowed_signers")
    refused = apply(controller, old, verify="controller")
    assert "takes controller_signers" in refused["msg"]
