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
    try:
        return _printed("legacy")
    except HostError as error:
        raise HostError(f"iptables-legacy tables are in use: {error}") from None


def saved_nft() -> tuple[str, ...]:
    """What iptables-nft-save and ip6tables-nft-save print: the tables that iptables keeps in nftables, with
    the matches that nft only names. Raises HostError where they cannot be run."""
    return _printed("nft")


def _printed(variant: str) -> tuple[str, ...]:
    import subprocess  # noqa: PLC0415 (15 ms, and few have such tables)

    texts = []
    for program in (f"iptables-{variant}-save", f"ip6tables-{variant}-save"):
        try:
            done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"{program} cannot be run: {error}") from None
        if done.returncode != 0:
            raise HostError(f"{program}: {done.stderr.strip() or done.returncode}")
        texts.append(done.stdout)
    return tuple(texts)
