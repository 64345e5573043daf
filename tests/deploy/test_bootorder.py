"""Who else loads rules at boot: Debian's own units, and whatever an administrator wrote."""

from __future__ import annotations

import pytest

from fwpolicy.commands import outlooktext
from fwpolicy.deploy.bootorder import loaders
from fwpolicy.deploy.outlook import Outlook
from fwpolicy.deploy.persist import boot_files
from fwpolicy.host.files import Files
from tests.policy.reading import read

# As Debian 12 ships them, without their texts for people.
NFTABLES = """\
[Unit]
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/nftables.conf
ExecReload=/usr/sbin/nft -f /etc/nftables.conf
ExecStop=/usr/sbin/nft flush ruleset
"""
NFTABLES_CONF = '#!/usr/sbin/nft -f\n\nflush ruleset\n\ninclude "/etc/nftables.d/*.nft"\n'
PERSISTENT = """\
[Unit]
DefaultDependencies=no
Wants=network-pre.target systemd-modules-load.service local-fs.target
Before=network-pre.target shutdown.target
After=systemd-modules-load.service local-fs.target
[Service]
ExecStart=/usr/sbin/netfilter-persistent start
ExecStop=/usr/sbin/netfilter-persistent stop
"""
UFW = """\
[Unit]
DefaultDependencies=no
Before=network-pre.target
Wants=network-pre.target local-fs.target
After=local-fs.target
[Service]
ExecStart=/lib/ufw/ufw-init start quiet
"""
FIREWALLD = """\
[Unit]
Before=network-pre.target
Wants=network-pre.target
After=dbus.service
After=polkit.service
[Service]
ExecStart=/usr/sbin/firewalld --nofork --nopid
"""
FAIL2BAN = "[Unit]\nAfter=network.target\n[Service]\nExecStart=/usr/bin/fail2ban-server -xf start\n"
DOCKER = "[Unit]\nAfter=network-online.target docker.socket\n[Service]\nExecStart=/usr/sbin/dockerd\n"
OWN = "[Unit]\nAfter=network.target\n[Service]\nExecStart=/bin/sh -c '/sbin/iptables-restore < /root/rules'\n"
FLUSHING = "[Unit]\nAfter=network.target\n[Service]\nExecStart=/usr/sbin/nft -f /srv/own.nft\n"
ALONE = "and leaves ours alone"
SITE = boot_files(read("version: 1\ninput: {default: drop}\n"), "/var/lib/fwpolicy")


@pytest.fixture
def host(tmp_path):
    return Boot(tmp_path)


class Boot:
    def __init__(self, folder):
        self.folder = folder

    def write(self, path, text):
        place = self.folder / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def unit(self, name, text, folder="/lib/systemd/system", target="multi-user.target"):
        self.write(f"{folder}/{name}", text)
        wants = self.folder / f"etc/systemd/system/{target}.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / name).symlink_to(f"{folder}/{name}")

    def said(self, files=SITE):
        found = loaders(Files(str(self.folder)), files)
        return [
            line.removeprefix("also loaded at boot: ") for line in outlooktext.as_text(Outlook((), (), found))
        ]


def test_nobody_else(host):
    assert host.said() == []


def test_nftables_flushes_and_ours_come_back(host):
    host.unit("nftables.service", NFTABLES, target="sysinit.target")
    host.write("/etc/nftables.conf", NFTABLES_CONF)
    assert host.said() == [
        "nftables.service loads /etc/nftables.conf; /etc/nftables.conf:3 flushes everything; it runs before "
        "ours, and whenever it runs ours are loaded again"
    ]
    (loader,) = loaders(Files(str(host.folder)), ())
    assert loader.harmful and loader.order == "any"


def test_what_nftables_includes_is_read(host):
    host.unit("nftables.service", NFTABLES, target="sysinit.target")
    host.write("/etc/nftables.conf", NFTABLES_CONF.replace("flush ruleset", ""))
    host.write("/etc/nftables.d/a.nft", "# flush ruleset\ntable inet fwpolicy { }\n")
    assert host.said() == [
        "nftables.service loads /etc/nftables.conf; it runs before ours, and /etc/nftables.d/a.nft:2 names "
        "our own table"
    ]
    host.write("/etc/nftables.d/a.nft", "\n\nflush ruleset\n")
    assert "/etc/nftables.d/a.nft:3 flushes everything" in host.said()[0]


def test_those_that_leave_ours_alone(host):
    host.unit("netfilter-persistent.service", PERSISTENT)
    host.write("/etc/iptables/rules.v4", "*filter\nCOMMIT\n")
    host.unit("ufw.service", UFW)
    host.unit("firewalld.service", FIREWALLD)
    host.unit("fail2ban.service", FAIL2BAN)
    host.unit("docker.service", DOCKER)
    assert host.said() == [
        f"docker.service loads rules of its own; it runs after ours, {ALONE}",
        f"fail2ban.service loads rules of its own; it runs after ours, {ALONE}",
        f"firewalld.service loads rules of its own; it runs in no fixed order with ours, {ALONE}",
        f"netfilter-persistent.service loads /etc/iptables/rules.v4; it runs before ours, {ALONE}",
    ]
    host.write("/etc/ufw/ufw.conf", "ENABLED=yes\n")
    host.write("/etc/ufw/user.rules", "*filter\nCOMMIT\n")
    assert host.said()[-1] == (
        f"ufw.service loads /etc/ufw/user.rules; it runs in no fixed order with ours, {ALONE}"
    )


def test_an_administrators_own(host):
    host.unit("own.service", OWN, "/etc/systemd/system")
    host.write("/root/rules", "*filter\nCOMMIT\n")
    host.unit("late.service", FLUSHING, "/etc/systemd/system")
    host.write("/srv/own.nft", "table inet a { }\nflush ruleset\n")
    host.unit("web.service", "[Service]\nExecStart=/usr/sbin/nginx -c /etc/nftables-for-nginx\n")
    assert host.said() == [
        "late.service loads /srv/own.nft; it runs after ours, and /srv/own.nft:2 flushes ours, too: this "
        "host would be open",
        f"own.service loads /root/rules; it runs after ours, {ALONE}",
    ]


def test_masked_and_not_wanted_ones_do_nothing(host):
    host.unit("nftables.service", NFTABLES)
    (host.folder / "etc/systemd/system/nftables.service").symlink_to("/dev/null")
    host.write(
        "/lib/systemd/system/ferm.service", "[Service]\nExecStart=/usr/sbin/ferm /etc/ferm/ferm.conf\n"
    )
    assert host.said() == []


def test_drop_ins_count(host):
    host.unit("own.service", "[Service]\nExecStart=/bin/true\n", "/etc/systemd/system")
    assert host.said() == []
    host.write(
        "/etc/systemd/system/own.service.d/x.conf", "[Service]\nExecStart=/usr/sbin/nft flush ruleset\n"
    )
    assert "own.service (/usr/sbin/nft flush ruleset) flushes ours, too" in host.said()[0]


def test_scripts_of_interfaces_and_the_boots_end(host):
    host.write("/etc/network/interfaces", "iface eth0 inet dhcp\n  # pre-up iptables-restore </etc/x\n")
    host.write("/etc/network/if-pre-up.d/firewall", "#!/bin/sh\n\niptables-restore < /etc/firewall\n")
    host.write("/etc/rc.local", "#!/bin/sh\nnft flush ruleset\n")
    assert host.said() == [
        "/etc/rc.local:2 (nft) loads rules of its own; it runs after ours, and /etc/rc.local:2 flushes ours, "
        "too: this host would be open",
        "/etc/network/if-pre-up.d/firewall:3 (iptables-restore) loads rules of its own; it runs after ours, "
        f"{ALONE}",
    ]
