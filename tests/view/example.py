"""What the hosts of docs/example-fleet say of themselves, and the company's report."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

FLEET = Path(__file__).parents[2] / "docs" / "example-fleet"
DAY = 86400
HOSTS = ("web-01", "web-02", "web-03", "db-01", "db-02", "pbx-01", "ntp-01", "ntp-02", "gw-berlin", "mon-01")


def text_of(second: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def status(at: float, days: int, policy: str = "base", **more: object) -> dict[str, object]:
    """A `status --json` of `at`, of what was applied `days` before."""
    report = {
        "changed": False,
        "at": text_of(at),
        "applied": True,
        "policy": policy,
        "generation": 7,
        "time": text_of(at - days * DAY),
        "drift": [],
        "traffic": None,
        "notes": [],
    }
    return report | more


def counters(at: float, lines: dict[tuple[str, int, str], int]) -> dict[str, object]:
    """A `counters --json`: packets by (file, line, text)."""
    found = [
        {
            "counter": f"allow_{n}",
            "packets": packets,
            "bytes": 60 * packets,
            "file": file,
            "line": line,
            "text": text,
            "id": None,
        }
        for n, ((file, line, text), packets) in enumerate(lines.items())
    ]
    return {
        "changed": False,
        "at": text_of(at),
        "applied": True,
        "policy": "base",
        "generation": 7,
        "counters": found,
    }


def probe(at: float, verdict: str, factor: float = 0.0) -> dict[str, object]:
    """A `probe --json` of one address."""
    reason = {
        "OPEN": "14 of 100 probes answered",
        "CLOSED": "0 of 100 probes answered, and the control ntp.example.org did",
        "INCONCLUSIVE": "the control ntp.example.org is silent",
    }[verdict]
    address = {
        "host": "x",
        "address": "192.0.2.7",
        "family": 4,
        "verdict": verdict,
        "reason": reason,
        "max_factor": factor,
    }
    return {"changed": False, "at": text_of(at), "verdict": verdict, "hosts": [address], "probes": []}


def lines_of(name: str) -> dict[tuple[str, int, str], int]:
    """The lines of a policy that have an id, each with something that it counted."""
    found = {}
    for number, line in enumerate((FLEET / "policies" / name).read_text().splitlines(), 1):
        if "id: " in line or "block" in line:
            found[f"policies/{name}", number, line.strip()] = 1000 * number
    return found


def write_facts(folder: Path, now: float) -> None:
    """One host drifted, one is long silent, of one nothing was ever collected, and one answers the world."""
    folder.mkdir(parents=True)
    for host in HOSTS:
        days = {"web-03": 12}.get(host, 43)
        at = now - (21 * DAY if host == "db-02" else 1800)
        drift = []
        if host == "web-03":
            drift = [
                {"what": "the rules are not those that were applied", "detail": ["+ tcp dport 8080 accept"]}
            ]
        if host == "ntp-02":
            drift = [{"what": "/etc/chrony/chrony.conf was edited since the apply", "detail": []}]
        counted = lines_of("base.yaml") if host != "gw-berlin" else lines_of("office-router.yaml")
        role = {"web": "web", "db": "db", "pbx": "pbx", "ntp": "ntp-server", "mon": "monitor"}.get(
            host.split("-")[0]
        )
        counted |= lines_of(f"{role}.yaml") if role else {}
        for key in counted:
            if any(word in key[2] for word in ("legacy-mysql", "tftp", "vendor")):
                counted[key] = 0
        policy = "office-router" if host == "gw-berlin" else "base"
        reports = [status(at, days, policy, drift=drift), counters(at, counted)]
        (folder / f"{host}.json").write_text("\n".join(json.dumps(each, indent=1) for each in reports))
    for host in HOSTS:
        if host in ("pbx-01", "mon-01"):
            continue
        place = folder / host
        place.mkdir()
        found = probe(now - DAY, "OPEN", 556.9) if host == "ntp-02" else probe(now - DAY, "CLOSED")
        (place / "probe.json").write_text(json.dumps(found))


def last_day(now: float, days: int) -> str:
    return text_of(now + days * DAY)[:10]


def copy(folder: Path, now: float) -> Path:
    """The company's repository, committed; its temporary lines end in 9, 19 and 66 days."""
    shutil.copytree(FLEET, folder)
    for name, days in (("office-router", 9), ("web", 19), ("pbx", 66)):
        file = folder / "policies" / f"{name}.yaml"
        file.write_text(re.sub(r"expires: [\d-]+", f"expires: {last_day(now, days)}", file.read_text()))
    who = ["-c", "user.name=Ada Example", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        [*who, "commit", "-q", "-m", "the company's policies"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder
