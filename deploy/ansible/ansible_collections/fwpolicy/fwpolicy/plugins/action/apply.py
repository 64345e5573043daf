# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils import bundle, difference
from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.action import WAY, HostAction, failed
from ansible_collections.fwpolicy.fwpolicy.plugins.plugin_utils.remote import ask, ask_anew, is_back

_FLAGS = {"without_u32": "--without-u32", "without_ipv6": "--without-ipv6"}
_OF_MANIFEST = {"policy": "policy", "number": "sequence", "commit": "commit"}


class ActionModule(HostAction):
    """Ships a bundle, has it verified and applied on the host, and confirms over a new connection."""

    SPEC: ClassVar[dict] = {
        "bundle": {"type": "path", "required": True},
        "host": {"type": "str"},
        "way": WAY,
        "backend": {"type": "str", "choices": ["auto", "nft", "iptables"], "default": "auto"},
        "verify": {"type": "str", "choices": ["auto", "host", "controller"], "default": "auto"},
        "signers": {"type": "str"},
        "controller_signers": {"type": "path"},
        "older": {"type": "bool", "default": False},
        "replace": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
        "confirm": {"type": "int", "default": 60},
        "hold": {"type": "bool", "default": False},
        "without_u32": {"type": "bool", "default": False},
        "without_ipv6": {"type": "bool", "default": False},
    }

    def carry_out(self) -> dict:
        if wrong := self._wrong():
            return failed(wrong)
        try:
            self.data = Path(self._find_needle("files", self.args["bundle"])).read_bytes()
        except OSError as error:
            return failed(f"{self.args['bundle']}: {error.strerror}")
        self.signer = None
        if self.args["controller_signers"]:
            self.signer = bundle.verified(self.data, self.args["controller_signers"])
        self.options = self._options()
        found = self._plan() if self._task.check_mode or self._task.diff else {}
        if found.get("failed") or self._task.check_mode:
            return found
        return {**found, **self._apply()}

    def _wrong(self) -> str:
        if self.args["verify"] == "controller" and not self.args["controller_signers"]:
            return "verify: controller takes controller_signers, a file of allowed signers on the controller"
        if self.args["confirm"] and not 5 <= self.args["confirm"] <= 3600:
            return "confirm is from 5 to 3600 seconds, or 0"
        if self.args["hold"] and not self.args["confirm"]:
            return "hold: true takes a time to confirm within"
        return ""

    def _options(self) -> dict[str, object]:
        """As host.sh takes them."""
        verify = self.args["verify"]
        if verify == "auto" and not self.args["controller_signers"]:
            verify = "host"
        same = ("way", "backend", "signers", "older", "replace", "force")
        return {
            **{name: self.args[name] for name in same},
            "verify": verify,
            "host": self.args["host"] or self.task_vars["inventory_hostname"],
            "size": len(self.data),
            "seconds": self.args["confirm"],
            "extra": " ".join(flag for name, flag in _FLAGS.items() if self.args[name]),
        }

    # --- what would change --------------------------------------------------------------------

    def _plan(self) -> dict:
        answer = ask(self, "plan", {**self.options, "diff": self._task.diff}, self.data)
        if answer.one("way") == "script":
            found = self._of_script(answer)
            diff = [{"prepared": f"{answer.said}\n"}] if found.get("changed") else []
        else:
            found = self._of_fwpolicy(answer, (0, 2))
            diff = difference.of_report(answer.report(), answer.told.get("old", []))
        return {**found, "diff": diff} if self._task.diff else found

    def _of_script(self, answer) -> dict:
        known, common = self._known(answer), self._common(answer)
        if answer.code or "changed" not in answer.told:
            without = known.get("without_script", {}).get(common["backend"])
            return failed(f"{answer.reason()}: {without}" if without else answer.reason(), **common)
        return {
            **common,
            "changed": answer.one("changed") == "1",
            "generation": None,
            "before": None,
            "said": [*known.get("script_notes", []), *answer.said.splitlines()],
        }

    def _of_fwpolicy(self, answer, good: tuple[int, ...]) -> dict:
        report, common = answer.report(), self._common(answer)
        if report.get("refusals"):
            return failed("\n".join(report["refusals"]), **common)
        if answer.code not in good or "changed" not in report:
            return failed(answer.reason(), **common)
        changed = bool(report["changed"])
        return {
            **common,
            "changed": changed,
            "generation": report.get("generation"),
            "before": int(answer.one("before")) if answer.one("before").isdecimal() else None,
            "why": difference.reasons(report) if changed else [],
            "said": [*(report.get("notes") or []), *answer.errors],
        }

    def _common(self, answer) -> dict:
        """What is known of the bundle, and of who looked at it."""
        known = self._known(answer)
        here = "controller" if self.signer else None
        return {
            **{name: known.get(key) for name, key in _OF_MANIFEST.items()},
            "way": answer.one("way"),
            "backend": answer.one("backend") or None,
            "verified": "host" if self._taken(answer) else answer.one("verified") or here,
            "signer": answer.one("signer") or self.signer,
        }

    def _known(self, answer) -> dict:
        """The manifest, where somebody has verified the bundle."""
        if self.signer or self._taken(answer):
            return bundle.manifest(self.data)
        return answer.mapping("manifest")

    @staticmethod
    def _taken(answer) -> bool:
        """Did fwpolicy itself take the bundle?"""
        return answer.one("way") == "fwpolicy" and answer.code in (0, 2)

    # --- the apply, and whether somebody still gets in -------------------------------------------

    def _apply(self) -> dict:
        answer = ask(self, "apply", self.options, self.data)
        way = answer.one("way")
        found = self._of_script(answer) if way == "script" else self._of_fwpolicy(answer, (0,))
        found.update(waits=False, confirmed=False)
        if found.get("failed") or not found["changed"] or not self.args["confirm"]:
            return found
        self.look = {"way": way}
        if way == "fwpolicy" and not answer.report().get("confirm"):
            return self._by_gates(found)
        verb = "look" if self.args["hold"] else "confirm"
        after, why = ask_anew(self, verb, self.look, self.args["confirm"])
        if after is None:
            return self._locked_out(found, why)
        if after.one("waits") != "1":
            words = (
                f"no new connection could be opened in time ({why})"
                if why
                else "it was not confirmed in time"
            )
            return {**self._not(found, f"{words}; the host has taken it back"), "taken_back": True}
        if after.code:
            return self._not(found, f"it could not be confirmed: {after.reason()}")
        return {**found, "waits": self.args["hold"], "confirmed": not self.args["hold"]}

    def _by_gates(self, found: dict) -> dict:
        """The policy's gates have let it count. Who is shut out nevertheless takes it back over the
        connection that is open still."""
        after, why = ask_anew(self, "look", self.look, self.args["confirm"])
        if after is not None:
            return {**found, "confirmed": True}
        words = f"its gates hold, and yet no new connection can be opened: {why}"
        try:
            back = ask(self, "rollback", {**self.look, **self._way_back(found)})
        except AnsibleConnectionFailure:
            return {**self._not(found, f"{words}; the old one is gone, too"), "changed": True}
        if back.code:
            return {**self._not(found, f"{words}; rollback: {back.reason()}"), "changed": True}
        return {**self._not(found, f"{words}; taken back over the old one"), "taken_back": True}

    @staticmethod
    def _way_back(found: dict) -> dict:
        return {"generation": found["generation"], "before": found["before"]}

    def _locked_out(self, found: dict, why: str) -> dict:
        words = f"no new connection could be opened within {self.args['confirm']} s ({why})"
        if is_back(self, self.look):
            end = "the host has taken it back, and can be reached again"
            return {**self._not(found, f"{words}; {end}"), "taken_back": True}
        return {**self._not(found, f"{words}; nor after that"), "changed": True}

    @staticmethod
    def _not(found: dict, why: str) -> dict:
        return {**found, **failed(why)}
