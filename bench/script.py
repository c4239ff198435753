"""script.py q1|q2|q3 REMOTE BOOTSTRAP ANSWER: a query to the end of topic q1, with availableNow; bench/run.py says which.

Writes the query's seconds to ANSWER.wall and, but for q3, its groups to ANSWER, a tab-separated line each, as bench/yardstick.c
does. Q3 writes to the topic ANSWER.
"""
import os
import sys
import tempfile
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import window

FIELDS = "user STRING, content STRING, rating INT, ts %s, device STRING, session STRING"


def q1(spark, raw):
    events = raw.selectExpr(f"from_json(CAST(value AS STRING), '{FIELDS % 'STRING'}') AS v").select("v.*")
    events.createOrReplaceTempView("events")
    return spark.sql("SELECT content, avg(rating) AS average, count(*) AS n FROM events GROUP BY content"), "complete"


def q2(_, raw):
    events = raw.selectExpr(f"from_json(CAST(value AS STRING), '{FIELDS % 'TIMESTAMP'}') AS v").select("v.*")
    counts = events.withWatermark("ts", "10 seconds").groupBy(window("ts", "10 seconds"), "content").count()
    return counts.selectExpr("content", "unix_micros(window.start) AS start", "count"), "update"


def q3(_, raw):
    return raw.selectExpr("CAST(value AS STRING) AS value").filter("contains(value, '\"rating\":5')"), "append"


def write(answer, table):
    with open(answer, "w", newline="\n") as f:
        for row in zip(*(c.to_pylist() for c in table.columns)):
            f.write("\t".join("%.17g" % v if isinstance(v, float) else "" if v is None else str(v) for v in row) + "\n")


def main():
    which, remote, bootstrap, answer = sys.argv[1:]
    spark = SparkSession.builder.remote(remote).getOrCreate()
    raw = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", "q1")
           .option("startingOffsets", "earliest").load())
    frame, mode = {"q1": q1, "q2": q2, "q3": q3}[which](spark, raw)
    writer = frame.writeStream.outputMode(mode).trigger(availableNow=True)
    if which == "q3":
        writer = writer.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("topic", os.path.basename(answer))
    else:
        writer = writer.format("memory").queryName("answer")
    with tempfile.TemporaryDirectory() as checkpoint:
        started = time.monotonic()
        query = writer.option("checkpointLocation", checkpoint).start()
        query.awaitTermination()
        seconds = time.monotonic() - started
    if query.exception() is not None:
        raise SystemExit(str(query.exception()))
    with open(answer + ".wall", "w") as f:
        f.write(str(seconds))
    if which != "q3":
        write(answer, spark.table("answer").toArrow())
    spark.stop()


main()
