#!/usr/bin/env python3
# limit: 180
# sanitized: yes
"""confluent-kafka (librdkafka 2.12): produce, consume, groups, offsets over a restart, administration."""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import penstock_server
from cases import case, equal, has, main

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

PATIENCE = 60
server = None


def producer(**settings):
    return Producer({"bootstrap.servers": server.kafka, **settings})


def produce(topic, values, partition=None, **settings):
    p = producer(**settings)
    failed = []
    where = {} if partition is None else {"partition": partition}
    for i, value in enumerate(values):
        while True:
            try:
                p.produce(topic, value, key=str(i), on_delivery=lambda e, m: e and failed.append(e), **where)
                break
            except BufferError:
                p.poll(0.1)
    equal(p.flush(PATIENCE), 0, "messages not delivered")
    equal(failed, [])


def consumer(group, **settings):
    return Consumer({"bootstrap.servers": server.kafka, "group.id": group, "auto.offset.reset": "earliest", **settings})


def take(c, count):
    """`count` messages, in the order they came."""
    out, end = [], time.monotonic() + PATIENCE
    while len(out) < count and time.monotonic() < end:
        m = c.poll(1)
        if m is None:
            continue
        if m.error():
            if m.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise KafkaException(m.error())
        out.append(m)
    equal(len(out), count, "messages consumed")
    return out


_admin = []


def admin():
    """One for all cases: a client that goes out of scope takes its futures with it."""
    if not _admin:
        _admin.append(AdminClient({"bootstrap.servers": server.kafka}))
    return _admin[0]


def done(futures):
    for name, future in futures.items():
        future.result(PATIENCE)


@case
def every_compression_comes_back_byte_for_byte():
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = "codec-" + codec
        values = [f"{codec} {i} ".encode() * 20 for i in range(2000)]
        produce(topic, values, **{"compression.type": codec, "linger.ms": 20})
        c = consumer("codec-" + codec)
        c.subscribe([topic])
        got = take(c, len(values))
        c.close()
        equal([m.value() for m in got], values, codec)
        equal([m.offset() for m in got], list(range(len(values))), codec)


@case
def headers_nulls_and_timestamps():
    p = producer()
    p.produce("odd", value=None, key=b"", headers=[("a", b"1"), ("a", None), ("", b"")], timestamp=1700000000123)
    equal(p.flush(PATIENCE), 0)
    c = consumer("odd")
    c.assign([TopicPartition("odd", 0, 0)])
    m = take(c, 1)[0]
    c.close()
    equal((m.value(), m.key(), m.timestamp()[1]), (None, b"", 1700000000123))
    equal(m.headers(), [("a", b"1"), ("a", None), ("", b"")])


@case
def an_idempotent_producer_writes_each_message_once_and_in_order():
    produce("idem", [str(i) for i in range(20000)],
            **{"enable.idempotence": True, "linger.ms": 1, "batch.num.messages": 50})
    c = consumer("idem")
    c.assign([TopicPartition("idem", 0, 0)])
    equal([int(m.value()) for m in take(c, 20000)], list(range(20000)))
    c.close()


@case
def two_members_share_a_topic_and_one_takes_over():
    done(admin().create_topics([NewTopic("shared", 4, 1)]))
    settings = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
    assigned = {}

    def subscribe(name):
        c = consumer("sharing", **settings)
        c.subscribe(["shared"], on_assign=lambda c, ps: assigned.__setitem__(name, sorted(p.partition for p in ps)))
        return c

    first = subscribe("first")
    wait_for(lambda: first.poll(0.1) or assigned.get("first") == [0, 1, 2, 3])
    second = subscribe("second")
    wait_for(lambda: first.poll(0.1) or second.poll(0.1) or
             sorted(assigned["first"] + assigned.get("second", [])) == [0, 1, 2, 3] and len(assigned["first"]) == 2)
    for partition in range(4):
        produce("shared", [f"{partition}-{i}" for i in range(50)], partition)
    got = {}
    end = time.monotonic() + PATIENCE
    while len(got) < 200 and time.monotonic() < end:
        for c in (first, second):
            m = c.poll(0.05)
            if m and not m.error():
                got[m.value()] = got.get(m.value(), 0) + 1
    equal(len(got), 200, "messages")
    second.close()
    wait_for(lambda: first.poll(0.1) or assigned["first"] == [0, 1, 2, 3])
    first.close()


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while True:
        result = condition()
        if result is True:
            return
        if time.monotonic() > end:
            raise AssertionError("waited in vain")


@case
def committed_offsets_outlive_the_server():
    produce("resume", [str(i) for i in range(100)])
    c = consumer("resuming", **{"enable.auto.commit": False})
    c.subscribe(["resume"])
    last = take(c, 40)[-1]
    c.commit(offsets=[TopicPartition("resume", 0, last.offset() + 1, "a note")], asynchronous=False)
    c.close()
    server.kill()
    server.start()
    c = consumer("resuming", **{"enable.auto.commit": False})
    equal(c.committed([TopicPartition("resume", 0)], PATIENCE)[0].offset, 40)
    c.subscribe(["resume"])
    equal([int(m.value()) for m in take(c, 60)], list(range(40, 100)))
    c.close()


@case
def a_consumer_waits_for_what_comes():
    c = consumer("waiting", **{"fetch.wait.max.ms": 30000, "fetch.min.bytes": 1})
    produce("slow", ["first"])
    c.assign([TopicPartition("slow", 0, 0)])
    take(c, 1)
    threading.Timer(1.0, lambda: produce("slow", ["second"])).start()
    started = time.monotonic()
    equal(take(c, 1)[0].value(), b"second")
    equal(time.monotonic() - started < 20, True, "the fetch was woken, not timed out")
    c.close()


@case
def topics_are_made_described_grown_and_deleted():
    a = admin()
    done(a.create_topics([NewTopic("made", 2, 1, config={"retention.ms": "3600000"})]))
    equal(len(a.list_topics("made", PATIENCE).topics["made"].partitions), 2)
    configs = next(iter(a.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "made")]).values())).result(PATIENCE)
    equal(configs["retention.ms"].value, "3600000")
    equal(configs["cleanup.policy"].value, "delete")
    equal(configs["retention.ms"].is_default, False)
    done(a.create_partitions([NewPartitions("made", 5)]))
    equal(len(a.list_topics("made", PATIENCE).topics["made"].partitions), 5)
    refused(lambda: done(a.create_topics([NewTopic("made", 1, 1)])), KafkaError.TOPIC_ALREADY_EXISTS)
    refused(lambda: done(a.create_topics([NewTopic("three", 1, 3)])), KafkaError.INVALID_REPLICATION_FACTOR)
    refused(lambda: done(a.create_topics([NewTopic("no spaces", 1, 1)])), KafkaError.TOPIC_EXCEPTION)
    refused(lambda: done(a.create_topics([NewTopic("x", 1, 1, config={"no.such": "1"})])), KafkaError.INVALID_CONFIG)
    done(a.delete_topics(["made"]))
    equal("made" in a.list_topics(timeout=PATIENCE).topics, False)
    refused(lambda: done(a.delete_topics(["made"])), KafkaError.UNKNOWN_TOPIC_OR_PART)


def refused(action, code):
    try:
        action()
    except KafkaException as e:
        equal(e.args[0].code(), code)
        return
    raise AssertionError(f"was not refused with {code}")


@case
def a_topic_deleted_and_made_again_is_empty():
    produce("again", ["old"] * 10)
    a = admin()
    done(a.delete_topics(["again"]))
    done(a.create_topics([NewTopic("again", 1, 1)]))
    produce("again", ["new"])
    c = consumer("again")
    c.assign([TopicPartition("again", 0, 0)])
    m = take(c, 1)[0]
    c.close()
    equal((m.value(), m.offset()), (b"new", 0))


@case
def groups_are_listed_described_and_deleted():
    produce("grouped", ["x"] * 5)
    a = admin()
    c = consumer("described", **{"client.id": "me", "session.timeout.ms": 6000})
    c.subscribe(["grouped"])
    take(c, 5)
    c.commit(asynchronous=False)
    listed = {g.group_id: g for g in a.list_consumer_groups().result(PATIENCE).valid}
    equal(listed["described"].state.name, "STABLE")
    group = a.describe_consumer_groups(["described"])["described"].result(PATIENCE)
    equal([m.client_id for m in group.members], ["me"])
    equal([(t.topic, t.partition) for t in group.members[0].assignment.topic_partitions], [("grouped", 0)])
    offsets = a.list_consumer_group_offsets([ConsumerGroupTopicPartitions("described")])["described"].result(PATIENCE)
    equal([(t.topic, t.partition, t.offset) for t in offsets.topic_partitions], [("grouped", 0, 5)])
    refused(lambda: done(a.delete_consumer_groups(["described"])), KafkaError.NON_EMPTY_GROUP)
    c.close()
    done(a.delete_consumer_groups(["described"]))
    equal("described" in {g.group_id for g in a.list_consumer_groups().result(PATIENCE).valid}, False)


@case
def offsets_by_time_and_ends():
    p = producer()
    for i in range(10):
        p.produce("timed", str(i), timestamp=1000 * (i + 1))
    equal(p.flush(PATIENCE), 0)
    part = TopicPartition("timed", 0)
    a = admin()

    def offset(spec):
        return a.list_offsets({part: spec})[part].result(PATIENCE).offset

    equal(offset(OffsetSpec.earliest()), 0)
    equal(offset(OffsetSpec.latest()), 10)
    equal(offset(OffsetSpec.max_timestamp()), 9)
    equal(offset(OffsetSpec.for_timestamp(4500)), 4)
    equal(offset(OffsetSpec.for_timestamp(99999)), -1)


@case
def the_cluster_says_who_it_is():
    a = admin()
    cluster = a.describe_cluster().result(PATIENCE)
    equal(len(cluster.nodes), 1)
    equal(f"{cluster.nodes[0].host}:{cluster.nodes[0].port}", server.kafka)
    equal(len(cluster.cluster_id), 22)


@case
def many_partitions_and_a_large_message():
    done(admin().create_topics([NewTopic("wide", 50, 1)]))
    produce("wide", [str(i) for i in range(5000)], **{"linger.ms": 5})
    c = consumer("wide")
    c.subscribe(["wide"])
    equal(sorted(int(m.value()) for m in take(c, 5000)), list(range(5000)))
    c.close()
    big = os.urandom(900_000)
    produce("big", [big])
    c = consumer("big")
    c.assign([TopicPartition("big", 0, 0)])
    equal(take(c, 1)[0].value() == big, True, "the large message")
    c.close()
    p = producer(**{"message.max.bytes": 5000000})
    failed = []
    p.produce("big", os.urandom(2_000_000), on_delivery=lambda e, m: failed.append(e))
    p.flush(PATIENCE)
    equal(failed[0].code(), KafkaError.MSG_SIZE_TOO_LARGE)


if __name__ == "__main__":
    with penstock_server.running("--group-initial-rebalance-delay-ms", "0") as server:
        main()
