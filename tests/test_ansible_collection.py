"""The Ansible collection without hosts: what it documents is what it takes, and its shell is clean."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fwpolicy import VERSION
from fwpolicy.fleet import bundle as ours
from fwpolicy.fleet.payload import Manifest, pack

from .fleet.signing import allowed, keys

__all__ = ["keys"]

DEPLOY = Path(__file__).parents[1] / "deploy/ansible"
COLLECTION = DEPLOY / "ansible_collections/fwpolicy/fwpolicy"
NAME = "fwpolicy.fwpolicy"
ACTIONS = sorted(path.stem for path in (COLLECTION / "plugins/action").glob("*.py"))
HOST_SCRIPT = COLLECTION / "plugins/plugin_utils/host.sh"
BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(DEPLOY))


def plugin(name: str):
    return importlib.import_module(f"ansible_collections.fwpolicy.fwpolicy.plugins.{name}")


@pytest.fixture(scope="module")
def documented(tmp_path_factory) -> dict[str, dict]:
    """By action, what ansible-doc reads."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(DEPLOY),
        "ANSIBLE_HOME": str(home),
        "LC_ALL": "C.UTF-8",
    }
    names = [f"{NAME}.{action}" for action in ACTIONS]
    words = [str(BIN / "ansible-doc"), "--json", "-t", "module", *names]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return {name.rpartition(".")[2]: each for name, each in json.loads(done.stdout).items()}


def test_every_action_is_documented(documented):
    assert sorted(documented) == ACTIONS == ["apply", "confirm", "rollback", "status"]
    for each in documented.values():
        assert each["doc"]["short_description"] and each["examples"] and each["return"]


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_documented_is_what_it_takes(documented, action):
    options = documented[action]["doc"]["options"]
    spec = plugin(f"action.{action}").ActionModule.SPEC
    for key in ("type", "choices", "default", "required"):
        said = {
            name: option.get(key, False if key == "required" else None) for name, option in options.items()
        }
        taken = {name: option.get(key, False if key == "required" else None) for name, option in spec.items()}
        assert said == taken, key


def test_what_all_of_them_say_is_written_once(documented):
    says = [each["doc"] for each in documented.values()]
    assert all(each["options"]["way"] == says[0]["options"]["way"] for each in says)
    assert all(each["notes"] == says[0]["notes"] and len(each["notes"]) == 2 for each in says)
    assert [each["attributes"]["check_mode"]["support"] for each in says] == ["full"] * 4
    for action in ACTIONS:
        text = (COLLECTION / f"plugins/modules/{action}.py").read_text()
        assert "extends_documentation_fragment: fwpolicy.fwpolicy.host\n" in text
        assert "How the host is asked" not in text


def test_the_roles_defaults_are_those_that_it_documents():
    defaults = yaml.safe_load((COLLECTION / "roles/push/defaults/main.yml").read_text())
    specs = yaml.safe_load((COLLECTION / "roles/push/meta/argument_specs.yml").read_text())["argument_specs"]
    said = {name: option["default"] for name, option in specs["main"]["options"].items()}
    # Of these it says in words what the default is.
    computed = {name for name, value in defaults.items() if "{{" in str(value)}
    assert computed == {"push_bundles", "push_inventory", "push_confirm"}
    assert said | {name: defaults[name] for name in computed} == defaults
    assert specs["build"]["options"] == specs["main"]["options"]


def test_it_has_the_programs_version():
    assert yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"] == VERSION


def test_shellcheck_has_nothing_to_say():
    if shutil.which("shellcheck") is None:
        assert "CI" not in os.environ, "needs shellcheck"
        pytest.skip("needs shellcheck")
    words = ["shellcheck", str(HOST_SCRIPT)]
    assert subprocess.run(words, capture_output=True, text=True, check=False).stdout == ""


# Of ansible-test's those that fetch nothing; `make ansible-sanity` has all.
SANITY = (
    *("action-plugin-docs", "compile", "empty-init", "ignores", "line-endings", "no-assert"),
    *(
        "no-get-exception",
        "no-illegal-filenames",
        "no-smart-quotes",
        "replace-urlopen",
        "shebang",
        "shellcheck",
    ),
    *("symlinks", "use-argspec-type-path", "use-compat-six"),
)


def test_sanity(tmp_path):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    tests = [word for each in SANITY for word in ("--test", each)]
    words = ["sh", str(DEPLOY / "sanity.sh"), str(tmp_path), "--local", "--python", version, *tests]
    home = {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | home)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    assert all(f'Running sanity test "{each}"' in said for each in SANITY), said


@pytest.mark.parametrize("told", ["", "{", "[1]", "7", "[" * 100_000])
def test_what_a_host_has_damaged_is_nothing_that_is_known(told):
    """Of what a host says nothing ends in a traceback on the controller."""
    remote = plugin("plugin_utils.remote")
    answer = remote.Answer({"rc": 0, "stdout": f"{remote.MARK}bundle {told}\n{told}"})
    assert answer.mapping("bundle") == answer.mapping("manifest") == answer.report() == {}
    whole = remote.Answer({"stdout": f'{remote.MARK}manifest {{\n{remote.MARK}manifest  "host": "a"}}\n'})
    assert whole.mapping("manifest") == {"host": "a"}


def test_the_controller_opens_bundles_as_the_program_makes_them(keys):
    opened = plugin("plugin_utils.bundle")
    from ansible.errors import AnsibleError  # noqa: PLC0415  (as heavy as the program)

    files = {"artifacts/a": (b"a\n", 0o644)}
    digest = "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"
    fields = dict.fromkeys(Manifest.__slots__, "")
    fields |= {"host": "web-01", "sequence": 3, "time": 0, "operands": (), "files": {"artifacts/a": digest}}
    fields |= {"without_script": {}, "script_notes": (), "beside_nat": False}
    data = ours.seal(pack(Manifest(**fields), files), str(keys / "release"))
    signers = str(keys / "signers")
    assert opened.verified(data, signers) == "release@example.org"
    assert (opened.manifest(data)["host"], opened.manifest(data)["sequence"]) == ("web-01", 3)
    for wrong in (data[:-1], data + b"\0", data.replace(b"web-01", b"web-02"), b"", b"fwpolicy-bundle 1\n"):
        with pytest.raises(AnsibleError):
            opened.verified(wrong, signers)
    (keys / "signers").write_text(allowed(keys, "stranger"))
    with pytest.raises(AnsibleError, match="is of nobody"):
        opened.verified(data, signers)
    (keys / "signers").write_text(allowed(keys, "release", 'namespaces="file"'))
    with pytest.raises(AnsibleError):
        opened.verified(data, signers)
