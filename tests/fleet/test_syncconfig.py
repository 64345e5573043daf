"""sync.yaml: what is right, and each mistake at its place; the units that it makes."""

from __future__ import annotations

import subprocess

import pytest

from fwpolicy.cli import main
from fwpolicy.deploy.machine import Machine, machine
from fwpolicy.deploy.starters import BOOT_FOLDER
from fwpolicy.errors import HostError, PolicyError
from fwpolicy.fleet import syncunits
from fwpolicy.fleet.bundle import SIGNERS
from fwpolicy.fleet.syncconfig import load, parse
from fwpolicy.host.files import Files
from fwpolicy.host.services import ServiceState
from tests.host.fakes import FakeServices

LEAST = (
    "version: 1\nrepository: https://git.example.org/policies.git\nbranch: main\ninventory: inventory.yaml\n"
)


def test_the_least():
    found = parse("sync.yaml", LEAST.encode())
    assert (found.every, found.timeout, found.confirm, found.replace) == (300, 120, 60, False)
    assert (found.signers, found.host, found.bundles) == (SIGNERS, "", "")


def test_all_of_it():
    text = LEAST.replace("inventory: inventory.yaml", "bundles: a/bundles/")
    text += "host: web-01\nsigners: /etc/x\nevery: 1h\ntimeout: 30s\nconfirm: 2m\nreplace: true\n"
    found = parse("sync.yaml", text.encode())
    assert (found.every, found.timeout, found.confirm, found.replace) == (3600, 30, 120, True)
    assert (found.signers, found.host, found.bundles, found.inventory) == (
        "/etc/x",
        "web-01",
        "a/bundles",
        "",
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version: 1\n", "", "sync.yaml:1:1: error: 'version' is missing"),
        ("version: 1", "version: 2", "'version' is '2'"),
        ("branch: main", "branch: -x", "sync.yaml:3:9: error: 'branch' is '-x'"),
        ("branch: main", "branch: a..b", "'branch' is 'a..b'"),
        ("branch: main", "branch: 'a:refs/heads/b'", "'branch' is"),
        ("branch: main", "branches: main", "did you mean 'branch'?"),
        ("inventory: inventory.yaml\n", "", "one of 'bundles' and 'inventory'"),
        ("inventory: ", "bundles: b\ninventory: ", "one of 'bundles' and 'inventory'"),
        (
            "inventory: inventory.yaml",
            "inventory: ../x.yaml",
            "sync.yaml:4:12: error: 'inventory' is '../x.yaml'",
        ),
        ("inventory: inventory.yaml", "inventory: /x.yaml", "'inventory' is '/x.yaml'"),
        (
            "https://git.example.org/policies.git",
            "git@git.example.org:policies.git",
            "is ssh://git@HOST/PATH",
        ),
        ("//git.", "//ada:secret@git.", "'repository' has a password in it"),
        ("https:", "ftp:", "it begins with https, ssh, git, http, file and ://"),
        ("https:", "ext::sh -c id;", "'repository' is"),
        ("branch: main", "branch: main\nevery: 1s", "'every' can be 10s to 1d"),
        ("branch: main", "branch: main\nevery: soon", "not a duration"),
        ("branch: main", "branch: main\nhost: ../x", "'host' is '../x'"),
        ("branch: main", "branch: main\nsigners: x", "an absolute path"),
    ],
)
def test_mistakes(old, new, said):
    with pytest.raises(PolicyError) as found:
        parse("sync.yaml", LEAST.replace(old, new, 1).encode())
    assert said in str(found.value)


def test_an_empty_file_and_none(tmp_path):
    with pytest.raises(PolicyError, match="the file is empty"):
        parse("sync.yaml", b"# later\n")
    with pytest.raises(HostError, match="there is no such file"):
        load(str(tmp_path / "sync.yaml"), Files("/"))


def test_only_root_says_it(tmp_path):
    path = tmp_path / "sync.yaml"
    path.write_text(LEAST)
    path.chmod(0o666)
    with pytest.raises(HostError, match="others than root can change"):
        load("/sync.yaml", Files(str(tmp_path)))
    path.chmod(0o644)
    load("/sync.yaml", Files(str(tmp_path)))


@pytest.fixture
def host(tmp_path):
    (tmp_path / BOOT_FOLDER[1:]).mkdir(parents=True)
    services = FakeServices(ServiceState(syncunits.TIMER, False, False, False))
    services.init = "systemd"
    return Machine(Files(str(tmp_path)), services, "/var/lib/fwpolicy", live=True)


def test_the_timer_comes_and_goes(host, tmp_path):
    files = syncunits.units(parse("sync.yaml", LEAST.encode()), ())
    assert syncunits.enable(files, host) and not syncunits.enable(files, host)
    assert syncunits.is_enabled(host)
    units = sorted((tmp_path / BOOT_FOLDER[1:]).iterdir())
    assert [path.name for path in units] == [syncunits.SERVICE, syncunits.TIMER]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in units)
    assert syncunits.disable(host) and not syncunits.disable(host)
    assert not list((tmp_path / BOOT_FOLDER[1:]).iterdir()) and not syncunits.is_enabled(host)


def test_systemd_knows_every_line_of_the_units(tmp_path):
    words = ("--config", "/etc/sync.yaml")
    for each in syncunits.units(parse("sync.yaml", LEAST.encode()), words, "/usr/bin/env"):
        place = tmp_path / each.name.rpartition("/")[2]
        place.write_text(each.text)
        words = ["systemd-analyze", "verify", "--man=no", str(place)]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
        assert place.name not in said, said


def program(root):
    path = root / "usr/local/bin/fwpolicy"
    path.parent.mkdir(parents=True)
    path.write_text("#!/usr/bin/python3\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def image(tmp_path):
    """One with systemd and a configuration."""
    for folder in ("etc/fwpolicy", "usr/lib/systemd", "usr/bin", "sbin", BOOT_FOLDER[1:]):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").touch()
    (tmp_path / "usr/bin/python3").touch()
    (tmp_path / "sbin/init").symlink_to("../usr/lib/systemd/systemd")
    (tmp_path / "etc/fwpolicy/sync.yaml").write_text(LEAST)
    return tmp_path


def enable(root, capsys, code):
    found = main(["sync", "--enable", "--root", str(root)])
    said = capsys.readouterr().err
    assert found == code, said
    return said


def test_root_runs_only_what_is_its_own(image, capsys):
    service = image / f"{BOOT_FOLDER[1:]}{syncunits.SERVICE}"
    assert "no timer is made: there is no fwpolicy in /usr/local/sbin" in enable(image, capsys, 1)
    found = program(image)
    found.chmod(0o777)
    said = enable(image, capsys, 1)
    assert "it would run /usr/local/bin/fwpolicy, and others than root can change" in said
    assert not service.exists()
    found.chmod(0o755)
    enable(image, capsys, 0)
    assert "\nExecStart=/usr/local/bin/fwpolicy sync --timed\n" in service.read_text()


@pytest.mark.parametrize("word", ["--enable", "--disable"])
def test_the_timer_is_no_namespaces(word, capsys):
    assert main(["sync", word, "--netns", "nowhere"]) == 1
    assert "the timer is the host's: --netns goes with neither" in capsys.readouterr().err


def test_words_that_a_unit_would_quote():
    with pytest.raises(HostError, match="cannot stand in a unit"):
        syncunits.units(parse("sync.yaml", LEAST.encode()), ("--config", "/etc/a b.yaml"))


def test_an_image_has_no_kernel(tmp_path, capsys):
    (tmp_path / "etc/fwpolicy").mkdir(parents=True)
    (tmp_path / "etc/fwpolicy/sync.yaml").write_text(LEAST)
    assert main(["sync", "--root", str(tmp_path)]) == 1
    assert "an image has no kernel to apply to" in capsys.readouterr().err
    assert machine(str(tmp_path), None, None).live is False
