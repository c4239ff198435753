#!/usr/bin/env python3
"""flame.py q1|q2|q3 OUT.svg [--n N]: a flame graph of the server while it runs that query (`make flame QUERY=q1`).
flame.py --script FILE OUT.svg [--title TEXT]: of what `perf script -F comm,ip,sym` printed, of anything (- is standard input).

Widths are shares of the samples; frames lie on their callers. The engine's own thread and those of its pool are drawn as one. What
is thinner than a pixel is left out, so that the file stays small. A frame's title, shown on hover, has its name and share.
"""
import argparse
import collections
import html
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

WIDTH, ROW, THINNEST = 1200, 17, 1.0
THREADS, COMMON = {"query-pool": "query"}, "run_part"  # a part of a batch: the same on each of them


class Node:
    def __init__(self):
        self.samples = 0
        self.children = collections.defaultdict(Node)


def fold(lines):
    """The tree of samples: the thread, then from the outermost frame to the innermost."""
    root, thread, stack = Node(), None, []

    def done():
        if thread is None:
            return
        node = root
        node.samples += 1
        if COMMON in stack:
            del stack[stack.index(COMMON) + 1:]
        for name in [thread, *reversed(stack)]:
            node = node.children[name]
            node.samples += 1

    for line in lines:
        if not line.strip():
            done()
            thread, stack = None, []
        elif not line[0].isspace():
            thread = THREADS.get(line.split()[0], line.split()[0])
        else:
            name = line.split(None, 1)[1].strip() if len(line.split()) > 1 else "?"
            name = re.sub(r" \(inlined\)$", "", name)
            name = re.sub(r"\.(isra|part|constprop|cold)\.?\d*", "", name)
            if name != "[unknown]" and (not stack or stack[-1] != name):
                stack.append(name)
    done()
    return root


def depth(node, width):
    kids = [depth(c, width * c.samples / node.samples) for c in node.children.values() if width * c.samples / node.samples >= THINNEST]
    return 1 + max(kids, default=0)


def colour(name, level):
    """Warm: user code; blue: the kernel's; green: libc."""
    shade = sum(name.encode()) % 40
    if level == 1:
        return "#d0d0d0"
    if re.match(r"__(mem|GI_|libc)|_?IO_|malloc|calloc|free$|clone3|start_thread", name):
        return f"rgb({150 + shade},{200 + shade // 2},120)"
    if KERNEL.search(name):
        return f"rgb(140,{170 + shade},{215 + shade})"
    return f"rgb({215 + shade},{120 + shade * 2},{60 + shade})"


KERNEL = re.compile(r"^(entry_SYSCALL|do_syscall|ret_from|asm_|sys_|__x64|__se_|ksys|vfs_|ext4|iomap|filemap|generic_|copy_|_copy|page_|folio|"
                    r"submit_|blk_|bio_|tcp_|__tcp|ip_|sock_|__sys|futex|schedule|__schedule|finish_task|exc_|irqentry|handle_|do_)")


def draw(out, node, name, x, width, level, height, total):
    y = height - (level + 1) * ROW
    share = f"{100 * node.samples / total:.1f} %"
    text = html.escape(name)
    out.append(f'<g><title>{text} ({share})</title><rect x="{x:.1f}" y="{y}" width="{width - 0.4:.1f}" height="{ROW - 1}" '
               f'fill="{colour(name, level)}"/>')
    room = int(width / 6.6)
    if room >= 4:
        shown = name if len(name) <= room else name[:room - 1] + "…"
        out.append(f'<text x="{x + 3:.1f}" y="{y + 12}">{html.escape(shown)}</text>')
    out.append("</g>")
    for child, c in sorted(node.children.items()):
        w = width * c.samples / node.samples
        if w >= THINNEST:
            draw(out, c, child, x, w, level + 1, height, total)
        x += w


def svg(root, title):
    height = depth(root, WIDTH) * ROW + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/><text x="6" y="16" font-size="13">{html.escape(title)}</text>']
    draw(out, root, "all", 0, WIDTH, 0, height - 4, root.samples)
    return "\n".join(out) + "\n</svg>\n"


def record(which, n):
    """perf script's text of the server's threads while they run the query; call stacks by the debug information."""
    import run
    run.BUILD.mkdir(parents=True, exist_ok=True)
    data = run.fill("plain", n)
    answer = str(run.BUILD / f"answer.flame-{which}")
    with tempfile.TemporaryDirectory() as scratch, run.Server(data) as s:
        samples = os.path.join(scratch, "perf.data")
        if which == "q3":
            subprocess.run([run.PENSTOCK, "topic", "create", os.path.basename(answer), "--partitions", "4", "-b", s.kafka], check=True)
        perf = subprocess.Popen(["perf", "record", "-q", "-F", "997", "--call-graph", "dwarf,16384", "-p", str(s.process.pid), "-o", samples],
                                stderr=subprocess.DEVNULL)
        time.sleep(0.5)  # until it is attached; nothing fails when it is late
        subprocess.run([run.PYTHON, run.ROOT / "bench/script.py", which, f"sc://{s.connect}", s.kafka, answer], check=True)
        perf.send_signal(signal.SIGINT)
        perf.wait()
        if which == "q3":
            subprocess.run([run.PENSTOCK, "topic", "delete", os.path.basename(answer), "-b", s.kafka], check=True, stdout=subprocess.DEVNULL)
        return subprocess.run(["perf", "script", "-i", samples, "-F", "comm,ip,sym"], check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout.splitlines()


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("what", nargs="?", choices=["q1", "q2", "q3"])
    ap.add_argument("out")
    ap.add_argument("--script")
    ap.add_argument("--title")
    ap.add_argument("--n", type=int, default=4_000_000)
    a = ap.parse_args()
    if a.script:
        with sys.stdin if a.script == "-" else open(a.script) as f:
            lines = f.read().splitlines()
    else:
        lines = record(a.what, a.n)
    root = fold(lines + [""])
    if not root.samples:
        raise SystemExit("flame: no samples")
    title = a.title or f"{a.what.upper()}, {a.n / 1e6:g} M messages: {root.samples} samples of the server's CPU time"
    with open(a.out, "w") as f:
        f.write(svg(root, title))
    print(f"{a.out}: {root.samples} samples, {os.path.getsize(a.out) / 1024:.0f} KiB")


main()
