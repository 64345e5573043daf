"""Write docs/man anew: `make man`."""

from __future__ import annotations

from pathlib import Path

from fwpolicy.cli import parsers
from fwpolicy.reference import manpages
from fwpolicy.reference.verbs import verbs

FOLDER = Path(__file__).parents[2] / "docs" / "man"


def pages() -> dict[str, str]:
    return {
        "fwpolicy.1": manpages.command_page(verbs(parsers())),
        "fwpolicy-policy.5": manpages.language_page(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
