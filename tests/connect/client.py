#!/usr/bin/env python3
# limit: 180
# sanitized: yes
"""client.py: the unmodified PySpark client, as a script or a person uses it: sessions, configuration, views, the exceptions that
each kind of error raises, streaming queries and their handles, a server that was restarted, and a script that is interrupted."""
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import cases  # noqa: E402
import penstock_server  # noqa: E402
from cases import case, equal, has  # noqa: E402
from pyspark import errors  # noqa: E402
from pyspark.sql import Row, SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402

logging.disable(logging.CRITICAL)  # the client logs every error that it also raises
SERVER = None


@contextlib.contextmanager
def session(**conf):
    builder = SparkSession.builder.remote("sc://" + SERVER.connect)
    for key, value in conf.items():
        builder = builder.config(key.replace("__", "."), value)
    spark = builder.create()
    try:
        yield spark
    finally:
        spark.stop()


def raises(kind, condition, fn, state=None, parameters=None):
    try:
        fn()
    except kind as e:
        equal(type(e).__name__, kind.__name__, "exception")
        equal(e.getCondition(), condition, "condition")
        if state is not None:
            equal(e.getSqlState(), state, "SQLSTATE")
        if parameters is not None:
            equal(e.getMessageParameters(), parameters, "parameters")
        return e
    raise AssertionError(f"no {kind.__name__} {condition}")


@case
def first_steps():
    with session() as spark:
        equal(spark.version, "4.2.0")
        equal(spark.range(3).collect(), [Row(id=0), Row(id=1), Row(id=2)])
        equal(spark.sql("select 1").collect(), [Row(**{"1": 1})])
        df = spark.createDataFrame([(1, "a"), (2, None)], ["id", "name"])
        equal(df.filter("id > 1").select("name", (F.col("id") + 1).alias("n")).collect(), [Row(name=None, n=3)])
        equal(df.toPandas()["id"].tolist(), [1, 2])
        equal(df.count(), 2)
        equal([f.dataType.simpleString() for f in df.schema], ["bigint", "string"])


@case
def random_values_do_not_repeat():
    """Batches of rows, calls and runs draw different numbers; a seed draws the same ones again."""
    with session() as spark:
        df = spark.range(10000)
        ids = df.select(F.expr("uuid()").alias("u")).distinct().count()
        equal(ids, 10000, "different uuids")
        equal(df.select(F.expr("rand()").alias("r")).distinct().count(), 10000, "different numbers")
        seeded = [df.select(F.rand(42).alias("r")).agg(F.sum("r")).collect() for _ in range(2)]
        equal(seeded[0], seeded[1], "the same seed")
        equal(df.select(F.rand(42).alias("r")).distinct().count(), 10000, "different numbers of one seed")


@case
def sessions_are_apart():
    with session() as one, session() as two:
        one.range(1).createOrReplaceTempView("v")
        one.conf.set("spark.sql.shuffle.partitions", 3)
        one.range(2).createOrReplaceGlobalTempView("g")
        raises(errors.AnalysisException, "TABLE_OR_VIEW_NOT_FOUND", lambda: two.table("v").collect(), "42P01")
        equal(two.conf.get("spark.sql.shuffle.partitions"), "200")
        equal(two.table("global_temp.g").count(), 2)
        one.stop()
        equal(two.range(1).count(), 1)


@case
def configuration():
    with session(spark__sql__session__timeZone="Asia/Tokyo") as spark:
        equal(spark.conf.get("spark.sql.session.timeZone"), "Asia/Tokyo")
        equal(spark.conf.get("spark.sql.ansi.enabled"), "true")
        equal(spark.conf.get("no.such.key", "x"), "x")
        raises(errors.SparkNoSuchElementException, "SQL_CONF_NOT_FOUND", lambda: spark.conf.get("no.such.key"), "42K0I",
               {"sqlConf": '"no.such.key"'})
        raises(errors.IllegalArgumentException, "INVALID_CONF_VALUE.TYPE_MISMATCH",
               lambda: spark.conf.set("spark.sql.shuffle.partitions", "many"), "22022")
        raises(errors.IllegalArgumentException, "INVALID_CONF_VALUE.TIME_ZONE",
               lambda: spark.conf.set("spark.sql.session.timeZone", "Nowhere/Else"), "22022")
        raises(errors.AnalysisException, "CANNOT_MODIFY_CONFIG", lambda: spark.conf.set("spark.master", "x"), "46110")
        equal((spark.conf.isModifiable("spark.sql.ansi.enabled"), spark.conf.isModifiable("spark.master")), (True, False))
        spark.conf.set("my.own.key", "v")
        equal(spark.sql("SET my.own.key").collect(), [Row(key="my.own.key", value="v")])
        spark.conf.unset("my.own.key")
        equal(spark.conf.get("my.own.key", None), None)
        equal(spark.sql("select cast(timestamp'2024-01-01 00:00:00' as string) s").first().s, "2024-01-01 00:00:00")
        spark.conf.set("spark.sql.ansi.enabled", False)
        equal(spark.sql("select 1/0 x").collect(), [Row(x=None)])


@case
def views():
    with session() as spark:
        spark.createDataFrame([(1, "a"), (2, "b")], "n int, s string").createOrReplaceTempView("T1")
        equal(spark.sql("select s from t1 where n = 2").collect(), [Row(s="b")])
        equal([(t.name, t.isTemporary) for t in spark.catalog.listTables()], [("t1", True)])
        equal([c.name for c in spark.catalog.listColumns("t1")], ["n", "s"])
        raises(errors.AnalysisException, "TEMP_TABLE_OR_VIEW_ALREADY_EXISTS", lambda: spark.range(1).createTempView("t1"))
        equal((spark.catalog.dropTempView("t1"), spark.catalog.dropTempView("t1")), (True, False))
        spark.sql("CREATE TEMP VIEW made AS SELECT 7 AS x")
        equal(spark.table("made").collect(), [Row(x=7)])
        spark.sql("DROP VIEW made")
        # a DataFrame's view keeps what its names meant; SQL's looks them up again, and may not find itself
        spark.range(5).createOrReplaceTempView("self")
        spark.sql("CREATE TEMP VIEW over AS SELECT id + 10 AS id FROM self")
        spark.table("self").filter("self.id > 2").createOrReplaceTempView("self")
        equal(spark.table("self").collect(), [Row(id=3), Row(id=4)])
        equal(spark.sql("select max(id) m, count(*) n from over").collect(), [Row(m=14, n=2)])
        spark.sql("WITH self AS (SELECT 1 AS id) SELECT * FROM self").createOrReplaceTempView("self")
        equal(spark.table("self").collect(), [Row(id=1)])
        raises(errors.AnalysisException, "RECURSIVE_VIEW",
               lambda: spark.sql("CREATE OR REPLACE TEMP VIEW self AS SELECT * FROM over"), "42K0H")
        spark.table("over").createOrReplaceTempView("self")
        equal(spark.table("self").collect(), [Row(id=11)])
        raises(errors.AnalysisException, "VIEW_NOT_FOUND", lambda: spark.sql("DROP VIEW made"))


@case
def analysis_errors():
    with session() as spark:
        df = spark.createDataFrame([(1, 2)], ["k", "v"])
        raises(errors.AnalysisException, "UNRESOLVED_COLUMN.WITH_SUGGESTION", lambda: df.select("nosuch").collect(), "42703",
               {"objectName": "`nosuch`", "proposal": "`k`, `v`"})
        raises(errors.AnalysisException, "UNRESOLVED_ROUTINE", lambda: spark.sql("select nofunc(1)"), "42883")
        raises(errors.AnalysisException, "TABLE_OR_VIEW_NOT_FOUND", lambda: spark.sql("select * from nope"), "42P01")
        e = raises(errors.ParseException, "PARSE_SYNTAX_ERROR", lambda: spark.sql("selec 1"), "42601",
                   {"error": "'selec'", "hint": ""})
        equal(str(e), "\n[PARSE_SYNTAX_ERROR] Syntax error at or near 'selec'. SQLSTATE: 42601 (line 1, pos 0)\n\n"
                      "== SQL ==\nselec 1\n^^^\n")


@case
def run_time_errors():
    with session() as spark:
        e = raises(errors.ArithmeticException, "DIVIDE_BY_ZERO", lambda: spark.sql("select 1/0").collect(), "22012",
                   {"config": '"spark.sql.ansi.enabled"'})
        context = e.getQueryContext()[0]
        equal((context.contextType().name, context.startIndex(), context.stopIndex(), context.fragment()), ("SQL", 7, 9, "1/0"))
        raises(errors.NumberFormatException, "CAST_INVALID_INPUT", lambda: spark.sql("select cast('abc' as int)").collect(),
               "22018")
        e = raises(errors.ArithmeticException, "DIVIDE_BY_ZERO",
                   lambda: spark.range(1).select(F.col("id") / F.lit(0)).collect())
        context = e.getQueryContext()[0]
        equal((context.contextType().name, context.fragment()), ("DataFrame", "__truediv__"))
        has(context.callSite(), "client.py")


@case
def what_is_refused_is_named():
    with session() as spark:
        df = spark.range(3)
        rate = spark.readStream.format("rate").load()
        for word, fn in {
            "cube": lambda: df.cube("id").count().collect(),
            "user-defined function": lambda: df.select(F.udf(lambda x: x, "long")("id")).collect(),
            "write_operation": lambda: df.write.format("parquet").save("x"),
            "foreachBatch": lambda: rate.writeStream.foreachBatch(lambda d, i: None).start(),
            "csv": lambda: spark.read.csv("x").collect(),
            "continuous": lambda: rate.writeStream.format("noop").trigger(continuous="1 second").start(),
            "s3a": lambda: rate.writeStream.format("noop").option("checkpointLocation", "s3a://b/c").start(),
        }.items():
            has(str(raises(errors.UnsupportedOperationException, "UNSUPPORTED_FEATURE.PENSTOCK", fn)), word)


@case
def streaming_errors():
    with session() as spark:
        rate = spark.readStream.format("rate").load()
        raises(errors.AnalysisException, "STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION",
               lambda: rate.writeStream.outputMode("complete").format("noop").start(), "42KDE",
               {"outputMode": "complete", "operation": "no streaming aggregations"})
        raises(errors.AnalysisException, "WRITE_STREAM_NOT_ALLOWED", lambda: spark.range(1).writeStream.format("noop").start())
        try:
            rate.show()
            raise AssertionError("a stream was shown")
        except errors.AnalysisException as e:
            has(str(e), "Queries with streaming sources must be executed with writeStream.start()")
        try:
            spark.readStream.format("kafka").option("kafka.bootstrap.servers", SERVER.kafka).load().schema
            raise AssertionError("kafka without a topic")
        except errors.IllegalArgumentException as e:
            has(str(e), "subscribe")
        q = rate.selectExpr("1 / (value - value)").writeStream.format("noop").start()
        e = raises(errors.StreamingQueryException, "STREAM_FAILED", q.awaitTermination, "XXKST")
        has(str(e), "DIVIDE_BY_ZERO")
        has(str(q.exception()), "DIVIDE_BY_ZERO")
        equal(q.isActive, False)


@case
def streaming_handles():
    with session() as spark:
        rate = spark.readStream.format("rate").option("rowsPerSecond", 100).load()
        q = rate.writeStream.format("memory").queryName("mem").start()
        equal([x.name for x in spark.streams.active], ["mem"])
        equal(spark.streams.get(q.id).runId, q.runId)
        equal(spark.streams.get("00000000-0000-0000-0000-000000000000"), None)
        equal(q.awaitTermination(0.2), False)
        try:
            rate.writeStream.format("memory").queryName("mem").start()
            raise AssertionError("two queries of one name")
        except errors.IllegalArgumentException as e:
            has(str(e), "Cannot start query with name mem")
        end = time.monotonic() + 30
        while not (q.lastProgress and q.lastProgress["batchId"] >= 1) and time.monotonic() < end:
            time.sleep(0.05)
        equal(spark.table("mem").count() > 0, True, "rows in the memory table")
        progress = q.lastProgress
        equal((progress["id"], progress["name"]), (q.id, "mem"))
        equal([p["batchId"] for p in q.recentProgress[:2]], [0, 1])
        equal(sorted(q.status), ["isDataAvailable", "isTriggerActive", "message"])
        q.stop()
        q.stop()
        equal((q.isActive, q.exception()), (False, None))
        equal(spark.streams.awaitAnyTermination(5), True)
        spark.streams.resetTerminated()
        equal(spark.streams.awaitAnyTermination(0.2), False)
        equal(spark.streams.active, [])


@case
def console_of_a_client():
    """A session that reads its console itself gets what its console sinks print, over HTTP."""
    import urllib.request

    with session(penstock__console="client") as spark:
        q = spark.readStream.format("rate").load().select(F.lit("here").alias("word"))
        q = q.writeStream.format("console").trigger(once=True).start()
        q.awaitTermination(30)
        url = f"http://{SERVER.http}/console?session={spark._session_id}&from=0"
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read().decode()
        has(text, "Batch: 0")
        has(text, "|word|")


@case
def interrupted_script():
    """Ctrl-C in a script that waits for its query: the script ends, the server goes on."""
    script = (
        "from pyspark.sql import SparkSession\n"
        f"spark = SparkSession.builder.remote('sc://{SERVER.connect}').getOrCreate()\n"
        "q = spark.readStream.format('rate').load().writeStream.format('noop').start()\n"
        "print('waiting', flush=True)\n"
        "q.awaitTermination()\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("SPARK")}  # the client leaves marks there
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(script)
        file.flush()
        interrupt(subprocess.Popen([sys.executable, file.name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env))
    with session() as spark:
        equal(spark.range(1).count(), 1)


def interrupt(child):
    first = child.stdout.readline()
    if first != "waiting\n":
        raise AssertionError(child.communicate()[1])
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    has(err, "KeyboardInterrupt")


@case
def restarted_server():
    with session() as spark:
        equal(spark.range(1).count(), 1)
        SERVER.kill()
        SERVER.start()
        try:
            spark.range(1).count()
            raise AssertionError("a lost session answered")
        except errors.PySparkException as e:
            has(str(e), "SESSION_CHANGED")
    with session() as spark:
        equal(spark.range(2).count(), 2)


if __name__ == "__main__":
    with penstock_server.running() as SERVER:
        cases.main()
