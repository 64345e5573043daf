"""Signatures by `ssh-keygen -Y` (ssh-keygen(1); PROTOCOL.sshsig of OpenSSH): on every host that sshd runs
on, with keys that people have already, and a file of allowed signers that sshd's own format is.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

from fwpolicy.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN, END = b"-----BEGIN SSH SIGNATURE-----\n", b"\n-----END SSH SIGNATURE-----\n"
_PATIENCE = 60


def sign(data: bytes, key: str, namespace: str) -> bytes:
    """The signature of `data`, as text. `key`: a private key's file, or a public one's where an agent has the
    other half. Raises HostError."""
    done = _run(["-Y", "sign", "-f", key, "-n", namespace, "-q"], data)
    if done.returncode != 0 or not done.stdout.startswith(BEGIN):
        raise HostError(f"cannot sign with {key}: {_said(done)}")
    return done.stdout


def verify(data: bytes, signature: bytes, signers: str, namespace: str) -> str:
    """Who of the file `signers` (ssh-keygen(1), ALLOWED SIGNERS) signed `data` just so. Raises HostError."""
    with _as_file(signature) as path:
        known = _run(["-Y", "find-principals", "-f", signers, "-s", path], b"")
        if known.returncode != 0:
            raise HostError(f"the signature is of nobody in {signers}: {_said(known)}")
        for principal in known.stdout.decode("utf-8", "replace").splitlines():
            words = ["-Y", "verify", "-f", signers, "-I", principal, "-n", namespace, "-s", path]
            known = _run(words, data)
            if known.returncode == 0:
                return principal
    raise HostError(f"the signature does not hold: {_said(known)}")


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path of the content, in no folder."""
    descriptor = os.memfd_create("signature")
    try:
        os.write(descriptor, content)
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _run(words: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", *words], input=data, capture_output=True, check=False, timeout=_PATIENCE
        )
    except FileNotFoundError:
        raise HostError("ssh-keygen is not installed (Debian: openssh-client)") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"cannot run ssh-keygen: {error}") from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """All of its lines but the frame around a warning: the last may only be what follows from the first."""
    lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
    said = "; ".join(line.strip().rstrip(".") for line in lines if line.strip() and not line.startswith("@"))
    return "".join(c if c.isprintable() else "?" for c in said) or "ssh-keygen failed"
