"""The policy as written -> what it means: files merged, names resolved, contradictions found."""

from __future__ import annotations

import posixpath

from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.policy.model import ApplyOptions, Match, NtpRole, Policy, Rule, Section, Test
from fwpolicy.policy.names import Names
from fwpolicy.policy.parse import POLICY_NAME
from fwpolicy.policy.repeats import warn_of_hole, warn_of_repeats
from fwpolicy.policy.roles import check_conflicts, resolve_ntp
from fwpolicy.policy.services import PROTOCOLS, Service
from fwpolicy.policy.syntax import MatchText, NtpText, PolicyText, RuleText, SectionText, TestText, Word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.addresses import AddressSet
    from fwpolicy.policy.names import ReadFile

FAMILY_NAMES = {4: "IPv4", 6: "IPv6"}


def resolve(files: tuple[PolicyText, ...], read_file: ReadFile) -> Policy:
    """Merge and resolve parsed files; `read_file(path)` gives a group file's bytes (OSError if it cannot).

    Raises PolicyError with every problem of every file, in file order.
    """
    names = Names(files, read_file)
    names.problems += [problem for file in files for problem in file.problems]
    role = _role(files, names)
    sections = tuple(
        section
        for hook in ("input", "output")
        if (section := _merged_section(files, hook, names)) is not None
    )
    if role:
        check_conflicts(role, sections, names)
    tests = tuple(test for file in files for text in file.tests if (test := _test(text, names)) is not None)
    apply = _apply_options(files, names)
    name = _name(files, names)
    names.check_unused()
    if not sections and not any(file.ntp for file in files) and not names.has_errors():
        names.problems.append(_says_nothing(files))
    ordered = in_file_order(names.problems, files)
    if names.has_errors():
        # Errors alone: what warns of a line may follow from another that could not be read.
        raise PolicyError(tuple(problem for problem in ordered if problem.severity == "error"))
    by_hook = {section.hook: section for section in sections}
    return Policy(
        name=name,
        description=next((file.description.text for file in files if file.description), ""),
        backends=tuple(dict.fromkeys(word.text for file in files for word in file.backends)) or ("nft",),
        ntp=role,
        input=by_hook.get("input"),
        output=by_hook.get("output"),
        tests=tests,
        apply=apply,
        warnings=ordered,
        files=tuple(names.texts),
    )


def _says_nothing(files: tuple[PolicyText, ...]) -> Problem:
    text = files[0].text
    hint = "begin with a role:\n          roles: {ntp: client-only}"
    return text.problem(
        "the policy says nothing: it has no role and no section", Span(text.file, 1, 1, 2), hint
    )


def in_file_order(problems: list[Problem], files: tuple[PolicyText, ...]) -> tuple[Problem, ...]:
    """Without repetitions; the files of groups come last."""
    rank = {file.text.file: number for number, file in enumerate(files)}

    def place(problem: Problem) -> tuple[int, str, int, int]:
        span = problem.span
        return (rank.get(span.file, len(rank)), span.file, span.line, span.column) if span else (-1, "", 0, 0)

    return tuple(sorted(dict.fromkeys(problems), key=place))


def _name(files: tuple[PolicyText, ...], names: Names) -> str:
    """The policy's `name`, or the stem of its file."""
    named = next((file.name for file in files if file.name), None)
    if named:
        return named.text
    text = files[0].text
    stem = posixpath.basename(text.file).strip("<>")
    stem = stem.rsplit(".", 1)[0] or stem
    if not POLICY_NAME.match(stem) and not names.has_errors():
        names.error(
            f"the policy has no 'name', and its file's, '{stem}', cannot be one",
            Span(text.file, 1, 1, 2),
            "write a name of letters, digits, '.', '_' and '-', as in: name: web-01",
        )
    return stem


def _role(files: tuple[PolicyText, ...], names: Names) -> NtpRole | None:
    """The role, where there is one without a mistake: others would follow from it."""
    before = len(names.problems)
    text = _one_role(files, names)
    role = resolve_ntp(text, names) if text else None
    return None if names.has_errors(before) or (text and text.flawed) else role


def _one_role(files: tuple[PolicyText, ...], names: Names) -> NtpText | None:
    roles = [file.ntp for file in files if file.ntp]
    for other in roles[1:]:
        if not _same_role(roles[0], other):
            names.error(f"roles.ntp differs from the one at {roles[0].key.span}", other.key.span)
    return roles[0] if roles else None


def _same_role(one: NtpText, other: NtpText) -> bool:
    def said(role: NtpText) -> tuple[object, ...]:
        lists = (role.serve or (), role.monitors)
        return (
            *(word and word.text for word in (role.mode, role.servers, role.daemon)),
            *(tuple(word.text for word in words) for words in lists),
            role.nts,
        )

    return said(one) == said(other)


def _merged_section(files: tuple[PolicyText, ...], hook: str, names: Names) -> Section | None:
    texts = [section for file in files for section in file.sections if section.hook == hook]
    if not texts:
        return None
    first = texts[0]
    for other in texts[1:]:
        if first.default and other.default and first.default.text != other.default.text:
            message = (
                f"default '{other.default.text}' differs from '{first.default.text}' at {first.default.span}"
            )
            names.error(message, other.default.span)
    allow, block = _rules(texts, "allow", names), _rules(texts, "block", names)
    warn_of_repeats(allow, block, names)
    return Section(hook, first.default.text if first.default else "drop", allow, block, first.key.span)


def _rules(texts: list[SectionText], which: str, names: Names) -> tuple[Rule, ...]:
    rules = []
    for text in texts:
        for rule in text.allow if which == "allow" else text.block:
            verdict = "accept" if which == "allow" else (rule.action.text if rule.action else "drop")
            resolved = _rule(rule, verdict, names)
            if resolved is not None:
                rules.append(resolved)
    return tuple(rules)


def _rule(text: RuleText, verdict: str, names: Names) -> Rule | None:
    """None for a rule that matches nothing, or has a mistake: others would follow from it."""
    before = len(names.problems)
    match = _match(text.match, names)
    holes = tuple((hole, _match(hole, names)) for hole in text.holes)
    if names.has_errors(before):
        return None
    families = _legs(text.match, match, names)
    for hole_text, hole in holes:
        warn_of_hole(hole_text.span, hole, match, names)
    if not families:
        return None
    kept = tuple(hole for _, hole in holes if not _is_empty(hole))
    return Rule(verdict, match, kept, families, text.match.span, text.comment.text if text.comment else None)


def _match(text: MatchText, names: Names) -> Match:
    return Match(
        services=None if text.services is None else names.service(text.services),
        source=None if text.sources is None else names.addresses(text.sources),
        destination=None if text.destinations is None else names.addresses(text.destinations),
        source_group=names.group_name(text.sources),
        destination_group=names.group_name(text.destinations),
    )


def _is_empty(match: Match) -> bool:
    """An optional group without members matches nothing."""
    return any(part is not None and not part for part in (match.source, match.destination))


def _legs(text: MatchText, match: Match, names: Names) -> tuple[int, ...]:
    """The families of which every address key has a member; LANGUAGE: a rule never widens."""
    keys = [part for part in (match.source, match.destination) if part is not None]
    if _is_empty(match):
        names.warn("this line matches nothing: its group is empty", text.span)
        return ()
    families = tuple(family for family in (4, 6) if all(part.of(family) for part in keys))
    served = _families_of(match.services)
    if served and not any(family in families for family in served):
        names.error(
            f"the service is {FAMILY_NAMES[served[0]]} only, the addresses are "
            f"{FAMILY_NAMES[families[0]]} only",
            text.span,
        )
        return ()
    if keys and len(families) == 1 and len(served) != 1:
        names.warn(f"{FAMILY_NAMES[families[0]]} only", text.span)
    return families


def _families_of(services: tuple[Service, ...] | None) -> tuple[int, ...]:
    if not services:
        return ()
    return tuple(
        sorted(
            {family for service in services for family in ((service.family,) if service.family else (4, 6))}
        )
    )


def _test(text: TestText, names: Names) -> Test | None:
    if text.sources is not None and text.destinations is not None:
        names.error("a test with both 'from' and 'to' is about forward, which this version lacks", text.span)
        return None
    hook = "input" if text.sources is not None else "output"
    before = len(names.problems)
    services = _test_services(text.what, names)
    source = _test_addresses(text.sources, names)
    destination = _test_addresses(text.destinations, names)
    if names.has_errors(before) or not _tests_something(text, services, source or destination, names):
        return None
    return Test(
        text.allow,
        hook,
        services,
        text.what.text,
        text.span,
        source,
        destination,
        text.state.text if text.state else "new",
        int(text.mode.text) if text.mode else 3,
    )


def _tests_something(
    text: TestText, services: tuple[Service, ...], peers: AddressSet | None, names: Names
) -> bool:
    """A test for which there is no packet would hold whatever the policy says."""
    if not peers:
        names.warn("this line tests nothing: its group is empty", text.span)
        return False
    served = _families_of(services)
    if not served:  # a service of the policy's own that could not be read
        return False
    if not any(peers.of(family) for family in served):
        names.error(
            f"'{text.what.text}' is {FAMILY_NAMES[served[0]]} only, the addresses are not: "
            "no packet is what this line tests",
            text.span,
        )
        return False
    return True


def _test_services(word: Word, names: Names) -> tuple[Service, ...]:
    """A packet's WHAT: what a rule's service is, or a bare protocol: all of its ports."""
    if word.text in PROTOCOLS and word.text not in names.services:
        return (Service(PROTOCOLS[word.text], family={"icmp": 4, "icmpv6": 6}.get(word.text)),)
    return names.service((word,))


def _test_addresses(words: tuple[Word, ...] | None, names: Names) -> AddressSet | None:
    return None if words is None else names.addresses(words)


def _apply_options(files: tuple[PolicyText, ...], names: Names) -> ApplyOptions:
    said: dict[str, Word] = {}
    for file in files:
        for key, word in file.apply:
            if key in said and said[key].text != word.text:
                names.error(f"apply.{key} differs from the one at {said[key].span}", word.span)
            said.setdefault(key, word)
    return ApplyOptions(**{key.replace("-", "_"): word.text for key, word in said.items()})
