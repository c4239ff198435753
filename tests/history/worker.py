"""worker.py KIND NAME BOOTSTRAP SEED FIRST_VALUE: one librdkafka client that does things and says what it learnt, a JSON line each.

  txn        transactions of a few records over the partitions of `a` and `b`, committed or aborted
  plain      an idempotent producer without transactions
  transform  consumes `a` in the group `transform`, writes to `b` and commits its offsets in one transaction
  reader     reads every partition of `a` and `b`, read_committed, now and then from somewhere else

The events are those of checker.py. It ends when its standard input does. What is not answered is `info`; `fail` is said only of
a transaction whose commit was never asked for.
"""
import json
import random
import select
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

TOPICS = {"a": 3, "b": 2}
kind, name, bootstrap, seed, value = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
rng = random.Random(seed)
CLIENT = {"bootstrap.servers": bootstrap, "socket.timeout.ms": 5000, "reconnect.backoff.max.ms": 500, "retry.backoff.ms": 50,
          "topic.metadata.refresh.interval.ms": 5000, "log_level": 0, "error_cb": lambda e: None}


def say(**event):
    event.update(p=name, t=time.monotonic())
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def stopped():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def next_value():
    global value
    value += 1
    return value


def partition():
    topic = rng.choice(sorted(TOPICS))
    return topic, rng.randrange(TOPICS[topic])


class Sends:
    """The records of one operation, with their offsets as they are reported."""

    def __init__(self):
        self.ops = []

    def send(self, producer, topic, number):
        op = ["send", f"{topic}-{number}", next_value(), None]
        self.ops.append(op)

        def delivered(error, message):
            if error is None and message.offset() is not None and message.offset() >= 0:
                op[3] = message.offset()

        producer.produce(topic, str(op[2]).encode(), partition=number, on_delivery=delivered)
        producer.poll(0)


def transactional():
    return Producer({**CLIENT, "transactional.id": name, "transaction.timeout.ms": 20000, "message.timeout.ms": 15000, "linger.ms": 2})


def ready(make):
    """A producer whose earlier incarnation has been finished."""
    while not stopped():
        p = make()
        try:
            p.init_transactions(10)
            return p
        except KafkaException:
            time.sleep(0.2)
    return None


def finish(p, commit, sends, **more):
    """End the transaction; returns the producer to go on with (None: a new one is needed)."""
    try:
        if not commit:
            p.abort_transaction(10)
            say(kind="fail", f="txn", transactional=True, ops=sends.ops, **more)
            return p
        p.flush(10)
        more["commit_t"] = time.monotonic()
        p.commit_transaction(10)
        say(kind="ok", f="txn", transactional=True, ops=sends.ops, **more)
        return p
    except KafkaException as e:
        asked = "commit_t" in more
        if asked and e.args[0].txn_requires_abort():  # the coordinator has said no: it can only be aborted
            asked = False
        try:
            if e.args[0].txn_requires_abort():
                p.abort_transaction(10)
                say(kind="fail", f="txn", transactional=True, ops=sends.ops, **more)
                return p
        except KafkaException:
            pass
        say(kind="info" if asked else "fail", f="txn", transactional=True, ops=sends.ops, **more)
        return None


def txn():
    p = None
    while not stopped():
        p = p or ready(transactional)
        if p is None:
            return
        sends = Sends()
        try:
            p.begin_transaction()
        except KafkaException:
            p = None
            continue
        planned = [partition() for _ in range(rng.randrange(1, 6))]
        begin = value
        say(kind="invoke", f="txn", transactional=True,
            ops=[["send", f"{t}-{n}", begin + i + 1, None] for i, (t, n) in enumerate(planned)])
        try:
            for topic, number in planned:
                sends.send(p, topic, number)
                if rng.random() < 0.2:
                    p.poll(0.01)
        except (KafkaException, BufferError):
            say(kind="fail", f="txn", transactional=True, ops=sends.ops)
            p = None
            continue
        p = finish(p, rng.random() < 0.75, sends)


def plain():
    p = Producer({**CLIENT, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 30000})
    while not stopped():
        sends = Sends()
        planned = [partition() for _ in range(rng.randrange(1, 10))]
        begin = value
        say(kind="invoke", f="txn", ops=[["send", f"{t}-{n}", begin + i + 1, None] for i, (t, n) in enumerate(planned)])
        for topic, number in planned:
            sends.send(p, topic, number)
        p.flush(40)
        known = all(op[3] is not None for op in sends.ops)
        say(kind="ok" if known else "info", f="txn", ops=sends.ops)
        if not known:  # a fatal error of idempotence may stand behind it
            p = Producer({**CLIENT, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 30000})


def consumer(group):
    return Consumer({**CLIENT, "group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
                     "fetch.wait.max.ms": 100})


def transform():
    p, positions = None, {}
    c = consumer("transform")

    def assigned(_, parts):
        positions.clear()
        say(kind="ok", f="reset")

    c.subscribe(["a"], on_assign=assigned, on_revoke=assigned, on_lost=assigned)
    while not stopped():
        p = p or ready(transactional)
        if p is None:
            break
        messages = [m for m in c.consume(rng.randrange(1, 20), 0.2) if not m.error()]
        if not messages:
            continue
        try:
            p.begin_transaction()
        except KafkaException:
            p = None
            continue
        polled, offsets = {}, {}
        for m in messages:
            polled.setdefault(f"{m.topic()}-{m.partition()}", []).append([m.offset(), int(m.value())])
        for key, records in polled.items():
            offsets[key] = [positions.get(key, records[0][0]), records[-1][0] + 1]
        sends = Sends()
        sends.ops.append(["poll", polled])
        planned = [rng.randrange(TOPICS["b"]) for _ in polled]
        begin = value
        say(kind="invoke", f="txn", transactional=True, offsets=offsets, group="transform",
            ops=[["poll", polled]] + [["send", f"b-{n}", begin + i + 1, None] for i, n in enumerate(planned)])
        more = {"offsets": offsets, "group": "transform"}
        try:
            for n in planned:
                sends.send(p, "b", n)
            p.send_offsets_to_transaction([TopicPartition(k.rsplit("-", 1)[0], int(k.rsplit("-", 1)[1]), until)
                                           for k, (_, until) in offsets.items()], c.consumer_group_metadata(), 10)
            done = finish(p, True, sends, **more)
        except (KafkaException, BufferError):
            done = finish(p, False, sends, **more)
        if done is None:
            p = None
        # where it goes on is what the group has, whatever became of the transaction
        positions.clear()
        say(kind="ok", f="reset")
        if done is None or rng.random() < 0.02:
            c.close()
            c = consumer("transform")
            c.subscribe(["a"], on_assign=assigned, on_revoke=assigned, on_lost=assigned)
        else:
            again(c, positions)
    c.close()


def again(c, positions):
    """Seek to the committed offsets: after an abort the same input is read again."""
    try:
        for tp in c.committed(c.assignment(), 10):
            if tp.error is None:
                c.seek(TopicPartition(tp.topic, tp.partition, tp.offset if tp.offset >= 0 else 0))
                if tp.offset >= 0:
                    positions[f"{tp.topic}-{tp.partition}"] = tp.offset
    except KafkaException:
        pass


def reader():
    c = consumer("reader-" + name)
    while not stopped():
        say(kind="ok", f="reset")
        # -2: the beginning; else somewhere that exists or will
        c.assign([TopicPartition(t, n, rng.choice([-2, rng.randrange(200)])) for t, count in TOPICS.items() for n in range(count)])
        for _ in range(rng.randrange(20, 200)):
            if stopped():
                break
            say(kind="invoke", f="txn", ops=[])
            polled = {}
            for m in c.consume(rng.randrange(1, 200), 0.1):
                if not m.error():
                    polled.setdefault(f"{m.topic()}-{m.partition()}", []).append([m.offset(), int(m.value())])
            say(kind="ok", f="txn", ops=[["poll", polled]])
    c.close()


{"txn": txn, "plain": plain, "transform": transform, "reader": reader}[kind]()
