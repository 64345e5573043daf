"""Files are read as any bytes, written whole or not at all, and put back as they were."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwpolicy.errors import HostError
from fwpolicy.host.files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "etc").mkdir()
    return Files(str(tmp_path))


def names(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.binary())
def test_any_bytes_survive(files: Files, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "etc/x").write_bytes(content)
    text = files.read("/etc/x")
    assert text is not None
    files.write("/etc/x", text)
    assert (tmp_path / "etc/x").read_bytes() == content


def test_no_regular_file_reads_as_none(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/link").symlink_to("nowhere")
    (tmp_path / "etc/file").touch()
    for path in ("/etc", "/etc/none", "/none/none", "/etc/link", "/etc/file/x"):
        assert files.read(path) is None
    assert Files("/").read("/dev/null") is None


def test_write_keeps_mode_and_leaves_nothing_behind(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "etc/x"
    path.write_text("old")
    path.chmod(0o640)
    files.write("/etc/x", "new")
    assert (path.read_text(), mode_of(path)) == ("new", 0o640)
    files.write("/etc/x", "newer", 0o600)
    assert mode_of(path) == 0o600
    assert names(path.parent) == ["x"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to own a file as somebody else")
def test_write_keeps_the_owner(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "etc/x"
    path.write_text("old")
    os.chown(path, 12345, 54321)
    files.write("/etc/x", "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_nothing_is_writable_by_everybody(files: Files, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.write("/etc/new", "x")
        (tmp_path / "etc/old").touch()
        (tmp_path / "etc/old").chmod(0o666)
        files.write("/etc/old", "x")
        assert files.make_directory("/var/lib/x", 0o777) == ("/var", "/var/lib", "/var/lib/x")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "etc/new") == 0o644
    assert mode_of(tmp_path / "etc/old") == 0o664
    assert mode_of(tmp_path / "var/lib/x") == 0o775


def test_extended_attributes_are_kept(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "etc/x"
    path.write_text("old")
    try:
        os.setxattr(path, "user.label", b"net_conf_t")
    except OSError:
        pytest.skip("no extended attributes on this file system")
    files.write("/etc/x", "new")
    assert os.getxattr(path, "user.label") == b"net_conf_t"


def test_a_link_is_written_through(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/real").write_text("old")
    (tmp_path / "etc/link").symlink_to("/etc/real")
    files.write("/etc/link", "new")
    assert (tmp_path / "etc/link").is_symlink()
    assert (tmp_path / "etc/real").read_text() == "new"
    (tmp_path / "etc/dangling").symlink_to("made")
    files.write("/etc/dangling", "x")
    assert (tmp_path / "etc/made").read_text() == "x"


def test_no_path_leads_out_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "image").mkdir()
    (tmp_path / "image/out").symlink_to("../secret")
    (tmp_path / "image/absolute").symlink_to(tmp_path / "secret")
    (tmp_path / "image/folder").symlink_to("..")
    (tmp_path / "image/loop").symlink_to("loop")
    files = Files(str(tmp_path / "image"))
    for path in ("/out", "/folder/secret", "/../secret"):
        with pytest.raises(HostError, match="it leads out of"):
            files.read(path)
        with pytest.raises(HostError, match="it leads out of"):
            files.write(path, "x")
    with pytest.raises(HostError, match="it leads out of"):
        files.remove("/folder/secret")
    assert files.read("/absolute") is None
    with pytest.raises(HostError, match="too many symbolic links"):
        files.read("/loop")
    assert (tmp_path / "secret").read_text() == "s"


def test_a_failed_write_changes_nothing(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "etc/x"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"^cannot write /etc/x: no space left on the device$"):
        files.write("/etc/x", "new")
    assert path.read_text() == "old"
    assert names(path.parent) == ["x"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "the file system is read-only; remount it read-write first"),
        (errno.EACCES, "permission denied; run as root"),
        (errno.EIO, "input/output error"),
    ],
)
def test_messages(files: Files, monkeypatch: pytest.MonkeyPatch, number: int, message: str) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HostError) as caught:
        files.write("/etc/x", "new")
    assert str(caught.value) == f"cannot write /etc/x: {message}"


def test_a_missing_folder_is_said(files: Files) -> None:
    with pytest.raises(HostError, match="cannot write /nowhere/x: no such file or directory"):
        files.write("/nowhere/x", "")


def test_writing_onto_a_folder_is_refused(files: Files) -> None:
    with pytest.raises(HostError, match="cannot write /etc: not a regular file"):
        files.write("/etc", "")
    with pytest.raises(HostError, match="cannot keep /etc"):
        files.snapshot("/etc")


def test_durable_before_and_after_the_rename(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append("rename")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    files.write("/etc/x", "new")
    assert steps == ["file", "rename", "folder"]


def test_restore_is_exact(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "etc/x"
    path.write_bytes(b"\xff\r\nold")
    path.chmod(0o4666)
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    before = path.stat()
    snapshot = files.snapshot("/etc/x")
    files.write("/etc/x", "new")
    files.restore(snapshot)
    status = path.stat()
    assert path.read_bytes() == b"\xff\r\nold"
    assert (status.st_mode, status.st_uid, status.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )
    path.unlink()
    files.restore(snapshot)
    assert files.snapshot("/etc/x") == snapshot


def test_restore_brings_absence_back(files: Files, tmp_path: Path) -> None:
    snapshot = files.snapshot("/etc/x")
    files.write("/etc/x", "new")
    files.restore(snapshot)
    files.restore(snapshot)
    assert names(tmp_path / "etc") == []


def test_directories(files: Files, tmp_path: Path) -> None:
    assert files.make_directory("/etc/a/b", 0o700) == ("/etc/a", "/etc/a/b")
    assert files.make_directory("/etc/a/b") == ()
    assert mode_of(tmp_path / "etc/a/b") == 0o700
    assert not files.remove_directory_if_empty("/etc/a")
    assert files.remove_directory_if_empty("/etc/a/b")
    assert not files.remove_directory_if_empty("/etc/a/b")
    (tmp_path / "etc/file").touch()
    with pytest.raises(HostError, match="cannot make the directory /etc/file/x"):
        files.make_directory("/etc/file/x")


def test_links(files: Files, tmp_path: Path) -> None:
    files.replace_symlink("/etc/current", "generations/1")
    files.replace_symlink("/etc/current", "generations/2")
    assert (tmp_path / "etc/current").readlink() == Path("generations/2")
    assert names(tmp_path / "etc") == ["current"]
    (tmp_path / "etc/kept").write_text("x")
    files.replace_symlink("/etc/current", "kept")
    assert files.remove("/etc/current")
    assert not files.remove("/etc/current")
    assert files.read("/etc/kept") == "x"


def test_glob(files: Files, tmp_path: Path) -> None:
    for name in ("etc/b.conf", "etc/a.conf", "etc/.hidden.conf", "etc/a.txt", "opt/x/c.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "etc/link.conf").symlink_to("/nowhere")
    assert files.glob("/etc/*.conf") == ("/etc/a.conf", "/etc/b.conf", "/etc/link.conf")
    assert files.glob("/etc/a.conf") == ("/etc/a.conf",)
    assert files.glob("/*/*/c.conf") == ("/opt/x/c.conf",)
    assert files.glob("/none/*.conf") == ()
    assert files.exists("/etc/a.conf")
    assert not files.exists("/etc/link.conf")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder in the image in which another user can change names, as a daemon can in its own."""
    folder = tmp_path / "run/ntpsec"
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, 12345, 54321)
    else:
        folder.chmod(0o777)
    return folder


def test_what_is_written_goes_through_no_link_of_another_user(
    files: Files, tmp_path: Path, theirs: Path
) -> None:
    secret = tmp_path / "etc/shadow"
    secret.write_text("root:secret\n")
    snapshot = files.snapshot("/run/ntpsec/ntp.conf.dhcp")
    refused = (
        r"^cannot open /run/ntpsec/ntp.conf.dhcp: it is behind a symbolic link in /run/ntpsec, "
        r"which others than root can change$"
    )
    for target in ("/etc/shadow", "/etc/new"):
        (theirs / "ntp.conf.dhcp").symlink_to(target)
        for attempt in (
            lambda: files.write("/run/ntpsec/ntp.conf.dhcp", "x"),
            lambda: files.restore(snapshot),
            lambda: files.snapshot("/run/ntpsec/ntp.conf.dhcp"),
            lambda: files.read_guarded("/run/ntpsec/ntp.conf.dhcp"),
        ):
            with pytest.raises(HostError, match=refused):
                attempt()
        (theirs / "ntp.conf.dhcp").unlink()
    assert secret.read_text() == "root:secret\n"
    assert names(tmp_path / "etc") == ["shadow"]


def test_a_regular_file_of_another_user_is_replaced_where_it_is(
    files: Files, tmp_path: Path, theirs: Path
) -> None:
    (theirs / "ntp.conf.dhcp").write_text("server a\n")
    os.link(theirs / "ntp.conf.dhcp", theirs / "other")
    snapshot = files.snapshot("/run/ntpsec/ntp.conf.dhcp")
    files.write("/run/ntpsec/ntp.conf.dhcp", "server b\n")
    assert files.read_guarded("/run/ntpsec/ntp.conf.dhcp") == "server b\n"
    assert (theirs / "other").read_text() == "server a\n"
    files.restore(snapshot)
    assert (theirs / "ntp.conf.dhcp").read_text() == "server a\n"
    assert names(theirs) == ["ntp.conf.dhcp", "other"]


@pytest.mark.parametrize("swapped", ["ntp.conf", "sub"])
def test_a_link_that_appears_while_it_writes_is_not_followed(
    files: Files, tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    (theirs / "sub").mkdir()
    (theirs / "sub/ntp.conf").write_text("old")
    (tmp_path / "etc/ntp.conf").write_text("root's")
    walk = Files._walk

    def slow_walk(self: Files, path: str, follow: bool) -> tuple[list[str], list[list[str]]]:
        found = walk(self, path, follow)
        (theirs / "sub").rename(theirs / "away")
        if swapped == "sub":
            (theirs / "sub").symlink_to(tmp_path / "etc")
        else:
            (theirs / "sub").mkdir()
            (theirs / "sub/ntp.conf").symlink_to(tmp_path / "etc/ntp.conf")
        return found

    monkeypatch.setattr(Files, "_walk", slow_walk)
    with pytest.raises(HostError, match=r"^cannot write /run/ntpsec/sub/ntp.conf: not a "):
        files.write("/run/ntpsec/sub/ntp.conf", "x")
    assert (tmp_path / "etc/ntp.conf").read_text() == "root's"


def test_no_set_id_bit_is_kept(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/x").touch()
    (tmp_path / "etc/x").chmod(0o6755)
    files.write("/etc/x", "x")
    assert mode_of(tmp_path / "etc/x") == 0o755


def test_exposed(files: Files, tmp_path: Path, theirs: Path) -> None:
    (tmp_path / "etc/x").touch()
    (tmp_path / "etc/link").symlink_to("../run/ntpsec/x")
    (theirs / "link").symlink_to("/etc/x")
    assert files.exposed("/etc/x") is None
    assert files.exposed("/etc/none") is None
    assert files.exposed("/none/none") is None
    for path in ("/run/ntpsec/x", "/etc/link", "/run/ntpsec/link", "/run/ntpsec/none"):
        assert files.exposed(path) == "/run/ntpsec"
    (tmp_path / "etc/x").chmod(0o664)
    assert files.exposed("/etc/x") == "/etc/x"
    sticky = tmp_path / "tmp"
    (sticky / "own").mkdir(parents=True)
    (sticky / "own/x").touch()
    (sticky / "x").touch()
    sticky.chmod(0o1777)
    assert files.exposed("/tmp/own/x") is None
    assert files.exposed("/tmp/x") == "/tmp"
    sticky.chmod(0o777)
    assert files.exposed("/tmp/own/x") == "/tmp"


def test_a_folder_that_cannot_be_listed_is_no_empty_one(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/loop.d").symlink_to("loop.d")
    (tmp_path / "etc/out.d").symlink_to("../..")
    with pytest.raises(HostError, match=r"^cannot open /etc/loop.d: too many symbolic links$"):
        files.glob("/etc/loop.d/*.conf")
    with pytest.raises(HostError, match=r"^cannot open /etc/out.d: it leads out of "):
        files.glob("/etc/out.d/*.conf")
    (tmp_path / "etc/file").touch()
    assert files.glob("/etc/file/*.conf") == ()


def test_messages_are_one_line_that_a_terminal_can_show(files: Files, tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        files.write("/none/\x1b[2J\n\udce9", "")
    assert str(caught.value) == r"cannot write /none/\x1b[2J\n\xe9: no such file or directory"
