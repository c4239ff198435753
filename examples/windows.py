"""windows.py: how many events per key in each window of event time.

    penstock run examples/windows.py "10 seconds"                      # complete: every window, again in each table
    penstock run examples/windows.py "7 days" --watermark "1 day"      # append: a window once, when it is closed

Records are JSON such as {"timestamp": "2001-01-01 00:47:00", "key": "SFO"}.
"""
import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json, window

parser = argparse.ArgumentParser()
parser.add_argument("length", nargs="?", default="10 seconds", help="length of a window, such as '10 seconds'")
parser.add_argument("--watermark", help="how late an event may be, such as '1 hour'")
parser.add_argument("--bootstrap", default="localhost:9092")
parser.add_argument("--topic", default="events")
parser.add_argument("--checkpoint", default="checkpoints/windows")
parser.add_argument("--available-now", action="store_true", help="stop when what is there has been read")
args = parser.parse_args()

spark = SparkSession.builder.appName("windows").master("local[2]").getOrCreate()
spark.sparkContext.setLogLevel("WARN")

df = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", args.bootstrap)
    .option("subscribe", args.topic)
    .option("startingOffsets", "earliest")
    .load()
    .select(from_json(col("value").cast("string"), "timestamp TIMESTAMP, key STRING").alias("event"))
    .select("event.*")
)
if args.watermark:
    df = df.withWatermark("timestamp", args.watermark)
counts = df.groupBy(window(col("timestamp"), args.length), col("key")).count()

writer = (
    counts.writeStream.outputMode("append" if args.watermark else "complete")
    .format("console")
    .option("truncate", "false")
    .option("numRows", "1000")
    .option("checkpointLocation", args.checkpoint)
    .queryName("windows")
)
if args.available_now:
    writer = writer.trigger(availableNow=True)
query = writer.start()
query.awaitTermination()
