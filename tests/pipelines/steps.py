"""The steps of pipelines that are YAML, taken out and run here as their runners would."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPLOY = Path(__file__).parents[2] / "deploy"
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")


def load(name: str) -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / name).read_text())
    # YAML 1.1 reads the key `on` as true.
    return {("on" if key is True else key): value for key, value in found.items()}


class GitHub:
    """Runs a job's `run:` steps by `bash -e`, each with its env, and with what was added to GITHUB_PATH.
    `known`: what the expressions stand for."""

    def __init__(
        self, job: dict[str, Any], folder: Path, known: Mapping[str, str], env: Mapping[str, str]
    ) -> None:
        self.job, self.folder, self.known = job, folder, known
        self.files = {name: folder.parent / name.lower() for name in ("GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        for path in self.files.values():
            path.write_text("")
        temporary = folder.parent / "runner"
        temporary.mkdir(exist_ok=True)
        self.env = os.environ | {name: str(path) for name, path in self.files.items()}
        self.env |= {"RUNNER_TEMP": str(temporary), **self._plain(job.get("env", {})), **env}
        self.given = dict(env)

    def _plain(self, values: Mapping[str, Any]) -> dict[str, str]:
        return {
            key: EXPRESSION.sub(lambda found: self.known[found[1]], str(value))
            for key, value in values.items()
        }

    def run(self, without: tuple[str, ...] = ()) -> dict[str, int]:
        """Exit code by the step's name, of those that were run."""
        codes: dict[str, int] = {}
        for step in self.job["steps"]:
            name = step["name"]
            if "run" not in step or name in without:
                continue
            assert "${{" not in step["run"], "what others write must not become part of a script"
            if any(codes.values()) and "!cancelled()" not in str(step.get("if", "")):
                continue
            codes[name] = self._step(step)
        return codes

    def _step(self, step: dict[str, Any]) -> int:
        added = self.files["GITHUB_PATH"].read_text().splitlines()
        env = self.env | self._plain(step.get("env", {})) | self.given
        env["PATH"] = ":".join([*reversed(added), env["PATH"]])
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        self.said = done.stdout + done.stderr
        return done.returncode


def gitlab(
    job: str, folder: Path, env: Mapping[str, str], before: bool = False
) -> subprocess.CompletedProcess[str]:
    """A job's script in one shell, with `before`: its before_script, too."""
    whole = load("gitlab-ci.yml")
    found = whole[job]
    base = whole[found["extends"]]
    lines = [*(base["before_script"] if before else ()), *found["script"]]
    variables = {key: str(value) for key, value in whole["variables"].items()}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | variables | {"CI_PROJECT_DIR": str(folder)} | dict(env),
        capture_output=True,
        text=True,
        check=False,
    )
