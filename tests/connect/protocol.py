#!/usr/bin/env python3
# limit: 180
# sanitized: yes
"""protocol.py: Spark Connect as bytes on the wire, with the client's own protobuf classes and none of its manners.

Every relation, expression and command of the protocol is sent once: it must be answered, or refused by name. Then envelopes,
handles, reattachment, limits, and bytes that are no Spark Connect at all. PENSTOCK_CONNECT=HOST:PORT asks a server that runs
already.
"""
import contextlib
import io
import os
import socket
import struct
import sys
import threading
import traceback
import uuid
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import grpc  # noqa: E402
import penstock_server  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyspark.sql.connect.proto as pb  # noqa: E402
import pyspark.sql.connect.proto.base_pb2_grpc as pb_grpc  # noqa: E402
from google.rpc import error_details_pb2, status_pb2  # noqa: E402

TESTS = []
ADDRESS = None


def test(fn):
    TESTS.append(fn)
    return fn


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Refused(Exception):
    """What a server answered instead of a result: gRPC code, error class, message."""

    def __init__(self, error):
        self.code = error.code()
        self.error_class = self.error_id = ""
        self.message = error.details()
        self.classes = ""
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(value)
                self.message = status.message
                for detail in status.details:
                    info = error_details_pb2.ErrorInfo()
                    if detail.Unpack(info):
                        self.error_class = info.metadata.get("errorClass", "")
                        self.error_id = info.metadata.get("errorId", "")
                        self.classes = info.metadata.get("classes", "")
        super().__init__(f"{self.code} {self.error_class} {self.message}")


class Client:
    def __init__(self):
        self.channel = grpc.insecure_channel(ADDRESS, options=[("grpc.max_send_message_length", -1)])
        self.stub = pb_grpc.SparkConnectServiceStub(self.channel)
        self.session = str(uuid.uuid4())

    def close(self):
        self.channel.close()

    def call(self, name, request):
        request.session_id = request.session_id or self.session
        try:
            answer = getattr(self.stub, name)(request, timeout=30)
            return list(answer) if name in ("ExecutePlan", "ReattachExecute") else answer
        except grpc.RpcError as error:
            raise Refused(error) from None

    def plan(self, plan, **options):
        return self.call("ExecutePlan", pb.ExecutePlanRequest(plan=plan, **options))

    def relation(self, relation, **options):
        return self.plan(pb.Plan(root=relation), **options)

    def rows(self, relation):
        tables = [
            pa.ipc.open_stream(r.arrow_batch.data).read_all()
            for r in self.relation(relation)
            if r.HasField("arrow_batch")
        ]
        return pa.concat_tables(tables).to_pylist()


@contextlib.contextmanager
def client():
    c = Client()
    try:
        yield c
    finally:
        c.close()


def refusal(fn, *args, **kwargs):
    try:
        fn(*args, **kwargs)
    except Refused as refused:
        return refused
    raise AssertionError("answered what should be refused")


def range_(end):
    return pb.Relation(range=pb.Range(end=end, step=1))


def literal(value):
    return pb.Expression(literal=pb.Expression.Literal(integer=value))


def fill(message, depth=0):
    """Give the parts that a request cannot do without: relations a range, expressions a number, types INT."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None or field.containing_oneof is not None and field.containing_oneof.name[0] != "_":
            continue
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        made = {
            "spark.connect.Relation": lambda: range_(3),
            "spark.connect.Expression": lambda: literal(1),
            "spark.connect.Expression.Literal": lambda: pb.Expression.Literal(integer=1),
            "spark.connect.DataType": lambda: pb.DataType(integer=pb.DataType.Integer()),
        }.get(field.message_type.full_name)
        if field.message_type.GetOptions().map_entry or made is None or repeated:
            continue
        getattr(message, field.name).CopyFrom(made())
    return message


def kinds(message, oneof):
    return [f.name for f in message.DESCRIPTOR.oneofs_by_name[oneof].fields]


def outcome(fn):
    """"answered", or the named refusal; anything else fails."""
    try:
        fn()
        return "answered"
    except Refused as refused:
        expect(refused.code == grpc.StatusCode.INTERNAL, f"gRPC code {refused}")
        expect(refused.error_class not in ("", "INTERNAL_ERROR"), f"not named: {refused}")
        expect("(unknown)" not in refused.message, f"not known: {refused}")
        return refused.error_class


def every(count, message, oneof, send):
    names = kinds(message, oneof)
    expect(len(names) == count, f"{len(names)} kinds in this client's protocol, not {count}")
    for name in names:
        one = type(message)()
        part = getattr(one, name)
        if hasattr(part, "SetInParent"):
            part.SetInParent()
            fill(part)
        else:
            setattr(one, name, part)  # a scalar: set to its default
        try:
            outcome(lambda: send(one))
        except AssertionError as wrong:
            raise AssertionError(f"{name}: {wrong}") from None


@test
def every_relation():
    with client() as c:
        every(61, pb.Relation(), "rel_type", c.relation)


@test
def every_catalog_request():
    with client() as c:
        every(36, pb.Catalog(), "cat_type", lambda x: c.relation(pb.Relation(catalog=x)))


@test
def every_expression():
    with client() as c:
        every(22, pb.Expression(), "expr_type", lambda x: c.relation(
            pb.Relation(project=pb.Project(input=range_(1), expressions=[x]))))


@test
def every_literal():
    with client() as c:
        every(22, pb.Expression.Literal(), "literal_type", lambda x: c.relation(
            pb.Relation(project=pb.Project(expressions=[pb.Expression(literal=x)]))))


@test
def every_type():
    def send(c, t):
        cast = pb.Expression.Cast(expr=pb.Expression(literal=pb.Expression.Literal(null=t)), type=t)
        c.relation(pb.Relation(project=pb.Project(expressions=[pb.Expression(cast=cast)])))

    with client() as c:
        every(28, pb.DataType(), "kind", lambda t: send(c, t))


@test
def every_command():
    with client() as c:
        every(20, pb.Command(), "command_type", lambda x: c.plan(pb.Plan(command=x)))


@test
def every_streaming_command():
    with client() as c:
        every(8, pb.StreamingQueryCommand(), "command",
              lambda x: c.plan(pb.Plan(command=pb.Command(streaming_query_command=x))))
        manager = pb.StreamingQueryManagerCommand(active=True)
        c.plan(pb.Plan(command=pb.Command(streaming_query_manager_command=manager)))


@test
def every_analysis():
    def send(c, request):
        part = getattr(request, request.WhichOneof("analyze"))
        for name in ("plan", "target_plan", "other_plan"):
            if name in part.DESCRIPTOR.fields_by_name:
                getattr(part, name).root.CopyFrom(range_(1))
        c.call("AnalyzePlan", request)

    with client() as c:
        every(14, pb.AnalyzePlanRequest(), "analyze", lambda r: send(c, r))


@test
def answers_carry_their_ids():
    with client() as c:
        responses = c.relation(range_(3))
        expect(all(r.session_id == c.session for r in responses), "session_id")
        expect(len({r.server_side_session_id for r in responses}) == 1, "server_side_session_id")
        expect(len({r.response_id for r in responses}) == len(responses), "response_id is not unique")
        expect(len({r.operation_id for r in responses}) == 1, "operation_id")
        expect(responses[0].HasField("schema"), "the schema comes first")
        expect(responses[-1].HasField("result_complete"), "result_complete comes last")
        config = c.call("Config", pb.ConfigRequest(operation=pb.ConfigRequest.Operation(
            get_all=pb.ConfigRequest.GetAll())))
        expect(config.server_side_session_id == responses[0].server_side_session_id, "the session's id moved")


@test
def empty_results_have_one_batch():
    with client() as c:
        batches = [r.arrow_batch for r in c.relation(range_(0)) if r.HasField("arrow_batch")]
        expect(len(batches) == 1 and batches[0].row_count == 0, f"{len(batches)} batches")
        expect(pa.ipc.open_stream(batches[0].data).read_all().num_rows == 0, "rows")


@test
def large_results_come_whole():
    with client() as c:
        offset = 0
        for r in c.relation(range_(300_000)):
            if r.HasField("arrow_batch"):
                expect(r.arrow_batch.start_offset == offset, "start_offset")
                table = pa.ipc.open_stream(r.arrow_batch.data).read_all()
                expect(table["id"][0].as_py() == offset and table.num_rows == r.arrow_batch.row_count, "rows")
                offset += table.num_rows
        expect(offset == 300_000, f"{offset} rows")


@test
def unknown_fields():
    with client() as c:
        request = pb.ExecutePlanRequest(session_id=c.session, plan=pb.Plan(root=range_(1))).SerializeToString()
        execute = c.channel.unary_stream("/spark.connect.SparkConnectService/ExecutePlan")
        newer = b"\xfa\x3f\x01x"  # field 1023: a string
        expect(len(list(execute(request + newer, timeout=10))) >= 2, "an envelope with a field that nobody knows")
        plan = pb.Plan(root=range_(1)).SerializeToString() + newer
        message = pb.ExecutePlanRequest(session_id=c.session).SerializeToString()
        message += b"\x1a" + bytes([len(plan)]) + plan
        try:
            list(execute(message, timeout=10))
        except grpc.RpcError as error:
            refused = Refused(error)
        expect(refused.error_class == "UNSUPPORTED_FEATURE.PENSTOCK" and "field 1023" in refused.message, str(refused))


def deep_limit(levels):
    """The bytes of a plan of `levels` limits, one over the other, without recursion."""

    def varint(n):
        out = b""
        while n >= 0x80:
            out += bytes([n & 0x7F | 0x80])
            n >>= 7
        return out + bytes([n])

    pieces, size = [], 0
    inner = range_(1).SerializeToString()
    size += len(inner)
    for _ in range(levels):
        head = b"\x0a" + varint(size)  # Limit.input
        size += len(head)
        outer = b"\x3a" + varint(size)  # Relation.limit
        size += len(outer)
        pieces += [head, outer]
    body = b"".join(reversed(pieces)) + inner
    plan = b"\x0a" + varint(len(body)) + body
    return b"\x1a" + varint(len(plan)) + plan


@test
def deep_plans():
    with client() as c:
        execute = c.channel.unary_stream("/spark.connect.SparkConnectService/ExecutePlan")
        envelope = pb.ExecutePlanRequest(session_id=c.session).SerializeToString()
        expect(len(list(execute(envelope + deep_limit(100), timeout=30))) >= 2, "100 levels")
        for levels in (600, 100_000):
            try:
                list(execute(envelope + deep_limit(levels), timeout=30))
                raise AssertionError(f"{levels} levels were answered")
            except grpc.RpcError as error:
                refused = Refused(error)
            expect(refused.error_class == "PENSTOCK.LIMIT_EXCEEDED", str(refused))
        x = literal(1)
        for _ in range(40):  # Python's protobuf builds no more than 100
            x = pb.Expression(cast=pb.Expression.Cast(expr=x, type_str="int"))
        expect(len(c.relation(pb.Relation(project=pb.Project(expressions=[x])))) > 1, "nested casts")
        expect(c.rows(range_(2)) == [{"id": 0}, {"id": 1}], "the server lives")


@test
def handles():
    with client() as c:
        empty = pb.ConfigRequest(operation=pb.ConfigRequest.Operation(get_all=pb.ConfigRequest.GetAll()))
        empty.session_id = "not-a-uuid"
        expect(refusal(c.call, "Config", empty).error_class == "INVALID_HANDLE.FORMAT", "format")
        changed = pb.ConfigRequest(operation=empty.operation, client_observed_server_side_session_id=str(uuid.uuid4()))
        expect(refusal(c.call, "Config", changed).error_class == "INVALID_HANDLE.SESSION_CHANGED", "changed")
        lost = pb.ReattachExecuteRequest(operation_id=str(uuid.uuid4()))
        expect(refusal(c.call, "ReattachExecute", lost).error_class == "INVALID_HANDLE.OPERATION_NOT_FOUND", "operation")
        c.call("ReleaseSession", pb.ReleaseSessionRequest())
        late = refusal(c.call, "Config", pb.ConfigRequest(operation=empty.operation))
        expect(late.error_class == "INVALID_HANDLE.SESSION_CLOSED", str(late))
        release = pb.ReleaseExecuteRequest(operation_id=str(uuid.uuid4()))
        expect(refusal(c.call, "ReleaseExecute", release).error_class == "INVALID_HANDLE.SESSION_CLOSED", "release")
        c.call("ReleaseSession", pb.ReleaseSessionRequest())  # twice is fine


def reattachable(c, operation):
    return pb.ExecutePlanRequest(
        session_id=c.session, plan=pb.Plan(root=range_(100_000)), operation_id=operation,
        request_options=[pb.ExecutePlanRequest.RequestOption(reattach_options=pb.ReattachOptions(reattachable=True))])


@test
def reattach():
    with client() as c:
        operation = str(uuid.uuid4())
        stream = c.stub.ExecutePlan(reattachable(c, operation), timeout=30)
        seen = [next(stream), next(stream)]
        stream.cancel()
        request = pb.ReattachExecuteRequest(session_id=c.session, operation_id=operation)
        request.last_response_id = seen[-1].response_id
        rest = c.call("ReattachExecute", request)
        rows = sum(r.arrow_batch.row_count for r in seen + rest if r.HasField("arrow_batch"))
        expect(rows == 100_000 and rest[-1].HasField("result_complete"), f"{rows} rows")
        again = c.call("ReattachExecute", request)
        expect([r.response_id for r in again] == [r.response_id for r in rest], "the same responses again")
        until = pb.ReleaseExecuteRequest(operation_id=operation)
        until.release_until.response_id = rest[0].response_id
        c.call("ReleaseExecute", until)
        expect(refusal(c.call, "ReattachExecute", request).error_class == "INVALID_CURSOR.POSITION_NOT_AVAILABLE", "gone")
        request.last_response_id = rest[0].response_id if len(rest) > 1 else ""
        everything = pb.ReleaseExecuteRequest(operation_id=operation)
        everything.release_all.SetInParent()
        expect(c.call("ReleaseExecute", everything).operation_id == operation, "release_all")
        expect(not c.call("ReleaseExecute", everything).HasField("operation_id"), "released twice")
        twice = str(uuid.uuid4())
        list(c.stub.ExecutePlan(reattachable(c, twice), timeout=30))
        expect(refusal(c.call, "ExecutePlan", reattachable(c, twice)).error_class ==
               "INVALID_HANDLE.OPERATION_ALREADY_EXISTS", "the same operation twice")


@test
def slow_readers_hold_the_server_back():
    """40 MB of rows that nobody reads: the execution waits; interrupting it ends it."""
    with client() as c:
        operation = str(uuid.uuid4())
        request = reattachable(c, operation)
        request.plan.root.range.end = 1 << 40
        stream = c.stub.ExecutePlan(request, timeout=60)
        next(stream)
        status = c.call("GetStatus", pb.GetStatusRequest(
            operation_status=pb.GetStatusRequest.OperationStatusRequest(operation_ids=[operation])))
        running = pb.GetStatusResponse.OperationStatus.OperationState.OPERATION_STATE_RUNNING
        expect(status.operation_statuses[0].state == running, "running")
        interrupted = c.call("Interrupt", pb.InterruptRequest(
            interrupt_type=pb.InterruptRequest.INTERRUPT_TYPE_OPERATION_ID, operation_id=operation))
        expect(list(interrupted.interrupted_ids) == [operation], "interrupted")
        try:
            for _ in stream:
                pass
            raise AssertionError("an endless range ended")
        except grpc.RpcError as error:
            expect(Refused(error).error_class == "OPERATION_CANCELED", str(Refused(error)))


@test
def error_details():
    with client() as c:
        bad = pb.Relation(sql=pb.SQL(query="select 1/0"))
        refused = refusal(c.relation, bad)
        expect(refused.error_class == "DIVIDE_BY_ZERO" and "ArithmeticException" in refused.classes, str(refused))
        details = c.call("FetchErrorDetails", pb.FetchErrorDetailsRequest(error_id=refused.error_id))
        error = details.errors[details.root_error_idx]
        expect(error.spark_throwable.sql_state == "22012", "sql_state")
        context = error.spark_throwable.query_contexts[0]
        expect((context.start_index, context.stop_index, context.fragment) == (7, 9, "1/0"), str(context))
        expect(context.summary == "\n== SQL (line 1, position 8) ==\nselect 1/0\n       ^^^\n", repr(context.summary))
        nothing = c.call("FetchErrorDetails", pb.FetchErrorDetailsRequest(error_id=str(uuid.uuid4())))
        expect(not nothing.HasField("root_error_idx"), "an error that never was")


@test
def errors_fit_into_trailers():
    with client() as c:
        refused = refusal(c.relation, pb.Relation(sql=pb.SQL(query="select " + "é" * 3000 + " from t")))
        expect(refused.code == grpc.StatusCode.INTERNAL and refused.error_class, str(refused)[:200])
        refused = refusal(c.relation, pb.Relation(project=pb.Project(input=range_(1), expressions=[
            pb.Expression(unresolved_attribute=pb.Expression.UnresolvedAttribute(unparsed_identifier="x" * 20000))])))
        expect(refused.error_class.startswith("UNRESOLVED_COLUMN"), str(refused)[:200])


def arrow_bytes(table):
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


@test
def cached_local_relations():
    with client() as c:
        data = arrow_bytes(pa.table({"a": [1, 2, 3]}))
        chunk = pb.AddArtifactsRequest.ArtifactChunk

        def upload(name, crc):
            half = len(data) // 2
            begin = pb.AddArtifactsRequest.BeginChunkedArtifact(
                name=name, total_bytes=len(data), num_chunks=2,
                initial_chunk=chunk(data=data[:half], crc=zlib.crc32(data[:half])))
            yield pb.AddArtifactsRequest(session_id=c.session, begin_chunk=begin)
            yield pb.AddArtifactsRequest(session_id=c.session, chunk=chunk(data=data[half:], crc=crc(data[half:])))

        done = c.stub.AddArtifacts(upload("cache/good", zlib.crc32), timeout=30)
        expect(done.artifacts[0].is_crc_successful, "crc")
        bad = c.stub.AddArtifacts(upload("cache/bad", lambda _: 1), timeout=30)
        expect(not bad.artifacts[0].is_crc_successful, "a wrong crc")
        status = c.call("ArtifactStatus", pb.ArtifactStatusesRequest(names=["cache/good", "cache/bad"]))
        expect(status.statuses["cache/good"].exists and not status.statuses["cache/bad"].exists, "status")
        relation = pb.Relation(chunked_cached_local_relation=pb.ChunkedCachedLocalRelation(dataHashes=["good", "good"]))
        expect(c.rows(relation) == [{"a": x} for x in (1, 2, 3, 1, 2, 3)], "rows")
        relation.chunked_cached_local_relation.dataHashes[0] = "missing"
        expect(refusal(c.relation, relation).error_class == "CONNECT_INVALID_PLAN.PENSTOCK", "missing")
        try:
            c.stub.AddArtifacts(upload("jars/x.jar", zlib.crc32), timeout=30)
            raise AssertionError("a jar was taken")
        except grpc.RpcError as error:
            expect(Refused(error).error_class == "UNSUPPORTED_FEATURE.PENSTOCK", str(Refused(error)))


@test
def damaged_arrow_data():
    with client() as c:
        data = arrow_bytes(pa.table({"a": [1, 2, 3], "s": ["x", None, "zz"], "l": [[1], None, [2, 3]]}))
        refused = 0
        for at in range(8, len(data), 3):
            damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1:]
            relation = pb.Relation(local_relation=pb.LocalRelation(data=damaged))
            refused += outcome(lambda: c.relation(relation)) != "answered"
        expect(refused > 20, f"only {refused} refused")
        for table in (pa.table({"a": pa.array(["x"]).dictionary_encode()}), pa.table({"a": pa.array([1], pa.uint8())}),
                      pa.table({"a": pa.array([1], pa.time32("s"))})):
            relation = pb.Relation(local_relation=pb.LocalRelation(data=arrow_bytes(table)))
            expect(outcome(lambda: c.relation(relation)) == "UNSUPPORTED_FEATURE.PENSTOCK", str(table.schema))


def raw(data):
    """Send bytes, read until the server closes."""
    host, port = ADDRESS.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as s:
        out = b""
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while chunk := s.recv(65536):
                out += chunk
        except OSError:
            pass
        return out


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


@test
def bytes_that_are_no_grpc():
    expect(b"Spark Connect" in raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1 is told what this port is")
    raw(os.urandom(4096))
    raw(PREFACE + os.urandom(4096))
    settings = frame(4, 0, 0, b"")
    raw(PREFACE + settings + frame(1, 4, 1, os.urandom(100)))  # HPACK garbage
    raw(PREFACE + settings + frame(9, 0, 1, b"x" * 100))  # CONTINUATION without HEADERS
    raw(PREFACE + settings + frame(0, 0, 1, b"x" * 100))  # DATA on an idle stream
    raw(PREFACE + settings + frame(6, 0, 0, b"12345678") * 20000)  # pings
    raw(PREFACE + settings + frame(4, 0, 0, b"") * 20000)
    raw(PREFACE[:10])
    with client() as c:
        for body in (b"", b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f"):
            for call in ("ExecutePlan", "Config", "AnalyzePlan", "Nonsense"):
                try:
                    c.channel.unary_unary(f"/spark.connect.SparkConnectService/{call}")(body, timeout=10)
                except grpc.RpcError as error:
                    expect(error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED), str(error.code()))
        zipped = grpc.insecure_channel(ADDRESS, compression=grpc.Compression.Gzip)
        try:
            request = pb.ConfigRequest(session_id=c.session, client_type="x" * 10000)
            pb_grpc.SparkConnectServiceStub(zipped).Config(request, timeout=10)
            raise AssertionError("a compressed message was taken")
        except grpc.RpcError as error:
            expect(error.code() == grpc.StatusCode.UNIMPLEMENTED, str(error.code()))
        zipped.close()
        expect(len(c.rows(range_(5))) == 5, "the server lives")


@test
def many_at_once():
    with client() as c:
        failures = []

        def one(n):
            try:
                expect(len(c.rows(range_(n))) == n, f"{n} rows")
            except Exception as wrong:  # noqa: BLE001
                failures.append(wrong)

        threads = [threading.Thread(target=one, args=(n,)) for n in range(1, 65)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(not failures, str(failures[:1]))


@test
def deadlines():
    with client() as c:
        request = reattachable(c, str(uuid.uuid4()))
        request.plan.root.range.end = 1 << 40
        try:
            for _ in c.stub.ExecutePlan(request, timeout=0.3):
                pass
            raise AssertionError("an endless range ended")
        except grpc.RpcError as error:
            expect(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, str(error.code()))
        c.call("Interrupt", pb.InterruptRequest(interrupt_type=pb.InterruptRequest.INTERRUPT_TYPE_ALL))


@test
def cloned_sessions():
    with client() as c:
        pair = pb.KeyValue(key="spark.sql.shuffle.partitions", value="5")
        c.call("Config", pb.ConfigRequest(operation=pb.ConfigRequest.Operation(set=pb.ConfigRequest.Set(pairs=[pair]))))
        made = c.call("CloneSession", pb.CloneSessionRequest())
        get = pb.ConfigRequest.Operation(get=pb.ConfigRequest.Get(keys=[pair.key]))
        got = c.call("Config", pb.ConfigRequest(session_id=made.new_session_id, operation=get))
        expect(got.pairs[0].value == "5", str(got))


def main():
    global ADDRESS
    passed = failed = 0
    with contextlib.ExitStack() as stack:
        ADDRESS = os.environ.get("PENSTOCK_CONNECT") or stack.enter_context(penstock_server.running()).connect
        for fn in TESTS:
            if len(sys.argv) > 1 and fn.__name__ not in sys.argv[1:]:
                continue
            try:
                fn()
                passed += 1
            except Exception:  # noqa: BLE001
                failed += 1
                print(f"FAILED {fn.__name__}")
                traceback.print_exc(limit=-3, file=sys.stdout)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
