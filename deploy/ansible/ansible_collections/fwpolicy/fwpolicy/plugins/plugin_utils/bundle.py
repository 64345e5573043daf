# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

"""Bundles on the controller: who signed, and what is in the manifest."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile

from ansible.errors import AnsibleError

FIRST_LINE = b"fwpolicy-bundle 1\n"
END = b"\n-----END SSH SIGNATURE-----\n"
NAMESPACE = "fwpolicy-bundle"
_LONGEST_SIGNATURE = 16384
_PATIENCE = 60


def apart(data: bytes) -> tuple[bytes, bytes]:
    """(signature, archive) of a bundle. Raises AnsibleError for anything else."""
    end = data.find(END, 0, _LONGEST_SIGNATURE)
    if not data.startswith(FIRST_LINE) or end < 0:
        raise AnsibleError("this is no bundle, or its beginning is missing")
    end += len(END)
    return data[len(FIRST_LINE) : end], data[end:]


def verified(data: bytes, signers: str) -> str:
    """Who of the file `signers` signed the bundle. Raises AnsibleError where nobody did."""
    signature, archive = apart(data)
    with tempfile.NamedTemporaryFile() as kept:
        kept.write(signature)
        kept.flush()
        known = _keygen(["find-principals", "-f", signers, "-s", kept.name], b"")
        if known.returncode != 0:
            raise AnsibleError(f"the signature is of nobody in {signers}: {_said(known)}")
        for principal in known.stdout.decode("utf-8", "replace").splitlines():
            words = ["verify", "-f", signers, "-I", principal, "-n", NAMESPACE, "-s", kept.name]
            known = _keygen(words, archive)
            if known.returncode == 0:
                return principal
    raise AnsibleError(f"the signature does not hold: {_said(known)}")


def manifest(data: bytes) -> dict:
    """What a bundle says of itself. Raises AnsibleError; call `verified` first."""
    _signature, archive = apart(data)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as members:
            entry = members.next()
            stream = members.extractfile(entry) if entry and entry.name == "manifest.json" else None
            found = json.loads(stream.read().decode()) if stream else None
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise AnsibleError(f"the bundle cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise AnsibleError("the bundle has no manifest")
    return found


def _keygen(words: list[str], data: bytes) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", *words], input=data, capture_output=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AnsibleError(f"cannot run ssh-keygen here: {error}") from None


def _said(done: subprocess.CompletedProcess) -> str:
    lines = (done.stderr + done.stdout).decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "ssh-keygen failed"
