"""box: a server in a memory limit, and how much it took.

As root on a machine with a writable memory cgroup (version 1 or 2) the kernel enforces the limit: a server beyond it is killed.
Elsewhere, and beside that, the largest resident anonymous memory is read from /proc.
"""

import contextlib
import os
import pathlib
import threading

CGROUP = pathlib.Path("/sys/fs/cgroup")


def make(limit_bytes):
    """A new cgroup with the limit; None where cgroups are not ours."""
    for root, limit in ((CGROUP / "memory", "memory.limit_in_bytes"), (CGROUP, "memory.max")):
        home = root / f"penstock-test-{os.getpid()}"
        try:
            home.mkdir()
        except OSError:
            continue
        try:
            (home / limit).write_text(str(limit_bytes))
        except OSError:
            home.rmdir()
            continue
        with contextlib.suppress(OSError):
            (home / "memory.swap.max").write_text("0")
        return home
    return None


@contextlib.contextmanager
def cgroup(limit_bytes):
    """The file to write a process id to, or None."""
    home = make(limit_bytes)
    try:
        yield home and home / "cgroup.procs"
    finally:
        if home:
            home.rmdir()


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


class Watch:
    """The largest anonymous memory of a process while the watch stands."""

    def __init__(self, pid):
        self.pid, self.most, self.end = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.end.wait(0.02):
            with contextlib.suppress(OSError):
                self.most = max(self.most, anonymous_bytes(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
