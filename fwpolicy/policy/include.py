"""`include` and `override`: which files make a policy, and whose word counts where they differ."""

from __future__ import annotations

import posixpath

from fwpolicy.errors import PolicyError
from fwpolicy.policy.hidden import policy_text
from fwpolicy.policy.parse import APPLY_CHOICES
from fwpolicy.policy.reader import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.errors import Problem
    from fwpolicy.policy.names import Names, ReadFile
    from fwpolicy.policy.syntax import PolicyText, RuleText, Sources, Word

# Deeper than anybody reads; a cycle through symbolic links ends here, too.
MAX_DEPTH = 32
SCALARS = (
    *("input.default", "output.default", "forward.default", "roles.ntp"),
    *(f"log.{key}" for key in ("denied", "rate", "prefix", "group")),
    *(f"apply.{key}" for key in APPLY_CHOICES),
    "apply.confirm",
)
# Lists join; this one may be put in the included ones' place, too.
LISTS = ("apply.gates",)


class Gathering:
    """Follows `include` from file to file; each is read once."""

    def __init__(self, files: list[PolicyText], read_file: ReadFile) -> None:
        self.read_file = read_file
        self.files: dict[str, PolicyText] = {}
        self.direct: dict[str, tuple[str, ...]] = {}
        self.names = {posixpath.normpath(file.text.file): file.text.file for file in files}
        self.problems: list[Problem] = []

    def follow(self, file: PolicyText, path: tuple[str, ...] = ()) -> None:
        """Take in `file` and all that it includes; `path` leads to it."""
        name = file.text.file
        self.files[name] = file
        found = []
        for word in file.includes:
            target = self._target(word)
            if target in (*path, name):
                circle = " -> ".join((*(*path, name)[(*path, name).index(target) :], target))
                self._problem(file, word, f"the file includes itself: {circle}")
                continue
            found.append(target)
            if target not in self.files:
                self._read(file, word, target, (*path, name))
        self.direct[name] = tuple(found)

    def _target(self, word: Word) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(word.span.file), word.text))
        return self.names.get(path, path)

    def _read(self, file: PolicyText, word: Word, target: str, path: tuple[str, ...]) -> None:
        if len(path) > MAX_DEPTH:
            self._problem(file, word, f"files include files more than {MAX_DEPTH} levels deep")
            return
        try:
            included = policy_text(target, self.read_file(target), included=True)
        except OSError as error:
            self._problem(file, word, f"cannot read {target}: {error.strerror}")
        except PolicyError as error:
            self.problems += error.problems
        else:
            self.follow(included, path)

    def _problem(self, file: PolicyText, word: Word, message: str) -> None:
        self.problems.append(file.text.problem(message, word.span))

    def reach(self) -> dict[str, frozenset[str]]:
        """Which files each file includes, over any number of steps."""
        return {name: reached for name in self.files if (reached := self._below(name))}

    def _below(self, name: str) -> frozenset[str]:
        """Operands may include each other, in circles that no path from one of them closes."""
        seen: set[str] = set()
        waiting = list(self.direct.get(name, ()))
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting += self.direct.get(each, ())
        return frozenset(seen)


def overridden_rules(sources: Sources, names: Names) -> frozenset[int]:
    """The id() of each line for which another file's of the same `id` stands; others' ids are unique."""
    by_id: dict[str, list[RuleText]] = {}
    places: dict[int, tuple[str, str]] = {}
    for place, text in _rules(sources.files):
        if text.label.id:
            by_id.setdefault(text.label.id.text, []).append(text)
            places[id(text)] = place
    gone: set[int] = set()
    for name, texts in by_id.items():
        words = [text.label.id for text in texts if text.label.id]
        beaten = [any(names.overrides(o.span.file, name, word.span.file) for o in words) for word in words]
        gone |= {id(text) for text, is_beaten in zip(texts, beaten, strict=True) if is_beaten}
        _same_place(name, texts, beaten, places, names)
        left = [word for word, is_beaten in zip(words, beaten, strict=True) if not is_beaten]
        for other in left[1:]:
            message = f"the id '{name}' is here twice; the first is at {left[0].span}"
            hint = names.override_hint(name) if other.span.file != left[0].span.file else None
            names.error(message, other.span, hint)
    return frozenset(gone)


def _same_place(
    name: str,
    texts: list[RuleText],
    beaten: list[bool],
    places: dict[int, tuple[str, str]],
    names: Names,
) -> None:
    """A line stands for one of its own section and kind: an `allow` in a `block`'s place would open what
    nobody sees closed no more."""
    standing = [text for text, is_beaten in zip(texts, beaten, strict=True) if not is_beaten]
    for gone in (text for text, is_beaten in zip(texts, beaten, strict=True) if is_beaten):
        for other in standing:
            if places[id(other)] != places[id(gone)] and other.label.id and gone.label.id:
                was, where = (": ".join(places[id(text)]) for text in (gone, other))
                message = f"'{name}' overrides a line of '{was}' ({gone.label.id.span}) by one of '{where}'"
                names.error(message, other.label.id.span, "give it an id of its own")


def _rules(files: tuple[PolicyText, ...]) -> list[tuple[tuple[str, str], RuleText]]:
    """((section, "allow" or "block"), line) of all the files."""
    return [
        ((section.hook, kind), rule)
        for file in files
        for section in file.sections
        for kind, rules in (("allow", section.allow), ("block", section.block))
        for rule in rules
    ]


def check_overrides(sources: Sources, names: Names) -> None:
    """Every word of `override` is known, and in the place of something."""
    ids = {text.label.id.text for _, text in _rules(sources.files) if text.label.id}
    known = {*SCALARS, *LISTS, *ids}
    for table, what in ((names.groups, "groups"), (names.services, "services"), (names.zones, "zones")):
        known |= {f"{what}.{name}" for name in table}
    for file in sources.files:
        for word in file.overrides:
            if word.text not in known:
                hint = (
                    nearest(word.text, tuple(known)) or f"keys: {', '.join(SCALARS[:4])}, ..., or a line's id"
                )
                names.error(f"'{word.text}' is neither a key nor the id of a line", word.span, hint)
            elif (file.text.file, word.text) not in names.overridden:
                names.warn(f"'{word.text}' overrides nothing", word.span)
