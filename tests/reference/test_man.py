"""The manual pages: in step with the program, readable without a warning, and in the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fwpolicy.cli import COMMANDS, main
from fwpolicy.policy.services import BUILT_IN
from fwpolicy.reference import keys, manpages, roff
from tests.reference.update_man import FOLDER, pages

PAGES = ("fwpolicy.1", "fwpolicy-policy.5")


@pytest.mark.parametrize("page", PAGES)
def test_up_to_date(page):
    assert (FOLDER / page).read_text() == pages()[page], "run: make man"


def shown(page: str) -> str:
    """The page as a reader sees it."""
    environment = os.environ | {"MANWIDTH": "100", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    tool("man")
    done = subprocess.run(
        ["man", "--local-file", "--pager=cat", str(FOLDER / page)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def tool(name: str) -> None:
    if shutil.which(name):
        return
    if os.environ.get("CI"):
        pytest.fail(f"needs {name}; in CI a skip is a failure", pytrace=False)
    pytest.skip(f"needs {name}")


@pytest.mark.parametrize("page", PAGES)
def test_man_has_no_warning(page):
    tool("man")
    done = subprocess.run(
        ["man", "--warnings", "--local-file", "-Tutf8", "-Z", str(FOLDER / page)],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_no_complaint(page):
    tool("mandoc")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wstyle", str(FOLDER / page)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_every_verb_and_option_is_there():
    text = shown("fwpolicy.1")
    assert all(f"fwpolicy {verb}" in text for verb in COMMANDS)
    assert "--control HOST" in text and "FWPOLICY(1)" in text


def test_every_key_and_service_is_there():
    text = shown("fwpolicy-policy.5")
    for place in keys.PLACES:
        assert all(f"\n       {key.name}: " in text for key in place.keys), place.name
    assert all(f"\n           {name} " in text for name in BUILT_IN)
    assert "burst: N" in text and "Only in allow." in text


def test_every_kind_has_a_form():
    kinds = {key.kind for place in keys.PLACES for key in place.keys if not key.words}
    assert kinds == manpages.FORMS.keys()


def test_the_example_is_right(tmp_path, capsys):
    path = tmp_path / "web-01.yaml"
    path.write_text(manpages.POLICY)
    assert main(["check", str(path)]) == 0
    assert "2 tests held" in capsys.readouterr().out


def test_nothing_of_the_text_is_a_request():
    assert roff.paragraph(".so /etc/passwd") == [".PP", "\\&.so /etc/passwd"]
    assert roff.paragraph("'quoted' \\n") == [".PP", "\\(aqquoted\\(aq \\en"]
    assert roff.code("a\n\n.b") == [".PP", ".RS 4", ".nf", "a", "\\&", "\\&.b", ".fi", ".RE"]


def test_the_wheel_installs_them(tmp_path):
    source = tmp_path / "source"
    checkout = Path(__file__).parents[2]
    source.mkdir()
    for name in ("fwpolicy", "policies", "docs"):
        shutil.copytree(checkout / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, source / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    data = wheel.name.removesuffix("-py3-none-any.whl") + ".data/data/share/man"
    assert {f"{data}/man1/fwpolicy.1", f"{data}/man5/fwpolicy-policy.5"} <= set(names)
    pieces = {path.name for path in (checkout / "fwpolicy/deploy/script").iterdir() if path.is_file()}
    assert {f"fwpolicy/deploy/script/{name}" for name in pieces} <= set(names), "and what a script is made of"
    assert {"fwpolicy/view/page.css", "fwpolicy/view/page.js"} <= set(names), "and a report"
