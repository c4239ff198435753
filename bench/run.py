#!/usr/bin/env python3
"""run.py [--n N] [--runs R] [--only PART,...] [--readme]: `make bench`. Prints a table in Markdown; figures also go to build/bench/result.json.

  q1        N messages (default 10 M) of five kinds in 4 partitions; SELECT content, avg(rating), count(*) GROUP BY content
            through real PySpark with availableNow; server CPU seconds, wall time, peak memory, median of R runs; beside it
            bench/yardstick.c over the same segment files. The answers of both are compared.
  q2, q3    10-second windows under a watermark by content; the records with "rating":5 to another topic (bench/script.py),
            of the plain messages; beside their yardsticks as q1
  cores     each query with the server on one core and on two: the ratio of the query's wall times
  start     exec of the server to the first record produced and consumed; memory of the idle server
  launch    penstock run on a topic of two messages, Python's imports included
  pipeline  producer → query (a filter, exactly-once) → consumer at 1,000 and 50,000 a second, beside the same
  latency   produce to acknowledged and consumed, beside a bare 4 KiB overwrite + fdatasync, by turns
  recovery  exec of the server to ready, on what a killed one left (10 GiB; 1,000 and 10,000 partitions), killed and started
            once more, stopped and started once more; its memory and descriptors (not in the default: it writes 20 GiB)
"""
import argparse
import contextlib
import datetime
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
PENSTOCK = ROOT / "build" / "penstock"
PYTHON = ROOT / "build" / "venv" / "bin" / "python"
KINDS = ["plain", "order", "escapes", "fields", "groups"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, data, cores=None, flags=()):
        self.cores, self.flags = cores, flags
        self.kafka, self.connect, self.http = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.data = data
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(
            [PENSTOCK, "serve", "--data", self.data, "--kafka-listen", self.kafka, "--connect-listen", self.connect,
             "--http-listen", self.http, *self.flags], stdout=subprocess.PIPE, stderr=open(BUILD / "server.log", "ab"), text=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, range(self.cores))) if self.cores else None)
        line = self.process.stdout.readline()
        if not line.startswith("ready"):
            raise SystemExit(f"bench: the server did not start, see {BUILD}/server.log")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)

    def cpu_seconds(self):
        return time.clock_gettime(~self.process.pid << 3 | 2)  # the process's CPU clock, as clock_getcpuclockid(3) makes it

    def thread_seconds(self):
        """CPU of the threads that are there, by id."""
        seconds = {}
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path) as f:
                seconds[path.split("/")[4]] = int(f.read().split()[0]) / 1e9
        return seconds

    def memory(self, key):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(ln.split()[1]) * 1024 for ln in f if ln.startswith(key + ":"))


def fill(kind, n):
    """A data directory with N messages of that kind; made once, kept."""
    data = BUILD / f"data-{kind}-{n}"
    done = data / "filled"
    if not done.exists():
        shutil.rmtree(data, ignore_errors=True)
        with Server(data) as s:
            subprocess.run([PENSTOCK, "topic", "create", "q1", "--partitions", "4", "-b", s.kafka], check=True)
            started = time.monotonic()
            subprocess.run([BUILD / "gen", str(n), kind, s.kafka, "q1"], check=True)
            seconds = time.monotonic() - started
            print(f"  {kind}: {n} messages produced in {seconds:.1f} s ({n / seconds / 1e3:.0f} k/s), "
                  f"server {s.cpu_seconds():.1f} CPU-s", file=sys.stderr)
        done.touch()
    return data


def yardstick(which, data, answer):
    logs = sorted(glob.glob(f"{data}/q1-*/*.log"))
    best = None
    for _ in range(3):
        out = subprocess.run([BUILD / f"yardstick-{which}", "-o", answer, *logs], check=True, stdout=subprocess.PIPE, text=True).stdout
        r = json.loads(out)
        best = r if best is None or r["cpu_seconds"] < best["cpu_seconds"] else best
    return best


def same_answer(which, yard, ours):
    """Both files' lines: q1 content, average, count; q2 content, window, count. The averages may differ in the last digits."""
    def read(path):
        rows = {}
        with open(path, newline="\n") as f:
            for row in f.read().split("\n"):
                parts = row.rsplit("\t", 2)
                if len(parts) == 3:
                    key, value = (parts[0], float(parts[1])) if which != "q2" else (tuple(parts[:2]), 0.0)
                    rows[key] = (value, int(parts[2]))
        return rows

    a, b = read(yard), read(ours)
    return a.keys() == b.keys() and all(a[k][1] == b[k][1] and abs(a[k][0] - b[k][0]) <= 1e-9 * abs(a[k][0]) for k in a)


def once(which, data, answer, cores=None):
    with Server(data, cores) as s:
        out = os.path.basename(answer)
        if which == "q3":
            subprocess.run([PENSTOCK, "topic", "create", out, "--partitions", "4", "-b", s.kafka], check=True)
        before, threads = s.cpu_seconds(), s.thread_seconds()
        started = time.monotonic()
        subprocess.run([PYTHON, ROOT / "bench/script.py", which, f"sc://{s.connect}", s.kafka, answer], check=True, timeout=3600)
        wall = time.monotonic() - started
        with open(answer + ".wall") as f:
            query = float(f.read())
        cpu = s.cpu_seconds() - before
        alive = [after - threads.get(t, 0) for t, after in s.thread_seconds().items()]
        result = {"cpu_seconds": cpu, "wall_seconds": wall, "query_seconds": query, "peak_bytes": s.memory("VmHWM"),
                  "busiest_seconds": max(cpu - sum(alive), *alive)}  # the query's own thread is gone: the rest was its
        if which == "q3":  # the records written: their groups, as q1's yardstick sees them
            subprocess.run([BUILD / "yardstick-q1", "-o", answer, *sorted(glob.glob(f"{data}/{out}-*/*.log"))], check=True,
                           stdout=subprocess.DEVNULL)
            subprocess.run([PENSTOCK, "topic", "delete", out, "-b", s.kafka], check=True, stdout=subprocess.DEVNULL)
        return result


def engine(which, n, runs, kind="plain"):
    data = fill(kind, n)
    yard_answer, our_answer = str(BUILD / "answer.yardstick"), str(BUILD / f"answer.{which}")
    yard = yardstick(which, data, yard_answer)
    if which == "q3":
        subprocess.run([BUILD / "yardstick-q1", "-o", yard_answer + ".groups", yard_answer], check=True, stdout=subprocess.DEVNULL)
        os.replace(yard_answer + ".groups", yard_answer)
    results = [once(which, data, our_answer) for _ in range(runs)]
    row = {k: statistics.median(r[k] for r in results) for k in results[0]}
    row["per_core_second"] = n / row["cpu_seconds"]
    row["yardstick_per_core_second"] = yard["events_per_core_second"]
    row["ratio"] = row["per_core_second"] / row["yardstick_per_core_second"]
    row["same_answer"] = same_answer(which, yard_answer, our_answer)
    print(f"  {which}, {kind}: {row}", file=sys.stderr)
    if os.environ.get("BENCH_KEEP", "1") == "0" and kind != "plain":
        shutil.rmtree(data)
    return row


def cores(n, runs):
    """By turns on one core and on two; the medians of the queries' wall times. And, because others may use the cores: the CPU time on
    one core against that of the busiest thread on two, which is what wall time would say of an idle machine."""
    data, answer = fill("plain", n), str(BUILD / "answer.cores")
    rows = {}
    for which in ("q1", "q2", "q3"):
        results = {1: [], 2: []}
        for _ in range(runs):
            for k in results:
                results[k].append(once(which, data, answer, k))
        one, two = (statistics.median(r["query_seconds"] for r in results[k]) for k in (1, 2))
        cpu, busiest = statistics.median(r["cpu_seconds"] for r in results[1]), statistics.median(r["busiest_seconds"] for r in results[2])
        rows[which] = {"one": one, "two": two, "ratio": one / two, "cpu_ratio": cpu / busiest}
        print(f"  cores, {which}: {rows[which]}", file=sys.stderr)
    return rows


def start():
    """exec → ready → one record produced → consumed, each by a client of its own; median of 9. And the idle memory."""
    times, ready = [], []
    for i in range(9):
        data = BUILD / "data-start"
        shutil.rmtree(data, ignore_errors=True)
        began = time.monotonic()
        with Server(data) as s:
            ready.append(time.monotonic() - began)
            subprocess.run([PENSTOCK, "produce", "first", "-b", s.kafka], input=b"hello\n", check=True)
            out = subprocess.run([PENSTOCK, "consume", "first", "--max", "1", "-b", s.kafka], check=True, stdout=subprocess.PIPE).stdout
            times.append(time.monotonic() - began)
            assert out == b"hello\n", out
            if i == 8:
                time.sleep(2)
                idle, cpu = s.memory("VmRSS"), s.cpu_seconds()
                time.sleep(5)
                idle_cpu = (s.cpu_seconds() - cpu) / 5
    return {"first_record_ms": statistics.median(times) * 1e3, "ready_ms": statistics.median(ready) * 1e3, "idle_bytes": idle,
            "idle_cpu": idle_cpu}


def launch():
    """penstock run on a topic of two messages (which are there), its own server started and stopped; median of 5."""
    data = BUILD / "data-launch"
    shutil.rmtree(data, ignore_errors=True)
    with Server(data) as s:
        subprocess.run([PENSTOCK, "produce", "ratings", "-b", s.kafka], check=True,
                       input=b'{"content": "Drama", "rating": 7}\n{"content": "Drama", "rating": 8}\n')
    times = []
    for _ in range(5):
        shutil.rmtree(BUILD / "checkpoint-launch", ignore_errors=True)
        kafka, connect, http = (f"127.0.0.1:{free_port()}" for _ in range(3))
        began = time.monotonic()
        p = subprocess.run([PENSTOCK, "run", "--python", PYTHON, "--data", data, "--kafka-listen", kafka, "--connect-listen", connect,
                            "--http-listen", http, ROOT / "examples/ratings.py", "--bootstrap", kafka, "--available-now",
                            "--checkpoint", BUILD / "checkpoint-launch"], stdout=subprocess.PIPE, text=True, check=True)
        times.append(time.monotonic() - began)
        assert "|Drama  |7.5" in p.stdout, p.stdout
    return {"seconds": statistics.median(times)}


def latency(n):
    data = BUILD / "data-latency"
    shutil.rmtree(data, ignore_errors=True)
    with Server(data) as s:
        subprocess.run([PENSTOCK, "topic", "create", "latency", "-b", s.kafka, "--partitions", "1"], check=True)
        out = subprocess.run([BUILD / "latency", s.kafka, "latency", BUILD / "latency.block", str(n)], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


RECOVERY = {"10 GiB in 4 partitions": (2, 2, 10240), "1,000 partitions, 100 MiB": (10, 100, 100),
            "10,000 partitions, 100 MiB": (10, 1000, 100)}


def recovery():
    """Each directory is made anew (bench/logfill.c ends by SIGKILL). Then: start, kill, start, stop, start, kill."""
    rows = {}
    for name, (topics, partitions, mib) in RECOVERY.items():
        data = BUILD / "data-recovery"
        shutil.rmtree(data, ignore_errors=True)
        filled = subprocess.run([BUILD / "logfill", data, str(topics), str(partitions), str(mib)], check=False)
        assert filled.returncode == -signal.SIGKILL, filled
        row = rows[name] = {}
        for key, end in (("filled_ms", signal.SIGKILL), ("killed_ms", signal.SIGTERM), ("stopped_ms", signal.SIGKILL)):
            server = Server(data)
            began = time.monotonic()
            server.__enter__()
            row[key] = (time.monotonic() - began) * 1e3
            time.sleep(2)
            row["idle_bytes"] = server.memory("VmRSS")
            row["descriptors"] = len(os.listdir(f"/proc/{server.process.pid}/fd"))
            server.process.send_signal(end)
            began = time.monotonic()
            server.process.wait(600)
            row["stop_ms"] = (time.monotonic() - began) * 1e3 if end == signal.SIGTERM else row.get("stop_ms")
        shutil.rmtree(data, ignore_errors=True)
        print(f"  recovery, {name}: {row}", file=sys.stderr)
    return rows


def pipeline_rows():
    import pipeline  # which imports this module

    return pipeline.penstock()


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((ln.split(":", 1)[1].strip() for ln in f if ln.startswith("model name")), os.uname().machine)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    fs = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", BUILD], stdout=subprocess.PIPE, text=True).stdout.strip()
    return f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, {fs}"


def table(r, n, runs):
    yield f"{datetime.date.today()}, {machine()}; `make bench N={n} RUNS={runs}`"
    yield ""
    yield "| measure | result | target |"
    yield "|---|---|---|"
    for (which, kind), q in r.get("engine", {}).items():
        need = {"q1": 0.65 if kind == "plain" else 0.25, "q2": 0.45, "q3": 0.4}[which]
        what = {"plain": "", "order": ", random key order", "escapes": ", escapes", "fields": ", missing and extra fields",
                "groups": ", a million groups"}[kind]
        wrong = "" if q["same_answer"] else " **answers differ**"
        yield (f"| {which.upper()}{what}, {n / 1e6:g} M messages | {q['per_core_second'] / 1e6:.2f} M per core-second = {q['ratio']:.2f} of the "
               f"yardstick's {q['yardstick_per_core_second'] / 1e6:.2f} M; {q['cpu_seconds']:.1f} CPU-s, {q['query_seconds']:.1f} s wall, peak "
               f"{q['peak_bytes'] / 2**20:.0f} MiB{wrong} | ≥ {need} of the yardstick{', < 256 MiB' if kind == 'plain' else ''} |")
    for which, q in r.get("cores", {}).items():
        yield (f"| {which.upper()} on two cores against one | {q['ratio']:.2f} times ({q['one']:.2f} s, {q['two']:.2f} s wall); by the busiest thread's CPU time "
               f"{q['cpu_ratio']:.2f} | ≥ 1.8 |")
    if "start" in r:
        s = r["start"]
        yield f"| start to the first record produced and consumed | {s['first_record_ms']:.0f} ms (ready after {s['ready_ms']:.0f} ms) | ≤ 100 ms |"
        yield f"| idle memory, CPU | {s['idle_bytes'] / 2**20:.1f} MiB, {s['idle_cpu'] * 100:.1f} % | < 30 MiB |"
    for name, s in r.get("recovery", {}).items():
        yield (f"| ready after a kill, {name} | {s['filled_ms']:.0f} ms with a full journal, {s['killed_ms']:.0f} ms when idle, "
               f"{s['stopped_ms']:.0f} ms after a clean stop; idle {s['idle_bytes'] / 2**20:.0f} MiB, {s['descriptors']} descriptors | "
               f"{'≤ 2 s' if 'GiB' in name else '≤ 50 ms' if name.startswith('1,000 ') else '< 100 MiB'} |")
    if "launch" in r:
        yield f"| `penstock run` on a topic of two messages | {r['launch']['seconds']:.2f} s | < 2 s |"
    if "latency" in r:
        a, d = r["latency"]["record"], r["latency"]["disk"]
        yield (f"| produced → acknowledged on disk and consumed | p50 {a['p50']:.2f}, p99 {a['p99']:.2f} ms; bare overwrite + fdatasync p50 "
               f"{d['p50']:.2f}, p99 {d['p99']:.2f} ms; p99 ratio {a['p99'] / d['p99']:.1f} | ≤ 3 |")
    if "pipeline" in r:
        import pipeline  # which imports this module

        yield from pipeline.lines(r["pipeline"])


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--n", type=int, default=10_000_000)
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--readme", action="store_true", help="put the table into README.md")
    ap.add_argument("--only", default="start,launch,latency,pipeline,q1,q2,q3,cores",
                    help="start, launch, latency, pipeline, recovery, q1 or q1:KIND, q2, q3, cores")
    a = ap.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    parts = a.only.split(",")
    kinds = [p.split(":")[1] for p in parts if p.startswith("q1:")] or (KINDS if "q1" in parts else [])
    queries = [("q1", kind) for kind in kinds] + [(q, "plain") for q in ("q2", "q3") if q in parts]
    r = {}
    for name, fn in (("start", start), ("launch", launch), ("latency", lambda: latency(3000)),
                     ("pipeline", pipeline_rows), ("recovery", recovery)):
        if name in parts:
            r[name] = fn()
            print(f"  {name}: {r[name]}", file=sys.stderr)
    if queries:
        r["engine"] = {(which, kind): engine(which, a.n, a.runs, kind) for which, kind in queries}
    if "cores" in parts:
        r["cores"] = cores(a.n, a.runs)
    plain = {k: {" ".join(q): row for q, row in v.items()} if k == "engine" else v for k, v in r.items()}
    (BUILD / "result.json").write_text(json.dumps(plain, indent=1) + "\n")
    text = "\n".join(table(r, a.n, a.runs))
    print(text)
    if a.readme:
        readme = (ROOT / "README.md").read_text()
        before, rest = readme.split("<!-- bench -->\n")
        (ROOT / "README.md").write_text(before + "<!-- bench -->\n" + text + "\n<!-- /bench -->\n" + rest.split("<!-- /bench -->\n")[1])
    return 0 if all(q["same_answer"] for q in r.get("engine", {}).values()) else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
