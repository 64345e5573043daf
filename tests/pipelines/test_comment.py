"""deploy/comment.py against forges of our own: one comment, brought up to date, and nobody else's touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.pipelines.steps import DEPLOY

MARK = "<!-- fwpolicy diff -->"


class Forge:
    """Comments of both forges' shapes, at their addresses; who may, and what was asked, is written down."""

    def __init__(self, kind: str) -> None:
        self.kind, self.asked, self.comments = kind, [], []
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                code, found = forge.handle(self.command, self.path, self.headers, self.rfile.read(length))
                data = json.dumps(found).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def environment(self) -> dict[str, str]:
        if self.kind == "github":
            return {
                "GITHUB_API_URL": self.url,
                "GITHUB_REPOSITORY": "acme/firewall",
                "GITHUB_TOKEN": "t0ken",
                "PULL_REQUEST": "7",
            }
        return {
            "CI_API_V4_URL": f"{self.url}/api/v4",
            "CI_PROJECT_ID": "12",
            "CI_MERGE_REQUEST_IID": "7",
            "FWPOLICY_NOTE_TOKEN": "t0ken",
        }

    def add(self, author: str, body: str) -> dict[str, object]:
        who = {"user": {"login": author}} if self.kind == "github" else {"author": {"id": author}}
        self.comments.append({"id": 100 + len(self.comments), "body": body, **who})
        return self.comments[-1]

    @property
    def ours(self) -> object:
        return "github-actions[bot]" if self.kind == "github" else 55

    def handle(self, method, path, headers, data):
        self.asked.append((method, path))
        token = headers.get("Authorization") if self.kind == "github" else headers.get("PRIVATE-TOKEN")
        if token != ("Bearer t0ken" if self.kind == "github" else "t0ken"):
            return 401, {"message": "who are you?"}
        listed = "/repos/acme/firewall/issues/7/comments"
        one = "/repos/acme/firewall/issues/comments/"
        if self.kind == "gitlab":
            listed = "/api/v4/projects/12/merge_requests/7/notes"
            one = f"{listed}/"
        address = urlsplit(path)
        if address.path == "/api/v4/user":
            return 200, {"id": 55}
        if method == "GET" and address.path == listed:
            asked = {key: int(values[0]) for key, values in parse_qs(address.query).items()}
            begin = (asked["page"] - 1) * asked["per_page"]
            return 200, self.comments[begin : begin + asked["per_page"]]
        if method == "POST" and address.path == listed:
            return 201, self.add(self.ours, json.loads(data)["body"])
        if method == ("PATCH" if self.kind == "github" else "PUT") and address.path.startswith(one):
            (found,) = [each for each in self.comments if str(each["id"]) == address.path[len(one) :]]
            found["body"] = json.loads(data)["body"]
            return 200, found
        return 404, {"message": "no such thing"}


@pytest.fixture(params=["github", "gitlab"])
def forge(request):
    found = Forge(request.param)
    yield found
    found.server.shutdown()


def comment(forge, tmp_path, text, **env):
    file = tmp_path / "comment.md"
    file.write_text(text)
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "CI_"))}
    words = [sys.executable, "-I", str(DEPLOY / "comment.py"), str(file)]
    return subprocess.run(
        words, env=plain | forge.environment() | env, capture_output=True, text=True, check=False
    )


def test_one_comment_is_brought_up_to_date(forge, tmp_path):
    assert comment(forge, tmp_path, "first \N{BULLET}").stdout == "comment added\n"
    assert [each["body"] for each in forge.comments] == [f"{MARK}\nfirst \N{BULLET}"]
    assert comment(forge, tmp_path, "second").stdout == "comment brought up to date\n"
    assert [each["body"] for each in forge.comments] == [f"{MARK}\nsecond"]


def test_nobody_elses_is_touched(forge, tmp_path):
    """Somebody who writes the mark would else own what we say; and ours is found behind many others."""
    forge.add("mallory", f"{MARK}\nmine")
    for number in range(230):
        forge.add("ada", f"comment {number}")
    forge.add(forge.ours, "what another program says")
    assert comment(forge, tmp_path, "first").stdout == "comment added\n"
    assert comment(forge, tmp_path, "second").stdout == "comment brought up to date\n"
    assert forge.comments[0]["body"] == f"{MARK}\nmine"
    assert [each["body"] for each in forge.comments[-2:]] == ["what another program says", f"{MARK}\nsecond"]
    assert len(forge.comments) == 233


def test_refusals_are_told(forge, tmp_path):
    wrong = {"GITHUB_TOKEN": "x"} if forge.kind == "github" else {"FWPOLICY_NOTE_TOKEN": "x"}
    done = comment(forge, tmp_path, "first", **wrong)
    assert (done.returncode, done.stderr) == (1, "comment.py: HTTP Error 401: Unauthorized\n")
    assert not forge.comments
    done = subprocess.run(
        [sys.executable, "-I", str(DEPLOY / "comment.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    done = subprocess.run(
        [sys.executable, "-I", str(DEPLOY / "comment.py"), str(tmp_path / "comment.md")],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "comment.py: GITHUB_REPOSITORY is not set\n")


def test_a_number_that_is_none_is_no_part_of_an_address(forge, tmp_path):
    wrong = {"PULL_REQUEST": "7/../8"} if forge.kind == "github" else {"CI_MERGE_REQUEST_IID": "7/../8"}
    assert comment(forge, tmp_path, "first", **wrong).returncode == 1
    assert not any(".." in path for _, path in forge.asked)
