"""foreign_cases: what a query on penstock must do with topics of another cluster, whichever program that is.

    far     the cluster: far.kafka, its address
    near    the penstock whose queries read and write there, with a session `spark`
"""
import contextlib
import json
import time

from cases import equal
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pyspark.sql import functions as F

PATIENCE = 60


def admin(far):
    return AdminClient({"bootstrap.servers": far.kafka})


def create(far, topic, partitions=1, **config):
    client = admin(far)  # lives until its result is there
    client.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(PATIENCE)


def delete(far, topic):
    client = admin(far)
    client.delete_topics([topic])[topic].result(PATIENCE)
    wait(lambda: topic not in client.list_topics(timeout=PATIENCE).topics, "the deletion")


def produce(far, topic, values, key=None, partition=None, **settings):
    p = Producer({"bootstrap.servers": far.kafka, "linger.ms": 0, **settings})
    where = {} if partition is None else {"partition": partition}
    for v in values:
        p.produce(topic, str(v), key=key(v) if key else None, **where)
        p.poll(0)
    equal(p.flush(PATIENCE), 0, "messages not delivered")


def consume(far, topic, isolation="read_committed"):
    """All values of the topic up to its end, in order of partition and offset."""
    c = Consumer({"bootstrap.servers": far.kafka, "group.id": "all", "isolation.level": isolation,
                  "enable.partition.eof": True, "fetch.wait.max.ms": 10, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    out, end = [], time.monotonic() + PATIENCE
    for p in sorted(c.list_topics(topic, PATIENCE).topics[topic].partitions):
        c.assign([TopicPartition(topic, p, 0)])
        while True:
            m = c.poll(1)
            assert time.monotonic() < end, f"no end of {topic}-{p}"
            if m is not None and m.error():
                break
            if m is not None:
                out.append(m)
    c.close()
    return out


def values(messages):
    return [m.value().decode() for m in messages]


def source(spark, far, topic, streaming=True, **options):
    reader = (spark.readStream if streaming else spark.read).format("kafka").option("kafka.bootstrap.servers", far.kafka)
    if streaming:
        reader = reader.option("startingOffsets", "earliest")
    for k, v in options.items():
        reader = reader.option(k.replace("__", "."), v)
    return reader.option("subscribe", topic).load()


def sink(df, far, topic, checkpoint, **options):
    writer = df.writeStream.format("kafka").option("kafka.bootstrap.servers", far.kafka).option("topic", topic)
    for k, v in options.items():
        writer = writer.option(k.replace("__", "."), v)
    return writer.option("checkpointLocation", checkpoint)


@contextlib.contextmanager
def running(writer):
    q = writer.start()
    try:
        yield q
    finally:
        q.stop()


def wait(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


# -- cases -------------------------------------------------------------------------------------------------------------


def batch_reads_all(spark, far):
    create(far, "batch", 3)
    produce(far, "batch", range(1000), key=lambda v: str(v % 10))
    df = source(spark, far, "batch", False, includeHeaders="true")
    equal(df.count(), 1000)
    row = df.select(F.sum(F.col("value").cast("string").cast("long")), F.countDistinct("partition")).collect()[0]
    equal(tuple(row), (499500, 3))
    equal(df.columns, ["key", "value", "topic", "partition", "offset", "timestamp", "timestampType", "headers"])
    part = source(spark, far, "batch", False, endingOffsets='{"batch":{"0":3,"1":2,"2":0}}')
    equal(part.count(), 5)


def stream_follows(spark, far):
    create(far, "stream", 2)
    produce(far, "stream", range(100))
    df = source(spark, far, "stream").selectExpr("cast(value as string) v")
    with running(df.writeStream.format("memory").queryName("follow")) as q:
        q.processAllAvailable()
        equal(spark.table("follow").count(), 100)
        for i in range(5):
            produce(far, "stream", [f"x{i}"])
            q.processAllAvailable()
            equal(spark.table("follow").count(), 101 + i)
        equal(q.lastProgress["sources"][0]["description"], "KafkaV2[Subscribe[stream]]")
        spans = [json.loads(p["sources"][0]["endOffset"])["stream"] for p in q.recentProgress if p["numInputRows"]]
        equal(sum(spans[-1].values()), 105)


def limits_cut_batches(spark, far):
    create(far, "limits", 2)
    produce(far, "limits", range(50), partition=0)
    produce(far, "limits", range(50), partition=1)
    df = source(spark, far, "limits", maxOffsetsPerTrigger="10")
    with running(df.writeStream.format("memory").queryName("limited").trigger(availableNow=True)) as q:
        q.awaitTermination(PATIENCE)
        equal([p["numInputRows"] for p in q.recentProgress if p["numInputRows"]], [10] * 10)


def new_partitions_and_topics_are_found(spark, far):
    create(far, "grow-1")
    produce(far, "grow-1", [1])
    df = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", far.kafka)
          .option("subscribePattern", "grow-.*").option("startingOffsets", "earliest").load())
    with running(df.writeStream.format("memory").queryName("grow")) as q:
        q.processAllAvailable()
        create(far, "grow-2", 2)
        produce(far, "grow-2", [2, 3])
        wait(lambda: spark.table("grow").count() == 3, "records of the new topic")


def markers_and_aborted_records_are_not_seen(spark, far):
    create(far, "txn")
    p = Producer({"bootstrap.servers": far.kafka, "transactional.id": "writer"})
    p.init_transactions(PATIENCE)
    for i in range(9):
        p.begin_transaction()
        p.produce("txn", f"{i}a")
        p.produce("txn", f"{i}b")
        p.flush(PATIENCE)
        (p.abort_transaction if i % 3 == 1 else p.commit_transaction)(PATIENCE)
    want = sorted(f"{i}{c}" for i in range(9) if i % 3 != 1 for c in "ab")
    committed = source(spark, far, "txn", kafka__isolation__level="read_committed").selectExpr("cast(value as string) v")
    with running(committed.writeStream.format("memory").queryName("committed")) as q:
        q.processAllAvailable()
        equal(sorted(r.v for r in spark.table("committed").collect()), want)
        p.begin_transaction()
        p.produce("txn", "open")
        p.flush(PATIENCE)
        q.processAllAvailable()
        equal(spark.table("committed").count(), len(want))
        p.commit_transaction(PATIENCE)
        wait(lambda: spark.table("committed").count() == len(want) + 1, "the record once it is committed")
    equal(source(spark, far, "txn", False).count(), 19)
    equal(source(spark, far, "txn", False, kafka__isolation__level="read_committed").count(), len(want) + 1)


def sink_writes_what_java_would(spark, far):
    create(far, "sink-in", 1)
    create(far, "sink-out", 7)
    produce(far, "sink-in", range(500), key=lambda v: f"k{v}")
    produce(far, "sink-twin", ["x"])  # is made by its first record
    df = source(spark, far, "sink-in").selectExpr("key", "value", "array(struct('h' as key, value as value)) headers")
    with running(sink(df, far, "sink-out", f"/tmp/penstock-foreign-{time.time_ns()}").trigger(availableNow=True)) as q:
        q.awaitTermination(PATIENCE)
        assert q.exception() is None, q.exception()
    out = consume(far, "sink-out")
    equal(sorted(map(int, values(out))), list(range(500)))
    # librdkafka's murmur2_random is Java's default partitioner for keys
    create(far, "sink-java", 7)
    produce(far, "sink-java", range(500), key=lambda v: f"k{v}", partitioner="murmur2_random")
    place = {m.key(): m.partition() for m in consume(far, "sink-java")}
    equal({m.key(): m.partition() for m in out}, place)
    equal(out[0].headers(), [("h", out[0].value())])


def sink_is_exactly_once_over_kills(near, far, connect, checkpoint):
    """Killed in the middle, again and again; every input is in the output once."""
    create(far, "once-in", 2)
    create(far, "once-out", 2)
    for round_ in range(4):
        produce(far, "once-in", range(round_ * 2000, (round_ + 1) * 2000))
        with connect() as spark:
            df = source(spark, far, "once-in", maxOffsetsPerTrigger="50").selectExpr("value")
            q = sink(df, far, "once-out", checkpoint).start()
            if round_ < 3:
                wait(lambda: len(consume(far, "once-out")) > 2000 * round_ + 200, "output of this round")
                near.kill()
                near.start()
            else:
                q.processAllAvailable()
                q.stop()
    equal(sorted(map(int, values(consume(far, "once-out")))), list(range(8000)))


def a_topic_made_again_is_loss(spark, far):
    create(far, "again")
    produce(far, "again", range(10))
    df = source(spark, far, "again")
    with running(df.writeStream.format("memory").queryName("again")) as q:
        q.processAllAvailable()
        delete(far, "again")
        create(far, "again")
        produce(far, "again", range(3))
        wait(lambda: not q.isActive, "the query to notice")
        text = str(q.exception())
        assert "KAFKA_DATA_LOSS" in text or "UnknownTopicOrPartition" in text, text
