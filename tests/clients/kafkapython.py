#!/usr/bin/env python3
# limit: 120
"""kafka-python 2.3: a client that shares no code with the others."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import penstock_server
from cases import case, equal, main

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import NewPartitions, NewTopic
from kafka.errors import TopicAlreadyExistsError

server = None


def consume(topic, count, **settings):
    c = KafkaConsumer(topic, bootstrap_servers=server.kafka, auto_offset_reset="earliest", consumer_timeout_ms=20000,
                      **settings)
    out = []
    for m in c:
        out.append(m)
        if len(out) == count:
            break
    if settings.get("group_id"):
        c.commit()
    c.close()
    equal(len(out), count, "messages consumed")
    return out


@case
def produce_and_consume_with_each_compression_it_has():
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        try:
            p = KafkaProducer(bootstrap_servers=server.kafka, compression_type=codec, linger_ms=5, acks="all")
        except AssertionError:
            continue  # the library for this codec is not installed
        topic = f"kp-{codec}"
        values = [f"{codec} {i}".encode() for i in range(500)]
        futures = [p.send(topic, v, key=b"k", headers=[("h", b"v")]) for v in values]
        equal([f.get(30).offset for f in futures], list(range(500)), str(codec))
        p.close()
        got = consume(topic, 500)
        equal([m.value for m in got], values, str(codec))
        equal(got[0].headers, [("h", b"v")])


@case
def a_group_resumes_where_it_committed():
    p = KafkaProducer(bootstrap_servers=server.kafka)
    for i in range(100):
        p.send("kp-group", str(i).encode())
    p.close()
    first = consume("kp-group", 30, group_id="kp", enable_auto_commit=False, max_poll_records=30)
    rest = consume("kp-group", 70, group_id="kp", enable_auto_commit=False)
    equal([int(m.value) for m in first + rest], list(range(100)))


@case
def administration():
    a = KafkaAdminClient(bootstrap_servers=server.kafka)
    a.create_topics([NewTopic("kp-admin", 3, 1)])
    try:
        a.create_topics([NewTopic("kp-admin", 3, 1)])
        raise AssertionError("made twice")
    except TopicAlreadyExistsError:
        pass
    a.create_partitions({"kp-admin": NewPartitions(4)})
    topic = a.describe_topics(["kp-admin"])[0]
    equal(len(topic["partitions"]), 4)
    equal("kp" in [g[0] for g in a.list_consumer_groups()], True)
    offsets = a.list_consumer_group_offsets("kp")
    equal(offsets[TopicPartition("kp-group", 0)].offset, 100)
    a.delete_topics(["kp-admin"])
    equal("kp-admin" in a.list_topics(), False)
    a.close()


@case
def an_idempotent_producer():
    p = KafkaProducer(bootstrap_servers=server.kafka, enable_idempotence=True, linger_ms=1)
    futures = [p.send("kp-idem", str(i).encode()) for i in range(2000)]
    equal([f.get(30).offset for f in futures], list(range(2000)))
    p.close()


@case
def transactions():
    p = KafkaProducer(bootstrap_servers=server.kafka, transactional_id="kp-txn", acks="all")
    p.init_transactions()
    for end, values in (("commit", "ab"), ("abort", "cd"), ("commit", "e")):
        p.begin_transaction()
        futures = [p.send("kp-txn", v.encode()) for v in values]
        for f in futures:
            f.get(30)
        p.send_offsets_to_transaction({TopicPartition("kp-txn", 0): OffsetAndMetadata(ord(values[0]), "noted", -1)}, "kp-txn-group")
        p.commit_transaction() if end == "commit" else p.abort_transaction()
    p.close()
    got = consume("kp-txn", 3, isolation_level="read_committed")
    equal([m.value for m in got], [b"a", b"b", b"e"])
    equal([m.value for m in consume("kp-txn", 5, isolation_level="read_uncommitted")], [b"a", b"b", b"c", b"d", b"e"])
    c = KafkaConsumer(bootstrap_servers=server.kafka, group_id="kp-txn-group", isolation_level="read_committed")
    equal(c.committed(TopicPartition("kp-txn", 0)), ord("e"))
    c.close()


if __name__ == "__main__":
    with penstock_server.running("--group-initial-rebalance-delay-ms", "0") as server:
        main()
