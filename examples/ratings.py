"""ratings.py: the average rating per kind of content, kept up to date while ratings arrive.

    penstock run examples/ratings.py                 # beside `penstock dev`, or with a server of its own

Records are JSON such as {"content": "Drama", "rating": 7.1}. The same file runs on Spark with a Kafka broker:

    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.0 examples/ratings.py
"""
import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

parser = argparse.ArgumentParser()
parser.add_argument("--bootstrap", default="localhost:9092")
parser.add_argument("--topic", default="ratings")
parser.add_argument("--checkpoint", default="checkpoints/ratings")
parser.add_argument("--available-now", action="store_true", help="stop when what is there has been read")
args = parser.parse_args()

spark = (
    SparkSession.builder.appName("ratings")
    .master("local[2]")
    .config("spark.jars.packages", "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.0")
    .config("spark.sql.shuffle.partitions", "2")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("WARN")

schema = StructType([StructField("content", StringType()), StructField("rating", DoubleType())])
kafka_options = {
    "kafka.bootstrap.servers": args.bootstrap,
    "subscribe": args.topic,
    "startingOffsets": "earliest",
}

df = spark.readStream.format("kafka").options(**kafka_options).load()
df = df.selectExpr("CAST(value AS STRING)")
df = df.select(from_json(col("value"), schema).alias("rating")).select("rating.*")
df.createOrReplaceTempView("netflix_view")
averages = spark.sql("SELECT content, AVG(rating) FROM netflix_view GROUP BY content")

writer = (
    averages.writeStream.outputMode("complete")
    .format("console")
    .option("truncate", "false")
    .option("numRows", "100")
    .option("checkpointLocation", args.checkpoint)
    .queryName("ratings")
)
if args.available_now:
    writer = writer.trigger(availableNow=True)
query = writer.start()
query.awaitTermination()
