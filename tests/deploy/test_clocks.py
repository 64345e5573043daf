"""What the daemons' own tools print (Debian 12, and ntp.org's of Debian 11), and what is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwpolicy.deploy import clocks, daemons

if TYPE_CHECKING:
    from fwpolicy.deploy.clocks import Clock

NOW = 1_795_704_310.0
CHRONY = "0B0FF4C2,fd00:77::251,2,1795704302.895521661,0.1,0.1,0.1,-0.258,0.015,0.503,0.1,0.1,2.0,{}\n"
PEERS = """\
peer
   wt tl st  next  poll          offset       delay      jitter
192.168.77.251 ntp.example.org
    1  5  1    3s    7s             ---- peer not valid ----
fd00:77::252 
 *  1  {trust}  1  {rest:>5}s {poll:>5}s         0.005ms     0.061ms     0.032ms
"""  # noqa: W291  (ntpctl's own)
MESSAGE = '{{"type":"(uuuuittayttttbtt)","data":[{},4,4,1,-25,0,0,[127,127,1,1],1,2,3,{},{},2,1]}}\n'


def ntpq(leap: str, stratum: str, peer: str, received: str) -> dict[str, str]:
    return {
        "rv 0 leap,stratum,peer": f"Output set to raw\n\nleap={leap}, stratum={stratum}, peer={peer}\n",
        f"rv {peer} rec": f"Output set to raw\n\nrec={received}\n",
    }


def answered(clock: Clock, said: str | dict[str, str], now: float = NOW) -> float | None:
    """`said`: what the tool prints, whatever it is asked, or by its last argument."""

    def ask(arguments: tuple[str, ...]) -> str:
        return said if isinstance(said, str) else said[arguments[-1]]

    return clock.answered(ask, now)


@pytest.mark.parametrize("leap", ["Normal", "Insert second", "Delete second"])
def test_chrony(leap: str) -> None:
    assert answered(clocks.CHRONY, CHRONY.format(leap)) == pytest.approx(1795704302.8955216)


@pytest.mark.parametrize(
    "said",
    [
        "506 Cannot talk to daemon\n",
        "00000000,,0,0.000000000,0.1,0.1,0.1,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n",
        CHRONY.format("Not synchronised"),
        CHRONY.format("Normal").replace("0B0FF4C2", "7F7F0101"),  # its own clock
        CHRONY.format("Normal").replace("1795704302.895521661", "nan"),
    ],
)
def test_chrony_is_not_synchronised(said: str) -> None:
    assert answered(clocks.CHRONY, said) is None


def test_ntpd() -> None:
    said = ntpq("0", "2", "55456", "0xeeb2c46d.12e91ac3")
    assert answered(clocks.NTPD, said) == pytest.approx(1795704301.0738, abs=0.001)
    # The era that begins in 2036.
    later = ntpq("0", "2", "55456", "0x00000010.00000000")
    assert answered(clocks.NTPD, later) == 2_085_978_496 + 16


@pytest.mark.parametrize(
    ("leap", "stratum", "peer", "received"),
    [
        ("3", "16", "0", ""),
        ("3", "2", "55456", "0xeeb2c46d.12e91ac3"),
        ("0", "16", "55456", "0xeeb2c46d.12e91ac3"),
        ("0", "2", "0", "0xeeb2c46d.12e91ac3"),
        ("0", "2", "55456", "0x00000000.00000000"),
        ("0", "2", "55456", "nonsense"),
        ("zero", "2", "55456", "0xeeb2c46d.12e91ac3"),
    ],
)
def test_ntpd_is_not_synchronised(leap: str, stratum: str, peer: str, received: str) -> None:
    assert answered(clocks.NTPD, ntpq(leap, stratum, peer, received)) is None


def test_ntpd_is_not_there() -> None:
    assert answered(clocks.NTPD, "Output set to raw\n\n") is None


def test_openntpd() -> None:
    """The answer began the countdown: 7 s of 30 are gone, and one is given away."""
    assert answered(clocks.OPENNTPD, PEERS.format(trust=10, rest=23, poll=30)) == NOW - 8


def test_openntpd_takes_the_latest_answer() -> None:
    one, other = (PEERS.format(trust=10, rest=rest, poll=30) for rest in (3, 29))
    assert answered(clocks.OPENNTPD, one + other) == NOW - 2


def test_openntpd_has_no_answer() -> None:
    put_off = PEERS.format(trust=10, rest=2990, poll=3000)  # after an ICMP error
    valid = PEERS.format(trust=10, rest=2, poll=3)
    invalid = "\n".join(valid.splitlines()[:4])
    for said in (put_off, invalid, "", "ntpctl: connect: Connection refused\n"):
        assert answered(clocks.OPENNTPD, said) is None


def test_timesyncd() -> None:
    said = MESSAGE.format(0, 1795704303041609, "false")
    assert answered(clocks.TIMESYNCD, said) == pytest.approx(1795704303.041609)


@pytest.mark.parametrize(
    "said",
    [
        MESSAGE.format(3, 1795704303041609, "false"),
        MESSAGE.format(0, 1795704303041609, "true"),
        MESSAGE.format(0, 0, "false"),  # no answer yet
        "",
        "{}",
        '{"data": []}',
        '{"data": null}',
        '{"data": ["x", "y"]}',
    ],
)
def test_timesyncd_is_not_synchronised(said: str) -> None:
    assert answered(clocks.TIMESYNCD, said) is None


def test_asking_starts_nothing() -> None:
    """D-Bus would start a timesyncd that was stopped, to answer us."""
    asked = []
    clocks.TIMESYNCD.answered(lambda arguments: asked.append(arguments) or "", NOW)
    assert asked[0][0] == "--auto-start=no"


def test_every_daemon_has_a_tool() -> None:
    for one in daemons.DAEMONS:
        assert all(path.startswith("/") for path in one.clock.tools)
        assert answered(one.clock, "") is None
