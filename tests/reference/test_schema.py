"""The schema takes what the parser takes, and refuses what is wrong in form."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fwpolicy.cli import main
from fwpolicy.errors import PolicyError
from fwpolicy.policy.services import BUILT_IN
from fwpolicy.reference.schema import schema
from tests.policy import reading as policies
from tests.policy.gallery import ALSO, FOLDER, cases
from tests.property import strategies
from tests.reference import places, yaml12

CHECKOUT = Path(__file__).parents[2]
POLICIES = [
    *sorted(CHECKOUT.glob("policies/*.yaml")),
    *sorted(CHECKOUT.glob("tests/golden/*/policy.yaml")),
]
# Accepted by the schema though the parser refuses them, each with the reason.
NOT_OF_FORM = {
    "names that nothing declares, or that lead in a circle": [
        "address-undeclared-of-many", "group-cycle", "group-too-deep", "role-serve-undeclared",
        "role-servers-undeclared", "service-cycle", "service-too-deep", "service-unknown",
        "group-dynamic-in-fixed-places", "override-unknown", "override-of-another-kind",
        "role-servers-of-hosts", "zone-as-address", "zone-undeclared",
    ],
    "arithmetic on addresses, and families that do not meet": [
        "address-host-bits", "address-ipv4-mapped", "role-monitors-not-loopback", "service-family",
        "test-no-packet", "except-two-dynamic", "forward-families",
        "lock-nowhere",
    ],
    "lines that contradict each other, or leave nothing": [
        "role-clients-blocked", "role-closed-denies-output", "role-denies-allow-of-others",
        "role-denies-allow", "role-denies-other-servers", "role-empty-groups", "role-exchange-blocked",
        "role-server-without-nts",
        "top-says-nothing", "nat-contradictions", "rule-id-twice",
        "apply-gates-shut", "apply-gates-synchronised-closed", "apply-gates-synchronised-no-daemon",
        "apply-gates-synchronised-no-role",
    ],
    "other files": [
        "group-beside-an-included", "group-file-bad-lines", "group-file-beyond-the-folder",
        "group-file-forms", "group-file-is-a-device", "group-file-whole",
        "group-file-is-a-directory", "group-file-missing", "group-file-not-utf8", "merge-differs",
        "merge-same-file-twice", "name not in the stem", "group-extension-of-a-neighbour",
        "include-broken", "include-cycle", "include-itself", "include-no-default", "include-outside",
        "lock-empty", "lock-is-a-folder",
        "lock-missing", "lock-stale", "lock-wrong", "log-differs", "override-of-a-neighbour",
        "zone-twice",
    ],
    "how it is written, which a value does not show: quotes, 1.0, duplicates, tags, UTF-16": [
        "ipv6-unquoted-group", "ipv6-unquoted-in-braces", "ipv6-unquoted-in-list", "ipv6-unquoted-range",
        "name-boolean", "rule-boolean", "version-float", "version-octal", "yaml-duplicate-key",
        "yaml-duplicate-keys-everywhere", "yaml-tag", "yaml-utf16", "yaml-utf16-big-endian",
    ],
}  # fmt: skip
# LANGUAGE's big example: every part of the language.
WHOLE = (Path(__file__).parent / "whole.yaml").read_text()


@pytest.fixture(scope="module")
def validator():
    found = schema()
    jsonschema.Draft7Validator.check_schema(found)
    return jsonschema.Draft7Validator(found)


def refusals(validator, text) -> list[str]:
    return [
        f"{list(error.path)}: {error.message}"[:300] for error in validator.iter_errors(yaml12.read(text))
    ]


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_accepted_policies_validate(path, validator):
    assert refusals(validator, path.read_text()) == []


def test_the_whole_language_validates(validator):
    assert refusals(validator, WHOLE) == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=strategies.policy_texts())
def test_whatever_loads_validates(text, validator):
    try:
        strategies.loaded(text)
    except PolicyError:
        assume(False)
    assert refusals(validator, text) == []


def is_refused(case: str, validator) -> bool:
    try:
        # The first error will do: of a file whose aliases expand a hundred thousandfold all are gigabytes.
        return not validator.is_valid(yaml12.read((FOLDER / f"{case}.yaml").read_bytes()))
    except (yaml.YAMLError, ValueError):
        return True  # no YAML: an editor underlines it without us


def test_what_is_wrong_in_form_is_refused(validator):
    accepted = {case for case in cases() if ALSO not in case and not is_refused(case, validator)}
    listed = {case for listed in NOT_OF_FORM.values() for case in listed}
    assert accepted == listed & set(cases())


@pytest.mark.parametrize("place", places.PROBES)
def test_an_unknown_key_is_refused_everywhere(place, validator):
    probe = places.document(place, f"{places.STRANGE}: 1")
    assert refusals(validator, probe) != []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("input: {default: drop, allow: [tcp/65535]}", "input: {default: drop, allow: [tcp/65536]}"),
        ("groups: {a: 10.0.0.0/32}", "groups: {a: 10.0.0.0/33}"),
        ('groups: {a: "::/128"}', 'groups: {a: "::/129"}'),
        ('groups: {a: "64:ff9b::192.0.2.1"}', 'groups: {a: "64:ff9b::192.0.2.300"}'),
        ("groups: {a: {dynamic: 1h}}", "groups: {a: {dynamic: 1 hour}}"),
        ("log: {rate: 5/minute}", "log: {rate: 5/min}"),
        ("roles: {ntp: {mode: server, serve: [private]}}", "roles: {ntp: {mode: server}}"),
        (
            "input: {default: drop, block: [{from: any, expires: 2027-01-31}]}",
            "input: {default: drop, block: [{from: any, expires: 2027-13-31}]}",
        ),
        ("tests: [{deny: ntp, from: any, mode: 7}]", "tests: [{deny: ntp, from: any, mode: 8}]"),
        (
            "input: {default: drop, allow: [{service: ssh, limit: 3/minute}]}",
            "input: {default: drop, block: [{service: ssh, limit: 3/minute}]}",
        ),
        ("nat: {snat: [{out: wan, to: 192.0.2.1}]}", "nat: {snat: [{out: wan}]}"),
        ("apply: {confirm: 3600s}", "apply: {confirm: 3601s}"),
        ("apply: {confirm: 5s}", "apply: {confirm: 4s}"),
        ("apply: {gates: [synchronised]}", "apply: {gates: [synchronized]}"),
        ("apply: {gates: [{reach: tcp/1, to: '::1'}]}", "apply: {gates: [{reach: udp/1, to: '::1'}]}"),
        ("apply: {gates: [{run: [/bin/sleep, 5]}]}", "apply: {gates: [{run: [sleep, 5]}]}"),
    ],
)
def test_forms(right, wrong, validator):
    assert refusals(validator, f"version: 1\n{right}\n") == []
    assert refusals(validator, f"version: 1\n{wrong}\n") != []


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(written=st.from_regex(r"[0-9]{0,4}[smhdw]?|false|true", fullmatch=True))
def test_the_window_is_the_parsers(written, validator):
    """Each time that one of the two takes the other takes, too."""
    text = f"version: 1\nroles: {{ntp: closed}}\napply: {{confirm: {written}}}\n"
    try:
        policies.read(text)
    except PolicyError:
        assert refusals(validator, text) != []
    else:
        assert refusals(validator, text) == []


def test_hover_texts_and_suggestions():
    found = schema()
    for name, key in found["properties"].items():
        assert key["description"] and key["examples"], name
    suggested = found["definitions"]["service"]["anyOf"][0]
    assert suggested["enum"] == list(BUILT_IN)
    assert suggested["enumDescriptions"][suggested["enum"].index("ntp")] == "udp/123"
    assert list(found["properties"])[:2] == ["version", "name"]


def test_examples_are_examples(validator):
    """Each `examples` entry of the schema fits the schema that it stands in."""
    definitions = schema()["definitions"]
    checked = 0
    stack: list[object] = [schema()]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for example in node.get("examples", ()) if isinstance(node.get("examples"), list) else ():
                jsonschema.Draft7Validator({**node, "definitions": definitions}).validate(example)
                checked += 1
            stack += list(node.values())
        elif isinstance(node, list):
            stack += node
    assert checked > 100


def test_the_verb(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()
