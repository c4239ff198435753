#!/usr/bin/env python3
# manual: yes
"""crash.py [N] [SEED] [kafka]: kill the server N times with SIGKILL at random moments under load; `make test-crash N=100`.

Two idempotent producers (librdkafka), one transactional producer and three streaming queries run all the time:

  ratings   4 partitions; averages by content, complete mode to memory; started from `latest` when records were there
  events    1 partition; windows of 10 seconds by key, update mode to the topic `counts`, exactly once
  moved     2 partitions of transactions, some aborted; read_committed, every other record is copied to the topic `copies`, exactly
            once. With `kafka` that topic is on a real Kafka broker, which is not killed

Each life of the server gets a new PySpark session that starts the queries on their checkpoints. Checked at the end: every
acknowledged record is in its topic once, in order; every average and every window equals what this file computes from the
topics; read with read_committed, no count and no copy is in its topic twice, in order, and none is missing; in each query, reported batch ids only ever rise, from life to life by at most the one batch that was under way.
"""
import collections
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from pyspark.errors import PySparkException
from pyspark.sql.connect.client import DefaultChannelBuilder
from pyspark.sql.connect.session import SparkSession

ROOT = os.environ.get("ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PENSTOCK = os.environ.get("PENSTOCK") or os.path.join(ROOT, "build/penstock")
N = int(sys.argv[1]) if len(sys.argv) > 1 else 10
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30)
rng = random.Random(SEED)
BEFORE_LATEST = 500
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("FAILED: " + what, flush=True)
    return ok


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def kafka(*args):
    subprocess.run([os.path.join(ROOT, "tests/oracle/kafka-broker.sh"), *args], check=True)


class Server:
    def __init__(self, directory):
        self.directory = directory
        self.kafka, self.connect, self.http = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.process = None

    def start(self):
        log = open(os.path.join(self.directory, "server.log"), "ab")
        self.process = subprocess.Popen(
            [PENSTOCK, "serve", "--data", os.path.join(self.directory, "data"), "--kafka-listen", self.kafka,
             "--connect-listen", self.connect, "--http-listen", self.http], stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, "TZ": "UTC"})
        line = self.process.stdout.readline()
        if not line.startswith("ready"):
            with open(log.name, errors="replace") as f:
                raise SystemExit("the server did not start (seed %d):\n%s" % (SEED, f.read()[-3000:]))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


class Load(threading.Thread):
    """An idempotent producer that numbers its records and notes which were acknowledged."""

    def __init__(self, bootstrap, topic, partitions, make, rate):
        super().__init__(daemon=True)
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2,
                                  "message.timeout.ms": 600000, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100,
                                  "retry.backoff.ms": 20, "log_level": 0}, logger=None, error_cb=lambda e: None)
        self.topic, self.partitions, self.make, self.rate = topic, partitions, make, rate
        self.acked, self.errors, self.sent = [], [], 0
        self.stopping = threading.Event()

    def delivered(self, error, message):
        if error is not None:
            self.errors.append(str(error))
        else:
            self.acked.append((message.partition(), message.offset(), json.loads(message.value())["seq"]))

    def send(self, count):
        for _ in range(count):
            value = json.dumps({"seq": self.sent, **self.make(self.sent)})
            self.producer.produce(self.topic, value, partition=self.sent % self.partitions, on_delivery=self.delivered)
            self.sent += 1
            self.producer.poll(0)

    def run(self):
        while not self.stopping.is_set():
            if len(self.producer) < 20000:
                self.send(max(1, self.rate // 100))
            self.producer.poll(0.01)

    def finish(self):
        self.stopping.set()
        self.join()
        return self.producer.flush(120)


class Moves(threading.Thread):
    """Transactions of a few numbers, a fifth of them aborted; after an unknown outcome a new producer finishes the old one's."""

    def __init__(self, bootstrap):
        super().__init__(daemon=True)
        self.bootstrap, self.stopping = bootstrap, threading.Event()
        self.next, self.committed, self.unknown = 0, set(), 0

    def producer(self):
        while not self.stopping.is_set():
            p = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "moves", "transaction.timeout.ms": 30000,
                          "linger.ms": 1, "log_level": 0, "reconnect.backoff.max.ms": 200, "error_cb": lambda e: None})
            try:
                p.init_transactions(10)
                return p
            except KafkaException:
                pass
        return None

    def run(self):
        p = None
        while not self.stopping.is_set():
            p = p or self.producer()
            values = range(self.next, self.next + rng.randrange(1, 20))
            self.next = values.stop
            asked = False
            try:
                p.begin_transaction()
                for v in values:
                    p.produce("moved", str(v), partition=v % 2)
                if rng.random() < 0.2:
                    p.abort_transaction(10)
                else:
                    asked = True
                    p.commit_transaction(10)
                    self.committed.update(values)
            except (KafkaException, AttributeError):
                self.unknown += asked
                p = None
            time.sleep(0.005)


def rating(seq):
    return {"content": f"content-{seq % 37}", "rating": seq % 11 / 2}


def event(seq):
    return {"ts": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_000_000_000 + seq // 20)), "key": f"k{seq % 5}"}


def session(server):
    """A new session on a connection of its own: gRPC would share the one that still backs off from the killed server."""
    channel = DefaultChannelBuilder(f"sc://{server.connect}", [("grpc.use_local_subchannel_pool", 1)])
    return SparkSession.builder.channelBuilder(channel).create()


def start_queries(spark, server, directory):
    def stream(topic, start):
        return (spark.readStream.format("kafka").option("kafka.bootstrap.servers", server.kafka).option("subscribe", topic)
                .option("startingOffsets", start).load())

    ratings = (stream("ratings", "latest").selectExpr("from_json(CAST(value AS STRING), 'content STRING, rating DOUBLE') AS v")
               .selectExpr("v.content", "v.rating").groupBy("content").agg({"rating": "avg", "*": "count"})
               .toDF("content", "average", "n")
               .writeStream.outputMode("complete").format("memory").queryName("averages")
               .option("checkpointLocation", os.path.join(directory, "checkpoint-ratings")).start())
    events = (stream("events", "earliest").selectExpr("from_json(CAST(value AS STRING), 'ts TIMESTAMP, key STRING') AS v")
              .selectExpr("window(v.ts, '10 seconds').start AS start", "v.key AS key").groupBy("start", "key").count()
              .selectExpr("concat(CAST(start AS STRING), ' ', key) AS key", "CAST(count AS STRING) AS value")
              .writeStream.outputMode("update").format("kafka").option("kafka.bootstrap.servers", server.kafka)
              .option("topic", "counts").option("checkpointLocation", os.path.join(directory, "checkpoint-events")).start())
    moved = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", server.kafka).option("subscribe", "moved")
             .option("startingOffsets", "earliest").option("kafka.isolation.level", "read_committed").load()
             .selectExpr("CAST(value AS STRING) AS value").filter("CAST(value AS INT) % 2 = 1")
             .writeStream.format("kafka").option("kafka.bootstrap.servers", server.copies).option("topic", "copies")
             .option("checkpointLocation", os.path.join(directory, "checkpoint-moved")).start())
    return {"ratings": ratings, "events": events, "moved": moved}


class Reported:
    """The batch ids each query reported as done, life by life."""

    def __init__(self):
        self.seen = collections.defaultdict(dict)  # query → batch id → life
        self.last = collections.defaultdict(lambda: -1)

    def poll(self, queries, life):
        for name, query in queries.items():
            for p in query.recentProgress:
                batch = p["batchId"] if isinstance(p, dict) else p.batchId
                rows = p["numInputRows"] if isinstance(p, dict) else p.numInputRows
                if rows == 0 and batch > self.last[name]:
                    continue  # idle reports name the batch that would come next
                known = self.seen[name].get(batch)
                if known is not None and known != life:
                    check(False, f"{name}: batch {batch}, done in life {known}, was computed again in life {life}")
                self.seen[name].setdefault(batch, life)

    def end_life(self, life):
        for name, batches in self.seen.items():
            mine = [b for b, at in batches.items() if at == life]
            if mine:
                check(min(mine) > self.last[name], f"{name}: batch ids went back to {min(mine)} after {self.last[name]} in life {life}")
                self.last[name] = max(mine)


def life_of_the_server(server, directory, reported, life, seconds):
    """One session with both queries, until the kill; the client's errors after the kill are expected."""
    try:
        spark = session(server)
        queries = start_queries(spark, server, directory)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            reported.poll(queries, life)
            for name, q in queries.items():
                if q.exception() is not None:
                    raise SystemExit(f"{name} failed in life {life} (seed {SEED}): {q.exception()}")
        return spark, queries
    except PySparkException as e:
        raise SystemExit(f"a query did not start in life {life} (seed {SEED}): {e}")


def read_topic(bootstrap, topic, partitions):
    """All (partition, offset, key, value) of a topic that a read_committed reader sees."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "enable.auto.commit": False,
                         "isolation.level": "read_committed", "enable.partition.eof": True})
    records = []
    for p in range(partitions):
        consumer.assign([TopicPartition(topic, p, 0)])
        at_end, end = False, time.monotonic() + 30
        while not at_end:
            batch = consumer.consume(1000, 0.1)
            if not batch and time.monotonic() > end:
                raise SystemExit(f"{topic}-{p}: its end does not come")
            for m in batch:
                at_end = m.error() is not None and m.error().code() == KafkaError._PARTITION_EOF
                if m.error() and not at_end:
                    raise SystemExit(f"{topic}-{p}: {m.error()}")
                if not at_end:
                    records.append((p, m.offset(), m.key(), m.value()))
    consumer.close()
    return records


def check_topic(load, records):
    there = {(p, o): json.loads(v)["seq"] for p, o, _, v in records}
    check(len(there) == len(records), f"{load.topic}: an offset came twice")
    check(not load.errors, f"{load.topic}: produce errors {load.errors[:3]}")
    check(len(load.acked) == load.sent, f"{load.topic}: {len(load.acked)} of {load.sent} records were acknowledged in the end")
    lost = [a for a in load.acked if there.get(a[:2]) != a[2]]
    check(not lost, f"{load.topic}: {len(lost)} acknowledged records are not where they were acknowledged, such as {lost[:3]}")
    for p in range(load.partitions):
        seqs = [s for (q, _), s in sorted(there.items()) if q == p]
        check(seqs == list(range(p, load.sent, load.partitions)), f"{load.topic}-{p}: not every record once and in order")
    print(f"{load.topic}: {len(records)} records, all once and in order, {len(load.acked)} acknowledged", flush=True)


def check_averages(rows, records, first):
    sums = collections.defaultdict(lambda: [0.0, 0])
    for p, o, _, v in records:
        if o >= first[p]:
            r = json.loads(v)
            sums[r["content"]][0] += r["rating"]
            sums[r["content"]][1] += 1
    got = {r["content"]: (r["average"], r["n"]) for r in rows}
    want = {c: (s / n, n) for c, (s, n) in sums.items()}
    bad = [c for c in want if c not in got or got[c][1] != want[c][1] or abs(got[c][0] - want[c][0]) > 1e-9 * abs(want[c][0])]
    check(not bad and got.keys() == want.keys(), f"averages differ: {[(c, got.get(c), want[c]) for c in bad[:3]]}")
    print(f"averages: {len(want)} groups over {sum(n for _, n in want.values())} records", flush=True)


def check_windows(out, records):
    counts = collections.Counter()
    for _, _, _, v in records:
        r = json.loads(v)
        counts[(r["ts"][:-1] + "0") + " " + r["key"]] += 1
    got = {}
    for _, _, key, value in out:  # a batch that touches a count makes it larger, and tells it once
        check(int(value) > got.get(key.decode(), 0), f"{key.decode()}: {int(value)} comes after {got.get(key.decode())}: a batch is in twice")
        got[key.decode()] = int(value)
    bad = [k for k in counts if got.get(k) != counts[k]]
    check(not bad and got.keys() == counts.keys(), f"windows differ: {[(k, got.get(k), counts[k]) for k in bad[:3]]}")
    print(f"windows: {len(counts)} counts over {sum(counts.values())} events, {len(out)} updates in the topic", flush=True)


def check_copies(moves, moved, copies):
    there = [int(v) for _, _, _, v in moved]
    check(len(set(there)) == len(there), "moved: a record is there twice")
    check(moves.committed <= set(there), f"moved: {len(moves.committed - set(there))} committed records are missing")
    copied = [int(v) for _, _, _, v in copies]
    twice = len(copied) - len(set(copied))
    check(twice == 0, f"copies: {twice} records twice")
    check(set(copied) == {v for v in there if v % 2}, f"copies: {len(copied)} records of {sum(v % 2 for v in there)}")
    print(f"moved: {len(there)} of {moves.next} records committed ({moves.unknown} outcomes unknown), copies: {len(copied)}, each once", flush=True)


def start_offsets(bootstrap, topic, partitions):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check"})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(partitions)]
    consumer.close()
    return ends


def main():
    directory = tempfile.mkdtemp(prefix="penstock-crash-")
    server = Server(directory)
    server.start()
    server.copies = server.kafka
    if "kafka" in sys.argv[3:]:
        server.copies = f"127.0.0.1:{free_port()}"
        kafka("start", server.copies.split(":")[1], os.path.join(directory, "kafka"))
    for topic, partitions in (("ratings", 4), ("events", 1), ("counts", 1), ("moved", 2), ("copies", 1)):
        at = server.copies if topic == "copies" else server.kafka
        subprocess.run([PENSTOCK, "topic", "create", topic, "-p", str(partitions), "-b", at], check=True)
    ratings = Load(server.kafka, "ratings", 4, rating, 2000)
    events = Load(server.kafka, "events", 1, event, 1000)
    ratings.send(BEFORE_LATEST)
    ratings.producer.flush(30)
    first = start_offsets(server.kafka, "ratings", 4)
    reported = Reported()
    # The first life fixes "latest" before the load begins, in a batch that is planned and done.
    spark = session(server)
    queries = start_queries(spark, server, directory)
    time.sleep(0.3)
    ratings.start()
    events.start()
    moves = Moves(server.kafka)
    moves.start()
    for q in queries.values():
        q.processAllAvailable()
    reported.poll(queries, 0)
    started = time.monotonic()
    for life in range(1, N + 1):
        server.kill()
        reported.end_life(life - 1)
        server.start()
        spark, queries = life_of_the_server(server, directory, reported, life, rng.uniform(0.05, 1.0))
        if life % 10 == 0:
            print(f"{life} kills in {time.monotonic() - started:.0f} s, {len(ratings.acked)} + {len(events.acked)} records "
                  f"acknowledged, batches {dict(reported.last)}", flush=True)
    moves.stopping.set()
    moves.join(60)
    if moves.is_alive():
        check(False, "the transactional producer does not come to an end")
    left = ratings.finish() + events.finish()
    finisher = Moves(server.kafka)
    check(finisher.producer() is not None, "nobody finishes the last transaction")
    check(left == 0, f"{left} records were never acknowledged")
    for q in queries.values():
        q.processAllAvailable()
    reported.poll(queries, N)
    reported.end_life(N)
    averages = spark.table("averages").collect()
    for q in queries.values():
        q.stop()
    records = read_topic(server.kafka, "ratings", 4)
    check_topic(ratings, records)
    check_averages(averages, records, first)
    records = read_topic(server.kafka, "events", 1)
    check_topic(events, records)
    check_windows(read_topic(server.kafka, "counts", 1), records)
    check_copies(moves, read_topic(server.kafka, "moved", 2), read_topic(server.copies, "copies", 1))
    print(f"batches: ratings {len(reported.seen['ratings'])} up to {reported.last['ratings']}, events "
          f"{len(reported.seen['events'])} up to {reported.last['events']}, over {N} kills", flush=True)
    check(server.stop() == 0, "the last stop was not clean")
    if server.copies != server.kafka:
        kafka("stop", os.path.join(directory, "kafka"))
    if failures:
        print(f"seed {SEED}; everything is kept in {directory}")
    else:
        shutil.rmtree(directory)
    print(f"{0 if failures else 1} passed, {1 if failures else 0} failed, 0 skipped", flush=True)
    os._exit(1 if failures else 0)  # clients of killed servers still retry in their threads


main()
