"""The command line: which verb, which module, which exit code. No logic (docs/cli.md).

`--help` must cost little more than Python itself, so a verb's module is imported only when it runs.
"""

from __future__ import annotations

import gc
import sys
from io import TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from types import ModuleType
    from typing import NoReturn

USAGE = 64
# What the program needs beside Python, by its module.
_PACKAGES = {"yaml": "PyYAML: install it (Debian: python3-yaml)"}
INTERRUPTED = 130

# Verb: one line of help. A verb is a module of fwpolicy.commands with arguments() and run().
COMMANDS = {
    "init": "write a first policy from what listens on this host",
    "check": "parse, resolve, compile and test policies; needs no root and no network",
    "lint": "find lines that do nothing, each with those that do its work or undo it",
    "compile": "print or write what a policy compiles to",
    "test": "run a policy's own tests, and tell what became of each",
    "explain": "what happens to a packet, and which line says so",
    "diff": "the traffic that a change newly allows, and newly denies",
    "prove": "equal for every packet, or one that shows the difference",
    "lock": "resolve the host names of a policy into the file beside it",
    "bundle": "one signed file for each host of an inventory, and what such a file says",
    "report": "a fleet on one page: what may talk to what, drift, what expires, NTP",
    "plan": "show what apply would do here",
    "apply": "put a policy in force: rules, daemon and boot, verified",
    "sync": "the policy of this host from its repository: fetched, verified, applied, judged",
    "confirm": "let the apply that waits for it count from now on",
    "rollback": "take back what waits to be confirmed, or go back to an earlier apply",
    "history": "every apply that is remembered, and what became of it",
    "open": "emergency: our rules out of the way now",
    "status": "is the host what was applied?",
    "counters": "what each line of the policy has let through or stopped",
    "remove": "undo everything that apply did",
    "probe": "ask a host everything an NTP server may answer, and count the answers",
    "services": "list the built-in services",
    "schema": "print the policy language as JSON Schema, for editors",
    "completion": "print the completions of bash, zsh or fish",
}

NEWCOMER = """\
fwpolicy: firewall policies compiled, applied, verified and undone as one.

  fwpolicy check POLICY     is the policy right? its own tests included
  fwpolicy plan POLICY      what would change on this host
  fwpolicy apply POLICY     change it: rules, daemon and boot together
  fwpolicy status           is the host still what was applied?
  fwpolicy remove           take everything back

Try: fwpolicy plan ntp-client      (a shipped policy; all commands: fwpolicy --help)
A policy of your own to begin with: fwpolicy init
"""


def program() -> NoReturn:
    """main() as a process of its own, which is over once all is said: the kernel takes back as a whole what
    Python would take apart object by object, in a tenth of the time of compiling 100,000 addresses."""
    import os  # noqa: PLC0415

    # Records hold no cycles, and a verb is over soon: collecting takes a quarter of the time of
    # compiling 10,000 lines, and finds nothing.
    gc.disable()
    code = main()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        sys.exit(code)  # as Python ends where it cannot write
    os._exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code of docs/cli.md."""
    _open_closed()
    from fwpolicy.host.readers import tolerate_absence  # noqa: PLC0415

    tolerate_absence()
    for stream in (sys.stdout, sys.stderr):
        # What a terminal's encoding lacks is shown as an escape, never a UnicodeEncodeError.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return _guarded(sys.argv[1:] if argv is None else argv)


def _open_closed() -> None:
    """Whoever closed stdout wants to hear nothing; and no file that is opened later must take its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open("/dev/null", mode))  # noqa: PTH123, SIM115  (until the end)


def _of_itself(arguments: list[str]) -> str:
    """What is said without any verb; "" where there is one."""
    if not arguments:
        return NEWCOMER
    if arguments[0] in ("-h", "--help", "help"):
        return _help()
    if arguments[0] == "--version":
        from fwpolicy import VERSION  # noqa: PLC0415

        return f"fwpolicy {VERSION}\n"
    return ""


def _help() -> str:
    width = max(map(len, COMMANDS))
    verbs = "".join(f"  {verb:<{width}}  {line}\n" for verb, line in COMMANDS.items())
    return (
        f"usage: fwpolicy VERB [OPTIONS] ...\n\n{verbs}\n"
        "fwpolicy VERB --help tells a verb's options; --json and --quiet go with each that reports.\n"
        "exit: 0 done or nothing differs, 1 error, 2 differences, 3 a check failed, 64 usage\n"
    )


def _guarded(arguments: list[str]) -> int:
    """Every failure is a message on stderr and an exit code; never a traceback."""
    try:
        said = _of_itself(arguments)
        print(said, end="")
        code = 0 if said else _run(arguments[0], arguments[1:])
        sys.stdout.flush()
        return code
    except OSError as error:
        _close_output()
        print(f"fwpolicy: {_words(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fwpolicy: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        from fwpolicy.errors import FwpolicyError  # noqa: PLC0415

        if isinstance(error, ModuleNotFoundError) and error.name in _PACKAGES:
            print(f"fwpolicy: {sys.executable} has no {_PACKAGES[error.name]}", file=sys.stderr)
            return 1
        if not isinstance(error, FwpolicyError):
            raise
        message = str(error)
        print(message if "\n" in message else f"fwpolicy: {message}", file=sys.stderr)
        return error.exit_code


def _words(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _close_output() -> None:
    """Python would complain once more when it flushes at exit: signal(7), SIGPIPE."""
    import os  # noqa: PLC0415

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(verb: str, rest: list[str]) -> int:
    if verb not in COMMANDS:
        _unknown(verb)
    from importlib import import_module  # noqa: PLC0415

    command = import_module(f"fwpolicy.commands.{verb}")
    options = _parser(verb, command).parse_args(rest)
    options.parsers = parsers  # handed down: a command cannot import what imports it
    if not getattr(options, "json", False):
        code: int = command.run(options)
        return code
    return _run_for_programs(command, options)


def _run_for_programs(command: ModuleType, options: argparse.Namespace) -> int:
    """Who asks for JSON is told of a failure by JSON, too."""
    from fwpolicy.errors import FwpolicyError  # noqa: PLC0415

    try:
        code: int = command.run(options)
    except (FwpolicyError, OSError) as error:
        if not isinstance(error, FwpolicyError) or not error.told:
            from fwpolicy.commands.operands import print_failure  # noqa: PLC0415

            print_failure(error, _words(error))
        raise
    return code


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every verb, for what is made from them: completions, the manual page."""
    from importlib import import_module  # noqa: PLC0415

    return {verb: _parser(verb, import_module(f"fwpolicy.commands.{verb}")) for verb in COMMANDS}


def _parser(verb: str, command: object) -> argparse.ArgumentParser:
    import argparse  # noqa: PLC0415

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.print_usage(sys.stderr)
            self.exit(USAGE, f"{self.prog}: {message}\n")

        def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
            sys.stdout.flush()  # of help: a full disk is told as anywhere else
            super().exit(status, message)

    def formatter(prog: str) -> argparse.HelpFormatter:
        # With a width of its own argparse does not import shutil and the compression modules: 5 ms.
        return argparse.HelpFormatter(prog, width=_columns())

    parser = Parser(
        prog=f"fwpolicy {verb}",
        description=COMMANDS[verb] if COMMANDS[verb].endswith("?") else f"{COMMANDS[verb]}.",
        formatter_class=formatter,
        allow_abbrev=False,
    )
    command.arguments(parser)  # type: ignore[attr-defined]
    return parser


def _columns() -> int:
    import os  # noqa: PLC0415

    try:
        return min(os.get_terminal_size().columns, 100)
    except OSError:
        return 80


def _unknown(verb: str) -> NoReturn:
    import difflib  # noqa: PLC0415

    near = difflib.get_close_matches(verb, COMMANDS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else " (see: fwpolicy --help)"
    print(f"fwpolicy: no command '{verb}'{hint}", file=sys.stderr)
    raise SystemExit(USAGE)
