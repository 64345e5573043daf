"""A repository of policies: the files below one folder, as they lie there or as a git revision has them."""

from __future__ import annotations

import os
import posixpath

from fwpolicy.host import git, texts

INVENTORIES = ("inventory.yaml", "inventory.yml")
# What Ansible keeps beside an inventory.
BESIDE = ("group_vars", "host_vars")


class WorkTree:
    """The files below the repository that the inventory is in: the folder with `.git`, else its own."""

    revision = ""

    def __init__(self, operand: str) -> None:
        """`operand`: an inventory, or the folder of one. Raises FileNotFoundError."""
        self.inventory = _inventory_of(operand)
        folder = os.path.realpath(os.path.dirname(self.inventory) or ".")  # noqa: PTH120
        self.root = texts.root_of(folder)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises OSError, also for one that is outside of the repository, itself or
        where a symbolic link leads; shipped policies are not."""
        place = os.path.realpath(name)
        if not texts.below(place, self.root) and not texts.is_shipped(name):
            raise OSError(None, f"is outside of the repository ({self.root})", name)
        return texts.read_file(name)

    @property
    def in_git(self) -> bool:
        return os.path.exists(f"{self.root}/.git")  # noqa: PTH110

    def is_shipped(self, name: str) -> bool:
        """Whether the file is a policy that comes with the program."""
        return name.startswith("/") and texts.is_shipped(name)

    def inside(self, name: str) -> str:
        """The file's path below the root, by the names on the way to it."""
        return _inside(name, self.inventory, self.root)

    def beside(self) -> list[str]:
        """The files in which Ansible looks for more variables of the inventory's hosts, sorted."""
        here = os.path.dirname(self.inventory)  # noqa: PTH120
        found = []
        for folder in BESIDE:
            for above, folders, names in os.walk(posixpath.join(here, folder)):
                folders.sort()
                found += [posixpath.join(above, name) for name in names]
        return sorted(found)


class GitTree:
    """The same files in `revision` of the repository at `root`, each read once; `inventory` from the current
    folder."""

    def __init__(self, revision: str, inventory: str, root: str) -> None:
        self.revision, self.inventory, self.root = revision, inventory, root
        self._known: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """The bytes of a file of the revision, or of a shipped policy. Raises OSError, also for one that is
        outside of the repository, itself or where a symbolic link leads."""
        if name.startswith("/") and texts.is_shipped(name):
            return texts.read_file(name)
        place = _inside(name, self.inventory, self.root)
        if place.startswith("../"):
            raise OSError(None, f"is outside of the repository ({self.root})", name)
        if place not in self._known:
            self._known[place] = git.read(self.revision, place, self.root)
        return self._known[place]

    def beside(self) -> list[str]:
        """Nothing: what is in force now decides what a revision may be compared with."""
        return []


def _inside(name: str, inventory: str, root: str) -> str:
    here = os.path.dirname(inventory) or "."  # noqa: PTH120
    start = os.path.relpath(os.path.realpath(here), root)
    return posixpath.normpath(posixpath.join(start, os.path.relpath(name, here)))


def _inventory_of(operand: str) -> str:
    if not os.path.isdir(operand):  # noqa: PTH112
        return operand
    for name in INVENTORIES:
        path = posixpath.join("" if operand == "." else operand, name)
        if os.path.isfile(path):  # noqa: PTH113
            return path
    raise FileNotFoundError(2, f"has no {' or '.join(INVENTORIES)}", operand)
