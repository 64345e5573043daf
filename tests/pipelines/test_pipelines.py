"""The pipelines of deploy/, on a repository: what passes, what breaks an invariant, what opens too much."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipelines.steps import DEPLOY, GitHub, gitlab, load
from tests.view import example

# What the branch adds to a policy of the company's: the exit code of the review.
CASES = {
    "pass": ("monitor.yaml", "    - {service: https, from: admin}\n", 0, "tcp/443 (https) from admin"),
    "violation": ("web.yaml", "    - metrics\n", 3, "tcp/9100"),
    "risky": ("web.yaml", "    - ms-rdp\n", 3, "### :warning: Risky: look here first"),
    "wrong": ("web.yaml", "    - nosuch\n", 1, "Not compared: web (4 hosts)"),
}
LONG = pytest.mark.slow
SOME = [pytest.param(name, marks=() if name == "risky" else LONG) for name in CASES]
HERE = str(Path(sys.executable).parent)
PYTHON = """\
#!/bin/sh
if [ "$*" = "-I -m venv $4" ]; then
    mkdir -p "$4/bin"
    exec cp "$0" "$4/bin/python"
fi
echo "$@" >&2
exit 7
"""


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=Ada Example", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def branch(tmp_path, cache, monkeypatch):
    """Makes the company's repository on a branch with a case's change; the folder and the base's commit."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PATH", f"{HERE}:{os.environ['PATH']}")

    def make(case: str) -> tuple[Path, str]:
        folder = example.copy(tmp_path / "repo", time.time())
        shutil.copytree(DEPLOY, folder / "deploy")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "pipelines")
        git(folder, "checkout", "-qb", "change")
        file, line, *_ = CASES[case]
        path = folder / "policies" / file
        path.write_text(path.read_text().replace("tests:\n", f"{line}tests:\n"))
        git(folder, "commit", "-qam", case)
        return folder, git(folder, "rev-parse", "main")

    return make


def shell(folder: Path, verb: str, **env: str) -> subprocess.CompletedProcess[str]:
    """By dash: nothing that only another shell has."""
    words = ["dash", str(DEPLOY / "pipeline.sh"), verb]
    return subprocess.run(
        words, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("case", SOME)
def test_shell(branch, case):
    folder, _ = branch(case)
    done = shell(folder, "review", BASE="main")
    assert done.returncode == CASES[case][2], done.stderr
    comment = (folder / "build/comment.md").read_text()
    assert CASES[case][3] in comment and comment in done.stdout
    assert "What the firewalls let through" in (folder / "build/report.html").read_text()
    assert (folder / "build/hosts/web-01/ruleset.nft").exists() == (case in ("pass", "risky"))
    if case == "violation":
        assert (
            "this must never be let through, and is" in done.stderr
            and "policies/web.yaml:8: - metrics" in done.stderr
        )


@LONG
def test_shell_with_risk_let_be(branch):
    """What one organisation refuses another only looks at."""
    folder, _ = branch("pass")
    web = folder / "policies/web.yaml"
    web.write_text(web.read_text().replace("tests:\n", "    - tcp/8444\ntests:\n"))
    assert shell(folder, "review", BASE="main", RISK="2").returncode == 3
    assert shell(folder, "review", BASE="main", RISK="3").returncode == 0


def test_shell_usage(branch):
    folder, _ = branch("pass")
    for verb in ("", "deploy"):
        done = shell(folder, verb)
        assert done.returncode == 64 and "usage: sh pipeline.sh review|release" in done.stderr
    done = shell(folder, "release")
    assert done.returncode == 64 and "KEY is needed" in done.stderr
    assert not (folder / "build").exists()


def key(folder: Path) -> Path:
    path = folder / "key"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "release@example.org", "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def signed(folder: Path, bundles: Path, public: Path) -> None:
    signers = folder / "signers"
    signers.write_text(f'release@example.org namespaces="fwpolicy-bundle" {public.read_text()}')
    for host in (*example.HOSTS, "web-canary", "gw-riga"):
        words = ["bundle", "verify", str(bundles / f"{host}.fwb"), "--signers", str(signers), "--host", host]
        done = subprocess.run(["fwpolicy", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "signed by release@example.org" in done.stdout


@LONG
def test_shell_release(branch, tmp_path):
    folder, _ = branch("pass")
    private = key(tmp_path)
    push = tmp_path / "push it"
    push.write_text('#!/bin/sh\nls "$1"/*.fwb >"$0.done"\n')
    push.chmod(0o755)
    done = shell(folder, "release", KEY=str(private), PUSH=str(push))
    assert done.returncode == 0, done.stderr
    signed(tmp_path, folder / "build/bundles", tmp_path / "key.pub")
    assert len((tmp_path / "push it.done").read_text().split()) == 12
    push.write_text("#!/bin/sh\nexit 5\n")
    assert shell(folder, "release", KEY=str(private), PUSH=str(push)).returncode == 1


@LONG
def test_shell_releases_nothing_that_breaks_an_invariant(branch, tmp_path):
    folder, _ = branch("violation")
    done = shell(folder, "release", KEY=str(key(tmp_path)), PUSH="/bin/false")
    assert done.returncode == 3
    assert not (folder / "build/bundles").exists()


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name == "violation" else LONG) for name in CASES]
)
def test_github_review(branch, case):
    folder, _ = branch(case)
    job = load("github/review.yml")["jobs"]["review"]
    runner = GitHub(job, folder, {}, {})
    codes = runner.run(without=("Install",))
    assert max(codes.values()) == CASES[case][2]
    assert CASES[case][3] in runner.files["GITHUB_STEP_SUMMARY"].read_text()
    assert codes["What changes"] == {"pass": 0, "violation": 0, "risky": 3, "wrong": 1}[case]
    assert (folder / "review/report.html").exists() and (folder / "review/comment.md").exists()
    assert ("Compile" in codes) == (case in ("pass", "risky"))


@LONG
def test_github_release(branch, tmp_path):
    folder, _ = branch("pass")
    job = load("github/release.yml")["jobs"]["release"]
    known = {"secrets.FWPOLICY_KEY": key(tmp_path).read_text()}
    runner = GitHub(job, folder, known, {})
    codes = runner.run(without=("Install",))
    assert set(codes.values()) == {0}, runner.said
    assert "no deploy/push: hosts pull" in runner.said
    assert not (tmp_path / "runner/key").exists()
    signed(tmp_path, folder / "bundles", tmp_path / "key.pub")


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name == "violation" else LONG) for name in CASES]
)
def test_gitlab_review(branch, case):
    folder, base = branch(case)
    checked = gitlab("firewall-check", folder, {})
    assert checked.returncode == {"pass": 0, "violation": 3, "risky": 0, "wrong": 1}[case], checked.stderr
    assert (folder / "review/report.html").exists()
    done = gitlab("firewall-diff", folder, {"CI_MERGE_REQUEST_DIFF_BASE_SHA": base})
    assert done.returncode == {"pass": 0, "violation": 0, "risky": 3, "wrong": 1}[case], done.stderr
    assert CASES[case][3] in done.stdout and "no FWPOLICY_NOTE_TOKEN, no note" in done.stdout


@LONG
def test_gitlab_release(branch, tmp_path):
    folder, _ = branch("pass")
    private = key(tmp_path)
    private.chmod(0o644)  # as GitLab leaves it
    done = gitlab("firewall-release", folder, {"FWPOLICY_KEY": str(private)})
    assert done.returncode == 0, done.stderr
    assert not (folder / ".key").exists()
    signed(tmp_path, folder / "bundles", tmp_path / "key.pub")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The program as pip would get it."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    checkout = DEPLOY.parent
    for name in ("fwpolicy", "policies", "docs"):
        shutil.copytree(checkout / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, source / name)
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def install(kind: str, folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """The exit code of a kind's way to install, and what it said."""
    if kind == "shell":
        done = shell(folder, "review", BASE="main", **env)
        return done.returncode, done.stderr
    if kind == "gitlab":
        done = gitlab("firewall-check", folder, env, before=True)
        return done.returncode, done.stderr
    name = kind.removeprefix("github.")
    job = load(f"github/{name}.yml")["jobs"][name]
    steps = [step for step in job["steps"] if step["name"] == "Install"]
    runner = GitHub(job | {"steps": steps}, folder, {}, env)
    return runner.run()["Install"], runner.said


@pytest.mark.parametrize("kind", ["shell", "github.review", "github.release", "gitlab"])
@pytest.mark.parametrize("said", [None, "", "fwpolicy==0.1.0", "https://127.0.0.1:9/fwpolicy.whl"])
def test_nothing_is_installed_by_a_name_alone(tmp_path, monkeypatch, kind, said):
    """Whoever registers a free name in the public index would get the key that signs."""
    monkeypatch.setenv("PATH", os.environ["PATH"].replace(f"{HERE}:", ""))
    monkeypatch.delenv("FWPOLICY", raising=False)
    folder = tmp_path / "repo"
    folder.mkdir()
    env = {"PIP_NO_INDEX": "1"} | ({} if said is None else {"FWPOLICY": said})
    code, told = install(kind, folder, env)
    assert code == 64 and "no fwpolicy here, and FWPOLICY names no file" in told, told
    assert not [*tmp_path.rglob("pyvenv.cfg")]


@pytest.mark.parametrize(
    ("said", "index"),
    [
        ("fwpolicy==0.1.0", "https://127.0.0.1:9/simple"),
        ("https://127.0.0.1:9/fwpolicy-0.1.0-py3-none-any.whl#sha256=00", ""),
        ("./fwpolicy-0.1.0-py3-none-any.whl", ""),
    ],
)
def test_what_says_its_source_goes_to_pip(tmp_path, monkeypatch, said, index):
    """A python3 of the test's notes what it is called with, and ends like a pip that finds nothing."""
    python = tmp_path / "bin/python3"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{python.parent}:{os.environ['PATH'].replace(f'{HERE}:', '')}")
    for kind in ("shell", "github.review", "github.release", "gitlab"):
        folder = tmp_path / kind / "repo"
        folder.mkdir(parents=True)
        code, told = install(kind, folder, {"FWPOLICY": said, "PIP_INDEX_URL": index})
        assert code == 7 and told.endswith(f"-I -m pip install --quiet --disable-pip-version-check {said}\n")


@LONG
@pytest.mark.parametrize("kind", ["shell", "github", "gitlab"])
def test_install(branch, wheel, tmp_path, monkeypatch, kind):
    """From a wheel, in the pipeline's own environment; PyYAML is ours, so that no index is asked."""
    folder, _ = branch("pass")
    path = os.environ["PATH"].replace(f"{HERE}:", "")
    assert not shutil.which("fwpolicy", path=path)
    site = Path(__import__("yaml").__file__).parents[1]
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for name in ("yaml", "_yaml"):
        (libraries / name).symlink_to(site / name)
    env = {
        "FWPOLICY": str(wheel),
        "PATH": path,
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PYTHONPATH": str(libraries),
    }
    if kind == "shell":
        done = shell(folder, "review", BASE="main", **env)
        assert done.returncode == 0 and "== install" in done.stderr, done.stderr
    elif kind == "gitlab":
        done = gitlab("firewall-check", folder, env, before=True)
        assert done.returncode == 0, done.stderr
    else:
        job = load("github/review.yml")["jobs"]["review"]
        codes = GitHub(job, folder, {}, env).run()
        assert set(codes.values()) == {0} and "Install" in codes


def test_yaml_is_what_the_forges_take():
    """Their own JSON schemas, as check-jsonschema brings them along."""
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    for words in (
        ["vendor.github-workflows", str(DEPLOY / "github/review.yml"), str(DEPLOY / "github/release.yml")],
        ["vendor.gitlab-ci", "--data-transform", "gitlab-ci", str(DEPLOY / "gitlab-ci.yml")],
    ):
        done = subprocess.run([*tool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["pipeline.sh", "push-ansible.sh"])
def test_shellcheck_has_nothing_to_say(name):
    command = ["shellcheck", "-s", "sh", str(DEPLOY / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_push_by_ansible_names_the_folder_whole(tmp_path):
    """What the playbook is told; the playbook itself is run in tests/hosts/test_ansible.py."""
    tool = tmp_path / "bin/ansible-playbook"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    tool.chmod(0o755)

    def push(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{tool.parent}:/usr/bin:/bin", "INVENTORY": "hosts.yaml"}
        command = ["dash", str(DEPLOY / "push-ansible.sh"), *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    (tmp_path / "the bundles").mkdir()
    (tmp_path / "o'clock").mkdir()
    told = push("the bundles").stdout.splitlines()
    wanted = f"push_bundles='{tmp_path}/the bundles'"
    assert told == ["-i", "hosts.yaml", "fwpolicy.fwpolicy.rollout", "-e", wanted]
    assert push("o'clock").returncode == 64 and push("nowhere").returncode and push().returncode


@pytest.mark.parametrize("name", ["review", "release"])
def test_github_permissions(name):
    """Each job says what its token may; what a pull request brings never runs beside one that may write."""
    found = load(f"github/{name}.yml")
    assert found["permissions"] == {}
    assert "pull_request_target" not in found["on"] and "workflow_run" not in found["on"]
    for job in found["jobs"].values():
        assert (
            job["permissions"].keys() <= {"contents", "pull-requests"}
            and job["permissions"]["contents"] == "read"
        )
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            if "pull-requests" in job["permissions"] and "checkout" in step.get("uses", ""):
                assert step["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    secrets = re.findall(r"secrets\.\w+", (DEPLOY / f"github/{name}.yml").read_text())
    assert secrets == ([] if name == "review" else ["secrets.FWPOLICY_KEY"])
    assert name == "review" or found["jobs"]["release"]["environment"] == "firewall"
