#!/usr/bin/env python3
# limit: 240
"""Transactions with real clients of both generations: librdkafka (which adds partitions and offsets by name, and keeps its epoch) and
the Java client 4.3.1 (transaction.version 2: an epoch for each transaction), apart and at once on the same topics.

KAFKA=host:port in the environment runs the same against another broker, to check the test (tests/oracle/kafka-broker.sh; give it
transaction.abort.timed.out.transaction.cleanup.interval.ms=200); what needs a server to kill is skipped then.
"""
import glob
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import penstock_server
from cases import ROOT, Skip, case, equal, has, main

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE = 60
JARS = os.path.join(os.environ.get("ORACLE_DIR", os.path.join(ROOT, "build/oracle")), "kafka")
HERE = os.path.dirname(os.path.abspath(__file__))
server = None
java = None


class Refused(Exception):
    """The client's name for what the broker said: PRODUCER_FENCED and the like."""


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.05)


# -- the Java client: one JVM, told what to do line by line ---------------------------------------------------------------


class Java:
    NAMES = {"ProducerFencedException": "PRODUCER_FENCED", "InvalidProducerEpochException": "PRODUCER_FENCED"}

    def __init__(self, bootstrap):
        if not glob.glob(os.path.join(JARS, "kafka-clients-*.jar")):
            subprocess.run([os.path.join(ROOT, "tests/oracle/setup.sh"), "kafka"], check=True)
        if not shutil.which("javac"):
            subprocess.run([os.path.join(ROOT, "tools/deps.sh"), "history"], check=True)
        self.classes = tempfile.mkdtemp(prefix="penstock-java-")
        subprocess.run(["javac", "-nowarn", "-d", self.classes, "-cp", JARS + "/*", os.path.join(HERE, "Transactions.java")],
                       check=True, stderr=subprocess.DEVNULL)
        log = "-Dlog4j2.configurationFile=" + os.path.join(ROOT, "tests/oracle/log4j2.properties")
        self.process = subprocess.Popen(["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", log, "-cp", f"{JARS}/*:{self.classes}",
                                         "Transactions", bootstrap], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=open(os.path.join(self.classes, "log"), "wb"), text=True)
        self.answers = queue.Queue()
        self.lock = threading.Lock()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.answers.put(line.rstrip("\n"))
        self.answers.put(None)

    def __call__(self, *words):
        with self.lock:
            self.process.stdin.write("\t".join(str(w) for w in words) + "\n")
            self.process.stdin.flush()
            answer = self.answers.get(timeout=2 * PATIENCE)
        if answer is None:
            raise AssertionError("the JVM ended:\n" + open(os.path.join(self.classes, "log"), errors="replace").read()[-2000:])
        kind, *rest = answer.split("\t")
        if kind == "error":
            raise Refused(self.NAMES.get(rest[0], rest[0]), rest[1])
        return [] if rest == [""] else rest

    def tool(self, *argv):
        """One of Kafka's command line tools, its output."""
        done = subprocess.run(["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", JARS + "/*",
                               "org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server", server.kafka, *map(str, argv)],
                              capture_output=True, text=True, timeout=PATIENCE)
        equal(done.returncode, 0, f"exit status of {argv}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def stop(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        shutil.rmtree(self.classes, ignore_errors=True)


class JavaProducer:
    client = "java"
    count = 0

    def __init__(self, txn_id, timeout_ms=60000):
        JavaProducer.count += 1
        self.name = f"p{JavaProducer.count}"
        java("producer", self.name, txn_id, timeout_ms)
        java("init", self.name)

    def begin(self):
        java("begin", self.name)

    def send(self, topic, value, partition=0):
        java("send", self.name, topic, partition, value)

    def flush(self):
        return [int(o) for o in java("flush", self.name)]

    def offset(self, group, topic, partition, offset):
        java("offset", self.name, group, topic, partition, offset)

    def transform(self, group, source, to, count, end):
        return int(java("transform", self.name, group, source, to, count, end)[0])

    def commit(self):
        java("commit", self.name)

    def abort(self):
        java("abort", self.name)

    def close(self):
        java("close", self.name)


# -- librdkafka ---------------------------------------------------------------------------------------------------------------


def refusing(method):
    """The client's exceptions as Refused; what it calls retriable is tried again, as its manual says."""
    def wrapped(self, *args):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return method(self, *args)
            except KafkaException as e:
                error = e.args[0]
                if error.retriable() and time.monotonic() < end:
                    time.sleep(0.05)
                    continue
                raise Refused(error.name().lstrip("_").replace("FENCED", "PRODUCER_FENCED").replace("PRODUCER_PRODUCER", "PRODUCER"),
                              error.str()) from None
    return wrapped


class LibrdProducer:
    client = "librdkafka"

    @refusing
    def __init__(self, txn_id, timeout_ms=60000):
        self.p = Producer({"bootstrap.servers": server.kafka, "transactional.id": txn_id, "transaction.timeout.ms": timeout_ms,
                           "message.timeout.ms": min(timeout_ms, 30000), "linger.ms": 2, "reconnect.backoff.max.ms": 200})
        self.p.init_transactions(PATIENCE)
        self.told = []

    @refusing
    def begin(self):
        self.p.begin_transaction()

    def send(self, topic, value, partition=0):
        self.p.produce(topic, value, "k", partition=partition, on_delivery=lambda e, m: self.told.append((e, m)))

    def flush(self):
        self.p.flush(PATIENCE)
        told, self.told = self.told, []
        for e, _ in told:
            if e:
                raise Refused(e.name(), e.str())
        return [m.offset() for _, m in told]

    @refusing
    def offset(self, group, topic, partition, offset):
        consumer = Consumer({"bootstrap.servers": server.kafka, "group.id": group})
        self.p.send_offsets_to_transaction([TopicPartition(topic, partition, offset, "noted")],
                                           consumer.consumer_group_metadata(), PATIENCE)
        consumer.close()

    def transform(self, group, source, to, count, end):
        consumer = Consumer({"bootstrap.servers": server.kafka, "group.id": group, "auto.offset.reset": "earliest",
                             "enable.auto.commit": False, "isolation.level": "read_committed"})
        consumer.subscribe([source])
        self.begin()
        got, until = 0, time.monotonic() + PATIENCE
        while got < count and time.monotonic() < until:
            m = consumer.poll(0.2)
            if m is None or m.error():
                continue
            got += 1
            self.send(to, m.value().decode())
        self.p.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), PATIENCE)
        self.commit() if end == "commit" else self.abort()
        consumer.close()
        return got

    @refusing
    def commit(self):
        self.p.commit_transaction(PATIENCE)

    @refusing
    def abort(self):
        self.p.abort_transaction(PATIENCE)
        self.told = []

    def close(self):
        self.p = None


CLIENTS = (LibrdProducer, JavaProducer)


def each_client(fn):
    """A case for each client: fn(client class, a name that nobody else uses)."""
    for cls in CLIENTS:
        def one(cls=cls):
            fn(cls, f"{fn.__name__.replace('_', '-')[:40]}-{cls.client}")
        one.__name__ = f"{fn.__name__}[{cls.client}]"
        case(one)
    return fn


def read_librd(topic, partitions, level):
    """Every value up to the end, as the level sees it."""
    c = Consumer({"bootstrap.servers": server.kafka, "group.id": "none", "isolation.level": level, "enable.auto.commit": False,
                  "enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20})
    c.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    values, ended, until = [], set(), time.monotonic() + PATIENCE
    while len(ended) < partitions and time.monotonic() < until:
        m = c.poll(0.5)
        if m is None:
            continue
        if m.error():
            equal(m.error().code(), KafkaError._PARTITION_EOF, m.error().str())
            ended.add(m.partition())
        else:
            values.append(m.value().decode())
    c.close()
    equal(len(ended), partitions, "partitions read to their end")
    return values


def read(topic, partitions=1, level="read_committed"):
    """What both clients see; they must agree. Real Kafka's markers come a little after the commit's answer."""
    ours = read_librd(topic, partitions, level)
    theirs = java("read", topic, partitions, level)
    equal(sorted(theirs), sorted(ours), f"{level}, Java beside librdkafka")
    return ours


def sees(topic, want, partitions=1):
    end = time.monotonic() + (5 if os.environ.get("KAFKA") else 0)
    while True:
        try:
            equal(read(topic, partitions), want, f"committed values of {topic}")
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


_admin = []


def admin():
    """One for all cases: a client that goes out of scope takes its futures with it."""
    if not _admin:
        _admin.append(AdminClient({"bootstrap.servers": server.kafka}))
    return _admin[0]


def topic(name, partitions=1):
    futures = admin().create_topics([NewTopic(name, partitions, 1)])
    for future in futures.values():
        future.result(PATIENCE)
    return name


def refused(name, action, *args):
    try:
        action(*args)
    except Refused as e:
        equal(e.args[0], name, e.args[1])
        return
    raise AssertionError(f"was not refused with {name}")


def written(cls, txn_id, to, *values, timeout_ms=60000):
    """A producer with an open transaction whose records are in the log."""
    p = cls(txn_id, timeout_ms)
    p.begin()
    for value in values:
        p.send(to, value)
    equal(len(p.flush()), len(values), "records acknowledged")
    return p


def restart():
    if os.environ.get("KAFKA"):
        raise Skip("the broker is not ours to kill")
    server.kill()
    server.start(*FLAGS)


# -- what is seen -------------------------------------------------------------------------------------------------------------


@each_client
def committed_is_seen_and_aborted_is_not(cls, name):
    topic(name)
    p = written(cls, name, name, "c1", "c2")
    equal(read(name), [])
    equal(read(name, level="read_uncommitted"), ["c1", "c2"])
    p.commit()
    sees(name, ["c1", "c2"])
    p.begin()
    p.send(name, "a1")
    p.flush()
    p.abort()
    p.begin()
    p.send(name, "c3")
    p.commit()
    sees(name, ["c1", "c2", "c3"])
    equal(read(name, level="read_uncommitted"), ["c1", "c2", "a1", "c3"])
    p.close()


@each_client
def an_empty_transaction_can_end_either_way(cls, name):
    topic(name)
    p = cls(name)
    for end in (p.commit, p.abort, p.commit):
        p.begin()
        end()
    p.begin()
    p.send(name, "x")
    p.commit()
    sees(name, ["x"])
    p.close()


@case
def an_open_transaction_holds_readers_back_until_its_end():
    topic("held")
    first = written(LibrdProducer, "held-1", "held", "r1")
    second = written(JavaProducer, "held-2", "held", "j1")
    second.commit()
    equal(read("held"), [])
    third = written(JavaProducer, "held-3", "held", "j2")
    first.abort()
    sees("held", ["j1"])
    third.commit()
    sees("held", ["j1", "j2"])
    for p in (first, second, third):
        p.close()


@case
def both_generations_at_once_on_the_same_partitions():
    topic("both", 2)
    rounds, failed = 25, []

    def work(cls, number):
        try:
            p = cls(f"both-{cls.client}-{number}")
            for i in range(rounds):
                p.begin()
                for partition in (0, 1):
                    p.send("both", f"{cls.client}{number} {i} {'abort' if i % 3 == 1 else 'commit'}", partition)
                p.abort() if i % 3 == 1 else p.commit()
            p.close()
        except Exception as e:  # noqa: BLE001
            failed.append(f"{cls.client} {number}: {e!r}")

    threads = [threading.Thread(target=work, args=(cls, n)) for cls in CLIENTS for n in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(failed, [])
    want = [f"{cls.client}{n} {i} commit" for cls in CLIENTS for n in range(2) for i in range(rounds) if i % 3 != 1]
    wait_for(lambda: len(read_librd("both", 2, "read_committed")) == 2 * len(want), "all transactions")
    got = read("both", 2)
    equal(sorted(got), sorted(want * 2))
    for cls in CLIENTS:  # each producer's in its order, in each partition
        for n in range(2):
            mine = [int(v.split()[1]) for v in got if v.startswith(f"{cls.client}{n} ")]
            equal(sorted(mine), sorted(2 * [i for i in range(rounds) if i % 3 != 1]))


# -- offsets ------------------------------------------------------------------------------------------------------------------


def committed(group, of):
    futures = admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(of, 0)])],
                                                  require_stable=True)
    part = futures[group].result(PATIENCE).topic_partitions[0]
    return part.error.name() if part.error else part.offset


@each_client
def consume_transform_produce(cls, name):
    source, to = topic(name + "-in"), topic(name + "-out")
    p = cls(name)
    values = [str(i) for i in range(20)]
    p.begin()
    for v in values:
        p.send(source, v)
    p.commit()
    sees(source, values)
    equal(p.transform(name, source, to, 10, "abort"), 10)
    equal(p.transform(name, source, to, 10, "commit"), 10)
    sees(to, values[:10])
    equal(p.transform(name, source, to, 10, "commit"), 10)
    sees(to, values)
    equal(java("committed", name, source, 0)[0], "20")
    p.close()


@each_client
def an_offset_is_unstable_until_its_transaction_ends(cls, name):
    topic(name)
    p = cls(name)
    p.begin()
    p.offset(name, name, 0, 5)
    equal(committed(name, name), "UNSTABLE_OFFSET_COMMIT")
    p.commit()
    wait_for(lambda: committed(name, name) == 5, "the offset")
    p.begin()
    p.offset(name, name, 0, 9)
    p.abort()
    wait_for(lambda: committed(name, name) == 5, "the old offset")
    p.close()


# -- fencing and time -----------------------------------------------------------------------------------------------------------


@case
def a_zombie_is_fenced_whichever_client_takes_over():
    for old in CLIENTS:
        for new in CLIENTS:
            name = topic(f"zombie-{old.client}-{new.client}")
            zombie = written(old, name, name, "void")
            heir = written(new, name, name, "heir")
            refused("PRODUCER_FENCED", zombie.commit)
            heir.commit()
            sees(name, ["heir"])
            zombie.close()
            heir.close()


@each_client
def an_administrator_fences(cls, name):
    topic(name)
    p = written(cls, name, name, "void")
    java("fence", name)
    refused("PRODUCER_FENCED", p.commit)
    p.close()
    heir = written(cls, name, name, "x")
    heir.commit()
    sees(name, ["x"])
    heir.close()


@each_client
def a_transaction_that_takes_too_long_is_aborted(cls, name):
    topic(name)
    p = written(cls, name, name, "void", timeout_ms=2000)
    other = written(LibrdProducer, name + "-other", name, "x")
    other.commit()
    equal(read(name), [])
    wait_for(lambda: read_librd(name, 1, "read_committed") == ["x"], "the abort")
    try:
        p.commit()
        raise AssertionError("the commit went through")
    except Refused:
        pass
    p.close()
    equal(read(name), ["x"])
    heir = written(cls, name, name, "y")
    heir.commit()
    sees(name, ["x", "y"])
    heir.close()
    other.close()


# -- restarts -----------------------------------------------------------------------------------------------------------------


@each_client
def a_transaction_goes_on_after_the_server_was_killed(cls, name):
    topic(name)
    p = written(cls, name, name, "before")
    p.offset(name, name, 0, 3)
    restart()
    equal(read(name), [])
    equal(committed(name, name), "UNSTABLE_OFFSET_COMMIT")
    p.send(name, "after")
    equal(len(p.flush()), 1)
    p.commit()
    sees(name, ["before", "after"])
    equal(committed(name, name), 3)
    p.close()


@each_client
def what_was_committed_and_aborted_stays_so_after_a_kill(cls, name):
    topic(name)
    p = written(cls, name, name, "c1")
    p.offset(name, name, 0, 4)
    p.commit()
    p.begin()
    p.send(name, "a1")
    p.offset(name, name, 0, 5)
    p.abort()
    p.begin()
    p.send(name, "open")
    p.flush()
    restart()
    equal(read(name), ["c1"])
    equal(committed(name, name), 4)
    heir = cls(name)  # the next incarnation aborts what was open
    heir.begin()
    heir.send(name, "c2")
    heir.commit()
    sees(name, ["c1", "c2"])
    refused("PRODUCER_FENCED", p.commit)
    p.close()
    heir.close()


# -- administration -------------------------------------------------------------------------------------------------------------


@each_client
def an_administrator_sees_transactions(cls, name):
    topic(name, 2)
    p = cls(name)
    has(java("list"), name + "=Empty")
    p.begin()
    p.send(name, "x", 1)
    p.flush()
    state, producer_id, epoch, timeout_ms, parts = java("describe", name)
    equal((state, timeout_ms, parts), ("Ongoing", "60000", name + "-1"))
    has(java("list"), name + "=Ongoing")
    equal(java("producers", name, 1), [f"{producer_id},{epoch},-1,0"])
    p.commit()
    wait_for(lambda: java("describe", name)[0] == "CompleteCommit", "the commit")
    later = 0 if cls is LibrdProducer else 1  # transaction.version 2: an epoch for each transaction
    equal(java("describe", name)[1:3], [producer_id, str(int(epoch) + later)])
    equal(java("producers", name, 1)[0].rsplit(",", 1)[1], "-1")
    p.close()
    refused("TransactionalIdNotFoundException", java, "describe", "nobody")


@case
def kafka_transactions_sh_works():
    name = topic("tool")
    p = written(LibrdProducer, "tool", name, "void")
    has(java.tool("list"), "tool")
    out = java.tool("describe", "--transactional-id", "tool")
    has(out, "Ongoing")
    has(out, "tool-0")
    out = java.tool("describe-producers", "--topic", name, "--partition", 0)
    columns = dict(zip(*(line.split() for line in out.strip().splitlines()[-2:])))
    equal([columns[c] for c in ("ProducerEpoch", "LastSequence", "CurrentTransactionStartOffset")], ["0", "0", "0"])
    java.tool("abort", "--topic", name, "--partition", 0, "--start-offset", 0)
    sees(name, [])
    equal(read(name, level="read_uncommitted"), ["void"])
    has(java.tool("find-hanging", "--broker-id", "1"), "Topic")
    p.close()


# -- cost -----------------------------------------------------------------------------------------------------------------------


def syncs():
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=PATIENCE) as page:
        return int(re.search(r"^penstock_log_syncs_total (\d+)", page.read().decode(), re.M).group(1))


@each_client
def a_small_transaction_costs_a_sync_for_each_answer_it_waits_for(cls, name):
    """Adding a partition (before transaction.version 2), the records, the end with all its markers: one sync each."""
    if os.environ.get("KAFKA"):
        raise Skip("another broker")
    topic(name)
    p = written(cls, name, name, "warm")
    p.commit()
    before, rounds = syncs(), 50
    for i in range(rounds):
        p.begin()
        p.send(name, str(i))
        p.flush()
        p.commit()
    cost = (syncs() - before) / rounds
    most = 3 if cls is LibrdProducer else 2
    print(f"{cls.client}: {cost} syncs for each transaction")
    if cost > most + 0.2:  # what the log does behind, now and then
        raise AssertionError(f"{cost} syncs for each transaction, not {most}")
    p.close()


class Other:
    kafka = os.environ.get("KAFKA")


FLAGS = ("--group-initial-rebalance-delay-ms", "0")

if __name__ == "__main__":
    if os.environ.get("KAFKA"):
        server = Other()
        java = Java(server.kafka)
        try:
            main()
        finally:
            java.stop()
    else:
        with penstock_server.running(*FLAGS) as server:
            java = Java(server.kafka)
            try:
                main()
            finally:
                java.stop()
