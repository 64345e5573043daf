"""What the script does to time daemons and to the boot, on files: SysV init, OpenRC, systemd, rc.local."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwpolicy.backends import chrony, ntpd
from fwpolicy.ir.timeservice import ConfigFile, DaemonConfig, TimeService
from fwpolicy.record import replace
from tests.golden import cases

from .oldhost import OldHost

pytestmark = pytest.mark.kernel

CLIENT, CLOSED = cases.policy("ntp-client"), cases.policy("ntp-closed")
NOW = ("apply", "--no-confirm")
NTP_CONF = """driftfile /var/lib/ntp/drift
restrict default kod
server 192.0.2.9
restrict 10.0.0.0 mask 255.0.0.0"""
CHRONY = {
    "/etc/chrony/chrony.conf": "confdir /etc/chrony/conf.d /etc/chrony/more\npool ntp.org iburst\nallow\n",
    "/etc/chrony/conf.d/a.conf": "allow 10.0.0.0/8\r\n",
    "/etc/chrony/more/a.conf": "allow 172.16.0.0/12\n",
    "/etc/chrony/more/b.conf": "port 123",
}
# What records how it is called, and does what is asked of links.
LOGGED = '#!/bin/sh\necho "${0##*/} $*" >> "$FWPOLICY_ROOT/called"\n'
RC_UPDATE = (
    LOGGED
    + """case "$1" in
add) ln -s "/etc/init.d/$2" "$FWPOLICY_ROOT/etc/runlevels/$3/$2" ;;
del) rm "$FWPOLICY_ROOT/etc/runlevels/$3/$2" ;;
esac
"""
)


@pytest.fixture
def host(netns, tmp_path):
    made = OldHost(netns, tmp_path, "busybox", "iptables-legacy")
    made.run("iptables-save")
    return made


def program(host: OldHost, path: str, text: str) -> None:
    place = host.root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o755)


def called(host: OldHost) -> list[str]:
    place = host.root / "called"
    lines = place.read_text().splitlines() if place.exists() else []
    place.unlink(missing_ok=True)
    return lines


def with_ntpd(host: OldHost, version: str = "ntpd 4.2.6p5@1.2349-o") -> Path:
    """An ntpd that is started in runlevels 2 and S, and does not run."""
    program(host, "/usr/sbin/ntpd", f"#!/bin/sh\necho '{version}'\n")
    program(host, "/etc/init.d/ntp", LOGGED)
    for level, name in (("2", "S17"), ("S", "K03")):
        (host.root / f"etc/rc{level}.d/{name}ntp").symlink_to("../init.d/ntp")
    conf = host.root / "etc/ntp.conf"
    conf.write_text(NTP_CONF)
    conf.chmod(0o640)
    return conf


def with_chrony(host: OldHost) -> None:
    program(host, "/usr/sbin/chronyd", "#!/bin/sh\necho 'chronyd (chrony) version 4.3 (+CMDMON)'\n")
    program(host, "/etc/init.d/chrony", LOGGED)
    (host.root / "etc/rc2.d/S17chrony").symlink_to("../init.d/chrony")
    for path, text in CHRONY.items():
        place = host.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode())


@pytest.mark.parametrize(
    "version", ["ntpd 4.2.6p5@1.2349-o", "ntpd - NTP daemon program - Ver. 4.2.6p5", "ntpd 4.2.8p15@1"]
)
def test_ntp_conf_gets_the_lines_of_the_backend(host, version):
    conf = with_ntpd(host, version)
    files = host.files()
    host.script(CLIENT, *NOW)
    found = DaemonConfig(
        "ntpd",
        (4, 2, 8, 15) if "4.2.8" in version else (4, 2, 6, 5),
        "/etc/ntp.conf",
        (ConfigFile("/etc/ntp.conf", NTP_CONF),),
    )
    (wanted,) = ntpd.change(TimeService("client-only"), found).files
    assert conf.read_text() == wanted.text
    assert conf.stat().st_mode & 0o777 == 0o640
    host.script(CLIENT, *NOW)
    assert conf.read_text() == wanted.text
    host.tool("undo")
    assert host.files() == files


def test_chrony_in_all_of_its_files(host):
    with_chrony(host)
    files = host.files()
    host.script(CLIENT, *NOW)
    read = [path for path in CHRONY if path != "/etc/chrony/more/a.conf"]
    found = DaemonConfig("chrony", (), read[0], tuple(ConfigFile(path, CHRONY[path]) for path in read))
    changed = chrony.change(TimeService("client-only"), found).files
    assert len(changed) == 3
    for each in changed:
        assert (host.root / each.path.lstrip("/")).read_bytes() == each.text.encode()
    assert (host.root / "etc/chrony/more/a.conf").read_text() == CHRONY["/etc/chrony/more/a.conf"]
    host.tool("undo")
    assert host.files() == files


def test_what_somebody_adds_stays(host):
    conf = with_ntpd(host)
    host.script(CLIENT, *NOW)
    assert host.tool("status").returncode == 0
    conf.write_text("logfile /var/log/ntp\n" + conf.read_text())
    shown = host.tool("status", check=False)
    assert shown.returncode == 2
    assert "/etc/ntp.conf was changed since" in shown.stdout
    host.script(CLIENT, *NOW)
    assert "/etc/ntp.conf as applied" in host.tool("status").stdout
    host.tool("undo")
    assert conf.read_text() == "logfile /var/log/ntp\n" + NTP_CONF
    host.script(CLIENT, "apply", "--confirm", "30")
    conf.write_text("# mine\n" + conf.read_text())
    said = host.tool("rollback").stderr
    assert "was edited since: kept as" in said
    assert conf.read_text() == "logfile /var/log/ntp\n" + NTP_CONF
    assert (host.state / "edited.ntp.conf").read_text().startswith("# mine\n")


def test_closed_is_out_of_every_runlevel(host):
    with_ntpd(host)
    files = host.files()
    host.script(CLOSED, "apply", "--confirm", "30")
    assert called(host) == ["ntp stop"]
    assert [path.name for path in (host.root / "etc/rc2.d").iterdir()] == ["K99ntp"]
    host.tool("rollback")
    assert host.files() == files
    host.script(CLOSED, *NOW)
    called(host)
    host.tool("undo")
    assert host.files() == files


def test_others_files_are_refused_before_anything_changes(host):
    conf = with_ntpd(host)
    conf.chmod(0o666)
    rules, files = host.rules(), host.files()
    said = host.script(CLIENT, *NOW, check=False)
    assert said.returncode == 1
    assert "others than root can change /etc/ntp.conf" in said.stderr
    assert (host.rules(), host.files()) == (rules, files)
    host.script(CLIENT, *NOW, "--no-daemon")
    assert conf.read_text() == NTP_CONF


def test_openrc(host):
    program(host, "/sbin/openrc-run", "#!/bin/sh\n")
    program(host, "/sbin/rc-update", RC_UPDATE)
    for level in ("boot", "sysinit"):
        (host.root / "etc/runlevels" / level).mkdir(parents=True)
    (host.root / "etc/runlevels/sysinit/networking").symlink_to("/etc/init.d/networking")
    files = host.files()
    host.script(CLIENT, *NOW)
    assert called(host) == ["rc-update add fwpolicy-script sysinit"], "where the network is"
    text = (host.root / "etc/init.d/fwpolicy-script").read_text()
    assert "before net networking\n" in text
    assert host.run("sh", "-n", str(host.root / "etc/init.d/fwpolicy-script")).returncode == 0
    host.tool("undo")
    called(host)
    assert host.files() == files


def test_chkconfig(host):
    program(host, "/sbin/chkconfig", LOGGED)
    files = host.files()
    host.script(CLIENT, *NOW)
    assert called(host) == ["chkconfig --add fwpolicy-script", "chkconfig fwpolicy-script on"]
    assert "# chkconfig: 2345 09 91" in (host.root / "etc/init.d/fwpolicy-script").read_text()
    host.tool("undo")
    assert called(host) == ["chkconfig --del fwpolicy-script"]
    assert host.files() == files


def test_systemd(host):
    program(host, "/usr/bin/systemctl", LOGGED)
    (host.root / "run/systemd/system").mkdir(parents=True)
    (host.root / "etc/systemd/system").mkdir(parents=True)
    files = host.files()
    host.script(CLIENT, *NOW)
    assert [line for line in called(host) if " show " not in line] == [
        "systemctl daemon-reload",
        "systemctl enable fwpolicy-script.service",
    ]
    assert (
        "Before=network-pre.target" in (host.root / "etc/systemd/system/fwpolicy-script.service").read_text()
    )
    host.tool("undo")
    called(host)
    assert host.files() == files


def test_rc_local_says_that_it_is_late(host):
    for folder in ("rcS.d", "rc2.d", "init.d"):
        (host.root / "etc" / folder).rmdir()
    place = host.root / "etc/rc.local"
    place.write_text("#!/bin/sh -e\nexit 0\n")
    place.chmod(0o755)
    files = host.files()
    assert "after the network" in host.script(CLIENT, *NOW).stdout
    assert place.read_text() == "#!/bin/sh -e\nsh /var/lib/fwpolicy-script/tool/tool.sh boot\nexit 0\n"
    assert place.stat().st_mode & 0o777 == 0o755
    host.script(CLIENT, *NOW)
    assert place.read_text().count("tool.sh boot") == 1
    host.tool("undo")
    assert host.files() == files
    place.unlink()
    said = host.script(CLIENT, *NOW, check=False)
    assert said.returncode == 1
    assert "--no-persist does without" in said.stderr


def test_a_policy_that_only_verifies(host, tmp_path):
    with_ntpd(host)
    policy = replace(CLIENT, apply=replace(CLIENT.apply, daemon_config="verify"))
    files = host.files()
    said = host.script(policy, *NOW, check=False)
    assert "does not say what the role needs" in said.stderr
    assert host.files() == files
