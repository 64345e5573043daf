"""What a policy compiles to, as it is put on a throw-away host."""

from __future__ import annotations

from fwpolicy.deploy.proof import OURS, compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fwpolicy.deploy.trial.trial import Rules
    from fwpolicy.host.libnftables import Nftables
    from fwpolicy.policy.model import Policy


def rules_of(policy: Policy, backend: str) -> Rules:
    """What the policy compiles to for `backend`. Raises PolicyError for what cannot be said in it."""
    return _Nft(policy) if backend == "nft" else _Iptables(policy)


class _Nft:
    def __init__(self, policy: Policy) -> None:
        self._text = compiled(policy).text

    def load(self, nft: Nftables) -> None:
        nft.load(self._text)

    def fill(self, nft: Nftables, group: str, members: tuple[str, ...]) -> None:
        nft.load(f"add element {OURS} {group} {{ {', '.join(members)} }}\n")


class _Iptables:
    def __init__(self, policy: Policy) -> None:
        from fwpolicy.deploy import xtproof  # noqa: PLC0415
        from fwpolicy.host.xtables import XTables  # noqa: PLC0415

        self._texts = xtproof.compiled(policy)
        self._tables = XTables()

    def load(self, _: Nftables) -> None:
        from fwpolicy.deploy import xtload  # noqa: PLC0415

        xtload.remove(self._tables)
        xtload.load(self._tables, self._texts, proved=False)

    def fill(self, _: Nftables, group: str, members: tuple[str, ...]) -> None:
        from fwpolicy.backends.iptables.names import SETS  # noqa: PLC0415
        from fwpolicy.host.xtables import restore_ipsets  # noqa: PLC0415

        restore_ipsets("".join(f"add {SETS}{group} {member}\n" for member in members))
