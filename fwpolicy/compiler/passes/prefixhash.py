"""A large set of networks of few lengths becomes a hash for each length.

`ip saddr & 255.255.255.0 @abuse_v4_24` takes 97 ns whatever the size, an interval tree 562 for 1,000
networks and 881 for 100,000; and hashes load three to six times as fast. So one lookup for each length
wins as long as lengths are few; a few networks of another length are split to make them so.
"""

from __future__ import annotations

from itertools import pairwise

from fwpolicy.addresses import BITS, prefixes
from fwpolicy.addresslists import AddressList, are_single, networks_of, singles
from fwpolicy.compiler.passes.chains import each_table
from fwpolicy.ir.ruleset import Address, Chain, CtCount, DynamicSet, Rate, Rule, Set
from fwpolicy.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwpolicy.addresses import Interval
    from fwpolicy.ir.ruleset import Ruleset, Table

    # (prefix length, the name of its set)
    Lengths = tuple[tuple[int, str], ...]

NAME = "prefixhash"
ABOUT = "a large set of networks of few lengths becomes a hash for each length"

# (networks at least, lengths at most): what the interval tree would take, by 97 ns.
LIMITS = ((50_000, 8), (1_000, 5))
# How many times as many networks a set may have for splitting them.
_GROWTH = 1.5


def run(ruleset: Ruleset) -> Ruleset:
    """A rule about such a set becomes one for each length; a negated match one match for each."""
    return each_table(ruleset, _table)


def _table(table: Table) -> Table:
    found: dict[str, Lengths] = {}
    sets: list[Set | DynamicSet] = []
    taken = {each.name for each in (*table.sets, *table.maps)}
    fixed = _fixed(table)
    for each in table.sets:
        hashes = _hashes(each, taken) if isinstance(each, Set) and each.name not in fixed else ()
        sets += [new for _, new in hashes] or [each]
        if hashes:
            found[each.name] = tuple((length, new.name) for length, new in hashes)
    if not found:
        return table
    chains = tuple(_chain(chain, found) for chain in table.chains)
    return replace(table, sets=tuple(sets), chains=chains)


def _fixed(table: Table) -> set[str | None]:
    """Sets in rules that cannot be several, for a limiter of their own, or whose address is no header's."""
    return {
        match.set_name
        for chain in table.chains
        for rule in chain.rules
        for match in rule.matches
        if isinstance(match, Address)
        and (match.original or any(isinstance(each, Rate | CtCount) for each in rule.matches))
    }


def _hashes(each: Set, taken: set[str]) -> list[tuple[int, Set]]:
    """(length, its set), the most networks first; none where the tree is better."""
    few = len(each.intervals) < min(least for least, _ in LIMITS) / 32
    if few or are_single(each.intervals):
        return []
    networks = _networks(each)
    wanted = _lengths({length: len(firsts) for length, firsts in networks.items()})
    if wanted is None:
        return []
    by_length: dict[int, list[int]] = {}
    for length, firsts in networks.items():
        target = next(kept for kept in wanted if kept >= length)
        by_length.setdefault(target, []).extend(_split(firsts, length, target, BITS[each.family]))
    found = []
    for length, firsts in sorted(by_length.items(), key=lambda item: (-len(item[1]), item[0])):
        firsts.sort()
        members = singles(firsts) if each.family == 4 else tuple(zip(firsts, firsts, strict=True))
        found.append((length, Set(_name(f"{each.name}_{length}", taken), each.family, members)))
    return found


def _networks(each: Set) -> dict[int, list[int]]:
    """The first addresses of the fewest networks that make up the set, by the networks' length."""
    found: dict[int, list[int]] = {}
    ranges: Iterable[Interval] = each.intervals
    if isinstance(each.intervals, AddressList):
        found, ranges = networks_of(each.intervals)
    for interval in ranges:
        for network, length in prefixes(each.family, interval):
            found.setdefault(length, []).append(network)
    return found


def _split(firsts: list[int], length: int, target: int, bits: int) -> list[int]:
    """Networks of one length as networks of a longer one."""
    if length == target:
        return firsts
    size, step = 1 << (bits - length), 1 << (bits - target)
    return [part for first in firsts for part in range(first, first + size, step)]


def _lengths(counts: dict[int, int]) -> list[int] | None:
    """The lengths to keep, ascending; None where there are too many, or too few networks."""
    total = sum(counts.values())
    most = next((most for least, most in LIMITS if total >= least), None)
    if most is None:
        return None
    kept = sorted(counts)
    numbers = dict(counts)
    while len(kept) > most:
        costs = [(numbers[a] << (b - a)) - numbers[a] for a, b in pairwise(kept)]
        index = costs.index(min(costs))
        short, longer = kept[index], kept[index + 1]
        numbers[longer] += numbers.pop(short) << (longer - short)
        if sum(numbers.values()) > total * _GROWTH:
            return None
        kept.remove(short)
    return kept


def _name(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def _chain(chain: Chain, found: dict[str, Lengths]) -> Chain:
    return replace(chain, rules=tuple(new for rule in chain.rules for new in _rules(rule, found)))


def _rules(rule: Rule, found: dict[str, Lengths]) -> Iterable[Rule]:
    """No address is in two of the sets, so one rule at most holds, and counts, and jumps."""
    for index, match in enumerate(rule.matches):
        if not isinstance(match, Address) or match.set_name not in found:
            continue
        lookups = [_lookup(match, *each) for each in found[match.set_name]]
        ways = [lookups] if match.negated else [[each] for each in lookups]
        for way in ways:
            changed = (*rule.matches[:index], *way, *rule.matches[index + 1 :])
            yield from _rules(replace(rule, matches=changed), found)
        return
    yield rule


def _lookup(match: Address, length: int, name: str) -> Address:
    return replace(match, set_name=name, prefix=None if length == BITS[match.family] else length)
