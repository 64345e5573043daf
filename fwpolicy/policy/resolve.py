"""The policy as written -> what it means: files merged, names resolved, contradictions found."""

from __future__ import annotations

import posixpath

from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.policy.model import ApplyOptions, Match, Policy, Rule, Section, Test
from fwpolicy.policy.names import Names
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
    role_text = _one_role(files, names)
    role = resolve_ntp(role_text, names) if role_text else None
    sections = tuple(
        section
        for hook in ("input", "output")
        if (section := _merged_section(files, hook, names)) is not None
    )
    if role:
        check_conflicts(role, sections, names)
    tests = tuple(test for file in files for text in file.tests if (test := _test(text, names)) is not None)
    apply = _apply_options(files, names)
    names.check_unused()
    if role is None and not sections and not names.problems:
        names.problems.append(_says_nothing(files))
    ordered = _in_file_order(names.problems, files)
    if any(problem.severity == "error" for problem in ordered):
        raise PolicyError(ordered)
    by_hook = {section.hook: section for section in sections}
    return Policy(
        name=_name(files),
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


def _in_file_order(problems: list[Problem], files: tuple[PolicyText, ...]) -> tuple[Problem, ...]:
    rank = {file.text.file: number for number, file in enumerate(files)}

    def place(problem: Problem) -> tuple[int, int, int]:
        span = problem.span
        return (rank.get(span.file, len(rank)), span.line, span.column) if span else (-1, 0, 0)

    return tuple(sorted(dict.fromkeys(problems), key=place))


def _name(files: tuple[PolicyText, ...]) -> str:
    named = next((file.name for file in files if file.name), None)
    if named:
        return named.text
    stem = posixpath.basename(files[0].text.file)
    return stem.rsplit(".", 1)[0] or stem


def _one_role(files: tuple[PolicyText, ...], names: Names) -> NtpText | None:
    roles = [file.ntp for file in files if file.ntp]
    for other in roles[1:]:
        if not _same_role(roles[0], other):
            names.error(f"roles.ntp differs from the one at {roles[0].key.span}", other.key.span)
    return roles[0] if roles else None


def _same_role(one: NtpText, other: NtpText) -> bool:
    def said(role: NtpText) -> tuple[object, ...]:
        lists = (role.serve, role.monitors)
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
    return Section(
        hook,
        first.default.text if first.default else "drop",
        _rules(texts, "allow", names),
        _rules(texts, "block", names),
        first.key.span,
    )


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
    match = _match(text.match, names)
    families = _legs(text.match, match, names)
    holes = tuple(hole for hole_text in text.holes if not _is_empty(hole := _match(hole_text, names)))
    if not families:
        return None
    return Rule(verdict, match, holes, families, text.match.span, text.comment.text if text.comment else None)


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
    families = tuple(family for family in (4, 6) if all(part.of(family) for part in keys))
    if keys and not families:
        if _is_empty(match):
            names.warn("this line matches nothing: its group is empty", text.span)
        else:
            names.error("no address family has all of this line's addresses", text.span)
        return ()
    served = _families_of(match.services)
    if served and not any(family in families for family in served):
        names.error(f"the service is {FAMILY_NAMES[served[0]]} only, the addresses are not", text.span)
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
    services = _test_services(text.what, names)
    source = _test_addresses(text.sources, names)
    destination = _test_addresses(text.destinations, names)
    if not services:
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
