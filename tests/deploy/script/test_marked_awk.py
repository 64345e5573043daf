"""marked.awk edits a configuration as markedtext.py and the daemons' backends do, byte for byte."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fwpolicy import markedtext
from fwpolicy.addresses import of
from fwpolicy.backends import chrony, ntpd, openntpd
from fwpolicy.deploy.script import clockblocks
from fwpolicy.ir.timeservice import ConfigFile, DaemonConfig, TimeService

from .awk import AWKS, awk

FIXTURES = Path(__file__).parents[2] / "backends" / "fixtures"
BACKENDS = {"ntpd": ntpd, "ntpsec": ntpd, "chrony": chrony, "openntpd": openntpd}
SERVICES = (
    TimeService("client-only"),
    TimeService("client-only", monitors=True),
    TimeService("server", serve=of("192.0.2.0/24", "2001:db8::/48")),
    TimeService("server", serve=of("0.0.0.0/0"), nts=True),
)
LINES = (
    "", "# a comment", "driftfile /var/lib/ntp/drift", "  restrict default kod nomodify",
    "restrict -6 default", "restrict 10.0.0.9 ignore", "restrict 127.0.0.1",
    "restrict 0.0.0.0 mask 0.0.0.0 ignore", "restrict ::1 ignore", "restrict 2001:db8::7 ignore # a ban",
    "restrict source", "Restrict 10.0.0.300 ignore", "unrestrict 10.0.0.1", "server 192.0.2.7 iburst",
    "server -4 time.example.org", "pool 2.debian.pool.ntp.org iburst", "peer 192.0.2.9",
    "peer time.example.org", "server 127.127.1.0", 'server "ntp.example.org:1123"', "server 2001:db8::123",
    "enable mode7 stats", "enable monitor", "enable bclient auth # x", "disable auth",
    "nts enable cert /etc/x key /etc/y", "nts cookie /var/x enable", "nts disable ca /etc/z",
    "broadcastclient", "crypto pw x", "manycastserver 239.0.0.1", "allow 10.0.0.0/8", "Allow", "! allow",
    "% port 1", "port 123", "cmdallow all", "bindcmdaddress /run/chrony.sock", "bindcmdaddress 127.0.0.1",
    "bindcmdaddress", "local stratum 10", "acquisitionport 123", "acquisitionport 1123",
    "ntsserverkey /etc/k", "broadcast 30 10.0.0.255", "cmdport 1", "listen on *", "listen on 127.0.0.1",
    'listen on "::1"', "listen \\", "  on 10.0.0.1", "listen on 10.0.0.1 # y", "servers pool.ntp.org",
    "#fwpolicy# restrict default", "#fwpolicy# #fwpolicy# allow", "# END fwpolicy", "# BEGIN fwpolicy",
    "# BEGIN fwpolicy: old (the line above had no line end)", "# BEGIN fwpolicys",
)  # fmt: skip


def texts() -> list[str]:
    random = Random(5)
    made = []
    for _ in range(120):
        line_end = random.choice(["\n", "\n", "\n", "\r\n"])
        text = line_end.join(random.choices(LINES, k=random.randint(0, 9)))
        made.append(text + random.choice([line_end, line_end, ""]))
    return [path.read_text() for path in sorted(FIXTURES.glob("*.conf"))] + ["", "\n", "x"] + made


def rewritten(name: str, service: TimeService, found: DaemonConfig, work: Path) -> str:
    """What the script makes of the only file."""
    (config,) = found.files
    place, block, facts, blocks = (work / each for each in ("config", "block", "facts", "blocks"))
    place.write_bytes(config.text.encode())
    blocks.write_text(clockblocks.blocks(service))
    ended = not config.text or config.text.endswith("\n")
    how = {"kind": found.kind, "ended": int(ended), "role": service.mode, "nts": int(service.nts)}
    facts.write_text(awk(name, "marked.awk", place, mode="facts", **how))
    version = " ".join(map(str, found.version))
    block.write_text(awk(name, "block.awk", blocks, facts=facts, kind=found.kind, version=version))
    return awk(name, "marked.awk", place, mode="rewrite", main=1, block=block, **how)


@pytest.mark.parametrize("name", AWKS)
@pytest.mark.parametrize("kind", BACKENDS)
def test_a_configuration_is_rewritten(name, kind, tmp_path):
    for number, text in enumerate(texts()):
        service = SERVICES[number % len(SERVICES)]
        version = (4, 2, 6, 5) if kind == "ntpd" and number % 3 == 0 else ()
        found = DaemonConfig(kind, version, "/etc/x", (ConfigFile("/etc/x", text),))
        changed = BACKENDS[kind].change(service, found).files
        wanted = changed[0].text if changed else text
        assert rewritten(name, service, found, tmp_path) == wanted, (service, text)


@pytest.mark.parametrize("name", AWKS)
def test_it_is_taken_back(name, tmp_path):
    place = tmp_path / "config"
    for text in texts():
        place.write_bytes(text.encode())
        ended = int(not text or text.endswith("\n"))
        assert awk(name, "marked.awk", place, mode="strip", ended=ended) == markedtext.strip(text), text


@pytest.mark.parametrize("name", AWKS)
@pytest.mark.parametrize("kind", BACKENDS)
def test_the_files_that_are_included(name, kind, tmp_path):
    place = tmp_path / "config"
    place.write_text(
        'include /a/*.conf\nconfdir /b /c/\nsourcedir /d\nincludefile keys\nincludefile "/e/f/" # x\n'
    )
    found = awk(name, "marked.awk", place, mode="includes", kind=kind, folder="/etc/ntpsec", ended=1)
    includes = ntpd.ntpsec_includes if kind == "ntpsec" else BACKENDS[kind].includes
    groups = includes("/etc/ntpsec/ntp.conf", place.read_text(), False)
    assert [tuple(line.split("\t")) for line in found.splitlines()] == list(groups)
