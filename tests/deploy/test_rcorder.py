"""Who else loads rules at boot where scripts do: Debian's, RHEL's and Alpine's, and an administrator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwpolicy.deploy.rcorder import script_loaders
from fwpolicy.deploy.starters import SCRIPT_PATH, STARTERS
from fwpolicy.host.files import Files

if TYPE_CHECKING:
    from pathlib import Path

# As Debian 12 ships it, without its texts for people.
PERSISTENT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          netfilter-persistent
# Required-Start:    mountkernfs $remote_fs
# Default-Start:     S
### END INIT INFO
case "$1" in
start|restart) /usr/sbin/netfilter-persistent start ;;
esac
"""
OWN = '#!/bin/sh\n# chkconfig: 345 99 01\ncase "$1" in\nstart)\n\t/usr/sbin/nft -f /srv/own.nft\n;;\nesac\n'
PLAIN = '#!/bin/sh\n# no iptables here\n/usr/sbin/cron "$1"\n'
# insserv's, of a Debian 12 with fwpolicy.
DEPENDS = """\
TARGETS = mountkernfs.sh mountall.sh early fwpolicy networking side mountnfs.sh netfilter-persistent
INTERACTIVE = checkroot.sh
mountall.sh: mountkernfs.sh
fwpolicy: mountall.sh early
networking: mountall.sh fwpolicy
side: mountkernfs.sh
mountnfs.sh: mountall.sh networking
netfilter-persistent: mountnfs.sh
"""


class Host:
    """Files below a folder, scripts linked into runlevels."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def script(self, name: str, text: str, *links: str) -> None:
        """`links` below /etc: "rcS.d/S12name", or "runlevels/boot/name"."""
        self.write(f"/etc/init.d/{name}", text)
        for link in links:
            place = self.root / "etc" / link
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(f"/etc/init.d/{name}")

    def ours(self, init: str, *links: str) -> None:
        (script,) = STARTERS[init]("/var/lib/fwpolicy")
        self.script("fwpolicy", script.text, *links)

    def says(self, init: str) -> list[str]:
        return [str(each) for each in script_loaders(Files(str(self.root)), init)]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_debian_by_what_waits_for_what(host: Host) -> None:
    host.ours("sysv", "rcS.d/S09fwpolicy")
    host.script("early", OWN, "rcS.d/S07early")
    host.script("side", OWN, "rcS.d/S02side")
    host.script("netfilter-persistent", PERSISTENT, "rcS.d/S12netfilter-persistent")
    host.script("cron", PLAIN, "rc2.d/S01cron")
    host.script("fail2ban", PLAIN, "rc2.d/S01fail2ban", "rc3.d/S04fail2ban")
    host.script("idle", OWN)
    host.write("/etc/init.d/.depend.boot", DEPENDS)
    host.write("/etc/iptables/rules.v4", "*filter\nCOMMIT\n")
    assert host.says("sysv") == [
        # A lower number is not before, where scripts run side by side.
        "/etc/init.d/side loads rules of its own; it runs in no fixed order with ours, and leaves ours alone",
        "/etc/init.d/early loads rules of its own; it runs before ours, and leaves ours alone",
        "/etc/init.d/netfilter-persistent loads /etc/iptables/rules.v4; it runs after ours, "
        "and leaves ours alone",
        "/etc/init.d/fail2ban loads rules of its own; it runs after ours, and leaves ours alone",
    ]


def test_a_flush_after_ours_is_harmful_and_one_before_is_not(host: Host) -> None:
    host.ours("sysv", "rcS.d/S09fwpolicy")
    host.script("nftables", PLAIN, "rc2.d/S01nftables")
    host.script("early", OWN, "rcS.d/S07early")
    for path in ("/etc/nftables.conf", "/srv/own.nft"):
        host.write(path, "#!/usr/sbin/nft -f\nflush ruleset\ntable inet fwpolicy {}\n")
    host.write("/etc/init.d/.depend.boot", DEPENDS)
    early, late = script_loaders(Files(str(host.root)), "sysv")
    assert (early.order, early.harmful, early.flushes) == ("before", False, "/srv/own.nft:2")
    assert (late.order, late.harmful, late.touches) == ("after", True, "/etc/nftables.conf:3")


def test_before_our_script_is_there_the_network_tells(host: Host) -> None:
    host.script("networking", PLAIN, "rcS.d/S09networking")
    host.script("early", OWN, "rcS.d/S07early")
    host.script("netfilter-persistent", PERSISTENT, "rcS.d/S12netfilter-persistent")
    host.write(
        "/etc/init.d/.depend.boot", "".join(DEPENDS.splitlines(keepends=True)[5:]).replace("fwpolicy", "")
    )
    assert [each.order for each in script_loaders(Files(str(host.root)), "sysv")] == ["any", "after"]


@pytest.mark.parametrize("there", [True, False])
def test_rhel_by_number(host: Host, there: bool) -> None:
    if there:
        host.ours("chkconfig", "rc3.d/S09fwpolicy")
    host.script("iptables", PLAIN, "rc2.d/S08iptables", "rc3.d/S08iptables")
    host.script("ip6tables", PLAIN, "rc3.d/K92ip6tables")
    host.script("network", PLAIN, "rc3.d/S10network")
    host.script("own", OWN, "rc3.d/S99own")
    host.write("/etc/sysconfig/iptables", "*filter\nCOMMIT\n")
    found = script_loaders(Files(str(host.root)), "chkconfig")
    assert [(each.name, each.files, each.order) for each in found] == [
        ("/etc/init.d/iptables", ("/etc/sysconfig/iptables",), "before" if there else "any"),
        ("/etc/init.d/own", (), "after"),
    ]


def test_ufw_says_itself_whether_it_is_on(host: Host) -> None:
    host.script("ufw", PLAIN, "rcS.d/S05ufw")
    assert host.says("sysv") == []
    host.write("/etc/ufw/ufw.conf", "ENABLED=yes\n")
    assert len(host.says("sysv")) == 1


def test_alpine_by_runlevel_and_by_what_our_script_names(host: Host) -> None:
    host.ours("openrc", "runlevels/boot/fwpolicy")
    host.script("iptables", PLAIN, "runlevels/boot/iptables")
    host.script("own", OWN, "runlevels/boot/own")
    host.script("nftables", PLAIN, "runlevels/default/nftables")
    host.write("/etc/iptables/rules-save", "*filter\nCOMMIT\n")
    host.write("/etc/nftables.nft", "#!/usr/sbin/nft -f\nflush ruleset\n")
    found = {each.name: each for each in script_loaders(Files(str(host.root)), "openrc")}
    assert {name.rpartition("/")[2]: each.order for name, each in found.items()} == {
        "iptables": "before",
        "own": "any",
        "nftables": "after",
    }
    assert found["/etc/init.d/nftables"].harmful
    assert found["/etc/init.d/iptables"].files == ("/etc/iptables/rules-save",)
    assert f"{SCRIPT_PATH}" not in found
