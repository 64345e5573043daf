"""fwpolicy sync: the policy of this host from its repository, if it is new, signed, and its gates hold."""

from __future__ import annotations

from time import time

from fwpolicy.commands import operands, synctext
from fwpolicy.errors import CheckFailedError, FwpolicyError, HostError, PolicyError
from fwpolicy.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from fwpolicy.commands.given import Given
    from fwpolicy.deploy.machine import Machine
    from fwpolicy.deploy.plan import Plan
    from fwpolicy.fleet.pull import News
    from fwpolicy.fleet.syncconfig import SyncConfig
    from fwpolicy.fleet.syncstate import SyncState
    from fwpolicy.host.mirror import Mirror

NOTHING_NEW, APPLIED, SAME, NOT_DUE = "nothing new", "applied", "nothing to change", "not due"
# What somebody has taken away by hand is not brought back by a timer.
REMOVED = "removed"
# An apply that ended without a verdict, by a reboot, say, is tried once more.
_TRIES = 2
# After so many applies after which the repository did not answer, where it had before, it is the policy.
_UNREACHED = 3
# How often a repository is asked that does not answer, after an apply.
_PAUSE, _ANSWER = 1.0, 20.0


@record
class Round:
    """What came of one: `generation`, None where nothing was applied."""

    outcome: str
    commit: str
    generation: int | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="one round, now (the default)")
    what.add_argument("--timed", action="store_true", help="a round if one is due; what the timer runs")
    what.add_argument("--status", action="store_true", help="what came of the last round, and what is next")
    what.add_argument("--enable", action="store_true", help="have systemd's timer do it, now and at boot")
    what.add_argument("--disable", action="store_true", help="no timer any more; what was synced stays")
    parser.add_argument(
        "--retry", action="store_true", help="also what was taken back, refused or removed before"
    )
    parser.add_argument("--config", metavar="FILE", help="instead of /etc/fwpolicy/sync.yaml")
    operands.host_arguments(parser)
    operands.report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    import os  # noqa: PLC0415

    from fwpolicy.fleet import syncconfig  # noqa: PLC0415
    from fwpolicy.host.privilege import require_root  # noqa: PLC0415

    machine = operands.machine_of(options)
    require_root(machine.live, "sync")
    if options.netns and (options.enable or options.disable):
        raise HostError("the timer is the host's: --netns goes with neither --enable nor --disable")
    if options.disable:
        return _disable(options, machine)
    if options.config:
        options.config = os.path.abspath(options.config)  # noqa: PTH100
    config = syncconfig.load(options.config or syncconfig.PLACE, machine.files)
    if options.enable:
        return _enable(options, config, machine)
    if options.status:
        return synctext.status(options, config, machine)
    if not machine.live:
        raise HostError("an image has no kernel to apply to: fwpolicy sync is run on the host itself")
    return _report(options, config, machine)


def _enable(options: argparse.Namespace, config: SyncConfig, machine: Machine) -> int:
    from fwpolicy.fleet import syncunits  # noqa: PLC0415

    words: tuple[str, ...] = ("--config", options.config) if options.config else ()
    words += ("--state-dir", options.state_dir) if options.state_dir else ()
    files = syncunits.units(config, words, syncunits.program(machine))
    changed = syncunits.enable(files, machine)
    every = f"{syncunits.TIMER} looks every {config.every} s"
    synctext.told(options, changed, every if changed else f"{every} already")
    return 0


def _disable(options: argparse.Namespace, machine: Machine) -> int:
    from fwpolicy.fleet import syncunits  # noqa: PLC0415

    changed = syncunits.disable(machine)
    synctext.told(options, changed, f"{syncunits.TIMER} is gone" if changed else "there was no timer")
    return 0


def _report(options: argparse.Namespace, config: SyncConfig, machine: Machine) -> int:
    try:
        done = _locked(options, config, machine)
    except FwpolicyError as error:
        if options.json:
            operands.print_json(operands.failure_json(error, str(error)) | {"outcome": "failed"})
            error.told = True
        raise
    if options.json:
        plain = {"outcome": done.outcome, "commit": done.commit or None, "generation": done.generation}
        operands.print_json({"changed": done.outcome == APPLIED, **plain})
    elif not options.quiet and not (options.timed and done.outcome in (NOTHING_NEW, NOT_DUE)):
        said = _words(done.outcome)
        print(f"commit {done.commit[:12]}: {said}" if done.commit else said)
    return 2 if done.outcome == REMOVED else 0


def _words(outcome: str) -> str:
    return synctext.REMOVED if outcome == REMOVED else outcome


def _locked(options: argparse.Namespace, config: SyncConfig, machine: Machine) -> Round:
    from fwpolicy.fleet import syncstate  # noqa: PLC0415
    from fwpolicy.host.lock import locked  # noqa: PLC0415

    place = f"{operands.lock_place(machine)}/sync"
    machine.files.make_directory(machine.state_dir, 0o700)
    with locked(place):
        state = syncstate.read(machine)
        now = int(time())
        # A clock that was set back must not silence it.
        if options.timed and now < state.due <= now + 2 * max(config.every, 3600):
            return Round(NOT_DUE, "")
        return _Sync(options, config, machine, place, state).round(now)


class _Sync:
    """One round."""

    def __init__(
        self, options: argparse.Namespace, config: SyncConfig, machine: Machine, place: str, state: SyncState
    ) -> None:
        from fwpolicy.fleet.pull import mirror_of  # noqa: PLC0415

        self.options, self.config, self.machine, self.state = options, config, machine, state
        self.mirror: Mirror = mirror_of(config, f"{place}/repository.git")
        self.asked = ""
        self.tell = operands.teller(options)

    def round(self, now: int) -> Round:
        """Raises FwpolicyError, once what came of it is remembered."""
        from fwpolicy.host.files import printable  # noqa: PLC0415

        try:
            done = self._round(now)
        except FwpolicyError as error:
            self._ended(str(error), failed=True)
            raise
        except Exception as error:
            # Whatever a repository makes of this program, it is told, and counted.
            said = f"the round failed: {type(error).__name__}: {printable(str(error))}"
            self._ended(said, failed=True)
            raise HostError(said) from error
        self._ended(_words(done.outcome), failed=False)
        return done

    def _ended(self, said: str, *, failed: bool) -> None:
        from fwpolicy.fleet.syncstate import after  # noqa: PLC0415

        self._keep(after(self.state, int(time()), self.config.every, said, failed=failed))

    def _keep(self, state: SyncState) -> None:
        from fwpolicy.fleet import syncstate  # noqa: PLC0415

        self.state = state
        syncstate.write(self.machine, state)

    def _round(self, now: int) -> Round:
        from fwpolicy.fleet import pull  # noqa: PLC0415

        self.asked = pull.asked(self.config, self.machine)
        self.mirror.tidy()
        commit = self._known(self.mirror.fetch())
        outcome = self._foregone(commit)
        if not outcome:
            self._refuse_again(commit)
        self.state = replace(self.state, newest=commit, refused="", since=0, refusal="", code=0)
        if outcome:
            return Round(outcome, commit)
        # A bundle has its number signed, and commits that carry bundles are anybody's.
        if self.config.inventory and not self.options.retry:
            pull.require_forward(self.state, commit, self.mirror)
        try:
            news = pull.news(self.config, self.mirror, commit, self.machine, now)
            self._refuse_bad(news)
            return self._left(news) or self._bring(news)
        except (PolicyError, CheckFailedError) as error:
            refused = {"refused": self.asked, "since": now, "refusal": str(error), "code": error.exit_code}
            self.state = replace(self.state, **refused)
            raise

    def _foregone(self, commit: str) -> str:
        """The outcome where nothing is to be looked at; "" where something is."""
        if self.options.retry or not self.state.good:
            return ""
        if self._generation() is None:
            return REMOVED
        return NOTHING_NEW if (commit, self.asked) == (self.state.good, self.state.asked) else ""

    def _generation(self) -> int | None:
        """The one in force, whoever brought it."""
        from fwpolicy.deploy.state import State  # noqa: PLC0415

        found = State(self.machine).running()
        return found.number if found else None

    def _known(self, commit: str) -> str:
        """The commit that counts, where this is that one under another signature."""
        good = self.state.good
        if not good or commit == good:
            return commit
        here, says = self.mirror.says(good), self.mirror.says(commit)
        if not says or says != (self.state.says or here):
            return commit
        if here:
            return good
        # Its name was lost with a mirror; this one says the same.
        self.state = replace(self.state, good=commit)
        return commit

    def _refuse_again(self, commit: str) -> None:
        """What was found wrong with this very commit still is, by the same program and configuration."""
        state = self.state
        if self.options.retry or state.newest != commit or state.refused != self.asked:
            return
        kind = CheckFailedError if state.code == CheckFailedError.exit_code else HostError
        since = f"since {synctext.moment(state.since)}; --retry tries it again"
        raise kind(f"commit {commit[:12]} is still refused ({since}): {state.refusal}")

    def _left(self, news: News) -> Round | None:
        """What counted before, and still is what the configuration asks for: where somebody has put another
        apply in its place by hand, that stays."""
        state = self.state
        same = (news.commit, news.contents) == (state.good, state.contents)
        if self.options.retry or not same or self._generation() == state.generation:
            return None
        self.state = replace(state, asked=self.asked)
        return Round(NOTHING_NEW, news.commit)

    def _refuse_bad(self, news: News) -> None:
        state = self.state
        if news.contents == state.bad and not self.options.retry:
            raise CheckFailedError(
                f"commit {news.commit[:12]} has for this host what was taken back as commit "
                f"{state.bad_commit[:12]} ({state.bad_why}): it is not tried again (--retry does)"
            )

    def _bring(self, news: News) -> Round:
        """Apply what is new, and have it judged."""
        from fwpolicy.commands.given import of_bundle  # noqa: PLC0415
        from fwpolicy.deploy.apply import renew  # noqa: PLC0415
        from fwpolicy.deploy.confirm import require_settled  # noqa: PLC0415

        with operands.at_work(self.options, "sync") as machine:
            require_settled(machine, self.tell)
            # sync itself goes only forward.
            way = "apply --older takes a bundle by hand" if self.config.bundles else "it needs more commits"
            given = of_bundle(news.name, news.bundle, machine, compiled=news.signed_apart, way=way)
            plan = self._planned(given, machine)
            if plan.changed or plan.refusals:
                generation = self._apply(news, plan, machine)
                self._counts(news)
                return Round(APPLIED, news.commit, generation)
            renew(plan, machine)
            self._counts(news)
            return Round(SAME, news.commit)

    def _planned(self, given: Given, machine: Machine) -> Plan:
        import argparse  # noqa: PLC0415

        from fwpolicy.commands.plan import planned  # noqa: PLC0415

        no = dict.fromkeys(("no_persist", "no_daemon", "no_prove", "force"), False)
        own = {"replace": self.config.replace, "backend": "auto", "quiet": True}
        return planned(argparse.Namespace(**vars(self.options) | no | own), machine, given)

    def _counts(self, news: News) -> None:
        from fwpolicy.fleet.syncstate import SyncState  # noqa: PLC0415

        self.mirror.keep(news.commit)
        self.state = SyncState(
            good=news.commit,
            says=self.mirror.says(news.commit),
            newest=news.commit,
            asked=self.asked,
            contents=news.contents,
            generation=self._generation() or 0,
        )

    def _apply(self, news: News, plan: Plan, machine: Machine) -> int:
        """The generation, which counts. Raises CheckFailedError where it was taken back."""
        from fwpolicy.deploy.apply import Asked, carry_out  # noqa: PLC0415
        from fwpolicy.host.lock import whole  # noqa: PLC0415

        if plan.refusals:
            raise HostError("; ".join(plan.refusals))
        self._try(news)
        seconds = plan.policy.apply.confirm or self.config.confirm
        since = time()
        with whole():
            sources = (news.name,)
            asked = Asked("sync", seconds)
            applied = carry_out(plan, machine, sources, operands.now(), self.tell, asked)
        unmet, away = self._judged(plan, machine, since)
        if away:
            self._once_more(away)
            unmet = (away,)
        if unmet:
            self._remember_bad(news, unmet[0])
            raise CheckFailedError("\n".join(f"taken back, a gate does not hold: {each}" for each in unmet))
        self.tell("confirmed: all gates hold, and the repository answers")
        return applied.generation

    def _once_more(self, away: str) -> None:
        """Raises UnreachableError as long as it may be the repository, and not the policy, that is amiss."""
        from fwpolicy.host.mirror import UnreachableError  # noqa: PLC0415

        times = self.state.unreached + 1
        if times < _UNREACHED:
            self._keep(replace(self.state, tries=0, unreached=times))
            this = f"this was time {times} of {_UNREACHED}"
            raise UnreachableError(f"taken back: {away}; it is tried again ({this})")

    def _try(self, news: News) -> None:
        """Written down before: an apply may end without a verdict, and must not do so for ever."""
        state = self.state
        if news.contents != state.trying:
            state = replace(state, trying=news.contents, tries=0, unreached=0)
        tries = state.tries + 1
        if tries > _TRIES and not self.options.retry:
            self._remember_bad(news, "twice it ended without a verdict, by a reboot, say")
            self._refuse_bad(news)
        self._keep(replace(state, tries=tries))

    def _remember_bad(self, news: News, why: str) -> None:
        bad = {"bad": news.contents, "bad_commit": news.commit, "bad_why": why}
        self._keep(replace(self.state, **bad, trying="", tries=0, unreached=0))

    def _judged(self, plan: Plan, machine: Machine, since: float) -> tuple[tuple[str, ...], str]:
        """Nobody is there to confirm: the policy's gates do, and that the repository still answers. The gates
        that do not hold, and why it does not answer; ((), "") where the policy counts now."""
        from fwpolicy.deploy.confirm import confirm, refuse, settled  # noqa: PLC0415
        from fwpolicy.deploy.gates import wait  # noqa: PLC0415

        entry = settled(machine, self.tell)
        if entry is None:
            return ("the time was over at once",), ""
        unmet = wait(plan.policy.apply.gates, machine, since, entry.deadline, self.tell)
        away = "" if unmet else self._unreached(entry.deadline)
        if unmet or away:
            refuse(machine, entry, f"a gate did not hold: {away or unmet[0]}")
        else:
            confirm(machine, entry, self.tell)
        return unmet, away

    def _unreached(self, deadline: float) -> str:
        from time import sleep  # noqa: PLC0415

        from fwpolicy.host.boottime import uptime  # noqa: PLC0415

        while True:
            why = self.mirror.answers(max(min(_ANSWER, deadline - uptime()), _PAUSE))
            left = deadline - uptime()
            if not why:
                return "" if left > 0 else "the repository answers, but only now that the time is over"
            if left <= _PAUSE:
                return why
            sleep(_PAUSE)
