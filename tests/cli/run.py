#!/usr/bin/env python3
# limit: 180
# sanitized: yes
"""penstock run: scripts written for spark-submit, unmodified."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import penstock_server
from cases import PENSTOCK, PYTHON, ROOT, case, equal, has, main, run

MESSAGES = '{"content": "Drama", "rating": 7}\n{"content": "Drama", "rating": 8}\n{"content": null, "rating": 3}\n'
CLASSIC = '''
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession
spark = (SparkSession.builder.appName("x").master("local[2]")
         .config("spark.jars.packages", "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.0").getOrCreate())
spark.sparkContext.setLogLevel("WARN")
'''
COUNT_TO_CONSOLE = CLASSIC + '''
q = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", "localhost:9092").option("subscribe", "ratings")
     .option("startingOffsets", "earliest").load().groupBy("topic").count()
     .writeStream.outputMode("complete").format("console").option("checkpointLocation", "ck").trigger(availableNow=True).start())
q.awaitTermination()
'''


@contextlib.contextmanager
def scratch(script=None):
    with tempfile.TemporaryDirectory() as d:
        if script:
            pathlib.Path(d, "script.py").write_text(textwrap.dedent(script))
        yield d


def ports():
    kafka, connect, http = penstock_server.free_ports(3)
    return ["--kafka-listen", f"127.0.0.1:{kafka}", "--connect-listen", f"127.0.0.1:{connect}", "--http-listen", f"127.0.0.1:{http}"]


def launch(directory, *argv, script="script.py", at=None, env=None, timeout=60):
    return subprocess.run([PENSTOCK, "run", "--python", PYTHON, *(at or ports()), script, *argv], cwd=directory,
                          capture_output=True, text=True, timeout=timeout, env={**os.environ, "TMPDIR": directory, **(env or {})})


@case
def a_classic_script_runs_and_its_exit_code_passes_through():
    with scratch(CLASSIC + '''
import sys
print(spark.range(5).count(), sys.argv[1:], spark.sparkContext.defaultParallelism > 0)
spark.sparkContext.stop()
sys.exit(7)
''') as d:
        p = launch(d, "a", "--b")
        equal(p.returncode, 7, p.stderr)
        equal(p.stdout, "5 ['a', '--b'] True\n")
        equal(os.listdir(d), ["script.py"], "what is left in the temporary directory")


@case
def the_console_sink_prints_where_the_script_runs():
    """Both with the launcher's own server and with one that was there; the relative checkpoint is the script's."""
    with scratch(COUNT_TO_CONSOLE) as d, penstock_server.running() as s:
        at = ["--kafka-listen", s.kafka, "--connect-listen", s.connect, "--http-listen", s.http]
        run("produce", "ratings", "-b", s.kafka, stdin=MESSAGES)
        pathlib.Path(d, "script.py").write_text(COUNT_TO_CONSOLE.replace("localhost:9092", s.kafka) + "import time; time.sleep(1)\n")
        p = launch(d, at=at)
        equal(p.returncode, 0, p.stderr)
        has(p.stdout, "Batch: 0")
        has(p.stdout, "|ratings|    3|")
        assert os.path.isdir(d + "/ck"), os.listdir(d)
    with scratch(COUNT_TO_CONSOLE) as d:
        at = ports() + ["--data", d + "/data"]
        with contextlib.ExitStack() as stack:
            server = subprocess.Popen([PENSTOCK, "serve", *at], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            stack.callback(server.kill)
            assert server.stdout.readline().startswith("ready")
            run("produce", "ratings", "-b", at[1], stdin=MESSAGES)
            server.terminate()
            server.communicate(timeout=30)
        p = launch(d, at=at)  # localhost:9092 in the script means the launcher's own server
        equal(p.returncode, 0, p.stderr)
        has(p.stdout, "|ratings|    3|")
        p = launch(d, at=at)  # the checkpoint is there: nothing new, no batch
        equal((p.returncode, p.stdout), (0, ""), p.stderr)


@case
def a_script_error_keeps_its_traceback_and_code():
    with scratch(CLASSIC + 'spark.sql("SELECT nope").show()\n') as d:
        p = launch(d)
        equal(p.returncode, 1)
        has(p.stderr, "UNRESOLVED_COLUMN")


@case
def what_needs_a_jvm_is_refused_by_name():
    with scratch(CLASSIC + "spark.sparkContext.parallelize([1])\n") as d:
        p = launch(d)
        equal(p.returncode, 1)
        has(p.stderr, "JVM_ATTRIBUTE_NOT_SUPPORTED")


@case
def a_python_without_pyspark_is_told_how_to_install_it():
    with scratch("import pyspark\n") as d:
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", d + "/bare"], check=True)
        p = subprocess.run([PENSTOCK, "run", "--python", d + "/bare/bin/python", *ports(), "script.py"], cwd=d, capture_output=True,
                           text=True, timeout=60)
        equal(p.returncode, 1)
        has(p.stderr, "-m pip install pyspark-client==4.2.0")
        p = subprocess.run([PENSTOCK, "run", "--python", d + "/none", *ports(), "script.py"], cwd=d, capture_output=True, text=True,
                           timeout=60)
        equal(p.returncode, 1)
        has(p.stderr, "no Python found")
    equal(run("run", "/nope.py").returncode, 1)


@case
def a_users_own_sitecustomize_still_runs():
    with scratch("print('script')\n") as d:
        os.mkdir(d + "/mine")
        pathlib.Path(d, "mine/sitecustomize.py").write_text("print('mine')\n")
        p = launch(d, env={"PYTHONPATH": d + "/mine"})
        equal((p.returncode, p.stdout), (0, "mine\nscript\n"), p.stderr)


@case
def an_interrupt_reaches_the_script_once_and_is_130():
    with scratch(CLASSIC + '''
import time
print("up", flush=True)
time.sleep(60)
''') as d:
        p = subprocess.Popen([PENSTOCK, "run", "--python", PYTHON, *ports(), "script.py"], cwd=d, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        equal(p.stdout.readline(), "up\n")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
        equal(p.returncode, 130, err)
        equal(err.count("KeyboardInterrupt"), 1, err)


@case
def the_examples_run_on_two_messages():
    with scratch() as d, penstock_server.running() as s:
        at = ["--kafka-listen", s.kafka, "--connect-listen", s.connect, "--http-listen", s.http]
        run("produce", "ratings", "-b", s.kafka, stdin=MESSAGES)
        p = launch(d, "--bootstrap", s.kafka, "--available-now", script=ROOT + "/examples/ratings.py", at=at)
        equal(p.returncode, 0, p.stderr)
        has(p.stdout, "|Drama  |7.5        |")
        has(p.stdout, "|NULL   |3.0        |")
        run("produce", "events", "-b", s.kafka,
            stdin='{"timestamp": "2001-01-01 00:47:00", "key": "SFO"}\n{"timestamp": "2001-01-01 00:47:09", "key": "SFO"}\n')
        p = launch(d, "10 seconds", "--bootstrap", s.kafka, "--available-now", script=ROOT + "/examples/windows.py", at=at)
        equal(p.returncode, 0, p.stderr)
        has(p.stdout, "|{2001-01-01 00:47:00, 2001-01-01 00:47:10}|SFO|2    |")


main()
