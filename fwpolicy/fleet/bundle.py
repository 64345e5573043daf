"""Bundles: one host's policy, signed. Made where the repository is, opened on the host (docs/fleet.md).

A bundle is a line, a signature as ssh-keygen writes it, and the archive (payload.py) that it is of. Nothing
of the archive is looked at before the signature holds.
"""

from __future__ import annotations

import posixpath

from fwpolicy.errors import HostError
from fwpolicy.fleet import digests, payload
from fwpolicy.fleet.payload import MOST_BYTES, Manifest
from fwpolicy.host import sshsig
from fwpolicy.record import record
from fwpolicy.source import BUNDLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from fwpolicy.deploy.provenance import Seen

FIRST_LINE = BUNDLE + b"1\n"
_LONGEST_LINE = 40
NAMESPACE = "fwpolicy-bundle"
ENDING = ".fwb"
SIGNERS = "/etc/fwpolicy/allowed_signers"
# Longer than any key's signature.
_LONGEST_SIGNATURE = 16384
_TOO_LARGE = f"the bundle is larger than {MOST_BYTES >> 20} MiB"


@record
class Bundle:
    """A bundle whose signature holds. `signer`: who signed it; `digest`: of the archive; `files`: by name.
    `contents`: Manifest.contents, "" where it is the commit that was signed, and `says` (Mirror.says) is of
    that."""

    manifest: Manifest
    signer: str
    digest: str
    files: dict[str, bytes]
    contents: str
    says: str = ""

    @property
    def operands(self) -> tuple[tuple[str, bytes], ...]:
        """The policy, as policy.load.load takes it, together with read_file."""
        return tuple((name, self.files[name]) for name in self.manifest.operands)

    def read_file(self, name: str) -> bytes:
        """What the policy includes, from the bundle and from nowhere else. Raises FileNotFoundError."""
        return reader(self.files)(name)


def reader(files: Mapping[str, bytes]) -> Callable[[str], bytes]:
    """What reads the files of a bundle by their names in it, and raises FileNotFoundError for any other."""

    def read(name: str) -> bytes:
        found = files.get(posixpath.normpath(name))
        if found is None:
            raise FileNotFoundError(2, "is not in the bundle", name)
        return found

    return read


def seal(archive: bytes, key: str) -> bytes:
    """The bundle of an archive, signed with `key` (sshsig.sign). Raises HostError."""
    bundle = FIRST_LINE + sshsig.sign(archive, key, NAMESPACE) + archive
    if len(bundle) > MOST_BYTES:
        raise HostError(_TOO_LARGE)
    return bundle


def open_bundle(data: bytes, signers: str, host: Collection[str] | None) -> Bundle:
    """What is in a bundle, once it is known to be signed by one of `signers` (a file), for a host that is
    called one of `host`, or for any. Raises HostError; nothing is changed."""
    signature, archive = _apart(data)
    signer = sshsig.verify(archive, signature, signers, NAMESPACE)
    manifest, files = payload.unpack(archive)
    if host is not None and manifest.host not in host:
        raise HostError(f"the bundle is {manifest.host}'s, and this is {' or '.join(sorted(host))}")
    return Bundle(manifest, signer, digests.of_bytes(archive), files, manifest.contents)


def _apart(data: bytes) -> tuple[bytes, bytes]:
    """(signature, archive)."""
    if len(data) > MOST_BYTES:
        raise HostError(_TOO_LARGE)
    first, newline, _ = data[:_LONGEST_LINE].partition(b"\n")
    if newline and first + newline == FIRST_LINE.replace(b"\n", b"\r\n"):
        hint = "what was signed is there no more; copy it as it is, in binary"
        raise HostError(f"the bundle's line ends were made CR LF on the way: {hint}")
    if data.startswith(BUNDLE) and newline and first + newline != FIRST_LINE:
        raise HostError("the bundle is of another version of the program: upgrade it")
    start = len(FIRST_LINE)
    end = data.find(sshsig.END, start, start + _LONGEST_SIGNATURE)
    if not data.startswith(FIRST_LINE + sshsig.BEGIN) or end < 0:
        raise HostError("this is no bundle, or its beginning is missing")
    end += len(sshsig.END)
    return data[start:end], data[end:]


def refuse_replay(bundle: Bundle, last: Seen) -> None:
    """Raises HostError for one that is older than `last`, and for another one of the same number."""
    manifest = bundle.manifest
    if manifest.sequence < last.sequence:
        raise _replay(manifest.sequence, f"older than number {last.sequence}, which was here")
    if manifest.sequence > last.sequence or _is(bundle, last):
        return
    if manifest.commit != last.commit:
        raise _replay(manifest.sequence, f"as was another commit ({last.commit or 'none'})")
    raise _replay(manifest.sequence, "as was another policy, which was here")


def _is(bundle: Bundle, last: Seen) -> bool:
    """Whether one of the same number says what `last` did, as far as is known."""
    if bundle.contents and last.contents:
        return bundle.contents == last.contents
    # A commit has a name for each signature that somebody put there.
    alike = bundle.says != "" and bundle.says == last.says
    return alike or bundle.manifest.commit == last.commit


def _replay(number: int, why: str) -> HostError:
    return HostError(f"the bundle is number {number}, {why}")
