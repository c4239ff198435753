#!/usr/bin/env python3
# limit: 90
# sanitized: yes
"""Malformed and hostile frames: the connection ends, the server stays, everyone else is served."""
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import penstock_server
from cases import case, equal, has, main

server = None


def dial():
    host, port = server.kafka.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def header(key, version, correlation=7, client=b"hostile"):
    return struct.pack(">hhih", key, version, correlation, len(client)) + client


def frame(body):
    return struct.pack(">i", len(body)) + body


def read_frame(s):
    size = read_exactly(s, 4)
    return read_exactly(s, struct.unpack(">i", size)[0]) if size is not None else None


def read_exactly(s, n):
    out = b""
    while len(out) < n:
        try:
            piece = s.recv(n - len(out))
        except ConnectionResetError:
            return None
        if not piece:
            return None
        out += piece
    return out


def closes(data):
    """The server ends the connection after these bytes, without an answer."""
    with dial() as s:
        try:
            s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return
        equal(read_exactly(s, 1), None, "an answer instead of the end")


def alive():
    with dial() as s:
        s.sendall(frame(header(18, 0)))
        answer = read_frame(s)
        equal(answer[:6], struct.pack(">ih", 7, 0))


@case
def lengths():
    for size in (-1, -2**31, 2**31 - 1, 104857601):
        closes(struct.pack(">i", size) + b"x" * 100)
    closes(frame(b""))
    closes(frame(b"\0"))
    closes(frame(header(3, 1)[:9]))
    closes(frame(struct.pack(">hhih", 3, 1, 7, 3000)))
    closes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    closes(b"\x16\x03\x01\x02\x00" + os.urandom(200))  # TLS
    alive()


@case
def unknown_apis_and_versions():
    for key, version in ((999, 0), (-1, 0), (3, -1), (3, 99), (0, 2), (1, 3), (32767, 32767)):
        closes(frame(header(key, version)))
    with dial() as s:  # ApiVersions alone is answered whatever the version
        s.sendall(frame(header(18, 99) + b"whatever"))
        equal(read_frame(s)[4:6], struct.pack(">h", 35))
    alive()


@case
def counts_and_nesting():
    closes(frame(header(3, 1) + struct.pack(">i", 2**31 - 1)))
    closes(frame(header(3, 1) + struct.pack(">i", -7)))
    closes(frame(header(3, 1) + struct.pack(">ih", 1, -5)))
    closes(frame(header(3, 9) + b"\0" + b"\xff" * 10))
    closes(frame(header(1, 4) + struct.pack(">iiiibi", -1, 0, 0, 0, 0, 2**30)))
    closes(frame(header(11, 0) + struct.pack(">h", 32767) + b"x" * 100))
    # what fits the frame but would need gigabytes of memory decoded
    closes(frame(header(3, 1) + struct.pack(">i", 30_000_000) + b"\0" * 60_000_000))
    alive()


def produce(batch, acks=1, version=3):
    body = struct.pack(">hhii", -1, acks, 5000, 1) + struct.pack(">h", 4) + b"host"
    body += struct.pack(">iii", 1, 0, len(batch)) + batch
    return frame(header(0, version) + body)


def refused_produce(batch):
    """The error code of the one partition."""
    with dial() as s:
        s.sendall(produce(batch))
        answer = read_frame(s)
    at = 4 + 4 + 2 + 4 + 4 + 4
    return struct.unpack(">h", answer[at:at + 2])[0]


RECORD = bytes([14, 0, 0, 0, 1, 2]) + b"v" + bytes([0])  # length, attributes, time, offset, no key, one byte, no headers
BATCH = struct.pack(">qiibIhiqqqhii", 0, 49 + len(RECORD), 0, 2, 0, 0, 0, 0, 0, -1, -1, -1, 1) + RECORD  # its CRC is zero


@case
def batches():
    with dial() as s:  # makes the topic
        s.sendall(frame(header(3, 4) + struct.pack(">ih", 1, 4) + b"host" + b"\1"))
        read_frame(s)
    equal(refused_produce(b""), 87)
    equal(refused_produce(b"\0" * 10), 87)
    equal(refused_produce(BATCH), 2)
    equal(refused_produce(BATCH[:30]), 87)
    equal(refused_produce(struct.pack(">qi", 0, -1) + BATCH[12:]), 87)
    equal(refused_produce(struct.pack(">qi", 0, 2**31 - 1) + BATCH[12:]), 87)
    equal(refused_produce(BATCH[:16] + b"\1" + BATCH[17:]), 87)
    equal(refused_produce(BATCH[:16] + b"\x63" + BATCH[17:]), 2)
    alive()


@case
def a_slow_and_a_vanishing_client():
    slow = dial()
    for byte in frame(header(18, 0))[:-1]:
        slow.sendall(bytes([byte]))
    alive()
    slow.sendall(frame(header(18, 0))[-1:])
    equal(read_frame(slow)[:6], struct.pack(">ih", 7, 0))
    slow.close()
    for _ in range(50):
        s = dial()
        s.sendall(struct.pack(">i", 1000) + b"x" * random.randrange(900))
        s.close()
    alive()


@case
def pipelined_requests_are_answered_in_order():
    with dial() as s:
        s.sendall(b"".join(frame(header(3, 1, i) + struct.pack(">i", 0)) if i % 3 else frame(header(18, 0, i))
                           for i in range(500)))
        for i in range(500):
            equal(struct.unpack(">i", read_frame(s)[:4])[0], i)


@case
def noise():
    random.seed(1)
    for _ in range(300):
        with dial() as s:
            body = header(random.randrange(70), random.randrange(14)) + random.randbytes(random.randrange(200))
            s.sendall(frame(body))
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
    alive()


@case
def the_log_says_why_but_not_too_often():
    time.sleep(1.1)  # a few lines a second: the cases before this one used theirs up
    for _ in range(100):
        closes(frame(header(999, 0)))
    with open(server.log, encoding="utf-8") as log:
        lines = [line for line in log if "closed:" in line]
    equal(len(lines) > 0, True, "a line in the log")
    has("".join(lines), "an API key that is not supported")
    equal(len(lines) < 250, True, "few lines")


if __name__ == "__main__":
    with penstock_server.running() as server:
        main()
