#!/usr/bin/env python3
# manual: yes
"""spark-goldens.py [FILE.in ...]: run tests/sql/**/*.in on real Spark 4.2.0 and write the .golden beside each.

One warm local[1] session runs everything, with Spark's defaults (ANSI mode) and the session time zone UTC, unless the input
says otherwise. Start it with the Python of `tests/oracle/setup.sh spark`: build/oracle/spark-venv/bin/python.
tests/sql/README.md describes inputs and goldens.
"""

import glob
import logging
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True

import sql_golden  # noqa: E402


def session():
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.warehouse.dir", "/tmp/penstock-oracle-warehouse")
        .config("spark.driver.extraJavaOptions", "-Duser.timezone=UTC")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    return spark


def failure(error):
    """The outermost error in the chain of causes that has an error condition: what Spark Connect sends to its client."""
    from py4j.java_gateway import is_instance_of
    from py4j.protocol import Py4JJavaError
    from pyspark import SparkContext
    from pyspark.errors.exceptions.captured import CapturedException, convert_exception

    if isinstance(error, CapturedException):
        origin = error._origin
    elif isinstance(error, Py4JJavaError):
        origin = error.java_exception
    else:
        raise error
    gateway = SparkContext._gateway
    while not (is_instance_of(gateway, origin, "org.apache.spark.SparkThrowable") and origin.getCondition()):
        origin = origin.getCause()
        if origin is None:
            raise error
    parameters = {str(k): str(v) for k, v in dict(origin.getMessageParameters()).items()}
    return {
        "condition": origin.getCondition(),
        "state": origin.getSqlState(),
        "parameters": dict(sorted(parameters.items())),
        # what classic PySpark has no class for is a SparkException in the Connect client
        "class": type(convert_exception(origin)).__name__.replace("UnknownException", "SparkException"),
        "message": origin.getMessage().split(";\n")[0],  # without the plan
    }


def record(spark, path):
    name = os.path.relpath(path, ROOT)
    blocks = []
    for block in sql_golden.read_input(path):
        try:
            sql_golden.run(spark, block, failure)
            blocks.append(block)
        except Exception as e:  # no client could fetch it: nothing to compare with
            print(f"{name}: left out: {block.sql}: {type(e).__name__} {str(e)[:200]}", flush=True)
    golden = path[: -len(".in")] + ".golden"
    with open(golden, "w", encoding="utf-8") as f:
        f.write(f"# oracle: Apache Spark {spark.version}, classic, local[1]\n")
        f.write(f"# command: build/oracle/spark-venv/bin/python tests/oracle/spark-goldens.py {name}\n\n")
        f.write("\n".join(block.text() for block in blocks))
    errors = sum(1 for b in blocks if b.result[0].startswith("error"))
    print(f"{name}: {len(blocks)} blocks, {errors} of them errors", flush=True)


def main():
    paths = sys.argv[1:] or sorted(glob.glob(os.path.join(ROOT, "tests/sql/**/*.in"), recursive=True))
    logging.disable(logging.CRITICAL)  # PySpark logs each error that is recorded
    spark = session()
    for path in paths:
        record(spark, os.path.abspath(path))
    spark.stop()


main()
