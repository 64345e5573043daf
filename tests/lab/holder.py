"""One process that holds the lab's namespaces, so that nothing of a lab outlives its test run.

A holder is a `cat` that is PID 1 of a pid, mount and (if asked) network namespace of its own.
Its standard input is a pipe from us. When we close it, or die in whatever way, `cat` reads
end-of-file and exits; the kernel then kills every process of the pid namespace, and with the
last of them go mounts, loop devices, bridges and named network namespaces
(pid_namespaces(7), mount_namespaces(7)). So a crash leaves nothing to clean up but cgroup
directories, and the test process itself stays in the machine's namespaces: threads welcome.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

# A process put into a guest keeps every capability of ours: `date -s` would set the machine's
# clock. What nspawn withholds from a guest is dropped before anything runs in the lab.
WITHHELD = "sys_time sys_module sys_rawio sys_boot wake_alarm syslog mac_admin mac_override sys_pacct"
BOUNDED = ("setpriv", "--bounding-set=" + ",".join(f"-{name}" for name in WITHHELD.split()))
ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8")


class CommandError(AssertionError):
    """A command of the lab failed; the message holds what it printed, which CalledProcessError hides."""


def run(
    *command: str, prefix: tuple[str, ...] = (), check: bool = True, timeout: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run an argument list, text in and out; CommandError with its output when it fails.

    `prefix`: the words before it that put it where it belongs, which no message repeats.
    """
    whole = (*prefix, *command)
    result = subprocess.run(whole, text=True, capture_output=True, timeout=timeout, check=False, **options)
    if check and result.returncode:
        raise CommandError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result


class Process(subprocess.Popen[bytes]):
    """A command started through nsenter, which forks to enter a pid namespace: signals go to its child."""

    def send_signal(self, number: int) -> None:
        """Signal the command itself; `terminate` and `kill` come here, too."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        while self.poll() is None:
            if found := children.read_text().split():
                os.kill(int(found[0]), number)
                return


class Holder:
    """Namespaces that live as long as this object. `/run` inside is an empty tmpfs of its own."""

    def __init__(self, *, network: bool = False) -> None:
        """`network`: a network namespace too; without it the holder shares the machine's network."""
        kinds = ["--mount", "--pid", *(["--net"] if network else [])]
        options = ["--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        self._unshare = subprocess.Popen(
            ["unshare", *kinds, *options, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._unshare.stdin
        assert self._unshare.stdout
        self._unshare.stdin.write(b"!")
        self._unshare.stdin.flush()
        if self._unshare.stdout.read(1) != b"!":
            raise CommandError("unshare: no namespaces of our own")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.pid = int(children.read_text().split()[0])
        self.prefix = ("nsenter", f"--target={self.pid}", "--mount", "--pid", *(["--net"] if network else []))
        self.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        # Containers copy our mounts. As slaves of a peer group of ours they lose them when we unmount;
        # private copies would pin a host's disk while its neighbours run.
        self.run("mount", "--make-rshared", "/")

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the holder's namespaces."""
        return run(*command, prefix=self.prefix, check=check, **options)

    def popen(self, *command: str, **options: Any) -> Process:
        """Start a command in the holder's namespaces; it dies with the holder at the latest."""
        return Process([*self.prefix, *command], **options)

    def overlay(self, lower: tuple[Path, ...], directory: str, target: str) -> None:
        """Mount `lower`, the topmost first, on `target` in here; what changes goes below `directory`."""
        upper, work = f"{directory}/upper", f"{directory}/work"
        self.run("mkdir", "-p", upper, work, target)
        layers = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
        self.run("mount", "-t", "overlay", "overlay", "-o", layers, target)

    def path(self, inside: str) -> Path:
        """The holder's file `inside` as this process reaches it. Follow no absolute symlink through it."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def close(self) -> None:
        """End every process and, with them, every namespace and mount."""
        if self._unshare.stdin and not self._unshare.stdin.closed:
            self._unshare.stdin.close()
            self._unshare.wait(60)

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
