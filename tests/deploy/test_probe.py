"""The pure half of `fwpolicy probe`: bytes, the matrix, verdicts and both reports."""

from __future__ import annotations

import argparse
import json
from struct import unpack

import pytest

from fwpolicy.commands import probe as command
from fwpolicy.deploy.probe import ask, matrix, packets, report
from fwpolicy.deploy.probe.report import CLOSED, INCONCLUSIVE, OPEN, Control, Result, Target
from fwpolicy.host import capture
from fwpolicy.record import replace

V4, V6 = ("192.0.2.9", "198.51.100.7"), ("2001:db8::9", "2001:db8:1::7")


def named(name: str) -> matrix.Probe:
    return next(probe for probe in matrix.MATRIX if probe.name == name)


# Packets


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", range(6))
def test_time_packet(mode: int, version: int) -> None:
    packet = packets.time_packet(mode, version, 0x0123456789ABCDEF)
    assert len(packet) == 48
    assert (packet[0] & 7, packet[0] >> 3 & 7) == (mode, version)
    assert packet[40:] == bytes.fromhex("0123456789abcdef")


@pytest.mark.parametrize("mode", [0, 1, 2, 4, 5])
def test_nobody_sets_a_clock_by_a_probe(mode: int) -> None:
    packet = packets.time_packet(mode, 4, 1)
    assert (packet[0] >> 6, packet[1]) == (3, 16)  # leap "unsynchronised", stratum 16


def test_control_and_private_headers() -> None:
    assert packets.control(packets.READVAR, 2, 7) == bytes.fromhex("160200070000000000000000")
    assert packets.control(packets.READSTAT, 2, 7)[1] == 1
    monlist = packets.private(packets.MON_GETLIST_1, 2)
    assert monlist == bytes.fromhex("1700032a00000000") + bytes(40)  # the famous 8 octets


def test_cmdmon_header() -> None:
    request = packets.cmdmon(packets.CMDMON_TRACKING, 0xAABBCCDD)
    assert len(request) == 104
    assert request[:12] == bytes.fromhex("060100000021" + "0000" + "aabbccdd")


def test_answers_by_the_protocols_marks() -> None:
    ask = packets.time_packet(3, 4, 77)
    right = bytes([0x24]) + bytes(23) + ask[40:48] + bytes(8) + b"\1" * 8
    assert packets.answers(ask, right)
    assert not packets.answers(ask, right[:47])
    assert not packets.answers(ask, bytes([0x23]) + right[1:])  # a poll
    assert not packets.answers(ask, right[:24] + bytes(8) + right[32:])
    assert not packets.answers(ask, b"")


def test_own_requests_are_no_answers() -> None:
    for probe in matrix.MATRIX:
        request = matrix.payload(probe, 5)
        assert not packets.answers(request, request), probe.name


def test_answers_of_modes_6_and_7() -> None:
    ask = packets.control(packets.READVAR, 2, 300)
    reply = bytes([0x16, 0x82]) + ask[2:]
    assert packets.answers(ask, reply)
    assert packets.answers(ask, bytes([0x16, 0xC2]) + ask[2:])  # an error is an answer
    assert packets.is_control_error(bytes([0x16, 0xC2]) + ask[2:])
    assert not packets.is_control_error(reply)
    assert not packets.answers(packets.control(packets.READVAR, 2, 301), reply)
    assert not packets.answers(packets.control(packets.READSTAT, 2, 300), reply)
    monlist = packets.private(packets.MON_GETLIST_1, 2)
    assert packets.answers(monlist, bytes.fromhex("9700032a") + bytes(4))
    assert not packets.answers(monlist, bytes.fromhex("97000300") + bytes(4))


def test_checksum_of_rfc_1071() -> None:
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # section 3: sum ddf2
    assert packets.checksum(b"\x01") == packets.checksum(b"\x01\x00")


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("payload", [b"", b"x", b"abcd"])
def test_udp_checksum_verifies(ends: tuple[str, str], payload: bytes) -> None:
    datagram = packets.udp(*ends, (123, 40000), payload)
    assert unpack("!HHH", datagram[:6]) == (123, 40000, 8 + len(payload))
    pseudo = packets.packed(ends[0]) + packets.packed(ends[1]) + bytes([0, 17]) + datagram[4:6]
    assert packets.checksum(pseudo + datagram) == 0


@pytest.mark.parametrize("ends", [V4, V6])
def test_packets_read_back(ends: tuple[str, str]) -> None:
    for name in ("forged-mode3-v4", "readvar-v2-options"):
        (frame,) = matrix.frames(named(name), ends, 4000, 0x1234)
        seen = capture.parse(frame, outgoing=False)
        assert seen is not None
        assert (seen.source, seen.destination) == ends
        assert (seen.ports, seen.ident) == ((4000, 123), None)
        assert seen.payload == matrix.payload(named(name), 0x1234)
        if len(frame) and frame[0] >> 4 == 4:
            assert packets.checksum(frame[: (frame[0] & 15) * 4]) == 0


def test_options_move_the_payload() -> None:
    (four,) = matrix.frames(named("readvar-v2-options"), V4, 4000, 1)
    (six,) = matrix.frames(named("readvar-v2-options"), V6, 4000, 1)
    assert four[0] == 0x46
    assert (six[6], six[40]) == (60, 17)


@pytest.mark.parametrize("ends", [V4, V6])
def test_fragments(ends: tuple[str, str]) -> None:
    probe = named("readvar-v2-fragments")
    first, second = matrix.frames(probe, ends, 4000, 0xBEEF)
    header = 20 if ends == V4 else 48
    datagram = packets.udp(*ends, (4000, 123), matrix.payload(probe, 0xBEEF))
    assert (first[header:], second[header:]) == (datagram[:8], datagram[8:])
    place = slice(6, 8) if ends == V4 else slice(42, 44)
    assert (first[place], second[place]) == (
        (b"\x20\x00", b"\x00\x01") if ends == V4 else (b"\x00\x01", b"\x00\x08")
    )
    assert {capture.parse(each, outgoing=False).ident for each in (first, second)} == {0xBEEF}  # type: ignore[union-attr]
    assert matrix.frames(named("readvar-v2-reversed"), ends, 4000, 0xBEEF) == (second, first)
    assert len(matrix.frames(named("mode3-v4-first"), ends, 4000, 0xBEEF)) == 1


def test_atomic_fragment() -> None:
    (frame,) = matrix.frames(named("readvar-v2-atomic"), V6, 4000, 0xBEEF)
    assert (frame[6], frame[40], frame[42:44]) == (44, 17, b"\0\0")


# The matrix


def test_matrix_is_complete() -> None:
    assert len(matrix.of_family(4)) == 100
    assert len(matrix.of_family(6)) == 101
    names = [probe.name for probe in matrix.MATRIX]
    assert len(set(names)) == len(names)


def test_matrix_has_every_mode_version_and_port() -> None:
    plain = {
        (probe.mode, probe.version, probe.source_port)
        for probe in matrix.of_family(6)
        if not probe.raw and probe.to == "host" and probe.port == 123 and probe.kind != matrix.CONNECT
    }
    assert {(m, v, p) for m in range(8) for v in (1, 2, 3, 4) for p in (0, 123)} <= plain


def test_matrix_has_the_rest_of_the_list() -> None:
    for family in (4, 6):
        every = matrix.of_family(family)
        assert {probe.to for probe in every} == {"host", "broadcast", "multicast"}
        assert {"plain", "fragments", "reversed", "first", "options"} <= {probe.shape for probe in every}
        assert {probe.mode for probe in every if probe.forged} == set(range(8))
        assert all(probe.source_port == 123 for probe in every if probe.forged)
        tcp = {probe.port for probe in every if probe.kind == matrix.CONNECT}
        assert tcp == {123, 4460}
        assert {probe.port for probe in every if probe.kind == matrix.CMDMON} == {323}


def test_the_minimum() -> None:
    names = {probe.name for probe in matrix.of_family(4, quick=True)}
    words = ("mode3-v4", "mode1-v4", "readvar-v2", "readstat-v2", "monlist-v2")
    both = {f"{word}-{port}" for word in words for port in ("high", "123")}
    assert names == both | {"cmdmon-tracking", "nts-ke"}


def test_mode_3_goes_first() -> None:
    assert matrix.CONTROL_PROBE.name == "mode3-v4-high"
    assert matrix.CONTROL_PROBE_123.name == "mode3-v4-123"
    modes = [probe.mode for probe in matrix.MATRIX]
    assert modes[:8] == [3] * 8


def test_requests_are_of_their_mode() -> None:
    for probe in matrix.MATRIX:
        request = matrix.payload(probe, 9)
        if probe.kind in (matrix.TIME, matrix.CONTROL, matrix.PRIVATE):
            assert (request[0] & 7, request[0] >> 3 & 7) == (probe.mode, probe.version), probe.name


# Verdicts

GOOD = Control("time.example", "192.0.2.1", "answered", "answered")


def target(*outcomes: str, control: Control | None = GOOD, **more: object) -> Target:
    results = tuple(
        Result(probe, outcome, "why", 48 if outcome not in ("not sent", "blocked") else 0)
        for probe, outcome in zip(matrix.MATRIX, outcomes, strict=False)
    )
    return Target("h.example", "192.0.2.7", 4, control, results, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (target("silent", "silent"), CLOSED),
        (target("silent", "refused"), CLOSED),
        (target("silent", "not sent"), CLOSED),
        (target("not sent", "not sent"), INCONCLUSIVE),
        (target("silent", "answered"), OPEN),
        (target("silent", "silent", control=None), INCONCLUSIVE),
        (target("refused", "refused", control=None), INCONCLUSIVE),
        (target("silent", "answered", control=None), OPEN),
        (target("silent", "blocked"), INCONCLUSIVE),
        (target("answered", "blocked"), OPEN),
        (target("silent", "unreachable"), INCONCLUSIVE),
        (target(control=replace(GOOD, before="silent")), INCONCLUSIVE),
        (target("silent", control=replace(GOOD, after="silent")), INCONCLUSIVE),
        (target("answered", control=replace(GOOD, after="silent")), OPEN),
        (target(obstacle="no route"), INCONCLUSIVE),
    ],
)
def test_verdict(given: Target, verdict: str) -> None:
    assert report.judge(given).verdict == verdict
    assert report.overall((given,)) == verdict


def test_without_control_the_sentence_says_how_to_give_one() -> None:
    assert "--control HOST" in report.judge(target("silent", control=None)).reason


def test_one_then_three_then_zero() -> None:
    closed, opened = target("silent"), replace(target("answered"), host="b")
    unknown = replace(target("silent", control=None), host="c")
    assert report.overall((closed, opened)) == OPEN
    assert report.overall((closed, opened, unknown)) == INCONCLUSIVE
    assert [report.EXIT[v] for v in (INCONCLUSIVE, OPEN, CLOSED)] == [1, 3, 0]


def test_one_open_family_opens_the_host() -> None:
    six = replace(target("silent", control=None), family=6, address="2001:db8::7")
    assert report.host_verdict((target("answered"), six)) == OPEN
    assert report.host_verdict((target("silent"), six)) == INCONCLUSIVE


def result(name: str, outcome: str, **more: object) -> Result:
    return Result(named(name), outcome, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("results", "shown"),
    [
        ((result("readstat-v2-high", "answered", bytes_out=12),), "answer"),
        ((result("readstat-v2-high", "answered", bytes_out=12, error=True),), "error"),
        ((result("readstat-v2-high", "silent", bytes_out=12),), "timed out"),
        ((result("readstat-v2-high", "refused", bytes_out=12),), "refused"),
        ((result("readstat-v2-high", "blocked"),), "unknown"),
        ((result("readstat-v2-123", "answered", bytes_out=12),), "unknown"),
        (
            (
                result("mode3-v4-high", "refused", bytes_out=48),
                result("readstat-v2-high", "silent", bytes_out=12),
            ),
            "refused",
        ),
    ],
)
def test_what_ntpq_would_show(results: tuple[Result, ...], shown: str) -> None:
    assert report.ntpq(Target("h", "192.0.2.7", 4, GOOD, results)) == shown


def test_a_host_where_ntpq_times_out_and_others_answer() -> None:
    opened = Target(
        "192.0.2.7",
        "192.0.2.7",
        4,
        GOOD,
        (
            result("mode3-v4-high", "answered", bytes_out=48, bytes_in=48, packets_in=1),
            result("monlist-v2-123", "answered", bytes_out=48, bytes_in=41288, packets_in=94),
            result("readstat-v2-high", "silent", bytes_out=12),
            result("nts-ke", "not sent", reason="because"),
        ),
    )
    lines = report.text((opened,)).splitlines()
    assert any("monlist-v2-123" in line and "in 94 packets, x860.17" in line for line in lines)
    assert "  2 of 3 probes answered (1 silent, 1 not sent)" in lines
    assert "  not sent: nts-ke: because" in lines
    assert "  amplification: x860.17 (monlist-v2-123)" in lines
    (ntpq,) = [line for line in lines if "ntpq -pn 192.0.2.7" in line]
    assert '"timed out, nothing received" here, where 2 other probes were answered' in ntpq
    assert "exit status 0 either way" in ntpq
    assert lines[-1] == "192.0.2.7: OPEN"


def test_document() -> None:
    document = report.document((target("answered", "silent", "not sent"), target("silent")))
    assert json.loads(json.dumps(document)) == document
    assert list(document) == ["changed", "verdict", "exit", "hosts", "probes", "counts", "max_factor"]
    assert (document["changed"], document["verdict"], document["exit"]) == (False, OPEN, 3)
    assert document["counts"] == {
        "ipv4": {
            "probes": 4,
            "sent": 3,
            "answered": 1,
            "silent": 2,
            "refused": 0,
            "blocked": 0,
            "unreachable": 0,
            "not_sent": 1,
        }
    }
    keys = "name host address family forged sent outcome reason bytes_out bytes_in packets_in factor"
    assert list(document["probes"][0]) == keys.split()
    assert [entry["sent"] for entry in document["probes"]] == [True, True, False, True]
    keys = "host address family verdict reason control counts max_factor ntpq"
    assert list(document["hosts"][0]) == keys.split()


# What the wire reads, and the command line


@pytest.mark.parametrize("size", [0, 1, 19, 20, 27, 39, 40, 47])
def test_short_packets_are_no_packets(size: int) -> None:
    for first in (0x45, 0x60, 0x00):
        packet = bytes([first]) + bytes([44] * size)
        assert capture.parse(packet, outgoing=False) is None


def test_options_are_named_once() -> None:
    assert ask.Options.__slots__ == ask.OPTIONS  # type: ignore[attr-defined]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.arguments(parser)
    return parser.parse_args(arguments)


def test_options() -> None:
    options = parsed("a", "b", "-6", "--forge", "192.0.2.1", "--forge", "::1", "--spacing", "5")
    assert (options.hosts, options.family, options.forge) == (["a", "b"], 6, ["192.0.2.1", "::1"])
    assert (options.spacing, options.wait, options.controls, options.quick) == (5.0, 1.0, [], False)


@pytest.mark.parametrize(
    "wrong",
    [("--forge", "192.0.2.0/24"), ("--source", "time.example"), ("--spacing", "-1"), ("--wait", "nan")],
)
def test_wrong_options(wrong: tuple[str, str]) -> None:
    with pytest.raises(argparse.ArgumentError):
        parsed("host", *wrong)
