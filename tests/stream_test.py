"""stream_test: what the recorder of real Spark and the checker of penstock share: reading and writing tests/stream/*.test, and
running one on a Spark Connect server and a Kafka broker, batch by batch, through unmodified clients.

tests/stream/README.md describes the files. The query writes its rows as JSON into a Kafka topic of one partition (or a memory
table); the number of rows that each batch's progress reports cuts that topic into batches.
"""

import difflib
import json
import math
import os
import shutil
import tempfile
import textwrap

RECORDED = "== recorded"
WAIT_SECONDS = 120


class Test:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path).removesuffix(".test")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        self.source, _, recorded = text.partition(RECORDED)
        self.recorded = recorded.split("\n")[1:] if recorded else []
        self.steps = [(head.split(), body) for head, body in sections(self.source)]
        self.query = textwrap.dedent("\n".join(body for head, body in self.steps if head[0] == "query"))

    def expected(self):
        return [line for line in self.recorded if line and not line.startswith("#")]

    def write(self, lines, oracle):
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(self.source.rstrip("\n") + "\n" + RECORDED + "\n# " + oracle + "\n" + "\n".join(lines) + "\n")


def sections(text):
    """(heading, body) of each `== heading` part; what stands before the first one is the description."""
    heading, body = None, []
    for line in text.splitlines():
        if line.startswith("== "):
            if heading:
                yield heading, "\n".join(body)
            heading, body = line[3:], []
        else:
            body.append(line)
    if heading:
        yield heading, "\n".join(body)


def settings(words):
    """key=value words of a heading as a dictionary."""
    return dict(word.split("=", 1) for word in words if "=" in word)


# ---- Kafka -----------------------------------------------------------------------------------------------------------


def create_topic(bootstrap, name, partitions):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 4})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(30)


def produce(bootstrap, topic, lines):
    """One record per JSON line: p (partition, 0), t (milliseconds), k and v (text, null, or a JSON value), h (headers)."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all", "log_level": 4})
    failures = []
    for line in lines:
        record = json.loads(line)
        producer.produce(
            topic,
            partition=record.get("p", 0),
            timestamp=record.get("t", 1704067200000),
            key=text_of(record.get("k")),
            value=text_of(record.get("v")),
            headers=[(name, value) for name, value in record["h"]] if "h" in record else None,
            on_delivery=lambda error, message: failures.append(error) if error else None,
        )
    if producer.flush(30) or failures:
        raise RuntimeError(f"producing to {topic} failed: {failures}")


def text_of(value):
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def consume(bootstrap, topic, count):
    """The first `count` records of partition 0, or fewer if that is all: (key, value) texts."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "stream-test", "enable.auto.commit": False,
                         "fetch.wait.max.ms": 50, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    rows, ended = [], False
    while len(rows) < count and not ended:
        message = consumer.poll(10)
        if message is None or message.error():
            ended = True
        else:
            rows.append(message.value().decode())
    consumer.close()
    return rows


# ---- running ---------------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, test, spark, bootstrap, between=None, conf=None):
        """`between` is called between two runs of the query and gives the session for the next; `conf` are settings for all."""
        self.test, self.spark, self.bootstrap = test, spark, bootstrap
        self.between, self.conf = between, conf or {}
        self.directory = tempfile.mkdtemp(prefix="penstock-stream-")
        self.out_topic = test.name + "_out"
        self.rows_seen = self.batches_seen = 0
        self.lines = []

    def run(self):
        """The lines that the whole test records."""
        try:
            create_topic(self.bootstrap, self.out_topic, 1)
            for head, body in self.test.steps:
                if head[0] == "topic":
                    create_topic(self.bootstrap, head[1], int(settings(head).get("partitions", "1")))
                if head[0] in ("topic", "produce"):
                    produce(self.bootstrap, head[1], [line for line in body.splitlines() if line.strip()])
                if head[0] == "run":
                    if self.between and "run" in " ".join(self.lines):
                        self.spark = self.between()
                    self.lines.append("run " + " ".join(head[1:]))
                    self.run_query(settings(head), settings(body.split("\n")))
            return self.lines
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def source(self, options):
        reader = self.spark.readStream.format("kafka").option("kafka.bootstrap.servers", self.bootstrap)
        if not {"subscribe", "subscribePattern", "assign"} & set(options):
            reader = reader.option("subscribe", self.test.steps[0][0][1])
        return reader.options(**dict({"startingOffsets": "earliest"}, **options)).load()

    def run_query(self, how, options):
        conf = dict({"spark.sql.shuffle.partitions": "1"}, **self.conf)
        conf.update({k: v for k, v in options.items() if k.startswith("spark.")})
        for key, value in conf.items():
            self.spark.conf.set(key, value)
        query = None
        try:
            frame = self.frame({k: v for k, v in options.items() if not k.startswith("spark.")})
            query = self.start(frame, how)
            self.finish(query, how)
        except Exception as e:
            self.lines.append("failure " + failure(e).replace(self.directory, "DIR"))
        finally:
            if query is not None:
                self.record(query, how)
            for key in conf:
                self.spark.conf.unset(key)

    def frame(self, options):
        from pyspark.sql import functions

        scope = {"spark": self.spark, "F": functions, "source": self.source(options)}
        exec(compile(self.test.query, self.test.path, "exec"), scope)
        return scope["out"]

    def start(self, frame, how):
        """The query on its checkpoint, with the trigger, mode and sink that the heading of the run names."""
        sink = how.get("sink", "kafka")
        if sink == "kafka":
            frame = frame.selectExpr("to_json(struct(*), map('ignoreNullFields', 'false')) AS value")
        writer = frame.writeStream.format(sink).outputMode(how["mode"])
        if sink == "kafka":
            writer = writer.option("kafka.bootstrap.servers", self.bootstrap).option("topic", self.out_topic)
        if sink == "memory":
            writer = writer.queryName(self.test.name)
        writer = writer.option("checkpointLocation", os.path.join(self.directory, "checkpoint"))
        trigger = how.get("trigger", "availableNow")
        if trigger in ("availableNow", "once"):
            writer = writer.trigger(**{trigger: True})
        elif trigger != "default":
            writer = writer.trigger(processingTime=trigger.replace("_", " "))
        return writer.start()

    def finish(self, query, how):
        if how.get("trigger", "availableNow") in ("availableNow", "once"):
            if not query.awaitTermination(WAIT_SECONDS):
                raise RuntimeError(f"the query did not end within {WAIT_SECONDS} s")
        else:
            query.processAllAvailable()
            query.stop()

    def record(self, query, how):
        if query.isActive:
            query.stop()
        batches = {p["batchId"]: p for p in map(dict, query.recentProgress) if "addBatch" in p["durationMs"]}
        sink = how.get("sink", "kafka")
        rows = self.new_rows(sink, batches)
        for number in sorted(batches):
            count = batches[number]["sink"]["numOutputRows"]
            self.lines.append("batch " + json_text(batch_facts(batches[number])))
            if sink == "kafka" or how["mode"] != "complete":
                self.lines += ["row " + row for row in sorted(rows[:count])]
                rows = rows[count:]
        if rows:
            self.lines += ["table" if sink == "memory" else "rows of no batch"] + ["row " + row for row in sorted(rows)]

    def new_rows(self, sink, batches):
        if sink == "memory":
            table = self.spark.sql(f"SELECT to_json(struct(*), map('ignoreNullFields', 'false')) AS v FROM {self.test.name}")
            return [normal_row(row.v) for row in table.collect()]
        if sink != "kafka":
            return []
        rows = consume(self.bootstrap, self.out_topic, 1 << 30)[self.rows_seen:]
        self.rows_seen += len(rows)
        return [normal_row(row) for row in rows]


def json_text(value):
    return json.dumps(value, ensure_ascii=False)


def normal_row(text):
    return json_text(json.loads(text))


def batch_facts(progress):
    """What of a batch's progress must be the same everywhere: no clock, no rate, no path."""
    source = progress["sources"][0]
    facts = {
        "id": progress["batchId"],
        "input": source["numInputRows"],
        "source": source["description"],
        "start": offsets(source["startOffset"]),
        "end": offsets(source["endOffset"]),
        "latest": offsets(source["latestOffset"]),
        "eventTime": dict(progress.get("eventTime") or {}),
        "state": [state_facts(operator) for operator in progress["stateOperators"]],
        "output": progress["sink"]["numOutputRows"],
    }
    return facts


def state_facts(operator):
    names = ("operatorName", "numRowsTotal", "numRowsUpdated", "numRowsRemoved", "numRowsDroppedByWatermark")
    return {name: operator[name] for name in names}


def offsets(text):
    return json.loads(text) if isinstance(text, str) else text


def failure(error):
    """Class, condition, state and parameters of an error; for a query that failed while it ran, those of its cause."""
    condition = error.getCondition() if hasattr(error, "getCondition") else None
    if condition is None:
        return f"{type(error).__name__} {str(error).strip().splitlines()[0]}"
    parameters = dict(error.getMessageParameters() or {})
    if condition == "STREAM_FAILED":
        parameters = {"message": parameters.get("message", "").split("\n")[0]}
    return f"{type(error).__name__} {condition} {error.getSqlState()} {json_text(dict(sorted(parameters.items())))}"


# ---- comparing -------------------------------------------------------------------------------------------------------


def same_line(want, got):
    if want == got:
        return True
    kind, _, text = want.partition(" ")
    other, _, have = got.partition(" ")
    if kind != other or kind not in ("batch", "row"):
        return False
    return same_value(json.loads(text), json.loads(have))


def same_value(want, got):
    """Equal, but sums of doubles, which depend on the order of the rows, only to within 1e-9 of their size."""
    if isinstance(want, float) and isinstance(got, float):
        return math.isclose(want, got, rel_tol=1e-9)
    if isinstance(want, dict) and isinstance(got, dict):
        return want.keys() == got.keys() and all(same_value(want[k], got[k]) for k in want)
    if isinstance(want, list) and isinstance(got, list):
        return len(want) == len(got) and all(map(same_value, want, got))
    return want == got


def compare(want, got):
    """The lines that differ, as a diff, or an empty list. Of two batches of one id only the fields that differ are shown."""
    if len(want) == len(got) and all(map(same_line, want, got)):
        return []
    difference = []
    heads = [[head(line) for line in lines] for lines in (want, got)]
    for what, a, b, c, d in difflib.SequenceMatcher(None, *heads, autojunk=False).get_opcodes():
        if what != "equal":
            difference += ["- " + line for line in want[a:b]] + ["+ " + line for line in got[c:d]]
            continue
        for left, right in zip(want[a:b], got[c:d]):
            if not same_line(left, right):
                difference += fields(left, right)
    return difference


def head(line):
    """What two lines must share to be compared with each other: of a batch, its id."""
    return f"batch {json.loads(line[6:])['id']}" if line.startswith("batch ") else line


def fields(want, got):
    want, got = json.loads(want[6:]), json.loads(got[6:])
    return [f"batch {want['id']}: {key}: - {json_text(want[key])} + {json_text(got.get(key))}" for key in want
            if not same_value(want[key], got.get(key))]
