# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

"""One command on a host, without Python there: host.sh, asked over the connection of an action."""

from __future__ import annotations

import json
import pkgutil
import shlex
import time
from contextlib import contextmanager

from ansible.errors import AnsibleConnectionFailure

MARK = "fwpolicy-push: "
# How long a host may need, after its time, to put everything back.
_TO_GO_BACK = 60
_NEW = "-o ControlMaster=no -o ControlPath=none"
# Of ssh itself, about its connection.
_NOISE = ("Shared connection to", "Connection to ", "Warning: Permanently added")


class Answer:
    """`told`: what host.sh found, by name, each a list; `said` and `errors`: what the program said."""

    def __init__(self, done: dict) -> None:
        self.code = done.get("rc", 1)
        self.told: dict[str, list[str]] = {}
        lines = []
        for line in done.get("stdout", "").splitlines():
            if line.startswith(MARK):
                name, _space, value = line[len(MARK) :].partition(" ")
                self.told.setdefault(name, []).append(value)
            else:
                lines.append(line)
        self.said = "\n".join(lines)
        errors = done.get("stderr", "").splitlines()
        self.errors = [line for line in errors if line.strip() and not line.startswith(_NOISE)]

    def one(self, name: str, default: str = "") -> str:
        """The last value that was told of that name."""
        return self.told.get(name, [default])[-1]

    def report(self) -> dict:
        """What `--json` gave; {} where it is none."""
        return _object(self.said)

    def mapping(self, name: str) -> dict:
        """What was told of that name, as JSON; {} where it is none."""
        return _object("\n".join(self.told.get(name, [])))

    def reason(self) -> str:
        """Why it failed, in the words of who knows."""
        if "why" in self.told:
            return self.one("why")
        words = [line[len("fwpolicy: ") :] if line.startswith("fwpolicy: ") else line for line in self.errors]
        return "\n".join(words) or self.said or f"exit status {self.code}"


def _object(text: str) -> dict:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def ask(action: object, verb: str, options: dict[str, object], data: bytes = b"\n") -> Answer:
    """Run a verb of host.sh as the user of the task. Raises AnsibleConnectionFailure.

    There is always something on standard input: without it ssh would ask for a terminal, which mixes what
    is said with what is complained of.
    """
    script = pkgutil.get_data(__package__, "host.sh").decode()
    pairs = [f"{name}={_word(value)}" for name, value in options.items()]
    words = ["/bin/sh", "-c", script, "fwpolicy-push", verb, *pairs]
    command = " ".join(shlex.quote(word) for word in words)
    return Answer(action._low_level_execute_command(command, in_data=data))


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


@contextmanager
def anew(connection: object, seconds: float):
    """Within it what is asked goes over connections that begin now: no open one is used again."""
    if getattr(connection, "transport", "") != "ssh":
        yield
        return
    timeout = int(connection.get_option("timeout") or 10)
    mine = {
        # ssh(1) takes the first value that it is given.
        "ssh_args": f"{_NEW} {connection.get_option('ssh_args') or ''}".strip(),
        "timeout": max(1, min(timeout, int(seconds))),
        "reconnection_retries": 0,
    }
    before = {name: connection.get_option(name) for name in mine}
    _set(connection, mine)
    try:
        yield
    finally:
        _set(connection, before)


def _reset(connection: object) -> None:
    """The other plugins' own way to begin anew; ssh is told by its options, and keeps the open one."""
    if getattr(connection, "transport", "") not in ("ssh", "local"):
        connection.reset()


def _set(connection: object, options: dict[str, object]) -> None:
    for name, value in options.items():
        connection.set_option(name, value)


def ask_anew(
    action: object, verb: str, options: dict[str, object], seconds: float
) -> tuple[Answer | None, str]:
    """Over a new connection, tried until it is there or the time is over: (the answer, or None; why the last
    try that failed did)."""
    deadline, why = time.monotonic() + seconds, ""
    with anew(action._connection, seconds):
        while True:
            try:
                _reset(action._connection)
                return ask(action, verb, options), why
            except AnsibleConnectionFailure as error:
                why = " ".join(str(error).split())
            if time.monotonic() >= deadline:
                return None, why
            time.sleep(1)


def is_back(action: object, options: dict[str, object]) -> bool:
    """After its time is over: can the host be reached again, with nothing that waits?"""
    deadline = time.monotonic() + _TO_GO_BACK
    while time.monotonic() < deadline:
        answer, _why = ask_anew(action, "look", options, deadline - time.monotonic())
        if answer and answer.one("waits") == "0":
            return True
        time.sleep(1)
    return False
