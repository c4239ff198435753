#!/usr/bin/env python3
# manual: yes
"""nth.py: fail the N-th allocation, or the N-th call of the kernel in every way it can fail, and look what becomes of it.

    nth.py alloc|call [--from N] [--stride S] [--workers W] [--state FILE] [--most M] [N...]

One run: a server of build/rel/penstock-faults (tests/fault/faults.c) in an empty directory does the same work as always: start, create
and delete a topic, produce, fetch, commit offsets, a streaming query from topic to topic with a checkpoint, clean stop. What failed must
end in an answer with an error, or in exit status 1 with a line that says why: no signal, nobody who waits for ever. Then a server
without faults starts on what is left: everything that was acknowledged is there, in its order and once; the query goes on, and its output
holds every input once. Runs go on until one finishes before N was reached. --state FILE remembers where, so that it can be resumed.
"""
import argparse
import contextlib
import json
import multiprocessing
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/overload"))
import attack as wire
import grpc
from pyspark.sql.connect.proto import base_pb2, base_pb2_grpc

PROGRAM = os.path.join(ROOT, "build/rel/penstock-faults")
PATIENCE = 15  # seconds: who has no answer by then waits for ever
REPORT = struct.Struct("<QQII64s24Q")
RECORDS = 6
SESSION = "7a6b7c1e-6a39-4d5c-9d6e-2f6a3f1c0001"


class Problem(Exception):
    pass


class Answer(Exception):
    """The server said no, or the connection ended: an answer."""


# -- a server ------------------------------------------------------------------------------------------------------------


class Server:
    def __init__(self, home, fault=None):
        self.report = os.path.join(home, "report" if fault else "report.after")
        self.log = os.path.join(home, "log" if fault else "log.after")
        with open(self.report, "wb") as f:
            f.write(b"\0" * REPORT.size)
        env = dict(os.environ)
        if fault:
            env |= {"PENSTOCK_FAULT": fault, "PENSTOCK_FAULT_REPORT": self.report}
        listen = [f"--{p}-listen=127.0.0.1:0" for p in ("kafka", "connect", "http")]
        argv = [PROGRAM, "serve", "--data", os.path.join(home, "data"), "--loops", "1", "--journal-file-bytes", "1M", *listen]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=log)
        self.kafka = self.connect = None

    def ready(self):
        """False: it ended instead, which is an answer."""
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise Problem("neither ready nor ended")
        line = self.process.stdout.readline().decode()
        if not line.startswith("ready"):
            return False
        words = dict(w.split("=") for w in line.split()[1:])
        self.kafka, self.connect = words["kafka"], words["connect"]
        return True

    def end(self):
        """Ask it to stop, if it has not; how it ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                subprocess.run(["gdb", "-p", str(self.process.pid), "-batch", "-ex", "thread apply all bt 12"], timeout=30,
                               stdout=open(self.log + ".stacks", "wb"), stderr=subprocess.DEVNULL, check=False)
            raise Problem("does not stop") from None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def told(self):
        with open(self.report, "rb") as f:
            seen, fired, kinds, n, what, *frames = REPORT.unpack(f.read(REPORT.size))
        return seen, bool(fired), kinds, what.split(b"\0")[0].decode(), frames[:n]


# -- Kafka ---------------------------------------------------------------------------------------------------------------


def text(s):
    return struct.pack(">h", len(s)) + s.encode()


def ask(server, request):
    try:
        with wire.dial(server.kafka, PATIENCE) as s:
            s.sendall(request)
            return wire.read_frame(s)
    except (TimeoutError, socket.timeout):
        raise Problem("no answer on Kafka's port") from None
    except (OSError, ConnectionError) as why:
        raise Answer(str(why)) from None


def code_is_zero(code):
    if code:
        raise Answer(f"Kafka's error {code}")


def create(server, topic):
    answer = ask(server, wire.frame(wire.header(19, 2) + struct.pack(">i", 1) + text(topic) +
                                    struct.pack(">ihiiib", 1, 1, 0, 0, 10000, 0)))
    code_is_zero(struct.unpack_from(">h", answer, 4 + 4 + 4 + 2 + len(topic))[0])


def delete(server, topic):
    answer = ask(server, wire.frame(wire.header(20, 1) + struct.pack(">i", 1) + text(topic) + struct.pack(">i", 10000)))
    code_is_zero(struct.unpack_from(">h", answer, 4 + 4 + 4 + 2 + len(topic))[0])


def topics(server):
    answer = ask(server, wire.frame(wire.header(3, 1) + struct.pack(">i", -1)))
    at = 4
    (n,) = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(n):
        at += 4
        at += 2 + struct.unpack_from(">h", answer, at)[0] + 4
        rack = struct.unpack_from(">h", answer, at)[0]
        at += 2 + max(rack, 0)
    at += 4  # controller
    (n,) = struct.unpack_from(">i", answer, at)
    at += 4
    out = []
    for _ in range(n):
        (code, length) = struct.unpack_from(">hh", answer, at)
        out.append(answer[at + 4:at + 4 + length].decode())
        at += 4 + length + 1
        (parts,) = struct.unpack_from(">i", answer, at)
        at += 4
        for _ in range(parts):
            at += 2 + 4 + 4
            at += 4 + 4 * struct.unpack_from(">i", answer, at)[0]
            at += 4 + 4 * struct.unpack_from(">i", answer, at)[0]
    return out


def produce(server, topic, value):
    answer = ask(server, wire.produce(topic, wire.batch(value), -1))
    code, offset = wire.produce_code(answer)
    code_is_zero(code)
    return offset


def commit(server, group, topic, offset):
    body = text(group) + struct.pack(">i", -1) + text("") + struct.pack(">q", -1)
    body += struct.pack(">i", 1) + text(topic) + struct.pack(">iiq", 1, 0, offset) + text("")
    answer = ask(server, wire.frame(wire.header(8, 2) + body))
    code_is_zero(struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic) + 4 + 4)[0])


def committed(server, group, topic):
    body = text(group) + struct.pack(">i", 1) + text(topic) + struct.pack(">ii", 1, 0)
    answer = ask(server, wire.frame(wire.header(9, 1) + body))
    return struct.unpack_from(">q", answer, 4 + 4 + 2 + len(topic) + 4 + 4)[0]


def read_varint(b, at):
    shift = value = 0
    while True:
        byte = b[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value >> 1 ^ -(value & 1), at


def values_of(batch_bytes, count):
    at, out = 0, []
    for _ in range(count):
        length, at = read_varint(batch_bytes, at)
        end = at + length
        at += 1
        _, at = read_varint(batch_bytes, at)
        _, at = read_varint(batch_bytes, at)
        n, at = read_varint(batch_bytes, at)
        at += max(n, 0)
        n, at = read_varint(batch_bytes, at)
        out.append(batch_bytes[at:at + n])
        at = end
    return out


def consume(server, topic):
    """What a read_committed consumer gets; and whether any of it came in a transaction."""
    out, offset, aborting, transactional = [], 0, set(), False
    while True:
        name = text(topic)
        body = struct.pack(">iiiibi", -1, 0, 0, 1 << 20, 1, 1) + name + struct.pack(">iiqi", 1, 0, offset, 1 << 20)
        answer = ask(server, wire.frame(wire.header(1, 4) + body))
        at = 4 + 4 + 4 + 2 + len(topic) + 4 + 4
        code, high, stable, n = struct.unpack_from(">hqqi", answer, at)
        code_is_zero(code)
        at += 22
        aborted = [struct.unpack_from(">qq", answer, at + 16 * i) for i in range(max(n, 0))]
        at += 16 * max(n, 0)
        (size,) = struct.unpack_from(">i", answer, at)
        data = answer[at + 4:at + 4 + max(size, 0)]
        if stable != high:
            time.sleep(0.02)  # a transaction of the dead server ends soon
            continue
        while len(data) >= 61:
            base, length = struct.unpack_from(">qi", data, 0)
            if len(data) < 12 + length:
                break
            attributes, last, _, _, pid, _, _, count = struct.unpack_from(">hiqqqhii", data, 21)
            transactional |= bool(attributes & 16)
            aborting |= {p for p, first in aborted if first <= base + last}
            aborted = [x for x in aborted if x[1] > base + last]  # once: behind its marker the same producer may commit
            if attributes & 32:
                aborting.discard(pid)
            elif base >= offset and not (attributes & 16 and pid in aborting):
                out += values_of(data[61:12 + length], count)
            offset = base + last + 1
            data = data[12 + length:]
        if offset >= high:
            return out, transactional


# -- Spark Connect -------------------------------------------------------------------------------------------------------


def query(server, home):
    """From `in` to `out`, all that is there, to its end."""
    start = base_pb2.ExecutePlanRequest(session_id=SESSION)
    start.user_context.user_id = "nth"
    w = start.plan.command.write_stream_operation_start
    source = w.input.project.input.read
    source.is_streaming = True
    source.data_source.format = "kafka"
    for key, value in (("kafka.bootstrap.servers", server.kafka), ("subscribe", "in"), ("startingOffsets", "earliest")):
        source.data_source.options[key] = value
    w.input.project.expressions.add().unresolved_attribute.unparsed_identifier = "value"
    w.format, w.output_mode, w.available_now = "kafka", "append", True
    for key, value in (("kafka.bootstrap.servers", server.kafka), ("topic", "out"),
                       ("checkpointLocation", os.path.join(home, "checkpoint"))):
        w.options[key] = value
    with grpc.insecure_channel(server.connect, [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]) as channel:
        stub = base_pb2_grpc.SparkConnectServiceStub(channel)
        try:
            for answer in stub.ExecutePlan(start, timeout=PATIENCE):
                if answer.HasField("write_stream_operation_start_result"):
                    run = answer.write_stream_operation_start_result.query_id
            wait = base_pb2.ExecutePlanRequest(session_id=SESSION)
            wait.user_context.user_id = "nth"
            c = wait.plan.command.streaming_query_command
            c.query_id.CopyFrom(run)
            c.await_termination.timeout_ms = PATIENCE * 900
            done = False
            for answer in stub.ExecutePlan(wait, timeout=PATIENCE):
                if answer.HasField("streaming_query_command_result"):
                    done = answer.streaming_query_command_result.await_termination.terminated
            if not done:
                raise Problem("the query does not end")
        except grpc.RpcError as why:
            if why.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Problem("no answer on Spark Connect's port") from None
            raise Answer(f"{why.code().name}: {why.details()}") from None


# -- one run -------------------------------------------------------------------------------------------------------------


def work(server, home, facts, errors):
    """The fixed workload; what was acknowledged goes into `facts`, what was refused into `errors`."""
    def step(what, fn, *args):
        try:
            out = fn(*args)
        except Answer as why:
            errors.append(f"{what}: {why}")
            return None
        facts[what] = out if out is not None else True
        return out

    step("create in", create, server, "in")
    step("create out", create, server, "out")
    step("create gone", create, server, "gone")
    for i in range(RECORDS):
        if step(f"produce {i}", produce, server, "in", b"value %d" % i) is not None:
            facts["acknowledged"].append(b"value %d" % i)
    step("fetch in", consume, server, "in")
    step("commit", commit, server, "group", "in", 3)
    step("delete gone", delete, server, "gone")
    step("query", query, server, home)
    step("fetch out", consume, server, "out")


def check(server, home, facts):
    names = topics(server)
    for topic in ("in", "out"):
        if f"create {topic}" in facts and topic not in names:
            raise Problem(f"topic {topic} is lost")
    if "delete gone" in facts and "gone" in names:
        raise Problem("a deleted topic is back")
    for topic in ("in", "out"):
        if topic not in names:
            create(server, topic)
    got, _ = consume(server, "in")
    sent = [b"value %d" % i for i in range(RECORDS)]
    if sorted(got) != got or len(set(got)) != len(got) or not set(facts["acknowledged"]) <= set(got) <= set(sent):
        raise Problem(f"acknowledged {facts['acknowledged']}, but there is {got}")
    if "commit" in facts and committed(server, "group", "in") != 3:
        raise Problem(f"the committed offset is {committed(server, 'group', 'in')}")
    query(server, home)
    out, exactly_once = consume(server, "out")
    if not exactly_once:  # a batch that ran again is there twice
        out = list(dict.fromkeys(out))
    if out != got:
        raise Problem(f"the query made {out} of {got}")


def one(kind, n, way, keep=False):
    """(fired, kinds, what, problem, frames, errors)"""
    home = tempfile.mkdtemp(prefix="nth-", dir=os.environ.get("NTH_TMP"))
    facts, errors, problem = {"acknowledged": []}, [], None
    fault = f"alloc:{n}" if kind == "alloc" else f"call:{n}:{way}"
    server = Server(home, fault)
    try:
        try:
            if server.ready():
                work(server, home, facts, errors)
            status = server.end()
            said = server.said()
            fired = server.told()[1]
            if status not in (0, 1, 4):  # 4: an address that cannot be resolved
                raise Problem(f"it ended with {status}")
            if status and "ERROR" not in said and "penstock" not in said:
                raise Problem("it ended without a word")
            if errors and not fired:
                raise Problem(f"errors without a fault: {errors}")
        finally:
            server.kill()
        after = Server(home)
        try:
            if not after.ready():
                raise Problem("it does not start again")
            try:
                check(after, home, facts)
            except Answer as why:
                raise Problem(f"after recovery: {why}") from None
            if after.end() != 0:
                raise Problem("the second server does not stop cleanly")
        finally:
            after.kill()
    except Problem as why:
        problem = str(why)
    seen, fired, kinds, what, frames = server.told()
    if problem or keep:
        logs = "".join(open(os.path.join(home, f), errors="replace").read()[-1500:] for f in ("log", "log.after")
                       if os.path.exists(os.path.join(home, f)))
        problem = problem and f"{problem}\n  kept: {home}\n  answers: {errors}\n  " + logs.replace("\n", "\n  ")
    else:
        shutil.rmtree(home, ignore_errors=True)
    return {"n": n, "way": way, "fired": fired, "kinds": kinds, "what": what, "problem": problem, "frames": frames,
            "errors": errors, "seen": seen}


def every_way(job):
    kind, n = job
    out = [one(kind, n, 0)]
    while out[-1]["fired"] and len(out) < out[-1]["kinds"]:
        out.append(one(kind, n, len(out)))
    return out


def where(frames):
    names = subprocess.run(["addr2line", "-f", "-s", "-e", PROGRAM, *(hex(a - 1) for a in frames)], capture_output=True,
                           text=True, check=False).stdout.split("\n")
    pairs = [f"{f} {at}" for f, at in zip(names[::2], names[1::2]) if not at.startswith(("??", "faults.c", "alloc_"))]
    return " < ".join(pairs[:9])


def numbers(options):
    n = options.first
    while True:
        yield n
        n += options.stride


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("alloc", "call"))
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--state")
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("n", nargs="*", type=int)
    o = parser.parse_args()
    state = {"next": o.first, "runs": 0, "problems": 0}
    if o.state and os.path.exists(o.state):
        with open(o.state, encoding="utf-8") as f:
            state = json.load(f)
        o.first = state["next"]
    jobs = ((o.kind, n) for n in (o.n or numbers(o)))
    end, begun = False, state["runs"]
    with multiprocessing.Pool(o.workers) as pool:
        while not end:
            some = [job for _, job in zip(range(o.workers * 4), jobs)]
            if not some:
                break
            for (_, n), results in zip(some, pool.imap(every_way, some)):
                for r in results:
                    state["runs"] += 1
                    if r["problem"]:
                        state["problems"] += 1
                        print(f"{o.kind} {n} way {r['way']} ({r['what']}): {r['problem']}\n  at {where(r['frames'])}", flush=True)
                state["next"] = n + o.stride
                end = end or (not results[0]["fired"] and not o.n)
            if o.state:
                with open(o.state + ".new", "w", encoding="utf-8") as f:
                    json.dump(state, f)
                os.replace(o.state + ".new", o.state)
            if o.most and state["runs"] - begun >= o.most:
                break
    print(f"{o.kind}: {state['runs']} runs up to the {state['next'] - o.stride}th, {state['problems']} problems, "
          f"{'none is left' if end else 'not at the end'}")
    passed, failed = state["runs"] - state["problems"], state["problems"]
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
