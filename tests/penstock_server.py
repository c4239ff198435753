"""penstock_server: starts the penstock of this tree for a test, on free loopback ports and a temporary directory.

    with penstock_server.running() as server:   # server.kafka, server.connect, server.http, server.data, server.pid
    with penstock_server.connect(None) as spark: # a PySpark session on one
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
READY_SECONDS = 20
STOP_SECONDS = 20


class Server:
    def __init__(self, data):
        self.data = data
        self.kafka, self.connect, self.http = (f"127.0.0.1:{port}" for port in free_ports(3))
        self.process = None
        self.log = os.path.join(data, "..", "penstock.log")

    @property
    def pid(self):
        return self.process.pid

    def start(self, *flags, cgroup=None):
        """Starts it and waits for its `ready` line; the same ports and directory on every start. cgroup: the file that
        makes the process a member."""
        program = os.environ.get("PENSTOCK", os.path.join(ROOT, "build/penstock"))
        command = [program, "serve", "--data", self.data, "--kafka-listen", self.kafka, "--connect-listen", self.connect]
        command += ["--http-listen", self.http, *flags]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log,
                                            preexec_fn=cgroup and (lambda: cgroup.write_text(str(os.getpid()))))
        end = time.monotonic() + READY_SECONDS
        line = b""
        while not line.startswith(b"ready"):
            if not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise RuntimeError("penstock did not become ready:\n" + self.log_tail())
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("penstock ended before it was ready:\n" + self.log_tail())
        for address in (self.kafka, self.connect, self.http):  # a client would try again for a long time
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=5).close()
        return self

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise RuntimeError("penstock did not stop after SIGTERM:\n" + self.log_tail()) from None
        status, self.process = self.process.returncode, None
        if status not in (0, -signal.SIGTERM):
            raise RuntimeError(f"penstock ended with status {status}:\n{self.log_tail()}")

    def kill(self):
        self.process.kill()
        self.process.communicate()
        self.process = None

    def log_tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-30:])


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextlib.contextmanager
def running(*flags, cgroup=None):
    base = tempfile.mkdtemp(prefix="penstock-test-")
    data = os.path.join(base, "data")
    os.mkdir(data)
    server = Server(data)
    try:
        yield server.start(*flags, cgroup=cgroup)
        server.stop()
    finally:
        if server.process is not None:
            server.kill()
        shutil.rmtree(base, ignore_errors=True)


def session(remote):
    """A new PySpark session. It gives a dead server up within a second, where the client would go on for ten minutes."""
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.retries import DefaultPolicy

    spark = SparkSession.builder.remote(remote).create()
    spark.client.set_retry_policies([DefaultPolicy(max_retries=3)])
    return spark


@contextlib.contextmanager
def connect(remote):
    """A PySpark session on `remote`, or on a penstock that lives as long as the session."""
    with contextlib.ExitStack() as stack:
        if remote is None:
            remote = "sc://" + stack.enter_context(running()).connect
        spark = session(remote)
        try:
            yield spark
        finally:
            spark.stop()
