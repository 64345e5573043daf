"""The inventory: what it says, what it refuses and where, and that Ansible reads the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fwpolicy.errors import PolicyError
from fwpolicy.fleet.ancestry import without_text
from fwpolicy.fleet.hostnames import HostNameError, expand
from fwpolicy.fleet.inventory import parse
from fwpolicy.fleet.naming import cover, spoken

WHOLE = """\
all:
  vars:
    ansible_user: root
    fwpolicy_policies: [base.yaml]
  hosts:
    alone:
  children:
    site:
      vars:
        fwpolicy_policies: [base.yaml, site.yaml]
        fwpolicy_zones: {wan: eth0}
      children:
        web:
          vars: {fwpolicy_policies: [base.yaml, web.yaml]}
          hosts:
            web-[08:11]:
            web-[a:b].example.org: {ansible_port: 2222}
        mail:
    mail:
      hosts:
        mail-01:
          fwpolicy_groups: {peers: [192.0.2.7, "2001:db8::7"]}
          fwpolicy_zones: {wan: [ens3, "wg*"]}
edge:
  hosts:
    web-08: {fwpolicy_policies: edge.yaml}
"""


def read(text: str):
    return parse("inventory.yaml", text.encode())


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        read(text)
    return [
        f"{each.span.line}:{each.span.column}-{each.span.end}: {each.message}"
        for each in caught.value.problems
    ]


def policies(found) -> dict[str, list[str]]:
    return {host.name: [word.text for word in host.policies] for host in found.hosts}


def test_the_nearest_group_counts_and_the_host_itself_most():
    found = read(WHOLE)
    web = ["base.yaml", "web.yaml"]
    assert policies(found) == {
        "alone": ["base.yaml"],
        "web-08": ["edge.yaml"],
        **dict.fromkeys(("web-09", "web-10", "web-11", "web-a.example.org", "web-b.example.org"), web),
        "mail-01": ["base.yaml", "site.yaml"],
    }
    by_name = {host.name: host for host in found.hosts}
    assert by_name["web-08"].groups == {"all", "site", "web", "edge"}
    given = {name: without_text(value.node) for name, value in by_name["mail-01"].given}
    assert given == {
        "fwpolicy_groups": {"peers": ["192.0.2.7", "2001:db8::7"]},
        "fwpolicy_zones": {"wan": ["ens3", "wg*"]},
    }
    assert [name for name, _ in by_name["web-09"].given] == ["fwpolicy_zones"]
    assert found.groups["mail"] == ("mail-01",) and len(found.groups["all"]) == 8


def ansible() -> str:
    beside = Path(sys.executable).with_name("ansible-inventory")
    found = str(beside) if beside.exists() else shutil.which("ansible-inventory")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("needs ansible-inventory; in CI a skip is a failure", pytrace=False)
        pytest.skip("needs ansible-inventory")
    return found


def test_ansible_reads_the_same(tmp_path):
    path = tmp_path / "inventory.yaml"
    path.write_text(WHOLE)
    (tmp_path / "ansible.cfg").touch()
    done = subprocess.run(
        [ansible(), "-i", str(path), "--list"],
        env=os.environ
        | {"ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    listing = json.loads(done.stdout)
    theirs = {}
    for host, values in listing["_meta"]["hostvars"].items():
        said = values["fwpolicy_policies"]
        theirs[host] = [said] if isinstance(said, str) else said
    found = read(WHOLE)
    assert theirs == policies(found)
    assert sorted(listing["web"]["hosts"]) == sorted(found.groups["web"])
    zones = {host: values.get("fwpolicy_zones") for host, values in listing["_meta"]["hostvars"].items()}
    ours = {h.name: {n: without_text(v.node) for n, v in h.given}.get("fwpolicy_zones") for h in found.hosts}
    assert zones == ours


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["1:1-2: the inventory is empty"]),
        ("all: {host: {a: }}", ["1:7-11: unknown key 'host' in group 'all'"]),
        ("all: {hosts: [a, b]}", ["1:14-20: 'hosts' must be a mapping (NAME: VALUE), not a list"]),
        ("all: {hosts: {../b: }}", ["1:15-19: '../b' cannot name a host"]),
        ("all: {hosts: {-rf: }}", ["1:15-18: '-rf' cannot name a host"]),
        ("all: {hosts: {fleet.json: }}", ["1:15-25: 'fleet.json' cannot name a host"]),
        (f"all: {{hosts: {{{'a' * 248}: }}}}", [f"1:15-263: '{'a' * 248}' cannot name a host"]),
        (
            "all: {hosts: {a: }, vars: {fwpolicy_policies: [p.yaml, p.yaml, ./p.yaml, q/../p.yaml, p, p]}}",
            [
                "1:56-62: 'p.yaml' is in this list twice",
                "1:64-72: './p.yaml' is in this list twice",
                "1:74-85: 'q/../p.yaml' is in this list twice",
                "1:90-91: 'p' is in this list twice",
            ],
        ),
        (
            "all: {hosts: {a: }, vars: {fwpolicy_invariants: [p.yaml, p.yaml]}}",
            ["1:58-64: 'p.yaml' is in this list twice"],
        ),
        ("all: {hosts: {'w[2:1]': }}", ["1:15-23: '[2:1]' in 'w[2:1]' is no range"]),
        (
            "all: {hosts: {'w[0:999999]': }}",
            ["1:15-28: '[0:999999]' in 'w[0:999999]' is more than 100,000 hosts"],
        ),
        ("all: {hosts: {'w[01:3]': }}", ["1:15-24: the ends of '[01:3]' in 'w[01:3]' have 2 and 1 digits"]),
        (
            "all: {hosts: {a: {fwpolicy_policy: x}}}",
            ["1:19-34: unknown variable 'fwpolicy_policy'"],
        ),
        (
            "web: {fwpolicy_policies: [a.yaml]}",
            ["1:7-24: 'fwpolicy_policies' does not belong in group 'web'"],
        ),
        ("all: {hosts: {a: {fwpolicy_policies: }}}", ["1:38-39: 'fwpolicy_policies' is missing"]),
        ("all: {hosts: {a: {fwpolicy_policies: []}}}", ["1:38-40: 'fwpolicy_policies' is an empty list"]),
        ("all: {vars: {<<: {a: b}}}", ["1:14-16: merge keys ('<<') are not read here"]),
        ("a: {children: {b: {children: {a: }}}}", ["1:1-2: group 'a' is below itself"]),
        ("a: {children: {all: }}", ["1:16-19: 'all' is above every group; it cannot be below one"]),
        ("a: {hosts: {b: }}\nb: {hosts: {c: }}", ["1:13-14: 'b' is a group and a host"]),
        ("a: {hosts: {c: }, hosts: {d: }}", ["1:19-24: 'hosts' is here twice; the first is on line 1"]),
        (
            "a: {hosts: {c: {fwpolicy_policies: x}}}\nb: {hosts: {c: {fwpolicy_policies: x}}}",
            ["2:17-34: host 'c' has 'fwpolicy_policies' twice; the first is on line 1"],
        ),
        ("web: {vars: {fwpolicy_invariants: [a]}}", ["1:14-33: 'fwpolicy_invariants' is everybody's"]),
    ],
)
def test_refusals_at_their_places(text, said):
    assert problems(text) == said


TAGGED = """\
all:
  vars:
    ansible_become_password: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      6162
    motd: !unsafe "{{ no template }}"
    more: {list: [!unsafe a, !vault &b b], again: *b}
  hosts:
    a: {ansible_password: !vault c, fwpolicy_policies: x.yaml}
"""


def test_tags_may_stand_where_only_ansible_reads():
    assert policies(read(TAGGED)) == {"a": ["x.yaml"]}
    # The same word, by its anchor, in a variable of ours, too.
    assert problems(TAGGED.replace("policies: x.yaml", "policies: [*b]")) == [
        "7:30-36: tags are not part of the language: !vault"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "!vault all: {hosts: {a: }}",
        "all: !unsafe {hosts: {a: }}",
        "all: {!unsafe hosts: {a: }}",
        "all: {hosts: !unsafe {a: }}",
        "all: {hosts: {!unsafe a: }}",
        "all: {hosts: {a: !unsafe {}}}",
        "all: {hosts: {a: {!unsafe b: c}}}",
        "all: {hosts: {a: {fwpolicy_policies: !vault x}}}",
        "all: {vars: !unsafe {a: b}}",
        "all: {vars: {fwpolicy_groups: {a: [!unsafe 192.0.2.1]}}}",
        "all: {children: {b: {hosts: {c: {fwpolicy_zones: {a: !unsafe x}}}}}}",
        "!unsafe {all: {hosts: {a: }}}",
    ],
)
def test_tags_may_stand_nowhere_else(text):
    column = text.index("!")
    tag = text[column:].split()[0]
    wanted = f"1:{column + 1}-{column + 1 + len(tag)}: tags are not part of the language: {tag}"
    assert problems(text) == [wanted]


INI = """# Of a time before YAML.
mail.example.org ansible_port=2222

[web]
web-[01:02]

[web:vars]
fwpolicy_policies=x.yaml
"""


def test_an_ini_inventory_is_told_as_one(tmp_path):
    for text in (INI, "[web]\n", "[web:children]\nshop\n", "a\nb\n[web] ; more\nc\n"):
        with pytest.raises(PolicyError) as caught:
            read(text)
        (found,) = caught.value.problems
        assert found.message == "this is an inventory in INI format; here it is YAML"
        assert found.span.line == 1 + text[: text.index("[web")].count("\n")
        assert found.hint == "ansible-inventory -i inventory.yaml --list -y writes it as YAML"
    # Which is not said of what only has brackets.
    assert problems("[web, db]") == ["1:1-10: the inventory must be a mapping (NAME: VALUE), not a list"]
    (tmp_path / "hosts.ini").write_text(INI)
    command = [ansible(), "-i", str(tmp_path / "hosts.ini"), "--list", "-y"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert policies(read(done.stdout)) == {"web-01": ["x.yaml"], "web-02": ["x.yaml"]}


def test_two_groups_that_differ_are_refused_where_ansible_takes_the_later_name():
    text = """\
a: {hosts: {"h[1:9]": }, vars: {fwpolicy_policies: x}}
b: {hosts: {"h[1:9]": }, vars: {fwpolicy_policies: %s}}
"""
    assert problems(text % "y") == [
        "2:33-50: host 'h1' is in groups 'a' and 'b', which differ in fwpolicy_policies"
    ]
    assert len(read(text % "x").hosts) == 9
    own = 'c: {hosts: {"h[1:9]": {fwpolicy_policies: z}}}'
    assert set(map(tuple, policies(read(text % "y" + own)).values())) == {("z",)}


def test_hosts_without_a_policy_are_told():
    found = read("all: {hosts: {a: , b: {fwpolicy_policies: x.yaml}}}")
    assert found.unmanaged == ("a",) and [host.name for host in found.hosts] == ["b"]


def test_ranges():
    assert expand("w-[09:11].x") == ("w-09.x", "w-10.x", "w-11.x")
    assert expand("[a:c][0:4:2]") == ("a0", "a2", "a4", "b0", "b2", "b4", "c0", "c2", "c4")
    assert expand("plain") == ("plain",)
    for wrong in ("[1:2", "a[]", "a[1]", "a[1:2:0]", "a[aa:b]", "a[1:2:3:4]", "[1:9999][1:9999]"):
        with pytest.raises(HostNameError):
            expand(wrong)


@pytest.mark.parametrize(
    "text", ["[1:3]", "[0:12:4]", "[01:12:5]", "[00:02]", "[a:c]", "[01:3]", "[1:03]", "[001:12]"]
)
def test_ranges_are_ansibles(text):
    """Against its own function, refusals included."""
    from ansible.errors import AnsibleError  # noqa: PLC0415  (half a second)
    from ansible.plugins.inventory import expand_hostname_range  # noqa: PLC0415

    try:
        wanted = tuple(expand_hostname_range(f"w{text}"))
    except AnsibleError:
        with pytest.raises(HostNameError):
            expand(f"w{text}")
    else:
        assert expand(f"w{text}") == wanted


def test_hosts_are_named_by_their_groups():
    groups = {"all": tuple("abcdef"), "web": ("a", "b", "c"), "odd": ("a", "c"), "one": ("f",)}
    assert cover(("a", "b", "c", "e", "f"), groups) == (["web"], ["e", "f"])
    assert spoken("abcdef", groups) == "all (6 hosts)"
    assert spoken("abce", groups) == "web (3 hosts), e"
    assert spoken("bdef", groups, most=2) == "b, d, 2 more"
