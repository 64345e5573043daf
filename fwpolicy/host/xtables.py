"""What iptables-legacy holds in this network namespace: nft cannot see it."""

from __future__ import annotations

from fwpolicy.errors import HostError

_NAMES = ("/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names")


def legacy_tables() -> tuple[str, ...]:
    """The legacy tables in use ("filter", "nat", ...) of both families; () where none can be read."""
    found: list[str] = []
    for path in _NAMES:
        try:
            with open(path, encoding="ascii") as stream:  # noqa: PTH123 (pathlib: 8 ms)
                found += stream.read().split()
        except OSError:
            continue
    return tuple(dict.fromkeys(found))


def saved() -> tuple[str, ...]:
    """What iptables-legacy-save and ip6tables-legacy-save print, where legacy tables are in use.
    Raises HostError where they cannot be run."""
    if not legacy_tables():
        return ()
    import subprocess  # noqa: PLC0415 (15 ms, and nobody has legacy tables)

    texts = []
    for program in ("iptables-legacy-save", "ip6tables-legacy-save"):
        try:
            done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(
                f"iptables-legacy tables are in use, and {program} cannot be run: {error}"
            ) from None
        if done.returncode != 0:
            raise HostError(f"{program}: {done.stderr.strip() or done.returncode}")
        texts.append(done.stdout)
    return tuple(texts)
