"""filter.py SESSION BOOTSTRAP IN OUT CHECKPOINT TRIGGER [JARS]: a filter from topic to topic, until it is killed. Prints `started`.

SESSION is sc://HOST:PORT (penstock) or local[N] (Spark in this process tree; JARS: its Kafka source). TRIGGER is default, or realtime
(Spark 4.1's real-time mode, which penstock's default trigger stands beside).
"""
import sys

from pyspark.sql import SparkSession

where, bootstrap, source, out, checkpoint, trigger = sys.argv[1:7]
builder = SparkSession.builder
if where.startswith("sc://"):
    builder = builder.remote(where)
else:
    for key, value in {"spark.jars": sys.argv[7], "spark.driver.memory": "2g", "spark.ui.enabled": "false", "spark.log.level": "ERROR",
                       "spark.sql.shuffle.partitions": "2", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}.items():
        builder = builder.config(key, value)
    builder = builder.master(where)
spark = builder.getOrCreate()
writer = (
    spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", source)
    .option("startingOffsets", "latest").load().selectExpr("CAST(value AS STRING) AS value").filter("value LIKE '%content%'")
    .writeStream.format("kafka").outputMode("update").option("kafka.bootstrap.servers", bootstrap).option("topic", out)
    .option("checkpointLocation", checkpoint)
)
if trigger == "realtime":
    writer = writer.trigger(realTime="5 seconds")
query = writer.start()
print("started", flush=True)
query.awaitTermination()
