#!/usr/bin/env python3
# manual: yes
"""dumplog.py: `make test-dumplog`. Lets unmodified clients fill a penstock's data directory, through several segments, every
compression, idempotent and plain producers, committed offsets of a group, a kill and a clean stop, and has real Kafka's
kafka-dump-log read it after each (tests/oracle/dumplog.sh). Transactions are written through the log (txnlog.c), which says
what the tool must find: markers, aborted transactions, producers.
"""

import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True

import penstock_server  # noqa: E402

COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]
SEGMENT_BYTES = 1 << 20
RECORDS = 3000
BODY = "The same words again and again make a record that compresses. " * 6


def with_librdkafka(bootstrap, topic, round_number):
    from confluent_kafka import Producer

    for compression in COMPRESSIONS:
        for idempotent in (False, True):
            producer = Producer({"bootstrap.servers": bootstrap, "compression.type": compression, "linger.ms": 5,
                                 "enable.idempotence": idempotent, "acks": "all", "log_level": 3})
            for i in range(RECORDS):
                key = None if i % 7 == 0 else f"{compression}-{i % 50}"
                headers = [("round", str(round_number)), ("empty", b""), ("null", None)] if i % 11 == 0 else None
                value = None if i % 13 == 0 and key else f"{round_number} {compression} {i} {BODY}"
                while True:
                    try:
                        producer.produce(topic, key=key, value=value, headers=headers)
                        break
                    except BufferError:
                        producer.poll(0.1)
            if producer.flush(60):
                raise RuntimeError("records were not acknowledged")


def with_kafka_python(bootstrap, topic):
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", retries=3)
    for i in range(RECORDS):
        producer.send(topic, key=b"py", value=f"kafka-python {i}".encode(), timestamp_ms=1700000000000 + i * 1000)
    producer.flush(60)
    producer.close()


def commit_offsets(bootstrap, topic):
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "dumplog", "auto.offset.reset": "earliest", "log_level": 3})
    consumer.commit(offsets=[TopicPartition(topic, 0, 17)], asynchronous=False)
    consumer.close()


def create(bootstrap, topic):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(20)


def dump(data):
    return subprocess.run([os.path.join(HERE, "dumplog.sh"), data], check=False).returncode == 0


def found(folder):
    """What the tool printed, in the words of txnlog.c."""
    def lines(kind):
        with open(os.path.join(folder, kind)) as f:
            return f.read()
    markers = [f"marker {a} {b}" for a, b in re.findall(r"endTxnMarker: (\w+) coordinatorEpoch: (-?\d+)", lines("logs"))]
    aborted = ["aborted " + " ".join(x) for x in re.findall(
        r"version: 0 producerId: (\d+) firstOffset: (\d+) lastOffset: (\d+) lastStableOffset: (\d+)", lines("txnindex"))]
    newest = lines("snapshot").split("Dumping ")[-1]
    producers = []
    for line in newest.splitlines()[1:]:
        one = dict(re.findall(r"(\w+): (OptionalLong\S+|-?\d+)", line))
        first = re.search(r"\d+", one["currentTxnFirstOffset"])
        producers.append(f"producer {one['producerId']} {one['producerEpoch']} {one.get('lastSequence', -1)} "
                         f"{one['coordinatorEpoch']} {first.group() if first else -1}")
    return markers, aborted, sorted(producers)


def with_transactions():
    with tempfile.TemporaryDirectory() as scratch:
        data, kept = os.path.join(scratch, "data"), os.path.join(scratch, "kept")
        os.mkdir(kept)
        told = subprocess.run([os.path.join(ROOT, "build/rel/tests/oracle/txnlog"), data], check=True, capture_output=True,
                              text=True).stdout.splitlines()
        os.environ["DUMPLOG_KEEP"] = kept
        good = dump(data)
        del os.environ["DUMPLOG_KEEP"]
        want = [[line for line in told if line.startswith(kind)] for kind in ("marker", "aborted", "producer")]
        for kind, a, b in zip(("markers", "aborted transactions", "producers"), want, found(kept)):
            print(f"{kind}: {len(a)} written, {len(b)} read back", flush=True)
            good = good and a == b and len(a) > 3
        return good


def main():
    passed = failed = 0
    good = with_transactions()
    print(f"{'ok' if good else 'FAIL'} transactions", flush=True)
    passed, failed = passed + good, failed + (not good)
    with penstock_server.running("--segment-bytes", str(SEGMENT_BYTES)) as server:
        create(server.kafka, "dumped")
        for number, end in enumerate(["killed", "stopped"]):
            with_librdkafka(server.kafka, "dumped", number)
            with_kafka_python(server.kafka, "dumped")
            commit_offsets(server.kafka, "dumped")
            if end == "killed":
                # What a crash leaves is mended by the recovery of the next start: that is what must be readable.
                server.kill()
                server.start("--segment-bytes", str(SEGMENT_BYTES))
            server.stop()
            good = dump(server.data)
            print(f"{'ok' if good else 'FAIL'} after it was {end}", flush=True)
            passed, failed = passed + good, failed + (not good)
            server.start("--segment-bytes", str(SEGMENT_BYTES))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
