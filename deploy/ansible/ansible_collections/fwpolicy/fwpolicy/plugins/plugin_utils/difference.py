# Copyright: the fwpolicy authors
# MIT License (see LICENSE)

"""What `--diff` shows, from what the host says it would do."""

from __future__ import annotations


def of_report(report: dict, old: list[str]) -> list[dict]:
    """Of `fwpolicy plan --json` and the lines of the ruleset that was applied: traffic, rules, files."""
    found = []
    traffic = [_traffic(change) for change in report.get("traffic", [])]
    if traffic:
        found.append({"prepared": "".join(f"{line}\n" for line in traffic)})
    rules = report.get("rules") or {}
    if rules.get("changed"):
        found.append({**_headers("ruleset"), "before": _text(old), "after": rules.get("text", "")})
    for daemon in report.get("daemons", []):
        found.extend({"prepared": each["diff"]} for each in daemon.get("files", []) if each.get("diff"))
    return found


def _traffic(change: dict) -> str:
    return f"{change.get('now')}, {change.get('hook')}: {', '.join(change.get('classes', []))}"


def _headers(name: str) -> dict:
    return {"before_header": f"{name} (now)", "after_header": f"{name} (planned)"}


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def reasons(report: dict) -> list[str]:
    """What would change, in few words."""
    found = ["the rules"] if (report.get("rules") or {}).get("changed") else []
    for daemon in report.get("daemons", []):
        found.extend(f"the file {each['path']}" for each in daemon.get("files", []))
    for verb in ("restart", "stop"):
        found.extend(f"{verb} {unit}" for unit in report.get(verb) or [])
    return [*found, *(report.get("boot") or [])]
