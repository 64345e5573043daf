"""The shape of what the compiler emits; what it does is in tests/kernel/test_lowering.py."""

from __future__ import annotations

import pytest

from fwpolicy.compiler.facts import Facts
from fwpolicy.compiler.lower import lower
from fwpolicy.ir.ruleset import CtCount, DynamicSet, LimitName, PerSource, Rate
from fwpolicy.policy import model
from fwpolicy.record import replace
from tests.compiler.build import HERE, allow, block, compiled, forwarding, match, policy, section, some


def table(*sections: model.Section, **more: object):
    (found,) = lower(policy(*sections, **more), Facts()).tables
    return found


def limiters(found) -> list[object]:
    kinds = (Rate, CtCount, LimitName, PerSource)
    return [m for c in found.chains for r in c.rules for m in r.matches if isinstance(m, kinds)]


LINES = (
    allow("ssh"),
    allow("ssh", source="192.0.2.0/24"),
    allow("dns ntp https http", source="10.0.0.0/8 2001:db8::/32", incoming=("lan*",)),
    allow("tcp/99", match(source="192.0.2.1")),
    allow("tcp/99", match(source="192.0.2.2")),
    allow(source_dynamic=("banned",)),
    allow("udp/1-9", id="my-id"),
    allow("tcp/99", published=True),
    block(source="0.0.0.0/0 ::/0"),
    block("ident", action="reject"),
)


class TestNames:
    """Counters count on over a reload, whatever else changes."""

    def names(self, *lines: model.Rule) -> tuple[str, ...]:
        return table(section("input", "drop", *lines)).counters

    def test_they_are_stable_when_other_lines_move(self):
        alone = [self.names(line)[1] for line in LINES]
        assert len(set(alone)) == len(LINES)
        assert set(alone) <= set(self.names(*LINES))
        assert set(self.names(*LINES)) == set(self.names(*reversed(LINES)))

    def test_they_are_readable(self):
        assert self.names(LINES[0])[1] == "allow_input_tcp_22"
        assert self.names(LINES[1])[1] == "allow_input_tcp_22_from_192.0.2.0_24"
        assert self.names(LINES[5])[1] == "allow_input_from_banned"
        assert self.names(LINES[6])[1] == "allow_input_my-id"
        assert self.names(LINES[8])[1] == "block_input_from_any"
        assert self.names(LINES[9])[1] == "block_input_reject_tcp_113"

    def test_limits_logs_dates_and_comments_do_not_change_them(self):
        limit = model.Limit(1, "day", 2)
        other = replace(LINES[0], limit=limit, log="x", expires=1801440000, comment="c")
        assert self.names(other) == self.names(LINES[0])

    def test_what_a_group_holds_does_not_change_them(self):
        lines = [
            replace(
                allow("ssh", source=addresses), match=match("ssh", source=addresses, source_group="admin")
            )
            for addresses in ("192.0.2.1", "192.0.2.1 2001:db8::1")
        ]
        assert self.names(lines[0]) == self.names(lines[1])
        assert self.names(lines[0])[1] == "allow_input_tcp_22_from_admin"

    def test_the_same_line_twice_gets_a_number_and_an_id_chooses_first(self):
        assert self.names(LINES[0], LINES[0])[1:3] == ("allow_input_tcp_22", "allow_input_tcp_22_2")
        named = replace(LINES[1], id="tcp_22")
        assert self.names(LINES[0], named)[1:3] == ("allow_input_tcp_22_2", "allow_input_tcp_22")

    def test_every_counter_of_a_rule_is_declared_once(self):
        found = table(section("input", "reject", *LINES), section("forward", "drop"), ntp="server")
        used = {rule.counter for chain in found.chains for rule in chain.rules if rule.counter}
        assert used == set(found.counters) and len(used) == len(found.counters)


class TestLimiters:
    """One for each limit of the policy."""

    @pytest.mark.parametrize("maximum", [0, 5])
    @pytest.mark.parametrize("published", [False, True])
    def test_of_all(self, maximum, published):
        line = allow(
            "https udp/443 tcp/1-9",
            source="10.0.0.0/8 fd00::/8",
            published=published,
            limit=model.Limit(3, "second", 4, False, maximum),
        )
        found = table(section("input", "drop", line), section("forward", "drop"))
        assert len({limit.name for limit in found.limits}) == 1
        assert {m for m in limiters(found) if isinstance(m, LimitName)} == {LimitName(found.limits[0].name)}
        assert sum(isinstance(m, CtCount) for m in limiters(found)) == (1 if maximum else 0)

    def test_a_log_has_one_rate(self):
        line = allow("https udp/443", source="10.0.0.0/8 fd00::/8", log="web", published=True)
        found = table(section("input", "drop", line), section("forward", "drop"))
        assert len(limiters(found)) == 1

    def test_a_source_is_forgotten_when_its_limit_is_whole_again(self):
        line = allow("https", limit=model.Limit(3, "hour", 10, True, 4), id="web")
        sets = table(section("input", "drop", line)).sets
        assert set(sets) == {
            *(DynamicSet(f"allow_input_web_rate_v{family}", family, 12000) for family in (4, 6)),
            *(DynamicSet(f"allow_input_web_conn_v{family}", family, None) for family in (4, 6)),
        }

    def test_connections_are_counted_before_the_rate(self):
        line = allow("https", limit=model.Limit(3, "hour", 10, True, 4))
        found = limiters(table(section("input", "drop", line)))
        assert [type(m.bound) for m in found] == [CtCount, Rate] * 2


class TestSections:
    """What stands where."""

    def test_an_absent_forward_is_left_alone(self):
        names = [
            chain.name for chain in table(section("input", "drop", allow("ssh")), ntp="client-only").chains
        ]
        assert names == ["ntp_input_1", "prefilter", "input", "output"]

    def test_only_a_published_block_touches_an_absent_forward(self):
        lines = (allow("ssh", published=True), block("https", published=True))
        text = compiled(policy(section("input", "drop", *lines)))
        forward = text.partition("chain forward")[2].splitlines()
        assert "policy accept" in forward[1]
        assert "ct state established,related accept" in forward[2]
        assert "ct status dnat meta l4proto tcp ct original proto-dst 443" in forward[3]
        assert "proto-dst 22" not in text.partition("chain forward")[2]
        assert "chain forward" not in compiled(policy(section("input", "drop", lines[0])))

    def test_forward_has_no_role_no_loopback_and_icmp_errors_only(self):
        text = compiled(policy(section("forward", "drop"), ntp="client-only")).partition("chain forward")[2]
        assert "role:ntp" not in text and '"lo"' not in text and "udp" not in text
        assert "icmpv6 type { 1, 2, 3, 4 } accept" in text

    def test_nat_of_ours_allows_no_early_drop(self):
        nat = model.Nat((model.Masquerade(("wan0",), None, (4,), HERE),))
        assert "prefilter" in compiled(policy(ntp="client-only"))
        assert "prefilter" not in compiled(policy(ntp="client-only", nat=nat))

    def test_the_particular_nat_comes_before_the_general(self):
        nat = model.Nat(
            (model.Masquerade(("wan0",), None, (4,), HERE),),
            (forwarding("wan0", "https", "10.0.0.2", hairpin=True),),
            (model.SourceNat(("wan0",), some("10.0.0.3"), (4, 1), HERE),),
        )
        (chain,) = (c for c in table(nat=nat).chains if c.name == "srcnat")
        kinds = [type(rule.verdict).__name__ for rule in chain.rules]
        assert kinds == ["Masquerade", "SourceNat", "Masquerade"]

    def test_the_name_of_a_dynamic_group_is_never_given_to_another(self):
        static = replace(
            allow("ssh"), match=match("ssh", source="192.0.2.1", source_group="banned"), families=(4,)
        )
        found = table(section("input", "drop", static), dynamic=(model.DynamicGroup("banned", 0, HERE),))
        assert [each.name for each in found.sets] == ["banned_v4", "banned_v6", "banned_v4_2"]
        assert isinstance(found.sets[0], DynamicSet)
