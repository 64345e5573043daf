#!/usr/bin/env python3
"""Puts a file under a pull request or merge request, as the comment that it put there before, if it did.

GitHub: GITHUB_REPOSITORY, PULL_REQUEST, GITHUB_TOKEN (COMMENT_BY, github-actions[bot]: whose token it is).
GitLab: CI_PROJECT_ID, CI_MERGE_REQUEST_IID, FWPOLICY_NOTE_TOKEN. Needs no more than Python's own library.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MARK = "<!-- fwpolicy diff -->\n"
PAGE = 100
SECONDS = 30


class Forge:
    """Where comments are: their list, and how one is written. Only our own is ever changed: whoever wrote
    another one that begins like it could change ours afterwards."""

    def __init__(self, comments: str, one: str, headers: dict[str, str], update: str) -> None:
        self.comments, self.one, self.headers, self.update = comments, one, headers, update

    def is_ours(self, comment: dict[str, Any]) -> bool:
        raise NotImplementedError

    def ask(self, method: str, address: str, body: dict[str, str] | None = None) -> Any:
        """What the forge answers. Raises OSError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": "application/json", "User-Agent": "fwpolicy"}
        request = urllib.request.Request(address, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)

    def every(self) -> Iterator[dict[str, Any]]:
        page = 1
        while found := self.ask("GET", f"{self.comments}?per_page={PAGE}&page={page}"):
            yield from found
            page += 1

    def put(self, text: str) -> str:
        """What was done."""
        body = {"body": MARK + text}
        for comment in self.every():
            if self.is_ours(comment) and str(comment["body"]).startswith(MARK.strip()):
                self.ask(self.update, f"{self.one}/{comment['id']}", body)
                return "brought up to date"
        self.ask("POST", self.comments, body)
        return "added"


class GitHub(Forge):
    def __init__(self, environment: dict[str, str]) -> None:
        base = f"{environment.get('GITHUB_API_URL', 'https://api.github.com')}/repos/{environment['GITHUB_REPOSITORY']}/issues"
        headers = {
            "Authorization": f"Bearer {environment['GITHUB_TOKEN']}",
            "Accept": "application/vnd.github+json",
        }
        super().__init__(
            f"{base}/{int(environment['PULL_REQUEST'])}/comments", f"{base}/comments", headers, "PATCH"
        )
        self.name = environment.get("COMMENT_BY", "github-actions[bot]")

    def is_ours(self, comment: dict[str, Any]) -> bool:
        return bool(comment["user"]["login"] == self.name)


class GitLab(Forge):
    def __init__(self, environment: dict[str, str]) -> None:
        api, project = environment["CI_API_V4_URL"], int(environment["CI_PROJECT_ID"])
        notes = f"{api}/projects/{project}/merge_requests/{int(environment['CI_MERGE_REQUEST_IID'])}/notes"
        super().__init__(notes, notes, {"PRIVATE-TOKEN": environment["FWPOLICY_NOTE_TOKEN"]}, "PUT")
        self.number = self.ask("GET", f"{api}/user")["id"]

    def is_ours(self, comment: dict[str, Any]) -> bool:
        return bool(comment["author"]["id"] == self.number)


def main(arguments: list[str], environment: dict[str, str]) -> int:
    if len(arguments) != 1:
        print("usage: comment.py FILE", file=sys.stderr)
        return 64
    try:
        text = Path(arguments[0]).read_text(encoding="utf-8")
        forge = GitLab if "CI_MERGE_REQUEST_IID" in environment else GitHub
        print(f"comment {forge(environment).put(text)}")
    except KeyError as error:
        print(f"comment.py: {error.args[0]} is not set", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"comment.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
