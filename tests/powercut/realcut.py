#!/usr/bin/env python3
# limit: 170
"""realcut.py [CYCLES] [FILESYSTEM...]: the power fails under a real file system, CYCLES times each on ext4 and xfs.

A file is formatted and mounted over a loop device, and holds the data directory and the query's checkpoint. While an idempotent
producer writes and a query copies what it can to another topic in transactions, FS_IOC_SHUTDOWN without a flush of the file
system's log stops the disk dead: what was not synced is gone, renames and sizes too. The server is killed (it stops by itself at the
first failed sync), the file system mounted again, which replays its own log, and the server started on what is left.

Checked after each cut: every acknowledged record is there once, at its offset, in order; what was not acknowledged is there at
most once. At the end: the copy has every record once, whatever batches were cut in two.

`make test` runs three cycles, `make test-realcut CYCLES=100` the long form. It needs root and loop devices; where those are not
allowed it is skipped, and says so.
"""
import fcntl
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import penstock_server  # noqa: E402

FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux/fs.h
NO_LOG_FLUSH = 2
PARTITIONS = 2
IMAGE_BYTES = {"ext4": 512 << 20, "xfs": 512 << 20}
CLIENT = {"socket.timeout.ms": 2000, "reconnect.backoff.max.ms": 200, "log_level": 0, "error_cb": lambda e: None}
rng = random.Random(int(os.environ.get("SEED", "0")) or None)


class Mount:
    def __init__(self, kind, directory):
        self.kind, self.image, self.point = kind, f"{directory}/{kind}.img", f"{directory}/{kind}"
        os.makedirs(self.point)
        with open(self.image, "wb") as f:
            f.truncate(IMAGE_BYTES[kind])
        subprocess.run([f"mkfs.{kind}", "-q", self.image], check=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.point], check=True)

    def cut(self):
        fd = os.open(self.point, os.O_RDONLY)
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(fd)

    def unmount(self):
        for _ in range(100):  # the killed server's files are being closed
            if subprocess.run(["umount", self.point], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.05)
        raise SystemExit(f"{self.point} stays busy")


class Load(threading.Thread):
    """An idempotent producer of numbers, by turns to the partitions; knows what was acknowledged, and where."""

    def __init__(self, address, first):
        super().__init__()
        self.address, self.next, self.acked, self.sent, self.stop = address, first, {}, [[] for _ in range(PARTITIONS)], False
        self.start()

    def run(self):
        p = Producer({**CLIENT, "bootstrap.servers": self.address, "enable.idempotence": True, "linger.ms": 1,
                      "message.timeout.ms": 3000})

        def delivered(error, m):
            if error is None:
                self.acked[int(m.value())] = (m.partition(), m.offset())

        while not self.stop:
            for _ in range(rng.randrange(1, 200)):
                part = self.next % PARTITIONS
                try:
                    p.produce("t", str(self.next).encode(), partition=part, on_delivery=delivered)
                except BufferError:
                    break
                self.sent[part].append(self.next)
                self.next += 1
            p.poll(0.01)
            time.sleep(0.005)
        p.purge()
        p.flush(1)


def copy(server, checkpoint, to_the_end):
    """The query; its session ends with the server."""
    from pyspark.sql import SparkSession
    spark = SparkSession.builder.remote(f"sc://{server.connect}").create()
    writer = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", server.kafka).option("subscribe", "t")
              .option("startingOffsets", "earliest").load().selectExpr("value").writeStream.format("kafka")
              .option("kafka.bootstrap.servers", server.kafka).option("topic", "copy").option("checkpointLocation", checkpoint))
    query = (writer.trigger(availableNow=True) if to_the_end else writer).start()
    if to_the_end:
        query.awaitTermination()
        if query.exception() is not None:
            raise SystemExit(f"the query failed: {query.exception()}")
        spark.stop()


def read(server, topic, partition, offset, isolation):
    c = Consumer({**CLIENT, "bootstrap.servers": server.kafka, "group.id": "check", "isolation.level": isolation,
                  "enable.auto.commit": False, "enable.partition.eof": True})
    c.assign([TopicPartition(topic, partition, offset)])
    got, deadline = [], time.monotonic() + 60
    while time.monotonic() < deadline:
        for m in c.consume(5000, 1):
            if m.error():
                c.close()
                return got
            got.append((m.offset(), int(m.value())))
    raise SystemExit(f"{topic}-{partition} cannot be read to its end")


def check_cycle(server, load, verified, complaints):
    """What this cycle wrote, from where the last one ended. Moves `verified` to the ends."""
    for part in range(PARTITIONS):
        got = read(server, "t", part, verified[part], "read_uncommitted")
        values = [v for _, v in got]
        if values != sorted(set(values)):
            complaints.append(f"t-{part}: out of order or twice from offset {verified[part]} on")
        if not set(values) <= set(load.sent[part]):
            complaints.append(f"t-{part}: records that this cycle did not send")
        there = dict((v, o) for o, v in got)
        for value, (p, offset) in load.acked.items():
            if p == part and there.get(value) != offset:
                complaints.append(f"t-{part}: {value} was acknowledged at {offset} and is at {there.get(value)}")
        verified[part] += len(got)
    return len(load.acked)


def run(kind, directory, cycles):
    mount = Mount(kind, directory)
    complaints, acked, number = [], 0, 0
    verified = [0] * PARTITIONS
    server = penstock_server.Server(f"{mount.point}/data")
    server.log = f"{directory}/{kind}.log"
    checkpoint = f"{mount.point}/checkpoint"
    try:
        for cycle in range(cycles):
            os.makedirs(server.data, exist_ok=True)
            server.start()
            if cycle == 0:
                admin = AdminClient({"bootstrap.servers": server.kafka})
                for f in admin.create_topics([NewTopic("t", PARTITIONS), NewTopic("copy", PARTITIONS)]).values():
                    f.result()
            load = Load(server.kafka, number)
            starter = threading.Thread(target=lambda: quiet(copy, server, checkpoint, False), daemon=True)
            starter.start()
            time.sleep(0.4 + rng.random() * 1.2)
            mount.cut()
            time.sleep(rng.random() * 0.1)
            server.kill()
            load.stop = True
            load.join()
            number = load.next
            mount.unmount()
            mount.mount()
            server.start()
            acked += check_cycle(server, load, verified, complaints)
            server.stop()
            if complaints:
                break
        server.start()
        quiet_or_fail(complaints, copy, server, checkpoint, True)
        all_in = sorted(v for p in range(PARTITIONS) for _, v in read(server, "t", p, 0, "read_uncommitted"))
        copied = sorted(v for p in range(PARTITIONS) for _, v in read(server, "copy", p, 0, "read_committed"))
        if all_in != copied:
            complaints.append(f"copy: {len(copied)} records, {len(set(copied))} different, of {len(all_in)}")
        if len(all_in) != sum(verified):
            complaints.append(f"t: {len(all_in)} records at the end, {sum(verified)} were checked on the way")
        server.stop()
    finally:
        if server.process:
            server.kill()
        mount.unmount()
    print(f"{kind}: {cycles} cuts, {acked} records acknowledged, {sum(verified)} there, {len(copied)} copied once")
    for c in complaints[:20]:
        print("FAILED: " + c)
    return not complaints


def quiet(fn, *args):
    try:
        fn(*args)
    except Exception:  # the server goes away under it
        pass


def quiet_or_fail(complaints, fn, *args):
    try:
        fn(*args)
    except Exception as e:
        complaints.append(f"the query does not go on: {e}")


def why_not():
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/img", "wb") as f:
            f.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", f"{d}/img"], check=True)
        r = subprocess.run(["mount", "-o", "loop", f"{d}/img", d], stderr=subprocess.PIPE, text=True)
        if r.returncode:
            return "loop mounts are not allowed here: " + r.stderr.strip()
        subprocess.run(["umount", d], check=True)
    return None


def main():
    cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    kinds = sys.argv[2:] or ["ext4", "xfs"]
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        print(f"0 passed, 0 failed, {len(kinds)} skipped")
        return 0
    directory = tempfile.mkdtemp(prefix="penstock-realcut-")
    passed = 0
    try:
        for kind in kinds:
            passed += run(kind, directory, cycles)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{passed} passed, {len(kinds) - passed} failed, 0 skipped", flush=True)
    os._exit(0 if passed == len(kinds) else 1)  # sessions of killed servers still wait in their threads


if __name__ == "__main__":
    sys.exit(main())
