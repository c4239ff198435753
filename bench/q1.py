"""q1.py REMOTE BOOTSTRAP ANSWER: Q1 to the end of the topic; writes content<TAB>avg<TAB>count per group, and the query's seconds."""
import sys
import tempfile
import time

from pyspark.sql import SparkSession

remote, bootstrap, answer = sys.argv[1:]
spark = SparkSession.builder.remote(remote).getOrCreate()
df = (
    spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", "q1")
    .option("startingOffsets", "earliest").load()
    .selectExpr("from_json(CAST(value AS STRING), 'user STRING, content STRING, rating INT, ts STRING, device STRING, session STRING') AS v")
    .select("v.*")
)
df.createOrReplaceTempView("events")
counts = spark.sql("SELECT content, avg(rating) AS average, count(*) AS n FROM events GROUP BY content")
with tempfile.TemporaryDirectory() as checkpoint:
    started = time.monotonic()
    query = (
        counts.writeStream.outputMode("complete").format("memory").queryName("q1").trigger(availableNow=True)
        .option("checkpointLocation", checkpoint).start()
    )
    query.awaitTermination()
    seconds = time.monotonic() - started
if query.exception() is not None:
    raise SystemExit(str(query.exception()))
with open(answer + ".wall", "w") as f:
    f.write(str(seconds))
rows = spark.table("q1").toArrow()
with open(answer, "w", newline="\n") as f:
    for content, average, n in zip(*(c.to_pylist() for c in rows.columns)):
        f.write("%s\t%.17g\t%d\n" % (content if content is not None else "", average if average is not None else 0.0, n))
spark.stop()
