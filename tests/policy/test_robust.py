"""Whatever bytes come: exit code 1 and a message, never a traceback, never a machine on its knees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fwpolicy import source, yamltree
from fwpolicy.cli import main
from fwpolicy.errors import MAX_PROBLEMS, PolicyError
from fwpolicy.host import texts
from fwpolicy.policy.load import load
from tests.policy.gallery import FOLDER

ROOT = Path(__file__).parent.parent.parent
SHIPPED = [path.read_bytes() for path in sorted((ROOT / "policies").glob("*.yaml"))]
WHOLE = b"""\
version: 1
name: web-01
description: one line
backends: [nft]
groups:
  admin: [192.0.2.0/24, "2001:db8:1::/48", 198.51.100.7-198.51.100.20]
  app: {optional: true, addresses: []}
  banned: {dynamic: 1h}
zones: {wan: eth0, lan: [eth1, "wg*"]}
services: {metrics: tcp/9100, media: [udp/10000-20000, metrics]}
roles: {ntp: {mode: server, serve: [private], monitors: [127.0.0.1], daemon: chrony, nts: true}}
input:
  default: drop
  allow:
    - ssh
    - {service: [media, tcp/8443], from: admin, except: {from: 192.0.2.66}, comment: "a, b"}
    - {service: https, in: lan, sport: 1024-65535, local: 192.0.2.1, published: true, family: ipv4, log: web}
    - {service: dns, limit: 9/second, burst: 20, per: source, max: 30, id: dns, owner: noc, ticket: OPS-1}
  block: [{from: 203.0.113.0/24, action: reject}, {from: banned, expires: 2027-01-31, log: true}]
output: {default: accept}
forward: {default: drop, allow: [{in: lan, out: wan, from: private, to: internet, except: {family: ipv6}}]}
nat:
  masquerade: [{out: wan, family: ipv4}]
  forward: [{in: wan, service: https, to: 192.168.1.10, port: 8443, hairpin: true}]
  snat: [{out: wan, from: 192.168.2.0/24, to: 198.51.100.9}]
  clamp-mss: true
log: {denied: true, rate: 5/minute, prefix: fwp, group: 3}
tests:
  - {allow: ssh, from: 192.0.2.10, at: 2027-01-31, source-in: none}
  - {deny: ntp, from: any, mode: 7, state: new}
  - {allow: tcp/8443, from: any, to: 192.168.1.10, in: wan, out: lan, published: 443, sport: 9}
apply:
  {conntrack: keep, foreign: keep, daemon-config: verify, on-boot-failure: ssh-only, confirm: 5m,
   gates: [synchronised, {reach: metrics, to: [192.0.2.10, "2001:db8:1::7"]}, {run: [/bin/test, -d, /]}]}
"""
TOKENS = (
    *("version: 1\n", "version", "groups", "services", "roles", "input", "output", "tests", "apply", "name"),
    *(
        "default",
        "allow",
        "block",
        "service",
        "from",
        "to",
        "except",
        "comment",
        "action",
        "file",
        "optional",
    ),
    *("zones", "forward", "nat", "log", "include", "override", "in", "out", "sport", "limit", "id", "family"),
    *("expires", "dynamic", "hosts", "wan", "lan", "eth0", "wg*", "+", "1h", "3/minute", "2027-01-31"),
    *("confirm", "gates", "60s", "reach", "run", "synchronised", "/bin/true"),
    *("addresses", "ntp", "client-only", "server", "serve", "servers", "monitors", "mode", "drop", "accept"),
    *(
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "\n  - ",
        "- ",
        ", ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "#",
        "&a ",
        "*a",
    ),
    *("!!str ", "---\n", "...\n", "|\n", ">\n", "? ", "<<: ", "%", "@", "\t", "\0", "\u2028", "é", "\\", "~"),
    *("any", "private", "10.0.0.0/8", "::1", '"2001:db8::/32"', "fe80::", "tcp/22", "udp/1-9", "ssh", "0123"),
)
quick = settings(derandomize=True, deadline=None, max_examples=500)


def no_files(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", path)


def survives(data: bytes) -> bool:
    """Whether `data` is a policy; where not, every problem says where."""
    try:
        load((("random.yaml", data),), no_files)
    except PolicyError as error:
        assert error.problems
        for problem in error.problems[:MAX_PROBLEMS]:
            assert problem.span is not None, problem
            assert problem.span.line >= 1
            assert problem.span.column >= 1
            assert problem.span.end > problem.span.column
            assert problem.message
        lines = str(error).splitlines()
        assert all(line.isprintable() or "\t" in line for line in lines)
        return False
    return True


def check(path: object, capsys) -> str:
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


@quick
@given(st.binary(max_size=200))
def test_random_bytes(data):
    survives(data)
    survives(b"version: 1\nroles: {ntp: client-only}\n" + data)


@quick
@given(st.lists(st.sampled_from(TOKENS), max_size=40))
def test_token_soup(tokens):
    survives("".join(tokens).encode())
    survives(("version: 1\n" + "".join(tokens)).encode())


@quick
@given(st.sampled_from([WHOLE, *SHIPPED]), st.data())
def test_mutated_policies(data, draw):
    mutated = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(mutated) - 1))
        kind = draw.draw(st.sampled_from(("change", "delete", "insert", "repeat")))
        if kind == "change":
            mutated[at] = draw.draw(st.integers(0, 255))
        elif kind == "delete":
            del mutated[at : at + draw.draw(st.integers(1, 20))]
        elif kind == "insert":
            mutated[at:at] = draw.draw(st.sampled_from(TOKENS)).encode()
        else:
            mutated[at:at] = mutated[at : at + draw.draw(st.integers(1, 60))]
        if not mutated:
            break
    survives(bytes(mutated))


@quick
@given(st.text(alphabet="ab\n\n\r\x85\u2028\u2029", max_size=60), st.integers(1, 9))
def test_lines_are_found_where_a_split_finds_them(content, stride):
    expected = re.split("\r\n|[\n\r\x85\u2028\u2029]", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_STRIDE", stride)
        text = source.Text("a.yaml", content)
        assert list(text.lines()) == expected
        assert [text.line(number) for number in range(1, len(expected) + 1)] == expected
        assert text.line(len(expected) + 1) == ""


ODD = (
    *(
        b"",
        b'""',
        b"[]",
        b"{}",
        b"[[]]",
        b"[{}]",
        b"{a: b}",
        b"~",
        b"no",
        b"0",
        b"-1",
        b"any",
        b"app",
        b"metrics",
    ),
    *(b"'10.0.0.1'", b"'::1'", b"icmp/8", b"icmpv6/1", b"[ssh, ssh]", b"[any, app]", b"broken", b"9" * 5000),
)
BROKEN = b"services: {broken: [], "


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_value_in_every_place(odd):
    """Each word, list and mapping of a policy in turn; `broken` is a service that cannot be read."""
    whole = WHOLE.replace(b"services: {", BROKEN) if odd == b"broken" else WHOLE
    for place in re.finditer(rb"[\w./-]+|\[[^\[\]]*\]|\{[^{}]*\}", whole):
        survives(whole[: place.start()] + odd + whole[place.end() :])


def test_what_is_mutated_is_a_policy():
    assert all(survives(data) for data in [WHOLE, *SHIPPED])


@pytest.mark.parametrize("lines", range(1, WHOLE.count(b"\n") + 1))
def test_a_policy_cut_off_anywhere(lines):
    cut = b"".join(WHOLE.splitlines(keepends=True)[:lines])
    survives(cut)
    survives(cut[:-2])


DEEP = {
    "lists": b"[" * 10_000,
    "closed lists": b"groups: " + b"[" * 10_000 + b"]" * 10_000,
    "mappings in braces": b"{a: " * 10_000,
    "mappings in lines": b"\n".join(b" " * n + b"a:" for n in range(10_000)),
    "lists in one line": b"- " * 10_000 + b"a",
    "keys of keys": b"? " * 10_000,
    "quotes": b'"' * 10_001,
    "anchors": b"&a " * 10_000,
    "names of groups": b"version: 1\ngroups:\n  g0: 10.0.0.1\n"
    + b"".join(b"  g%d: g%d\n" % (n + 1, n) for n in range(10_000)),
    "names of services": b"version: 1\nservices:\n  s10000: tcp/1\n"
    + b"".join(b"  s%d: s%d\n" % (n, n + 1) for n in range(10_000)),
}


@pytest.mark.parametrize("what", DEEP)
def test_depth(what):
    assert not survives(DEEP[what])


BOMBS = {
    "lists": b"a: &a [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 9)) for c in range(97, 120)),
    "mappings": b"a: &a {k: x, l: x, m: x}\n"
    + b"".join(b"%c: &%c {k: *%c, l: *%c, m: *%c}\n" % (c + 1, c + 1, c, c, c) for c in range(97, 121)),
    "one list": b"a: &a [" + b"x, " * 1000 + b"x]\nb: [" + b"*a, " * 1000 + b"*a]\n",
    "services": b"version: 1\nroles: {ntp: client-only}\nservices:\n  s0: tcp/80000\n"
    + b"".join(b"  s%d: [s%d, s%d, s%d]\n" % (n + 1, n, n, n) for n in range(30)),
    "groups": b"version: 1\nroles: {ntp: client-only}\ngroups:\n  g0: 10.0.0.300\n"
    + b"".join(b"  g%d: [g%d, g%d, g%d]\n" % (n + 1, n, n, n) for n in range(30)),
}


@pytest.mark.parametrize("what", BOMBS)
def test_bombs(what):
    start = time.monotonic()
    assert not survives(BOMBS[what])
    assert time.monotonic() - start < 2


def test_names_that_grow_by_doubling_are_a_policy():
    """A service of three billion ports is one port three billion times."""
    assert survives(
        b"version: 1\ninput: {default: drop, allow: [s30]}\nservices:\n  s0: tcp/80\n"
        + b"".join(b"  s%d: [s%d, s%d]\n" % (n + 1, n, n) for n in range(30))
    )


def test_a_million_errors_are_not_all_told():
    problems = _problems(b"version: 1\ninput:\n  default: drop\n  allow:\n" + b"    - tcp/0\n" * 20_000)
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].message == "these are the first 1,000 problems"


def test_warnings_do_not_crowd_out_an_error():
    wrong = b"version: 1\ninput:\n  default: drop\n  allow:\n" + b"    - ssh\n" * 3000 + b"    - tcp/0\n"
    assert [problem.message for problem in _problems(wrong)] == ["the port 0 is out of range: 1 to 65535"]
    wrong = wrong.replace(b"    - ssh\n" * 3000, b"    - {service: [" + b"ssh, " * 3000 + b"dns]}\n")
    assert [problem.message for problem in _problems(wrong)] == ["the port 0 is out of range: 1 to 65535"]
    wrong = wrong.replace(b"tcp/0", b"{service: ssh, to: any}")
    assert len(_problems(wrong)) == 1


def _problems(data: bytes):
    with pytest.raises(PolicyError) as caught:
        load((("a.yaml", data),), no_files)
    return caught.value.problems


MEASURE = """
import sys, time
sys.path.insert(0, sys.argv[2])
from fwpolicy.cli import main
code = main(["check", sys.argv[1]])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(code, int(peak.split()[1]) // 1024, round(time.process_time()))
"""
MIB = 1 << 20
HUGE = {
    "blank lines": b"\n",
    "items": b"- 1\n",
    "lines": b"- {a: b}\n",
    "words": b"- {a: b c d e}\n- {a: " + b"b " * 100_000,
    "comments": b"# " + b"x" * 77 + b"\n",
    "flow": b"[],",
    "one word": b"w",
}


@pytest.mark.parametrize("what", HUGE)
def test_64_mib(tmp_path, what):
    """Refused within seconds and a gigabyte: as much as a file may hold."""
    path = tmp_path / "huge.yaml"
    head = b"[" if what == "flow" else b""
    path.write_bytes((head + HUGE[what] * (source.MAX_BYTES // len(HUGE[what])))[: source.MAX_BYTES])
    assert path.stat().st_size > 63 * MIB
    command = [sys.executable, "-c", MEASURE, str(path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    code, mebibytes, seconds = map(int, done.stdout.split())
    assert seconds < 15
    assert code == 1
    assert mebibytes < 1024
    assert done.stderr.startswith(f"{path}:")
    assert len(done.stderr) < 5000


def test_one_byte_over_64_mib(tmp_path, capsys):
    path = tmp_path / "over.yaml"
    with path.open("wb") as stream:
        stream.truncate(source.MAX_BYTES + 1)
    start = time.monotonic()
    said = check(path, capsys)
    assert time.monotonic() - start < 2
    assert said.startswith(f"{path}:1:1: error: the file is larger than 64 MiB\n")


def test_a_group_file_over_64_mib_and_one_of_a_million_lines(monkeypatch):
    policy = b"version: 1\ngroups: {a: {file: a.txt}}\ninput: {default: drop, block: [{from: a}]}\n"
    with pytest.raises(PolicyError, match=r"a\.txt:1:1: error: the file is larger than 64 MiB"):
        load((("a.yaml", policy),), lambda path: b"#" * (source.MAX_BYTES + 1))
    monkeypatch.setattr("fwpolicy.policy.groupfiles.MAX_ENTRIES", 1000)
    with pytest.raises(PolicyError, match=r"a\.yaml:2:20: error: a\.txt has more than 1,000 addresses"):
        load((("a.yaml", policy),), lambda path: b"10.0.0.1\n" * 1001)


def test_more_nodes_than_a_policy_may_have(monkeypatch):
    monkeypatch.setattr(yamltree, "MAX_NODES", 1000)
    problems = _problems(b"a: [" + b"1, " * 1000 + b"1]")
    assert "more than 1,000 words, lists and mappings in one file" in problems[0].message


def test_what_is_not_a_file(tmp_path, capsys):
    assert check(tmp_path, capsys).lower() == f"fwpolicy: {tmp_path}: is a directory\n".lower()
    missing = tmp_path / "missing.yaml"
    assert check(missing, capsys) == f"fwpolicy: {missing}: no such file\n"
    os.mkfifo(tmp_path / "fifo")
    assert check(tmp_path / "fifo", capsys) == f"fwpolicy: {tmp_path}/fifo: is not a regular file\n"
    assert check("/dev/zero", capsys) == "fwpolicy: /dev/zero: is not a regular file\n"
    assert check(tmp_path / "missing" / "a.yaml", capsys).endswith(": no such file\n")


def test_an_unreadable_file(tmp_path, capsys, monkeypatch):
    path = tmp_path / "secret.yaml"
    path.write_bytes(WHOLE)
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything

        def denied(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(texts.os, "open", denied)
    said = main(["check", str(path)]), capsys.readouterr().err
    monkeypatch.undo()
    assert said == (1, f"fwpolicy: {path}: Permission denied\n")


def test_without_the_c_parser(monkeypatch, capsys):
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    said = check(FOLDER / "yaml-empty.yaml", capsys)
    assert "PyYAML is installed without libyaml" in said
