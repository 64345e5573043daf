"""The `fwpolicy` that root's own units run: where it is, and what of it others than root could change."""

from __future__ import annotations

from fwpolicy.errors import HostError
from fwpolicy.host.files import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwpolicy.host.files import Files

# Where systemd looks for programs, in its order (systemd.exec(5), ExecSearchPath).
PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SECONDS = 30
# A thousand files of a package are 100 KB.
_MOST = 1 << 22
# What Python itself runs before anything else: said without running it (-I -S), of the folders in which
# site(3) looks below a prefix and where Debian has them.
_FIRST = """
import glob, os, sys
prefix = sys.argv[1]
for place in (f"{prefix}/lib/python3*/site-packages", f"{prefix}/local/lib/python3*/dist-packages",
              "/usr/local/lib/python3*/dist-packages", "/usr/lib/python3*/dist-packages",
              "/usr/lib/python3*"):
    for folder in glob.glob(place):
        print(folder)
        for name in ("*.pth", "sitecustomize*", "usercustomize*"):
            print(*glob.glob(os.path.join(folder, name)), sep="\\n")
"""
# Where modules come from, and every file of those that are used. Nothing of them is run.
_ASK = """
import os, sys
from importlib.util import find_spec
print(*sys.path, sep="\\n")
for name in ("fwpolicy", "yaml", "nftables"):
    spec = find_spec(name)
    for top in (spec.submodule_search_locations or (spec.origin,)) if spec else ():
        print(top)
        for folder, folders, files in os.walk(top):
            print(*(os.path.join(folder, each) for each in (*folders, *files)), sep="\\n")
"""


def find(files: Files) -> str | None:
    """The first `fwpolicy` that systemd would find on the host of `files`. Raises HostError."""
    for folder in PLACES:
        status = files.status(f"{folder}/fwpolicy")
        if status is not None and status.st_mode & 0o111:
            return f"{folder}/fwpolicy"
    return None


def exposed(program: str, files: Files, live: bool) -> str | None:
    """What others than root can change of `program`: itself, its interpreter, a place that it imports from;
    None if nothing. An image's interpreter is not run, so of those places nothing is known. Raises HostError.
    """
    for path in _parts(program, files, live):
        if found := files.exposed(path):
            return found
    return None


def _parts(program: str, files: Files, live: bool) -> Iterator[str]:
    """In an order in which nothing is run before it has been looked at."""
    yield program
    interpreter = _interpreter(program, files)
    yield interpreter[0]
    # Of a virtual environment: it says where that has its modules from.
    prefix = interpreter[0].rpartition("/")[0].rpartition("/")[0]
    yield f"{prefix}/pyvenv.cfg"
    if live:
        yield from _said((interpreter[0], "-I", "-S", "-c", _FIRST, prefix or "/"))
        # Every folder in which it looks for modules, those that are not there yet among them, and the files
        # of those that are used.
        yield from _said((*interpreter, "-c", _ASK))


def _interpreter(program: str, files: Files) -> tuple[str, ...]:
    """Its path, and the options that it is given."""
    data = files.read_bytes(program) or b""
    words = data.partition(b"\n")[0].decode("utf-8", "replace").removeprefix("#!").split()
    if not data.startswith(b"#!/") or not words[0].rpartition("/")[2].startswith("python"):
        raise HostError(f"{printable(program)} does not begin with the path of its Python (#!/...)")
    return tuple(words)


def _said(command: tuple[str, ...]) -> tuple[str, ...]:
    """The paths that a Python lists, all of them."""
    from fwpolicy.host.programs import run  # noqa: PLC0415

    ended = run(command, _SECONDS, _MOST)
    if ended.status:
        raise HostError(f"{printable(command[0])} does not say what it imports from: {ended.last_word}")
    if len(ended.out.encode()) >= _MOST:
        raise HostError(f"{printable(command[0])} imports from too many files to look at")
    return tuple(line for line in ended.out.splitlines() if line.startswith("/"))
