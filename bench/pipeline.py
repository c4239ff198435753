"""pipeline: producer → query → consumer, for run.py and peers.py; bench/pipeline.c measures, bench/filter.py is the query."""
import json
import select
import shutil
import subprocess

import run

RATES = (1_000, 50_000)


def measure(server, python, session, trigger, jars=(), seconds=15, rates=RATES):
    """{rate: result of pipeline.c} for a filter from topic to topic on `session`; its checkpoint lies beside the data."""
    checkpoint = run.BUILD / "checkpoint-pipeline"
    shutil.rmtree(checkpoint, ignore_errors=True)
    for topic in ("pipe-in", "pipe-out"):
        subprocess.run([run.PENSTOCK, "topic", "create", topic, "--partitions", "1", "-b", server.kafka], check=True,
                       stdout=subprocess.DEVNULL)
    script = subprocess.Popen([python, run.ROOT / "bench/filter.py", session, server.kafka, "pipe-in", "pipe-out", checkpoint, trigger, *jars],
                              stdout=subprocess.PIPE, stderr=open(run.BUILD / "pipeline.log", "ab"), text=True)
    try:
        if not select.select([script.stdout], [], [], 120)[0] or not script.stdout.readline().startswith("started"):
            raise SystemExit(f"bench: the query did not start, see {run.BUILD}/pipeline.log")
        once(server, rates[0], 6)  # warm
        return {rate: once(server, rate, seconds) for rate in rates}
    finally:
        script.kill()
        script.wait()


def once(server, rate, seconds):
    out = subprocess.run([run.BUILD / "pipeline", server.kafka, "pipe-in", "pipe-out", run.BUILD / "pipeline.block", str(rate), str(seconds)],
                         stdout=subprocess.PIPE, text=True, timeout=seconds + 60)
    r = json.loads(out.stdout)
    r["complete"] = out.returncode == 0  # what did not arrive within ten seconds of the end is missing
    return r


def penstock():
    """By durability: disk (acknowledged and committed on disk) and os."""
    rows = {}
    for durability in ("disk", "os"):
        data = run.BUILD / "data-pipeline"
        shutil.rmtree(data, ignore_errors=True)
        with run.Server(data, flags=["--durability", durability]) as s:
            rows[durability] = measure(s, run.PYTHON, f"sc://{s.connect}", "default")
    return rows


def lines(rows):
    for durability, by_rate in rows.items():
        for rate, r in by_rate.items():
            p, d = r["pipeline"], r["disk"]
            reach = "p99 < 2 ms" if durability == "os" else "p50 < 3.5 ms at 1,000/s; p99 ≤ 5 × the disk's"
            missing = "" if r["complete"] else f" **{r['sent'] - r['got']} did not arrive**"
            yield (f"| producer → query → consumer, {rate:,}/s, exactly-once, durability {durability} | p50 {p['p50']:.2f}, p99 {p['p99']:.2f} ms; "
                   f"bare overwrite + fdatasync p50 {d['p50']:.2f}, p99 {d['p99']:.2f} ms; p99 ratio {p['p99'] / d['p99']:.1f}{missing} | {reach} |")
