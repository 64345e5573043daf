"""Rulesets of other tools, as they make them on booted hosts: `python -m tests.lab.foreign [NAME]...`.

Each tool is Debian's package, started by its own unit and told what its users tell it; what the kernel then
lists goes to tests/deploy/foreign/NAME.json, and where the tool speaks iptables, what iptables-save and
ip6tables-save print to NAME.v4 and NAME.v6. The README there says what was asked of each, and what plan says
of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .hosts import Lab
from .roots import Roots, default_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from .hosts import Host

FOLDER = Path(__file__).parents[1] / "deploy/foreign"
BANNED = "203.0.113.9"
JAIL = """\
[DEFAULT]
banaction = {action}
backend = systemd
[sshd]
enabled = true
"""


def ufw(host: Host) -> None:
    for rule in ("allow 22/tcp", "limit 2222/tcp", "allow from 192.0.2.0/24 to any port 5432 proto tcp"):
        host.run("ufw", *rule.split())
    host.run("ufw", "--force", "enable")


def firewalld(host: Host) -> None:
    host.run("systemctl", "start", "firewalld.service")
    for what in ("--add-service=http", "--add-rich-rule=rule family=ipv4 source address=203.0.113.0/24 drop"):
        host.run("firewall-cmd", "--permanent", what)
    host.run("firewall-cmd", "--reload")


def fail2ban(host: Host) -> None:
    _ban(host, "nftables-multiport")


def fail2ban_iptables(host: Host) -> None:
    _ban(host, "iptables-multiport")


def _ban(host: Host, action: str) -> None:
    host.write("/etc/fail2ban/jail.local", JAIL.format(action=action))
    host.run("systemctl", "restart", "fail2ban.service")
    for _ in range(50):
        if host.run("fail2ban-client", "ping", check=False).returncode == 0:
            break
        host.run("sleep", "0.2")
    host.run("fail2ban-client", "set", "sshd", "banip", BANNED)
    host.run("sleep", "1")


def docker(host: Host) -> None:
    _dockerd(host)
    host.run("docker", "network", "create", "--subnet=172.30.0.0/16", "inner")


def docker_legacy(host: Host) -> None:
    for name in ("iptables", "ip6tables"):
        host.run("update-alternatives", "--set", name, f"/usr/sbin/{name}-legacy")
    host.reboot()
    _dockerd(host)


def _dockerd(host: Host) -> None:
    host.write("/etc/docker/daemon.json", '{"storage-driver": "vfs"}\n')
    host.run("systemctl", "start", "docker.service")


def libvirt(host: Host) -> None:
    host.run("systemctl", "start", "libvirtd.service")
    host.run("virsh", "net-start", "default")


# Name of the fixture: root, what its user does.
TOOLS: dict[str, tuple[str, Callable[[Host], None]]] = {
    "ufw": ("ufw", ufw),
    "firewalld": ("firewalld", firewalld),
    "fail2ban": ("fail2ban", fail2ban),
    "fail2ban-iptables": ("fail2ban", fail2ban_iptables),
    "docker": ("docker", docker),
    "docker-legacy": ("docker", docker_legacy),
    "libvirt": ("libvirt", libvirt),
}


def record(lab: Lab, name: str, number: int) -> None:
    """Boot, let the tool work, and write down what is there."""
    root, do = TOOLS[name]
    with lab.host(name[:10], number, root) as host:
        host.start()
        do(host)
        listing = json.loads(host.run("nft", "-j", "-n", "list", "ruleset").stdout)
        FOLDER.mkdir(exist_ok=True)
        if any("chain" in entry for entry in listing["nftables"]):
            lines = ",\n".join(json.dumps(entry) for entry in listing["nftables"])
            (FOLDER / f"{name}.json").write_text(f'{{"nftables": [\n{lines}\n]}}\n')
        for version, program in (("v4", "iptables-save"), ("v6", "ip6tables-save")):
            saved = host.run(program, check=False).stdout
            if "-A " in saved:
                (FOLDER / f"{name}.{version}").write_text(saved)


def main(names: list[str]) -> None:
    roots = Roots(default_directory())
    try:
        with Lab(roots) as lab:
            for number, name in enumerate(names or TOOLS, 1):
                try:
                    record(lab, name, number)
                except AssertionError as error:
                    print(f"{name}: {error}", file=sys.stderr)
    finally:
        roots.close()


if __name__ == "__main__":
    main(sys.argv[1:])
