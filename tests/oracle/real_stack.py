"""real_stack: a real Kafka broker and a real Spark Connect server for as long as a `with` block lasts.

    with real_stack.running() as stack:   # stack.kafka, stack.connect: HOST:PORT
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import penstock_server  # noqa: E402


class Stack:
    def __init__(self, kafka, connect, directory):
        self.kafka, self.connect, self.directory = kafka, connect, directory


@contextlib.contextmanager
def spark():
    """The address of a Spark Connect server alone."""
    directory = tempfile.mkdtemp(prefix="penstock-oracle-")
    port = penstock_server.free_ports(1)[0]
    try:
        call("spark-connect.sh", "start", str(port), directory)
        yield f"127.0.0.1:{port}"
    finally:
        call("spark-connect.sh", "stop", directory)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running(*spark_settings):
    directory = tempfile.mkdtemp(prefix="penstock-oracle-")
    kafka, connect = penstock_server.free_ports(2)
    broker, server = os.path.join(directory, "kafka"), os.path.join(directory, "spark")
    try:
        call("kafka-broker.sh", "start", str(kafka), broker, "log.retention.ms=-1")
        call("spark-connect.sh", "start", str(connect), server, *spark_settings)
        yield Stack(f"127.0.0.1:{kafka}", f"127.0.0.1:{connect}", directory)
    finally:
        call("spark-connect.sh", "stop", server)
        call("kafka-broker.sh", "stop", broker)
        shutil.rmtree(directory, ignore_errors=True)


def call(script, *arguments):
    subprocess.run([os.path.join(HERE, script), *arguments], check=True)
