#!/usr/bin/env python3
"""peers.py [--n N] [--runs R] [--only PART,...]: `make bench-peers`. penstock beside Apache Kafka 4.3.1 and Spark 4.2, in one run.

  produce   100 B and 1 KiB records to 1, 4 and 1,000 partitions, acks=all, by Java's ProducerPerformance and by librdkafka.
            penstock acknowledges what is on disk; Kafka runs with its defaults, which sync nothing
  consume   what was produced, by Java's ConsumerPerformance and by librdkafka
  queries   N messages (default 10 M) of bench/gen.c: Q1 average by content, Q2 10-second windows with a watermark by content,
            both from JSON, Q3 a filter to another topic. The same PySpark program (bench/query.py) on penstock and on
            Spark local[2] with two shuffle partitions, reading from Kafka; twice in a session: cold and warm
  pipeline  producer → Q3 → consumer at 1,000 and 50,000 messages a second: penstock, exactly-once; Spark's real-time mode
  start     exec to the first record produced and consumed; idle memory and CPU

The two sides take turns, A B A B, R times; medians of each side and of the pairs' ratios are printed. CPU seconds are the
server's (penstock; Kafka's broker, or Spark's JVM and Kafka's broker together); `tree` adds the client. Answers are compared.
Prints a table in Markdown; figures also go to build/bench/peers.json.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

import pipeline
import run
from run import BUILD, PENSTOCK, PYTHON, ROOT, free_port, machine

ORACLE = pathlib.Path(os.environ.get("ORACLE_DIR") or ROOT / "build" / "oracle")
SPARK_PYTHON = f"{ORACLE}/spark-venv/bin/python"
JAVA = ["java", "-Xmx512m", f"-Dlog4j2.configurationFile={ROOT}/tests/oracle/log4j2.properties", "-cp", f"{ORACLE}/kafka/*"]
# as bin/kafka-server-start.sh starts it
BROKER_JVM = ("-Xms1G -Xmx1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
              "-XX:+ExplicitGCInvokesConcurrent")
SIZES = {100: "100 B", 1024: "1 KiB"}


def process_cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Penstock(run.Server):
    name = "penstock"

    def __init__(self, data):
        shutil.rmtree(data, ignore_errors=True)
        super().__init__(data)

    def pid(self):
        return self.process.pid


class Kafka:
    """A broker as Kafka's own scripts start it; what a topic is made of is left at its defaults."""

    name = "Kafka"

    def __init__(self, data):
        shutil.rmtree(data, ignore_errors=True)
        self.data = data
        self.kafka = f"127.0.0.1:{free_port()}"

    def __enter__(self):
        subprocess.run([ROOT / "tests/oracle/kafka-broker.sh", "start", self.kafka.split(":")[1], self.data,
                        "log.cleaner.dedupe.buffer.size=134217728"], check=True, env={**os.environ, "KAFKA_JVM": BROKER_JVM})
        return self

    def __exit__(self, *_):
        subprocess.run([ROOT / "tests/oracle/kafka-broker.sh", "stop", self.data], check=True)
        shutil.rmtree(self.data, ignore_errors=True)

    def pid(self):
        return int(open(f"{self.data}/broker.pid").read())

    def cpu_seconds(self):
        return process_cpu(self.pid())

    def memory(self, key):
        with open(f"/proc/{self.pid()}/status") as f:
            return next(int(ln.split()[1]) * 1024 for ln in f if ln.startswith(key + ":"))


def topic(server, name, partitions):
    subprocess.run([PENSTOCK, "topic", "create", name, "--partitions", str(partitions), "-b", server.kafka], check=True,
                   stdout=subprocess.DEVNULL)


def touch(server, name, partitions):
    """A record for each partition, so that every leader is there before anything is measured."""
    load("produce")(server, name, partitions, 100, partitions)


def drop(server, name):
    subprocess.run([PENSTOCK, "topic", "delete", name, "-b", server.kafka], check=True, stdout=subprocess.DEVNULL)


def java(*args):
    out = subprocess.run([*JAVA, *map(str, args)], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    return out.stdout


def java_produce(server, name, n, size, partitions):
    out = java("org.apache.kafka.tools.ProducerPerformance", "--topic", name, "--num-records", n, "--record-size", size, "--throughput",
               -1, "--command-property", f"bootstrap.servers={server.kafka}", "acks=all", "linger.ms=5")
    found = re.findall(r"^(\d+) records sent, ([\d.]+) records/sec.*?([\d.]+) ms 99th", out, re.M)
    if not found or int(found[-1][0]) != n:
        raise SystemExit(f"ProducerPerformance on {server.name} said:\n" + out[-2000:])
    return {"per_second": float(found[-1][1]), "p99_ms": float(found[-1][2])}


def java_consume(server, name, n, size, partitions):
    out = java("org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", server.kafka, "--topic", name, "--num-records", n,
               "--timeout", 60000)
    rows = [ln.split(", ") for ln in out.splitlines() if re.match(r"\d{4}-\d\d-\d\d", ln)]
    if not rows or int(rows[-1][4]) < n:
        raise SystemExit(f"ConsumerPerformance on {server.name} said:\n" + out[-2000:])
    return {"per_second": n / (float(rows[-1][7]) / 1e3)}


def load(what):
    def go(server, name, n, size, partitions):
        out = subprocess.run([BUILD / "load", what, server.kafka, name, str(n), str(size), str(partitions)], check=True,
                             stdout=subprocess.PIPE, text=True, timeout=900).stdout
        r = json.loads(out)
        return {"per_second": r["records"] / r["seconds"]}
    return go


CLIENTS = {"Java": (java_produce, java_consume), "librdkafka": (load("produce"), load("consume"))}


def measured(fn, server, name, n, size, partitions):
    before = server.cpu_seconds()
    r = fn(server, name, n, size, partitions)
    time.sleep(0.3)  # what the server still does for it
    r["cpu_per_million"] = (server.cpu_seconds() - before) / n * 1e6
    return r


def warm_up(server):
    """Kafka's compiler gets its chance before anything is measured; penstock gets the same records."""
    topic(server, "warm", 4)
    for client in CLIENTS:
        CLIENTS[client][0](server, "warm", 500_000, 100, 4)
    CLIENTS["librdkafka"][1](server, "warm", 500_000, 100, 4)
    drop(server, "warm")


def broker_rows(sides, n_small, n_large, runs, partition_counts):
    rows = []
    for side in sides:
        warm_up(side)
    for client, (produce, consume) in CLIENTS.items():
        for size, label in SIZES.items():
            for partitions in partition_counts:
                n = n_small if size == 100 else n_large
                got = {(side.name, what): [] for side in sides for what in ("produce", "consume")}
                for i in range(runs):
                    for side in sides:
                        name = f"b{client.lower()}-{size}-{partitions}-{i}"
                        topic(side, name, partitions)
                        touch(side, name, partitions)
                        got[side.name, "produce"].append(measured(produce, side, name, n, size, partitions))
                        got[side.name, "consume"].append(measured(consume, side, name, n, size, partitions))
                        drop(side, name)
                for what in ("produce", "consume"):
                    rows.append(dict(what=what, client=client, size=label, partitions=partitions,
                                     penstock=got["penstock", what], kafka=got["Kafka", what]))
                    print("  " + json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def median(rows, key):
    return statistics.median(r[key] for r in rows)


def pairs(a, b, key):
    return statistics.median(x[key] / y[key] if y[key] else float("inf") for x, y in zip(a, b))


def run_query(python, which, where, server, out, runs, last):
    before = server.cpu_seconds()
    r = subprocess.run([python, ROOT / "bench/query.py", which, where, server.kafka, "events", out, str(runs), last], stdout=subprocess.PIPE,
                       stderr=open(BUILD / "peers-query.log", "ab"), text=True, timeout=3600)
    lines = [json.loads(ln) for ln in r.stdout.splitlines() if ln.startswith("{")]
    if r.returncode or len(lines) != runs:
        raise SystemExit(f"query.py {which} failed on {where}: see {BUILD}/peers-query.log")
    return lines, server.cpu_seconds() - before


def answer_of(server, name):
    out = subprocess.run([BUILD / "load", "consume", server.kafka, name, "0", "1", "4", "isolation.level=read_committed"], check=True,
                         stdout=subprocess.PIPE, text=True, timeout=900).stdout
    r = json.loads(out)
    return f"{r['records']}:{r['sum']}"


def spark_jars():
    return ",".join(sorted(str(p) for p in (ORACLE / "spark").glob("*.jar")))


def queries(sides, n, which_ones, runs):
    jars = spark_jars()
    rows = []
    for side in sides:
        topic(side, "events", 4)
        subprocess.run([BUILD / "gen", str(n), "plain", side.kafka, "events"], check=True)
    penstock, kafka = sides
    for which in which_ones:
        ours, theirs = [], []
        for i in range(runs):
            for side in sides:
                if which == "q3":
                    topic(side, f"out{i}", 4)
            mine, _ = run_query(PYTHON, which, f"sc://{penstock.connect}", penstock, f"out{i}", 2, str(penstock.pid()))
            spark, broker = run_query(SPARK_PYTHON, which, "local[2]", kafka, f"out{i}", 2, jars)
            for r in spark:  # the broker's part of the work, by halves: both runs read the same topic
                r["server_cpu"] += broker / 2
                r["tree_cpu"] += broker / 2
            if which == "q3":
                mine[0]["answer"], spark[0]["answer"] = answer_of(penstock, f"out{i}"), answer_of(kafka, f"out{i}")
                for side in sides:
                    drop(side, f"out{i}")
            ours.append(mine)
            theirs.append(spark)
        row = dict(query=which, n=n, penstock=ours, spark=theirs,
                   same=all(a[0].get("answer") == b[0].get("answer") for a, b in zip(ours, theirs)))
        rows.append(row)
        print("  " + json.dumps(row), file=sys.stderr, flush=True)
    return rows


def latencies(sides):
    penstock, kafka = sides
    rows = {"penstock, exactly-once, on disk": pipeline.measure(penstock, PYTHON, f"sc://{penstock.connect}", "default")}
    rows["Spark 4.2 real-time mode, Kafka not synced"] = pipeline.measure(kafka, SPARK_PYTHON, "local[2]", "realtime", [spark_jars()])
    for name, by_rate in rows.items():
        print(f"  {name}: {json.dumps(by_rate)}", file=sys.stderr, flush=True)
    return rows


def start(sides_at):
    """exec → one record produced → consumed; the idle server's memory and CPU."""
    rows = {}
    for make in sides_at:
        times = []
        for _ in range(3):
            began = time.monotonic()
            with make() as s:
                subprocess.run([PENSTOCK, "produce", "first", "-b", s.kafka], input=b"hello\n", check=True)
                out = subprocess.run([PENSTOCK, "consume", "first", "--max", "1", "-b", s.kafka], check=True, stdout=subprocess.PIPE).stdout
                if out != b"hello\n":
                    raise SystemExit(f"the first record came back as {out}")
                times.append(time.monotonic() - began)
                time.sleep(3)
                memory, cpu = s.memory("VmRSS"), s.cpu_seconds()
                time.sleep(5)
                idle = (s.cpu_seconds() - cpu) / 5
        rows[s.name] = {"seconds": statistics.median(times), "memory": memory, "idle_cpu": idle}
        print(f"  {s.name}: {rows[s.name]}", file=sys.stderr, flush=True)
    return rows


def table(r, a):
    yield f"{datetime.date.today()}, {machine()}; `make bench-peers N={a.n} RUNS={a.runs}`"
    if "broker" in r:
        yield ""
        yield "| broker: work, client | penstock (on disk) | Kafka 4.3.1 (not synced) | throughput, of Kafka's | broker CPU, of Kafka's | reach |"
        yield "|---|---|---|---|---|---|"
        for b in r["broker"]:
            p, k = b["penstock"], b["kafka"]
            reach = "≥ 1, CPU ≤ 0.3" if b["what"] == "produce" else "CPU ≤ 0.7"
            yield (f"| {b['what']} {b['size']}, {b['partitions']:,} partition{'s' * (b['partitions'] > 1)}, {b['client']} | "
                   f"{median(p, 'per_second') / 1e3:,.0f} k/s, {median(p, 'cpu_per_million'):.2f} CPU-s/M | "
                   f"{median(k, 'per_second') / 1e3:,.0f} k/s, {median(k, 'cpu_per_million'):.2f} CPU-s/M | "
                   f"{pairs(p, k, 'per_second'):.2f} | {pairs(p, k, 'cpu_per_million'):.2f} | {reach} |")
    if "queries" in r:
        yield ""
        yield "| query | penstock, per core-second | Spark 4.2 warm | cold | times faster warm, cold | peak | answers |"
        yield "|---|---|---|---|---|---|---|"
        for q in r["queries"]:
            n, ours, spark = q["n"], q["penstock"], q["spark"]
            mine = n / statistics.median(x["server_cpu"] for two in ours for x in two)
            mine_cold = n / statistics.median(two[0]["tree_cpu"] for two in ours)
            warm = n / statistics.median(two[1]["server_cpu"] for two in spark)
            cold = n / statistics.median(two[0]["tree_cpu"] for two in spark)
            yield (f"| {q['query'].upper()}, {n / 1e6:g} M | {mine / 1e6:.2f} M ({statistics.median(x['seconds'] for two in ours for x in two):.1f} s wall) | "
                   f"{warm / 1e3:.0f} k ({statistics.median(two[1]['seconds'] for two in spark):.1f} s wall) | {cold / 1e3:.0f} k | "
                   f"{mine / warm:.0f}, {mine_cold / cold:.0f} (whole trees) | | {'equal' if q['same'] else '**differ**'} |")
    if "pipeline" in r:
        yield ""
        yield "| pipeline | p50 | p99 | p99.9 |"
        yield "|---|---|---|---|"
        for name, by_rate in r["pipeline"].items():
            for rate, p in by_rate.items():
                m = p["pipeline"]
                missing = "" if p["complete"] else " (not all arrived)"
                yield f"| {name}, {rate:,}/s{missing} | {m['p50']:.1f} ms | {m['p99']:.1f} ms | {m['p999']:.1f} ms |"
    if "start" in r:
        yield ""
        yield "| start | to the first record | idle memory | idle CPU |"
        yield "|---|---|---|---|"
        for name, s in r["start"].items():
            yield f"| {name} | {s['seconds'] * 1e3:,.0f} ms | {s['memory'] / 2**20:.0f} MiB | {s['idle_cpu'] * 100:.1f} % |"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--n", type=int, default=10_000_000, help="messages of the queries")
    ap.add_argument("--small", type=int, default=2_000_000, help="records of 100 B")
    ap.add_argument("--large", type=int, default=400_000, help="records of 1 KiB")
    ap.add_argument("--partitions", default="1,4,1000", help="of the broker's rows")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--only", default="start,broker,pipeline,q1,q2,q3", help="start, broker, pipeline, q1, q2, q3")
    a = ap.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    parts = a.only.split(",")
    r = {}

    def side(cls):
        return cls(BUILD / f"peer-{cls.name.lower()}")

    if "start" in parts:
        r["start"] = start([lambda: side(Penstock), lambda: side(Kafka)])
    which = [p for p in parts if p in ("q1", "q2", "q3")]
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(side(c)) for c in (Penstock, Kafka)] if {"broker", "pipeline"} & set(parts) or which else []
        if "broker" in parts:
            r["broker"] = broker_rows(sides, a.small, a.large, a.runs, [int(p) for p in a.partitions.split(",")])
        if "pipeline" in parts:
            r["pipeline"] = latencies(sides)
        if which:
            r["queries"] = queries(sides, a.n, which, a.runs)
    (BUILD / "peers.json").write_text(json.dumps(r, indent=1) + "\n")
    print("\n".join(table(r, a)))
    return 0 if all(q["same"] for q in r.get("queries", [])) else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
