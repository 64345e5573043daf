"""Groups of hosts: the lock file, and what of an answer gets into it."""

from __future__ import annotations

from fwpolicy.addresses import of
from fwpolicy.policy.load import gather
from fwpolicy.policy.lock import Answer, Locked, parse, path_beside, refresh, render
from tests.policy.reading import HEAD, problems, read, warnings

HOSTS = "groups: {mirrors: {hosts: [deb.example.org, ftp.example.org], min: 2, max: 3}}\n"
OUTPUT = "output: {default: drop, allow: [{service: https, to: mirrors}]}\n"
LOCKED = {
    "mirrors": Locked(("deb.example.org", "ftp.example.org"), ((4, 0xC0000201), (6, 0x20010DB8 << 96 | 1)))
}
TEXT = """\
# The addresses behind the host names of web.yaml, as they were last resolved.
# Written by: fwpolicy lock web.yaml   Commit it beside the policy.
version: 1
groups:
  mirrors:
    hosts: [deb.example.org, ftp.example.org]
    addresses:
      - 192.0.2.1
      - "2001:db8::1"
"""


def groups(text: str):
    (file,) = gather((("a.yaml", (HEAD + text).encode()),), lambda _: b"").files
    return file.groups


def answers(deb: Answer, ftp: Answer | None = None) -> dict[str, Answer]:
    return {"deb.example.org": deb, "ftp.example.org": ftp or Answer(("192.0.2.2",))}


def same(locked: dict[str, Locked]) -> dict[str, tuple]:
    return {name: (each.hosts, each.addresses, each.kept) for name, each in locked.items()}


def test_the_lock_is_beside_the_policy():
    assert path_beside("/etc/fw/web-01.eu.yaml") == "/etc/fw/web-01.eu.lock"
    assert path_beside("web.yaml") == "web.lock"


def test_the_text_is_what_it_was_read_from():
    assert render("/etc/web.yaml", LOCKED) == TEXT
    assert same(parse("web.lock", TEXT.encode())) == same(LOCKED)
    kept = {"mirrors": Locked(("a.example.org",), (), "a.example.org: no such name")}
    assert same(
        parse("x", render("w.yaml", kept).encode().replace(b"addresses:\n", b"addresses: [192.0.2.1]\n"))
    )


def test_addresses_come_from_the_lock_and_never_from_a_name():
    policy = read(HEAD + HOSTS + OUTPUT, names=("web.yaml",), files={"web.lock": TEXT})
    match = policy.output.allow[0].match
    assert (match.destination, match.destination_group) == (of("192.0.2.1", "2001:db8::1"), "mirrors")
    assert policy.files == ("web.yaml", "web.lock")
    assert policy.warnings == ()


def test_a_kept_value_is_warned_of():
    files = {"web.lock": TEXT + '    kept: "deb.example.org: no answer"\n'}
    policy = read(HEAD + HOSTS + OUTPUT, names=("web.yaml",), files=files)
    assert warnings(policy) == ["group 'mirrors' keeps its last good addresses: deb.example.org: no answer"]


def test_an_included_groups_addresses_are_in_the_top_files_lock():
    files = {"web.lock": TEXT, "sub/base.yaml": HOSTS}
    policy = read(HEAD + "include: sub/base.yaml\n" + OUTPUT, names=("web.yaml",), files=files)
    assert policy.output.allow
    files = {"sub/base.lock": TEXT, "sub/base.yaml": HOSTS}
    wrong = problems(HEAD + "include: sub/base.yaml\n" + OUTPUT, names=("web.yaml",), files=files)
    assert wrong == ["sub/base.yaml:1:10: the hosts of group 'mirrors' are not in web.lock"]


def test_a_refresh_takes_what_is_resolved():
    new, lost = refresh(groups(HOSTS), {}, answers(Answer(("2001:db8::1", "192.0.2.1"))))
    assert not lost
    assert new["mirrors"].addresses == ((4, 0xC0000201), (4, 0xC0000202), (6, 0x20010DB8 << 96 | 1))
    assert new["mirrors"].kept is None


def test_a_failure_keeps_the_last_good_value():
    new, lost = refresh(groups(HOSTS), LOCKED, answers(Answer(failure="no such name")))
    assert not lost
    assert new["mirrors"].addresses == LOCKED["mirrors"].addresses
    assert new["mirrors"].kept == "deb.example.org: no such name"


def test_too_few_and_too_many_keep_the_last_good_value():
    few, _ = refresh(groups(HOSTS), LOCKED, answers(Answer(("192.0.2.2",))))
    assert few["mirrors"].kept == "1 address, fewer than its min of 2"
    many, _ = refresh(groups(HOSTS), LOCKED, answers(Answer(tuple(f"192.0.2.{n}" for n in range(9)))))
    assert many["mirrors"].kept == "9 addresses, more than its max of 3"
    assert few["mirrors"].addresses == many["mirrors"].addresses == LOCKED["mirrors"].addresses


def test_without_a_last_good_value_nothing_stands():
    failing = answers(Answer(failure="no such name"))
    assert refresh(groups(HOSTS), {}, failing) == ({}, {"mirrors": "deb.example.org: no such name"})
    other = {"mirrors": Locked(("other.example.org",), LOCKED["mirrors"].addresses)}
    assert refresh(groups(HOSTS), other, failing)[1]
    narrow = groups(HOSTS.replace("min: 2, max: 3", "min: 3"))
    assert refresh(narrow, LOCKED, failing)[1]


def test_a_group_that_is_gone_leaves_the_lock():
    old = LOCKED | {"gone": LOCKED["mirrors"]}
    new, _ = refresh(groups(HOSTS), old, answers(Answer(("192.0.2.1",))))
    assert list(new) == ["mirrors"]
