#!/usr/bin/env python3
"""layers.py: the shape of the source tree, checked (part of `make lint`).

  1. src/LAYERS lists the modules bottom-up; a file may include only its own module and those below it.
  2. A header named *_int.h is private to its folder; every other header is public.
  3. Kernel headers (threads, files, sockets, signals) are included under src/os only.
  4. operator/, plan/ and function/ call neither clock, thread, file nor randomness (os/os.h is out of bounds).
     A private header may be included by its bare name from its own folder; all others by their path from src/.
  5. No file is longer than 800 lines.

Tests (*_test.c) and fuzzers (*_fuzz.c) may include anything below or beside them and may use the kernel directly.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
KERNEL = {
    "arpa/inet.h", "dirent.h", "fcntl.h", "netdb.h", "netinet/in.h", "netinet/tcp.h", "poll.h", "pthread.h",
    "semaphore.h", "signal.h", "sys/epoll.h", "sys/eventfd.h", "sys/file.h", "sys/ioctl.h", "sys/mman.h",
    "sys/random.h", "sys/socket.h", "sys/stat.h", "sys/time.h", "sys/uio.h", "sys/un.h", "sys/wait.h", "threads.h",
    "unistd.h",
}
PURE = {"operator", "plan", "function"}
# zone.c loads the system's time zone files once; what it computes with them is pure.
LOADERS = {"function/zone.c"}
MAX_LINES = 800


def check(path, rank):
    rel = path.relative_to(SRC)
    module = rel.parts[0]
    is_test = path.stem.endswith(("_test", "_fuzz"))
    if len(rel.parts) > 1 and module not in rank:
        yield 1, f"module '{module}' is not in src/LAYERS"
        return
    lines = path.read_text(errors="replace").splitlines()
    if len(lines) > MAX_LINES:
        yield MAX_LINES, f"{len(lines)} lines, more than {MAX_LINES}: split it"
    for n, line in enumerate(lines, 1):
        m = INCLUDE.match(line)
        if not m:
            continue
        kind, name = m.groups()
        if kind == "<":
            if name in KERNEL and module != "os" and not is_test:
                yield n, f"<{name}> outside src/os: go through os/os.h or os/net.h"
            continue
        target = SRC / name
        if not target.is_file():
            target = path.parent / name
            if not target.is_file():
                continue  # generated or spec/: not a module
            if not target.stem.endswith("_int") and SRC in target.parents:
                yield n, f'"{name}": write the path from src/'
        other = target.resolve().relative_to(SRC)
        if other.parts[0] not in rank:
            continue
        if rank[other.parts[0]] > rank[module]:
            yield n, f"upward include: {module} may not use {other.parts[0]} ({name})"
        if other.stem.endswith("_int") and other.parent != rel.parent:
            yield n, f"{name} is private to {other.parent}"
        if module in PURE and not is_test and str(rel) not in LOADERS and other.parts[0] == "os":
            yield n, f"{module}/ is pure: it may not use os/ ({name})"


def main():
    modules = (SRC / "LAYERS").read_text().split()
    rank = {m: i for i, m in enumerate(modules)}
    files = sorted(p for p in SRC.rglob("*") if p.suffix in (".c", ".h", ".def") and p.is_file())
    bad = 0
    for path in files:
        for line, what in check(path, rank):
            print(f"{path.relative_to(ROOT)}:{line}: {what}")
            bad += 1
    print(f"layers: {len(files)} files, {len(modules)} modules, {bad} violations")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
