#!/usr/bin/env python3
# manual: yes
"""history.py [--seconds S] [--seed N] [--java] [--kafka ADDRESS] [--keep FILE]: real clients under faults; what they saw is checked.

librdkafka and, with --java, the Java client (worker.py, Worker.java) produce, consume and transform in transactions through a proxy,
while a nemesis takes turns:

  kill        SIGKILL, and the server starts again          pause       SIGSTOP for up to seven seconds, past session timeouts
  cut         all connections, or some of them, reset       hole        bytes vanish for a while in one direction, then all is reset
  client      SIGKILL of a client in whatever it does; a new one with its transactional id takes its place

At the end the faults stop, the clients finish, and a fresh reader reads everything. checker.py then looks for what must not be.
--kafka runs the same against another broker (without kill and pause), to check the checker. A failing history is kept.
"""
import argparse
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import checker

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import penstock_server  # noqa: E402

TOPICS = {"a": 3, "b": 2}
PYTHON_WORKERS = ["txn", "txn", "plain", "transform", "reader"]
JAVA_WORKERS = ["txn", "transform", "reader"]
STRIDE = 10_000_000  # of values, for each worker's life


class Proxy(threading.Thread):
    """Forwards connections to the server; can cut them or let bytes vanish."""

    def __init__(self, port, target):
        super().__init__(daemon=True)
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", port), backlog=200)
        self.pairs, self.lock, self.hole = {}, threading.Lock(), None
        self.start()

    def run(self):
        poller = select.epoll()
        poller.register(self.listener, select.EPOLLIN)
        while True:
            for fd, _ in poller.poll(0.2):
                with self.lock:
                    if fd == self.listener.fileno():
                        self.accept(poller)
                    elif fd in self.pairs:
                        self.move(poller, fd)

    def accept(self, poller):
        client, _ = self.listener.accept()
        try:
            server = socket.create_connection(self.target, timeout=1)
        except OSError:
            self.reset(client)
            return
        for one, other, upward in ((client, server, True), (server, client, False)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.settimeout(5)
            self.pairs[one.fileno()] = (one, other, upward)
            poller.register(one, select.EPOLLIN)

    def move(self, poller, fd):
        one, other, upward = self.pairs[fd]
        try:
            data = one.recv(1 << 16)
            if data and self.hole != upward:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self.drop(poller, fd)

    @staticmethod
    def reset(s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()

    def drop(self, poller, fd):
        one, other, _ = self.pairs.pop(fd)
        self.pairs.pop(other.fileno(), None)
        for s in (one, other):  # closing takes it out of the poller
            self.reset(s)

    def cut(self, share, rng):
        with self.lock:
            for fd in list(self.pairs):
                if fd in self.pairs and rng.random() < share:
                    self.drop(None, fd)


class Worker:
    lives = 0

    def __init__(self, run, kind, name, is_java):
        self.run, self.kind, self.name, self.is_java = run, kind, name, is_java
        self.life = 0
        self.spawn()

    def spawn(self):
        Worker.lives += 1
        self.life += 1
        # a producer's successor has its transactional id; what it saw and did is another process in the history
        args = [self.kind, self.name, self.run.address, str(self.run.rng.randrange(1 << 30)), str(Worker.lives * STRIDE)]
        argv = [*self.run.java, "Worker", *args] if self.is_java else [sys.executable, os.path.join(HERE, "worker.py"), *args]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.thread = threading.Thread(target=self.listen, args=(self.process.stdout, f"{self.name}.{self.life}"), daemon=True)
        self.thread.start()

    def listen(self, out, process):
        for line in out:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # it was killed in the middle of a line
            event["p"] = process
            with self.run.lock:
                self.run.events.append(event)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.thread.join(10)

    def finish(self, seconds):
        self.process.stdin.write("stop\n")
        self.process.stdin.close()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end in {seconds} s: killed")
            self.process.kill()
        self.thread.join(10)


class Run:
    def __init__(self, options):
        self.options, self.rng = options, random.Random(options.seed)
        self.events, self.lock, self.faults = [], threading.Lock(), {}
        self.dir = tempfile.mkdtemp(prefix="penstock-history-")
        self.server = None
        self.java = ["java", "-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
                     f"-Dlog4j2.configurationFile={ROOT}/tests/oracle/log4j2.properties", "-cp",
                     f"{self.dir}:{os.environ.get('ORACLE_DIR', ROOT + '/build/oracle')}/kafka/*"]

    def start(self):
        port = penstock_server.free_ports(1)[0]
        self.address = f"127.0.0.1:{port}"
        if self.options.kafka:
            target = self.options.kafka
            self.address = target  # it advertises itself: no proxy between
            self.proxy = None
        else:
            self.server = penstock_server.Server(os.path.join(self.dir, "data"))
            os.makedirs(self.server.data)
            self.flags = ["--advertise", self.address]
            self.server.start(*self.flags)
            host, number = self.server.kafka.rsplit(":", 1)
            self.proxy = Proxy(port, (host, int(number)))
        admin = AdminClient({"bootstrap.servers": self.address})
        for f in admin.create_topics([NewTopic(t, n) for t, n in TOPICS.items()]).values():
            f.result()
        if self.options.java:
            subprocess.run(["javac", "-d", self.dir, "-cp", self.java[-1], os.path.join(HERE, "Worker.java")], check=True)

    # -- faults ------------------------------------------------------------------------------------------------------

    def kill(self):
        self.server.kill()
        time.sleep(self.rng.random() * 1.5)
        self.server.start(*self.flags)

    def pause(self):
        os.kill(self.server.pid, signal.SIGSTOP)
        time.sleep(self.rng.choice([0.3, 1, 3, 7]))
        os.kill(self.server.pid, signal.SIGCONT)

    def cut(self):
        self.proxy.cut(self.rng.choice([0.2, 1.0]), self.rng)

    def hole(self):
        self.proxy.hole = self.rng.choice([True, False])
        time.sleep(self.rng.choice([0.5, 2, 6]))
        self.proxy.cut(1.0, self.rng)
        self.proxy.hole = None

    def client(self):
        w = self.rng.choice(self.workers)
        w.kill()
        w.spawn()

    def nemesis(self):
        names = ["client"] if self.options.kafka else ["kill", "pause", "cut", "hole", "client"]
        end = time.monotonic() + self.options.seconds
        while time.monotonic() < end:
            time.sleep(self.rng.random() * 3)
            name = self.rng.choice(names)
            self.faults[name] = self.faults.get(name, 0) + 1
            getattr(self, name)()

    # -- the whole -----------------------------------------------------------------------------------------------------

    def final(self):
        read = {}
        c = Consumer({"bootstrap.servers": self.address, "group.id": "final", "isolation.level": "read_committed",
                      "enable.auto.commit": False, "enable.partition.eof": True})
        keys = [(t, n) for t, count in TOPICS.items() for n in range(count)]
        c.assign([TopicPartition(t, n, 0) for t, n in keys])
        ended, deadline = set(), time.monotonic() + 60
        for t, n in keys:
            read[f"{t}-{n}"] = []
        while len(ended) < len(keys):
            if time.monotonic() > deadline:
                raise SystemExit(f"the final read does not come to the end of {sorted(set(keys) - ended)}: a transaction hangs?")
            for m in c.consume(1000, 1):
                if m.error():
                    ended.add((m.topic(), m.partition()))
                else:
                    read[f"{m.topic()}-{m.partition()}"].append([m.offset(), int(m.value())])
        c.close()
        self.events.append({"p": "final", "kind": "ok", "f": "final", "t": time.monotonic(), "read": read})

    def run(self):
        self.start()
        self.workers = [Worker(self, k, f"{k}-{i}", False) for i, k in enumerate(PYTHON_WORKERS)]
        if self.options.java:
            self.workers += [Worker(self, k, f"java-{k}-{i}", True) for i, k in enumerate(JAVA_WORKERS)]
        self.nemesis()
        time.sleep(3)
        for w in self.workers:
            w.finish(60)
        time.sleep(0 if self.options.kafka else 1)
        self.wait_for_open()
        self.final()
        return checker.check(self.events)

    def wait_for_open(self):
        """Clients that were killed left transactions open: they end by their timeout of 20 s."""
        time.sleep(22)

    def stop(self, keep):
        if self.server and self.server.process:
            self.server.stop()
        if keep:
            with open(keep, "w", encoding="utf-8") as f:
                f.writelines(json.dumps(e) + "\n" for e in self.events)
            print(f"history: {keep}")
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--seconds", type=float, default=60)
    ap.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    ap.add_argument("--java", action="store_true")
    ap.add_argument("--kafka")
    ap.add_argument("--keep")
    options = ap.parse_args()
    print(f"seed {options.seed}", flush=True)
    run = Run(options)
    report = None
    try:
        report = run.run()
    finally:
        broken = report is None or not report.ok()
        run.stop(options.keep or (os.path.join(ROOT, "build", f"history-{options.seed}.jsonl") if broken else None))
    print("faults: " + ", ".join(f"{n} {name}" for name, n in sorted(run.faults.items())))
    print("\n".join(report.lines()))
    print("1 passed, 0 failed, 0 skipped" if report.ok() else "0 passed, 1 failed, 0 skipped")
    return 0 if report.ok() else 1


if __name__ == "__main__":
    sys.exit(main())
