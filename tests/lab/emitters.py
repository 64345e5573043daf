"""Wrong emitters: what a backend's mutants (`mutation.py`) write, and whether the proof refutes it."""

from __future__ import annotations

from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

from fwpolicy.errors import CheckFailedError
from fwpolicy.model import prove
from fwpolicy.model.of_policy import of_policy
from fwpolicy.model.program import NotModelledError
from fwpolicy.record import record

from . import mutation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwpolicy.model.program import Program
    from fwpolicy.policy.model import Policy

    from .judge import Judge

# Policies that a mutant is tried with, the shortest text first of those that meet it.
TRIED = 4


class NotLoadedError(Exception):
    """The kernel, or the tool that asks it, refused what a mutant wrote."""


@record
class Written:
    """What a mutant writes for a policy: itself, the model's reading of it, and the hook and a packet by
    which it differs from the policy; None where it is proved to be the same."""

    case: str
    emitted: Any
    program: Any
    difference: Any


class Emitters:
    """A backend's code, policies for it, what they are compiled to, and the lines that are run for it."""

    modules: Sequence[str]
    policies: Mapping[str, Policy]
    # Of so many of the mutants that a test has time for, it gets one.
    share: int

    def emit(self, case: str) -> Any:
        """What the policy compiles to, with whatever mutant is applied."""
        raise NotImplementedError

    def texts(self, emitted: Any) -> tuple[str, ...]:
        """What is compared with what the right emitter writes."""
        raise NotImplementedError

    def program(self, emitted: Any, says: Program) -> Program:
        """What the model reads, limits and groups named as in `says`. Raises what says that it cannot."""
        raise NotImplementedError

    def load(self, judge: Judge, found: Written) -> Mapping[str, int]:
        """Put it before the kernel; what the packets have besides. Raises NotLoadedError."""
        raise NotImplementedError

    @cached_property
    def says(self) -> dict[str, Program]:
        return {case: of_policy(policy) for case, policy in self.policies.items()}

    @cached_property
    def right(self) -> dict[str, tuple[str, ...]]:
        return {case: self.texts(self.emit(case)) for case in self.policies}

    @cached_property
    def met(self) -> dict[str, set[tuple[str, int]]]:
        return {case: self._met(case) for case in self.policies}

    def _met(self, case: str) -> set[tuple[str, int]]:
        with mutation.lines_met(self.modules) as met:
            self.emit(case)
        return met

    def drawn(self, count: int, seed: int) -> list[mutation.Mutant]:
        """Mutants of lines that some policy meets; 0: all."""
        met = frozenset().union(*self.met.values())
        found = [each for module in self.modules for each in mutation.mutants(module)]
        found = [each for each in found if (each.module, each.line) in met]
        Random(seed).shuffle(found)
        return found[: count or None]

    def written(self, mutant: mutation.Mutant) -> Written | str:
        """What it writes otherwise than the right emitter: refuted if some of it is; "unchanged"; "crashed"
        where it writes nothing, "not read" where that cannot be read."""
        own = [case for case in self.policies if (mutant.module, mutant.line) in self.met[case]]
        found: Written | str = "unchanged"
        for case in sorted(own, key=lambda case: sum(map(len, self.right[case])))[:TRIED]:
            try:
                with mutation.applied(mutant):
                    wrong = self.emit(case)
            except Exception:
                return "crashed"
            if self.texts(wrong) == self.right[case]:
                continue
            try:
                found = self._judged(case, wrong)
            except (NotModelledError, CheckFailedError):
                return "not read"
            if found.difference:
                break
        return found

    def _judged(self, case: str, wrong: Any) -> Written:
        says = self.says[case]
        program = self.program(wrong, says)
        return Written(case, wrong, program, next(prove.differences(says, program), None))


def kind(found: Written | str) -> str:
    return found if isinstance(found, str) else "refuted" if found.difference else "the same"
