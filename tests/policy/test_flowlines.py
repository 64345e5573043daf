"""Texts are read the same with and without the short way of flowlines.py: nodes, places, tags, mistakes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fwpolicy import source, yamltree
from fwpolicy.errors import PolicyError
from fwpolicy.flowlines import cut, most_nodes
from fwpolicy.source import Mapping, Scalar, Sequence, Text
from fwpolicy.yamltree import quickly, read

ROOT = Path(__file__).parent.parent.parent
WRITTEN = sorted({*ROOT.glob("policies/**/*.yaml"), *ROOT.glob("tests/**/*.yaml")})
LINES = (
    "- {service: ssh, from: 192.0.2.0/24}",
    "- {service: [http, tcp/8443], from: [admin, 10.0.0.1-10.0.0.9]}",
    '- {service: dns, from: ["2001:db8::/32", admin], comment: "a, b: c # {d}"}',
    "- {service: ntp, comment: 'it is, said', in: eth*}   # why",
    "- {from: any, except: {from: [192.0.2.1, admin], service: tcp/22}, comment: two words}",
    "- {service: '', id: a-1}",
)
OTHERS = (
    *("- ssh", "- {service: ssh, service: dns}", "- {}", "- {service: ssh", "  }", "- service: ssh"),
    *("- {from: 2001:db8::1}", "- {from: &a x}", "- {from: *a}", "- &l {from: x}", "- *l"),
    *("- !!map {from: x}", "- - {from: x}", "- [", "- |", "- >-", '- "', "- '", "allow:", "next: {a: b}"),
    *("", "# a comment", "  deep", "- {from: x} x", "- {from: x}: y", "- {'from': x}", "- {from: x,}"),
    *("- {from:  x}", "- {? a : b}", "---", "- {from: x}#", "- {from: \tx}", '- {from: "a\\tb"}'),
    *("- {from: 'a''b'}", "- {a: {b: {c: d}}}", "...", "]", "- {from: x}\r", "- {from: \x85}"),
    *("- {from: \x07}", "- {from: é}", "? - {from: x}", "%YAML 1.1", "- ,", "- {from: x: y}"),
    *("- {from: x #y}", "- {from: -x}", "- {from: - x}", f"- {{{'k' * 1030}: x}}", "\t- {a: b}"),
)
MARKS = "{}[]:,-#&*!|>'\"%@?\\ \n\t\u2028x"


def shown(node: source.Node | None) -> object:
    match node:
        case Scalar():
            return node.place, node.value, node.plain
        case Sequence():
            return node.place, [shown(item) for item in node.items]
        case Mapping():
            return node.place, [(shown(key), shown(value)) for key, value in node.pairs]
    return None


def told(document: source.Document) -> object:
    return (
        shown(document.root),
        document.problems,
        [(shown(node), problem) for node, problem in document.tags],
    )


def is_the_same(content: str, tagged: bool) -> bool:
    """Whether the short way had an answer; it is what the long way says."""
    text = Text("p.yaml", content)
    answer = quickly(text, content, tagged)
    if answer is not None:
        assert told(answer) == told(read(text, content, tagged))
    return answer is not None


def breaks_are_plain(content: str) -> bool:
    return not any(each in content for each in "\r\x85\u2028\u2029")


@pytest.mark.parametrize("file", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_written_policy_is_the_same(file):
    content = file.read_bytes().decode("utf-8-sig", "replace")
    if breaks_are_plain(content):
        is_the_same(content, tagged=True)


def a_text(chance: Random, others: float) -> str:
    """Runs of lines in some column, other lines between them, and now and then a mark that is too much."""
    lines = ["version: 1", "allow:"]
    column = 2
    for _ in range(chance.randrange(1, 14)):
        column = column if chance.random() < 0.9 else chance.randrange(6)
        line = chance.choice(OTHERS if chance.random() < others else LINES)
        lines.append(" " * column + line)
    text = "\n".join(lines) + "\n" * chance.randrange(3)
    if chance.random() < others:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(MARKS) + text[at + chance.randrange(2) :]
    return text


@pytest.mark.parametrize("others", [0.03, 0.1, 0.3])
def test_no_text_is_read_in_another_way(others):
    chance = Random(7)
    answered = taken = 0
    for number in range(1500):
        text = a_text(chance, others)
        if breaks_are_plain(text) and is_the_same(text, tagged=bool(number % 2)):
            answered += 1
            taken += bool(cut(text)[1])
    # What the loop above says of texts without a run in them is nothing.
    assert answered > 150
    assert taken > 50


def long_text(count: int = 500) -> str:
    return "version: 1\ninput:\n  default: drop\n  allow:\n" + "".join(
        f"    {line}\n" for line in LINES * count
    )


def test_a_long_policy_takes_the_short_way(monkeypatch):
    content = long_text()
    rest, runs = cut(content)
    assert rest.count("\n") == content.count("\n")
    assert rest.count("{") == 1
    assert [len(run) for run in runs.values()] == [len(LINES) * 500 - 1]
    assert is_the_same(content, tagged=False)
    monkeypatch.setattr(yamltree, "read", None)
    assert source.load("p.yaml", content.encode()).root is not None


@pytest.mark.parametrize(
    "text", ["allow: |\n{}", 'allow: "\n{}"', "allow: '\n{}'", "allow: [x,\n{}]", "allow: x\n{}"]
)
def test_a_run_that_is_no_list_is_not_taken_for_one(text):
    content = text.format("  - {a: b}\n  - {c: d}\n")
    assert cut(content)[1]
    assert quickly(Text("p.yaml", content), content, False) is None


@pytest.mark.parametrize("levels", range(24, 34))
def test_depth_is_what_it_is(levels):
    text = "".join(f"{'  ' * level}a:\n" for level in range(levels))
    text += "".join(f"{'  ' * levels}{line}\n" for line in LINES)
    try:
        read(Text("p.yaml", text), text, False)
    except PolicyError:
        assert quickly(Text("p.yaml", text), text, False) is None
    else:
        is_the_same(text, tagged=False)


def count(node: source.Node) -> int:
    return 1 + sum(map(count, yamltree._children(node)))


def test_no_more_nodes_pass_than_are_allowed(monkeypatch):
    content = long_text(3)
    document = read(Text("p.yaml", content), content, False)
    nodes = count(document.root)
    assert most_nodes(content) >= nodes - 12
    monkeypatch.setattr(yamltree, "MAX_NODES", nodes - 1)
    assert quickly(Text("p.yaml", content), content, False) is None


def test_other_line_breaks_are_left_to_libyaml(monkeypatch):
    """They count as lines; a short way that counts others would tell wrong places."""
    content = "# \u2028\n" + long_text()
    monkeypatch.setattr(yamltree, "quickly", None)
    document = source.load("p.yaml", content.encode())
    assert isinstance(document.root, Mapping)
    assert document.root.pairs[0][0].place[0] == 2
