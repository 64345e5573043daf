"""The policy as written -> what it means: files merged, names resolved, contradictions found."""

from __future__ import annotations

from fwpolicy.errors import PolicyError, Problem, Span
from fwpolicy.policy.model import (
    HOOKS,
    ApplyOptions,
    DynamicGroup,
    Match,
    NtpRole,
    Policy,
    Rule,
    Section,
)
from fwpolicy.policy.names import FAMILY_NAMES, Names, stem_of
from fwpolicy.policy.parse import POLICY_NAME
from fwpolicy.policy.repeats import is_empty, warn_of_hole, warn_of_repeats
from fwpolicy.policy.roles import check_conflicts, resolve_ntp
from fwpolicy.protocols import EXTENSION_HEADERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fwpolicy.addresses import AddressSet
    from fwpolicy.policy.model import Log, Nat, Test
    from fwpolicy.policy.names import ReadFile
    from fwpolicy.policy.services import Service
    from fwpolicy.policy.syntax import MatchText, NtpText, PolicyText, RuleText, Sources, Word

BOTH: tuple[int, ...] = (4, 6)
# `check` warns of an end this many seconds ahead.
EXPIRES_SOON = 14 * 86400


def resolve(sources: Sources, read_file: ReadFile) -> Policy:
    """Merge and resolve parsed files; `read_file(path)` gives a group file's bytes (OSError if it cannot).

    Raises PolicyError with every problem of every file, in file order.
    """
    files = sources.files
    names = Names(sources, read_file)
    names.problems += [problem for file in files for problem in file.problems]
    role = _role(files, names)
    gone = _overridden(sources, names)
    sections = tuple(
        section for hook in HOOKS if (section := _merged_section(files, hook, names, gone)) is not None
    )
    if role:
        check_conflicts(role, sections, names)
    _warn_of_open_doors(sections, names)
    log, nat = _log(files, names), _nat(files, sections, names)
    tests = _tests(files, names)
    apply = _apply_options(files, role, names)
    name = _name(sources, names)
    names.check_unused()
    if sources.now is not None:
        _warn_of_expiry(sections, sources.now, names)
    if not sections and not nat and not any(file.ntp for file in files) and not names.has_errors():
        names.problems.append(_says_nothing(files))
    _check_overrides(sources, names)
    ordered = in_file_order(names.problems, files)
    if names.has_errors():
        # Errors alone: what warns of a line may follow from another that could not be read.
        raise PolicyError(tuple(problem for problem in ordered if problem.severity == "error"))
    by_hook = {section.hook: section for section in sections}
    tops = [file for file in files if file.text.file in sources.tops]
    return Policy(
        name=name,
        description=next((file.description.text for file in tops if file.description), ""),
        backends=tuple(dict.fromkeys(word.text for file in files for word in file.backends)) or ("nft",),
        ntp=role,
        input=by_hook.get("input"),
        output=by_hook.get("output"),
        tests=tests,
        apply=apply,
        warnings=ordered,
        files=tuple(names.texts),
        forward=by_hook.get("forward"),
        nat=nat,
        log=log,
        dynamic=tuple(
            DynamicGroup(group.name.text, group.dynamic, group.name.span)
            for group in names.groups.values()
            if group.dynamic is not None
        ),
    )


# What most policies lack is imported where it is met: start-up does not pay for it.


def _log(files: tuple[PolicyText, ...], names: Names) -> Log | None:
    if not any(file.log is not None for file in files):
        return None
    from fwpolicy.policy import log  # noqa: PLC0415

    return log.resolve(files, names)


def _nat(files: tuple[PolicyText, ...], sections: tuple[Section, ...], names: Names) -> Nat | None:
    if not any(file.nat for file in files):
        return None
    from fwpolicy.policy import nat  # noqa: PLC0415

    found = nat.resolve(files, names)
    nat.warn_of_hidden_services(found.forward, sections, names)
    return found


def _tests(files: tuple[PolicyText, ...], names: Names) -> tuple[Test, ...]:
    if not any(file.tests for file in files):
        return ()
    from fwpolicy.policy.expectations import resolve_test  # noqa: PLC0415

    found = (resolve_test(text, names) for file in files for text in file.tests)
    return tuple(test for test in found if test is not None)


def _overridden(sources: Sources, names: Names) -> frozenset[int]:
    labelled = any(
        rule.label.id
        for file in sources.files
        for section in file.sections
        for rule in (*section.allow, *section.block)
    )
    if not labelled:
        return frozenset()
    from fwpolicy.policy.include import overridden_rules  # noqa: PLC0415

    return overridden_rules(sources, names)


def _check_overrides(sources: Sources, names: Names) -> None:
    if any(file.overrides for file in sources.files):
        from fwpolicy.policy.include import check_overrides  # noqa: PLC0415

        check_overrides(sources, names)


def _warn_of_open_doors(sections: tuple[Section, ...], names: Names) -> None:
    if any(rule.match.published for section in sections for rule in section.allow):
        from fwpolicy.policy.published import warn_of_open_doors  # noqa: PLC0415

        warn_of_open_doors(sections, names)


def _warn_of_expiry(sections: tuple[Section, ...], now: int, names: Names) -> None:
    rules = [rule for section in sections for rule in (*section.allow, *section.block) if rule.expires]
    for rule in rules:
        left = (rule.expires or 0) - now
        if left <= 0:
            names.warn("this line has expired: it matches nothing any more", rule.origin)
        elif left <= EXPIRES_SOON:
            day = "today" if left <= 86400 else f"in {left // 86400} days"
            names.warn(f"this line expires {day}", rule.origin, "expires is the last day, in UTC")


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


def _name(sources: Sources, names: Names) -> str:
    """The policy's `name`, or the stem of its file."""
    tops = [file for file in sources.files if file.text.file in sources.tops]
    named = next((file.name for file in tops if file.name), None)
    if named:
        return named.text
    text = tops[0].text
    stem = stem_of(text.file)
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
    if len(roles) > 1:
        key = "roles.ntp"
        roles = [
            role
            for role in roles
            if not any(names.overrides(each.key.span.file, key, role.key.span.file) for each in roles)
        ]
        for other in roles[1:]:
            if not _same_role(roles[0], other):
                message = f"{key} differs from the one at {roles[0].key.span}"
                names.error(message, other.key.span, names.override_hint(key))
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


def _merged_section(
    files: tuple[PolicyText, ...], hook: str, names: Names, gone: frozenset[int]
) -> Section | None:
    texts = [section for file in files for section in file.sections if section.hook == hook]
    if not texts:
        return None
    first = texts[0]
    default = names.settle(f"{hook}.default", [text.default for text in texts if text.default], "default")
    if default is None and any(text.open for text in texts):
        hint = "write what happens to the rest: default: drop"
        names.error(f"'{hook}' has no 'default'", first.key.span, hint)
    allow, block = (
        tuple(
            resolved
            for text in texts
            for rule in (text.allow if kind == "allow" else text.block)
            if id(rule) not in gone and (resolved := _rule(rule, hook, kind, names)) is not None
        )
        for kind in ("allow", "block")
    )
    warn_of_repeats(allow, block, names)
    return Section(hook, default.text if default else "drop", allow, block, first.key.span)


def _rule(text: RuleText, hook: str, kind: str, names: Names) -> Rule | None:
    """None for a rule that matches nothing, or has a mistake: others would follow from it."""
    before = len(names.problems)
    match = _match(text.match, names)
    holes = tuple([_hole(hole, hook, names) for hole in text.holes]) if text.holes else ()
    if names.has_errors(before):
        return None
    families = _legs(text.match, match, names)
    _warn_of_extension_headers(text, match, holes, families, names)
    if holes:
        for written, hole in zip(text.holes, holes, strict=True):
            if is_empty(hole):
                names.warn("this exception excepts nothing: its group is empty", written.span)
            else:
                warn_of_hole(written.span, hole, match, names)
        holes = tuple([hole for hole in holes if not is_empty(hole)])
    if not families:
        return None
    label = text.label
    return Rule(
        "accept" if kind == "allow" else (text.action.text if text.action else "drop"),
        match,
        holes,
        families,
        text.match.span,
        label.comment,
        label.id.text if label.id else None,
        label.log,
        label.limit,
        label.expires,
        label.owner,
        label.ticket,
    )


def _warn_of_extension_headers(
    text: RuleText, match: Match, holes: tuple[Match, ...], families: tuple[int, ...], names: Names
) -> None:
    if 6 not in families or not any(has_extension_header(each) for each in (match, *holes)):
        return
    from fwpolicy.policy.matches import warn_of_extension_headers  # noqa: PLC0415

    for written, meant in zip((text.match, *text.holes), (match, *holes), strict=True):
        warn_of_extension_headers(written, meant, names)


def _match(text: MatchText, names: Names) -> Match:
    services = None if text.services is None else names.service(text.services)
    source, source_group, source_dynamic = _side(text.sources, names)
    destination, destination_group, destination_dynamic = _side(text.destinations, names)
    match = Match(
        services,
        source,
        destination,
        source_group,
        destination_group,
        source_dynamic,
        destination_dynamic,
    )
    if text.sports or text.incoming or text.outgoing or text.published:
        from fwpolicy.policy.matches import narrowed  # noqa: PLC0415

        return narrowed(match, text, names)
    return match


def _side(
    words: tuple[Word, ...] | None, names: Names
) -> tuple[AddressSet | None, str | None, tuple[str, ...]]:
    """Addresses of `from` or `to`, the one group that they are, and those that are filled at run time."""
    if words is None:
        return None, None, ()
    return names.addresses(words), names.group_name(words), names.filled_by(words)


def _hole(text: MatchText, hook: str, names: Names) -> Match:
    match = _match(text, names)
    if text.family:
        from fwpolicy.policy.matches import of_family  # noqa: PLC0415

        return of_family(match, text, hook, names)
    return match


def _legs(text: MatchText, match: Match, names: Names) -> tuple[int, ...]:
    """The families of which every address key has a member; LANGUAGE: a rule never widens."""
    families = BOTH
    for addresses, dynamic in match.sides:
        if addresses is None or dynamic or (addresses.v4 and addresses.v6):
            continue
        if not (addresses.v4 or addresses.v6):
            names.warn("this line matches nothing: its group is empty", text.span)
            return ()
        only = 4 if addresses.v4 else 6
        families = (only,) if only in families else ()
    served = families_of(match.services)
    if not families or text.family or (len(served) == 1 and served[0] not in families):
        from fwpolicy.policy.matches import legs  # noqa: PLC0415

        return legs(text, families, served, match, names)
    if len(families) == 1 and len(served) != 1:
        names.warn(f"{FAMILY_NAMES[families[0]]} only", text.span)
    return families


def has_extension_header(match: Match) -> bool:
    """Whether it asks for what IPv6 does not call a packet's protocol."""
    return any(each.family == 4 and each.protocol in EXTENSION_HEADERS for each in match.services or ())


def families_of(services: tuple[Service, ...] | None) -> tuple[int, ...]:
    """The families in which one of `services` exists; empty where nothing says."""
    if not services:
        return ()
    if len(services) == 1 and services[0].family is None:
        return BOTH
    families = {service.family for service in services}
    return BOTH if None in families else tuple(sorted(filter(None, families)))


def _apply_options(files: tuple[PolicyText, ...], role: NtpRole | None, names: Names) -> ApplyOptions:
    said: dict[str, list[Word]] = {}
    for file in files:
        for key, word in file.apply:
            said.setdefault(key, []).append(word)
    settled = {key: names.settle(f"apply.{key}", words, f"apply.{key}") for key, words in said.items()}
    confirm = settled.pop("confirm", None)
    words: dict[str, Any] = {key.replace("-", "_"): word.text for key, word in settled.items() if word}
    if confirm is None and not any(file.gates for file in files):
        return ApplyOptions(**words)
    from fwpolicy.policy import gates  # noqa: PLC0415

    return ApplyOptions(**words, confirm=gates.seconds(confirm), gates=gates.resolve(files, role, names))
