#!/usr/bin/env python3
# limit: 240
# sanitized: yes
"""Another penstock as the foreign cluster: sources and sinks through librdkafka, to which it must be a Kafka."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import foreign_cases as cases
import penstock_server
from cases import case, equal, has, main

far = near = spark = None


@case
def batch_reads_all():
    cases.batch_reads_all(spark, far)


@case
def stream_follows():
    cases.stream_follows(spark, far)


@case
def limits_cut_batches():
    cases.limits_cut_batches(spark, far)


@case
def new_partitions_and_topics_are_found():
    cases.new_partitions_and_topics_are_found(spark, far)


@case
def markers_and_aborted_records_are_not_seen():
    cases.markers_and_aborted_records_are_not_seen(spark, far)


@case
def sink_writes_what_java_would():
    cases.sink_writes_what_java_would(spark, far)


@case
def a_killed_cluster_is_waited_for():
    cases.create(far, "kill", 2)
    cases.produce(far, "kill", range(1000))
    df = cases.source(spark, far, "kill").selectExpr("cast(value as string) v")
    with cases.running(df.writeStream.format("memory").queryName("kill")) as q:
        q.processAllAvailable()
        for i in range(1, 4):
            far.kill()
            far.start()
            cases.produce(far, "kill", range(1000 * i, 1000 * (i + 1)))
            cases.wait(lambda: spark.table("kill").count() >= 1000 * (i + 1), "records after the restart")
        equal(sorted(int(r.v) for r in spark.table("kill").collect()), list(range(4000)))


@case
def a_topic_made_again_is_loss():
    cases.a_topic_made_again_is_loss(spark, far)


@case
def nobody_there_fails_with_the_address():
    port = penstock_server.free_ports(1)[0]
    gone = type("Gone", (), {"kafka": f"127.0.0.1:{port}"})
    try:
        cases.source(spark, gone, "t", False, kafka__default__api__timeout__ms="500").count()
        raise AssertionError("it counted nothing")
    except Exception as e:
        has(str(e), f"The Kafka cluster 127.0.0.1:{port}")
        has(str(e), "refused")


@case
def options_are_refused_by_name():
    for option, value, text in (
        ("kafka.session.timeout.ms", "soon", "Invalid value soon for configuration session.timeout.ms: Not a number of type INT"),
        ("kafka.isolation.level", "maybe", "String must be one of: read_committed, read_uncommitted"),
        ("kafka.security.protocol", "SASL_SSL", "Kerberos"),
        ("kafka.ssl.engine.factory.class", "a.B", "the Java class a.B"),
        ("kafka.group.id", "mine", None),
        ("kafka.no.such.property", "1", None),
    ):
        df = (spark.read.format("kafka").option("kafka.bootstrap.servers", far.kafka).option("subscribe", "batch")
              .option(option, value).load())
        try:
            df.count()
            assert text is None, f"{option}={value} was taken"
        except AssertionError:
            raise
        except Exception as e:
            assert text is not None, f"{option}={value}: {e}"
            has(str(e), text)
    with open(near.log, encoding="utf-8") as log:
        has(log.read(), "the option kafka.no.such.property was supplied but is not used")


@case
def sink_is_exactly_once_over_kills():
    with tempfile.TemporaryDirectory() as checkpoint:
        cases.sink_is_exactly_once_over_kills(near, far, lambda: penstock_server.connect("sc://" + near.connect), checkpoint)


with penstock_server.running() as far, penstock_server.running() as near:
    with penstock_server.connect("sc://" + near.connect) as spark:
        main()
