"""A repository of somebody else's, mirrored by git, of which nothing is ever run or checked out.

The server is not trusted: what it sends is checked as objects (git-config(1), fetch.fsckObjects), may come by
the one transport that its URL names, and is read from the mirror by name. Git's own configuration, the user's
and the system's, its hooks, helpers and prompts count for nothing.
"""

from __future__ import annotations

import os
import posixpath
import pwd
import re
import resource
import shutil
import subprocess
from hashlib import sha256

from fwpolicy.errors import HostError
from fwpolicy.host import git, texts
from fwpolicy.host.commits import Commit
from fwpolicy.host.files import printable
from fwpolicy.host.programs import ENVIRONMENT, started
from fwpolicy.host.tree import BESIDE

INCOMING, GOOD = "refs/fwpolicy/incoming", "refs/fwpolicy/good"
_ASK_SECONDS = 60.0
# The server is not trusted with this host's disk and memory: of the mirror, and of a file that git writes to
# it; of a git, threads of which would each take some more.
MOST_BYTES, _MOST_MEMORY = 1 << 30, 2 << 30
# Its tree and its parents, with which a commit begins.
_PLACE = re.compile(rb"tree [0-9a-f]+\n(?:parent [0-9a-f]+\n)*")
# Headers of a commit, each with the lines that go on with it.
_SIGNATURE = re.compile(rb"\ngpgsig[^\n]*(?:\n [^\n]*)*")
# A file that git writes to, and names otherwise once it is whole.
_LEFT = re.compile(r".*\.lock\Z|packed-refs\.new\Z|\.?tmp[_-]", re.DOTALL)
# Of the caller's environment: how the network is reached. ssh itself asks root's own configuration.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=20 -o ServerAliveInterval=10 "
    "-o ForwardAgent=no -o ForwardX11=no -o PermitLocalCommand=no -o ClearAllForwardings=yes"
)
_SETTINGS = (
    "protocol.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "credential.helper=",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    # What is killed in the middle must be a fetch, which leaves the mirror as it was.
    "gc.auto=0",
    "maintenance.auto=false",
    "pack.threads=1",
    "core.packedGitWindowSize=32m",
    "core.packedGitLimit=256m",
    "core.bigFileThreshold=64m",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=20",
    # A signature is ssh's, whatever the commit says it is.
    "gpg.format=ssh",
    "gpg.minTrustLevel=fully",
    "gpg.ssh.program=ssh-keygen",
    "gpg.program=false",
    "gpg.openpgp.program=false",
    "gpg.x509.program=false",
)


class UnreachableError(HostError):
    """The repository does not answer, or not in time; it may later."""


class _TooSlowError(UnreachableError):
    """Not in time."""


class Mirror:
    """One branch of the repository at `url`, in the folder `place`, which is made for root alone."""

    def __init__(self, place: str, url: str, branch: str, seconds: float) -> None:
        """`seconds`: how long a fetch may take."""
        self.place, self.url, self.branch, self.seconds = place, url, branch, seconds

    def fetch(self) -> str:
        """The branch's commit, fetched with all that leads to it. Raises UnreachableError, HostError."""
        try:
            return self._fetched()
        except _TooSlowError:
            raise
        except HostError:
            # Where the repository answers, it is the mirror that is damaged, or locked by what died.
            if not self._offered():
                raise
        self._take_away()
        return self._fetched()

    def _fetched(self) -> str:
        # Of one that is there it makes whole what a power cut left.
        try:
            self._git("init", "--bare", "--quiet", "--template=", self.place)
        except HostError as error:
            raise HostError(f"{self.place}: {error}") from None
        where = ("--", self.url, f"+refs/heads/{self.branch}:{INCOMING}")
        how = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        try:
            self._git("fetch", *how, *where, seconds=self.seconds)
        except HostError as error:
            kind = _TooSlowError if isinstance(error, _TooSlowError) else UnreachableError
            raise kind(f"{self.url}: {error}") from None
        commit = self._git("rev-parse", "--verify", f"{INCOMING}^{{commit}}").decode().strip()
        # A fetch asks only of what it brought whether it is all there.
        self._git("rev-list", "--objects", "--quiet", "-n", "1", commit)
        return commit

    def _offered(self) -> bool:
        """Whether the repository has the branch; asked without the mirror."""
        asked = ("ls-remote", "--quiet", "--exit-code", "--", self.url, f"refs/heads/{self.branch}")
        beside = Mirror("/dev/null", self.url, self.branch, self.seconds)
        try:
            return beside._run(*asked, seconds=self.seconds).returncode == 0
        except HostError:
            return False

    def _take_away(self) -> None:
        """Nothing is lost by that but time: what counts here is remembered beside it. Raises HostError."""
        try:
            shutil.rmtree(self.place)
        except NotADirectoryError:
            os.unlink(self.place)  # noqa: PTH108
        except FileNotFoundError:
            pass
        except OSError as error:
            raise HostError(f"{self.place} cannot be taken away: {error.strerror}") from None

    def answers(self, seconds: float) -> str:
        """Why the repository does not answer; "" where it does."""
        try:
            self._git("ls-remote", "--quiet", "--", self.url, f"refs/heads/{self.branch}", seconds=seconds)
        except HostError as error:
            return f"the repository is not reached: {error}"
        return ""

    def leads_to(self, old: str, says: str, new: str) -> bool:
        """Whether `new` is `old`, which says `says`, with commits on top, or one that says the same; also
        where nobody has `old` any more. Raises HostError."""
        # A commit that was never heard of leads to nothing here.
        follows = self._run("merge-base", "--is-ancestor", old, new).returncode == 0
        return follows or self._has(says or self.says(old), new)

    def _has(self, says: str, head: str) -> bool:
        """Whether a commit that says so leads to `head`."""
        wanted = says.split()[1:]
        # Tree and parents first, by one git for all; it fails where it knows no such parents.
        shown = self._run("log", "--format=%H %T %P", head, "--not", *wanted[1:]) if wanted else None
        lines = (line.split() for line in shown.stdout.decode().splitlines()) if shown else ()
        return any(alike == wanted and self.says(other) == says for other, *alike in lines)

    def says(self, commit: str) -> str:
        """What a commit says, as its digest, its tree and its parents; "" where it is not there.

        Signatures are no part of it: none covers the headers that hold them, and of a commit that is signed
        anybody can make others, with other names.
        """
        text = self._run("cat-file", "commit", commit).stdout
        found = _PLACE.match(text)
        if not found:
            return ""
        places = (word.decode() for word in found[0].split() if word not in (b"tree", b"parent"))
        return " ".join((sha256(_unsigned(text)).hexdigest(), *places))

    def keep(self, commit: str) -> None:
        """The commit stays, whatever becomes of the branch. Raises HostError."""
        self._git("update-ref", GOOD, commit)

    def tidy(self) -> None:
        """Take away what a git left that was killed, or lost its power, and all of a mirror that is too large
        now: the next fetch makes it anew. Nobody else may be at work in it: locks, and half of what was
        fetched, are nobody's then. Raises HostError."""
        try:
            size = self._slim()
        except OSError as error:
            raise HostError(f"cannot take away {printable(str(error.filename))}: {error.strerror}") from None
        if size > MOST_BYTES:
            self._take_away()

    def _slim(self) -> int:
        """Without what a dead git left; the bytes on disk that stay. Raises OSError."""
        size = 0
        for folder, _, names in os.walk(self.place):
            for name in names:
                path = f"{folder}/{name}"
                if _LEFT.match(name):
                    os.unlink(path)  # noqa: PTH108
                else:
                    size += os.lstat(path).st_blocks * 512
        return size

    def about(self, commit: str) -> Commit:
        """Raises HostError."""
        shown = self._git("log", "-1", "--format=%an <%ae>%x00%ct", commit).decode("utf-8", "replace")
        author, time = shown.strip().split("\0")
        return Commit(commit, int(self._git("rev-list", "--count", commit)), author, int(time))

    def signer(self, commit: str, signers: str) -> str:
        """Who of the file `signers` (ssh-keygen(1), ALLOWED SIGNERS) signed the commit. Raises HostError."""
        allowed = ("-c", f"gpg.ssh.allowedSignersFile={signers}")
        done = self._run("verify-commit", commit, before=allowed)
        if done.returncode != 0:
            raise HostError(f"it is signed by nobody in {signers}: {_said(done) or 'it is not signed'}")
        shown = self._git("log", "-1", "--format=%G?%x00%GS", commit, before=allowed)
        verdict, name = shown.decode("utf-8", "replace").strip("\n").split("\0")
        if verdict != "G" or not name:
            raise HostError(f"it is signed by nobody in {signers}")
        return name

    def read(self, commit: str, path: str) -> bytes:
        """A file of the commit, by links inside of the repository too. Raises OSError, also for a link that
        leads out of it."""
        if "\n" in path or path.startswith(("/", "../")):
            raise OSError(None, "is outside of the repository", path)
        asked = f"{commit}:{path}\n".encode("utf-8", "surrogateescape")
        found = git.blob(self._run(*git.FOLLOW, input=asked).stdout, path)
        return self._run("cat-file", "blob", found).stdout

    def names(self, commit: str, folders: tuple[str, ...]) -> list[str]:
        """The files below the folders. Raises HostError."""
        found = self._git("ls-tree", "-r", "-z", "--name-only", commit, "--", *folders)
        return [name for name in found.decode("utf-8", "surrogateescape").split("\0") if name]

    def _git(self, *words: str, seconds: float = _ASK_SECONDS, before: tuple[str, ...] = ()) -> bytes:
        done = self._run(*words, seconds=seconds, before=before)
        if done.returncode != 0:
            raise HostError(_said(done) or f"git {words[0]} failed")
        return done.stdout

    def _run(
        self,
        *words: str,
        seconds: float = _ASK_SECONDS,
        before: tuple[str, ...] = (),
        input: bytes = b"",  # noqa: A002  (subprocess.run's word)
    ) -> subprocess.CompletedProcess[bytes]:
        """A git that is killed with all that it started when its time is over. Raises HostError."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = [_git_program(), f"--git-dir={self.place}", *settings, *before, *words]
        try:
            with started(command, self._environment(), _limit, asked=True) as process:
                out, errors = process.communicate(input, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise _TooSlowError(f"git {words[0]} did not end within {seconds:.0f} s") from None
        return subprocess.CompletedProcess(command, process.returncode, out, errors)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        return (
            ENVIRONMENT
            | kept
            | {
                # curl looks there for .netrc, and git for nothing (GIT_CONFIG_GLOBAL).
                "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_NO_REPLACE_OBJECTS": "1",
                "GIT_ALLOW_PROTOCOL": _transport(self.url),
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_SSH_COMMAND": _SSH,
                "GIT_SSH_VARIANT": "ssh",
                "SSH_ASKPASS_REQUIRE": "never",
            }
        )


class CommitTree:
    """The files of a commit of a mirror, as tree.WorkTree has those of a folder."""

    def __init__(self, mirror: Mirror, commit: str, inventory: str) -> None:
        self.mirror, self.revision, self.inventory = mirror, commit, inventory

    def read(self, name: str) -> bytes:
        """The bytes of a file of the commit, or of a shipped policy. Raises OSError."""
        if self.is_shipped(name):
            return texts.read_file(name)
        return self.mirror.read(self.revision, posixpath.normpath(name))

    def beside(self) -> list[str]:
        """The files in which Ansible looks for more variables of the inventory's hosts."""
        here = posixpath.dirname(self.inventory)
        return self.mirror.names(self.revision, tuple(posixpath.join(here, folder) for folder in BESIDE))

    def is_shipped(self, name: str) -> bool:
        """Whether the file is a policy that comes with the program."""
        return name.startswith("/") and texts.is_shipped(name)

    def inside(self, name: str) -> str:
        """The file's path below the root."""
        return posixpath.normpath(name)


def _git_program() -> str:
    """Raises HostError where there is none."""
    found = shutil.which("git", path=ENVIRONMENT["PATH"])
    if found is None:
        raise HostError("git is not installed, and sync fetches with it (Debian: git)")
    return found


def _limit() -> None:
    """This process: no more memory and no larger files than it may have."""
    for what, most in ((resource.RLIMIT_AS, _MOST_MEMORY), (resource.RLIMIT_FSIZE, MOST_BYTES)):
        hard = resource.getrlimit(what)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _unsigned(commit: bytes) -> bytes:
    """A commit's text without what git leaves out of it when it signs and verifies."""
    headers, blank, message = commit.partition(b"\n\n")
    return _SIGNATURE.sub(b"", b"\n" + headers) + blank + message


def _transport(url: str) -> str:
    """The only one that the URL may mean, in a list with colons; "none" where it names none."""
    name, named, _ = url.partition("://")
    return name if named and name.isalpha() else "none"


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Git's first complaint, and what goes with it: where ssh has failed, ssh's words."""
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return ""
    place = next((n for n, line in enumerate(lines) if line.startswith(("fatal: ", "error: "))), 0)
    said = lines[place].removeprefix("fatal: ").removeprefix("error: ")
    if said.startswith("Could not read from remote") and place:
        said = lines[place - 1]
    elif said.endswith(":"):
        said = " ".join([said, *lines[place + 1 : place + 2]])
    return printable(said[:300])
