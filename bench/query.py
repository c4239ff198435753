"""query.py q1|q2|q3 SESSION BOOTSTRAP TOPIC OUT RUNS PID|JARS: one query to the end of a topic, RUNS times in one session; a line of JSON per run.

SESSION is sc://HOST:PORT (penstock, whose process is PID) or local[N] (Spark in this process tree; JARS: its Kafka source). The
queries are the same text for both. A line says: seconds of wall time; CPU seconds of the server or JVM in this run; its and this
client's since they began; rows; and a hash of the sorted answer, in which averages are rounded to 9 digits, because sums of
doubles depend on the order. Q3's answer is in the topic OUT.
"""
import hashlib
import json
import os
import sys
import tempfile
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import window

FIELDS = "user STRING, content STRING, rating INT, ts TIMESTAMP, device STRING, session STRING"


def cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def session(where, last):
    builder = SparkSession.builder
    if where.startswith("sc://"):
        return builder.remote(where).getOrCreate(), int(last)
    for key, value in {"spark.jars": last, "spark.driver.memory": "4g", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2",
                       "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1", "spark.log.level": "ERROR"}.items():
        builder = builder.config(key, value)
    spark = builder.master(where).getOrCreate()
    return spark, spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid()


def query(spark, which, bootstrap, topic, out):
    raw = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", topic)
           .option("startingOffsets", "earliest").load().selectExpr("CAST(value AS STRING) AS value"))
    if which == "q3":
        writer = (raw.filter("contains(value, '\"rating\":5')").writeStream.format("kafka").option("topic", out)
                  .option("kafka.bootstrap.servers", bootstrap))
        return writer
    events = raw.selectExpr(f"from_json(value, '{FIELDS}') AS v").select("v.*")
    if which == "q1":
        events.createOrReplaceTempView("events")
        answer = spark.sql("SELECT content, avg(rating) AS average, count(*) AS n FROM events GROUP BY content")
    else:
        answer = (events.withWatermark("ts", "10 seconds").groupBy(window("ts", "10 seconds"), "content").count()
                  .selectExpr("unix_micros(window.start) AS start", "content", "count"))
    return answer.writeStream.outputMode("update").format("memory")


def main():
    which, where, bootstrap, topic, out, runs, last = sys.argv[1:]
    spark, server = session(where, last)
    for run in range(int(runs)):
        before, started = cpu(server), time.monotonic()
        with tempfile.TemporaryDirectory() as checkpoint:
            writer = query(spark, which, bootstrap, topic, out)
            name = f"answer{run}"
            if which != "q3":
                writer = writer.queryName(name)
            running = writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start()
            running.awaitTermination()
            seconds = time.monotonic() - started
            if running.exception() is not None:
                raise SystemExit(str(running.exception()))
        line = {"seconds": seconds, "server_cpu": cpu(server) - before, "tree_cpu": cpu(server) + cpu("self")}
        if which != "q3":
            rows = sorted(tuple("%.9g" % v if isinstance(v, float) else str(v) for v in r) for r in spark.table(name).collect())
            line.update(rows=len(rows), answer=hashlib.sha256(repr(rows).encode()).hexdigest()[:16])
        print(json.dumps(line), flush=True)
    spark.stop()


main()
