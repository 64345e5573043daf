"""The documents hold together, in the checkout and as the Debian package brings them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fwpolicy.reference.manpages import EXITS

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
# A changelog has a place of its own; the machines are for a checkout.
NOT_PACKAGED = ("CHANGELOG.md", "vagrant/README.md")


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names([*PAGES]))
def test_a_row_stands_in_its_table(page):
    above = ["", *page.read_text().splitlines(), ""]
    for before, row, after in zip(above, above[1:], above[2:], strict=False):
        if row.startswith("| ") and not before.startswith("|"):
            assert after.startswith("|---"), row


@pytest.mark.parametrize("page", PAGES, ids=names([*PAGES]))
def test_what_is_linked_to_is_there_and_in_the_package(page):
    packaged = (ROOT / "deploy/debian/fwpolicy.docs").read_text().split()
    for link in LINK.findall(page.read_text()):
        place = (page.parent / link).resolve()
        inside = place.relative_to(ROOT)
        assert place.exists(), link
        assert str(inside) in NOT_PACKAGED or inside.parts[0] in packaged, link


def test_cron_finds_the_program_wherever_it_was_installed():
    text = (ROOT / "docs/fleet.md").read_text()
    blocks = re.findall(r"# /etc/cron\.d/.*\n(PATH=.*\n)((?:[*/0-9 ]+ root fwpolicy .*\n)+)```", text)
    assert len(blocks) == text.count("/etc/cron.d/") == 2
    for path, _ in blocks:
        assert {"/usr/local/sbin", "/usr/bin"} <= {*path.strip().removeprefix("PATH=").split(":")}


def test_exit_codes_are_the_manual_pages():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    assert [code for code, _ in rows] == [code for code, _ in EXITS]
