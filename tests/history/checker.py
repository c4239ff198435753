"""checker: does a recorded history of Kafka clients fit what a broker promises? `python3 tests/history/checker.py FILE` or check(history).

A history is a file of JSON lines, one per event, in the order in which one observer wrote them down:

  {"p": process, "kind": "invoke", "f": F, "t": seconds, ...}     a client is about to do something
  {"p": process, "kind": "ok" | "fail" | "info", "f": F, ...}      what it then learnt: it happened; it did not; nobody knows

A timeout, a cut connection or a killed client is `info`: it may have happened, it may happen later, it never counts as
failed. What a process does is one at a time. F is one of

  txn      a transaction, or without "transactional": true just requests that belong together. "ops" is a list of
             ["send", KEY, VALUE, OFFSET or null]      KEY names a partition; a VALUE is written once in a whole history
             ["poll", {KEY: [[OFFSET, VALUE], ...]}]    what came back, in order
           "offsets": {KEY: [FROM, UNTIL]} are input ranges that the transaction commits for the group "group" (consume, transform,
           produce). "commit_t": when the commit was asked for.
  reset    the process's consumer was given new positions (assign, seek, rebalance, restart): polls begin anew
  final    what a fresh reader found at the end, from the beginning of each partition, read_committed: {KEY: [[OFFSET, VALUE], ...]}

The checks are those of Jepsen's Kafka workload (jepsen.tests.kafka) and Adya's phenomena, by these names:

  inconsistent-offset   one offset, two values                    duplicate        one value, two offsets
  lost-write            acknowledged, or seen by somebody, and not in the final read
  aborted-read          polled, though its writer certainly failed (G1a)
  precommitted-read     polled before its writer asked for the commit
  torn-transaction      some of a transaction's records are there, others are not (and for a failed one: any)
  nonmonotonic-poll     a reader went back                         poll-gap         a reader left out what is there
  nonmonotonic-send     a writer's records are not in the order in which it sent them
  unknown-value         a value that nobody wrote
  cycle                 information flows in a circle: each wrote what the next one read (G1c)
  offsets-overlap       two committed transactions consumed the same input: it was processed twice
  offsets-gap           committed input ranges leave something out: it was not processed
  commit-back           the group's offset does not go on from where it was

Writes of transactions may interleave (G0): Kafka promises no order between transactions over several partitions, so write
cycles are counted ("write-cycles") and are no failure. Readers are taken to be read_committed unless an event says
"isolation": "read_uncommitted"; for those aborted-read, precommitted-read and gaps over aborted records mean nothing.
"""
import collections
import json
import sys


class Txn:
    __slots__ = ("number", "process", "kind", "transactional", "isolation", "ops", "begin_t", "end_t", "commit_t", "offsets", "group")

    def __init__(self, number, invoke, done):
        final = done or invoke
        self.number, self.process = number, invoke["p"]
        self.kind = done["kind"] if done else "info"
        self.transactional = bool(invoke.get("transactional"))
        self.isolation = final.get("isolation", invoke.get("isolation", "read_committed"))
        # what was learnt counts; where nothing was (a client died), what it was about to do
        self.ops = final.get("ops") if done and done.get("ops") is not None else invoke.get("ops", [])
        self.begin_t, self.end_t = invoke.get("t"), final.get("t")
        self.commit_t = final.get("commit_t", invoke.get("commit_t"))
        self.offsets = final.get("offsets") or invoke.get("offsets") or {}
        self.group = final.get("group", invoke.get("group"))

    def sends(self):
        return [op for op in self.ops if op[0] == "send"]

    def polls(self):
        return [op[1] for op in self.ops if op[0] == "poll"]


class Report:
    def __init__(self):
        self.anomalies = collections.defaultdict(list)
        self.counts = collections.Counter()

    def add(self, name, **what):
        self.anomalies[name].append(what)

    def ok(self):
        return not self.anomalies

    def lines(self, most=5):
        for name, found in sorted(self.anomalies.items()):
            yield f"{name}: {len(found)}"
            for what in found[:most]:
                yield "    " + json.dumps(what, sort_keys=True)
        yield "checked " + ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))


def pair_up(events):
    """Transactions in order of their beginning; per process the sequence of polls and resets; the final reads."""
    txns, open_, sequences, final = [], {}, collections.defaultdict(list), {}
    for e in events:
        p, f = e["p"], e["f"]
        if f == "final":
            for key, records in e["read"].items():
                if key in final:
                    raise ValueError(f"two final reads of {key}")
                final[key] = [tuple(r) for r in records]
        elif f == "reset":
            sequences[p].append(None)
        elif f != "txn":
            raise ValueError(f"unknown event {f!r}")
        elif e["kind"] == "invoke":
            if p in open_:
                raise ValueError(f"process {p} began twice")
            open_[p] = e
        else:
            t = Txn(len(txns), open_.pop(p), e)
            txns.append(t)
            sequences[p].append(t)
    for e in open_.values():  # never answered
        txns.append(Txn(len(txns), e, None))
        sequences[e["p"]].append(txns[-1])
    return txns, sequences, final


class History:
    def __init__(self, events):
        self.txns, self.sequences, self.final = pair_up(events)
        self.report = Report()
        self.writer = {}                                  # value → Txn
        self.at = collections.defaultdict(lambda: collections.defaultdict(set))     # key → offset → values
        self.places = collections.defaultdict(set)        # value → {(key, offset)}
        self.polled = collections.defaultdict(list)       # value → Txns that polled it
        self.in_final = {v for records in self.final.values() for _, v in records}
        for t in self.txns:
            for _, key, value, offset in t.sends():
                if value in self.writer:
                    raise ValueError(f"value {value} is written twice in the history")
                self.writer[value] = t
                if offset is not None:
                    self.place(key, offset, value)
            for poll in t.polls():
                for key, records in poll.items():
                    for offset, value in records:
                        self.place(key, offset, value)
                        self.polled[value].append(t)
        for key, records in self.final.items():
            for offset, value in records:
                self.place(key, offset, value)
        n = self.report.counts
        n["events"], n["transactions"] = len(events), len(self.txns)
        n["values"], n["polled values"], n["final values"] = len(self.writer), len(self.polled), len(self.in_final)
        n["unknown outcomes"] = sum(t.kind == "info" for t in self.txns)

    def place(self, key, offset, value):
        self.at[key][offset].add(value)
        self.places[value].add((key, offset))

    # -- one check each ---------------------------------------------------------------------------------------------

    def offsets(self):
        for key, log in self.at.items():
            for offset, values in log.items():
                if len(values) > 1:
                    self.report.add("inconsistent-offset", key=key, offset=offset, values=sorted(values))
        for value, places in self.places.items():
            if len(places) > 1:
                self.report.add("duplicate", value=value, places=sorted(places))
            if value not in self.writer:
                self.report.add("unknown-value", value=value, places=sorted(places))

    def lost(self):
        for t in self.txns:
            for _, key, value, offset in t.sends():
                seen = [r for r in self.polled[value] if r.isolation == "read_committed"] if value in self.polled else []
                acknowledged = t.kind == "ok" or (not t.transactional and offset is not None)
                if (acknowledged or seen) and value not in self.in_final:
                    self.report.add("lost-write", key=key, value=value, offset=offset, writer=t.process, acknowledged=acknowledged,
                                    seen_by=sorted({r.process for r in seen}))

    def aborted(self):
        for value, readers in self.polled.items():
            t = self.writer.get(value)
            if t is None:
                continue
            for r in readers:
                if r.isolation != "read_committed":
                    continue
                if t.kind == "fail":
                    self.report.add("aborted-read", value=value, writer=t.process, reader=r.process)
                elif t is not r and t.transactional and t.commit_t is not None and r.end_t is not None and r.end_t < t.commit_t:
                    self.report.add("precommitted-read", value=value, writer=t.process, reader=r.process)

    def torn(self):
        for t in self.txns:
            sent = t.sends()
            there = [v for _, _, v, _ in sent if v in self.in_final]
            if t.kind == "fail" and there:
                self.report.add("torn-transaction", process=t.process, failed=True, there=there)
            elif t.transactional and there and len(there) < len(sent):
                self.report.add("torn-transaction", process=t.process, outcome=t.kind, there=there,
                                missing=[v for _, _, v, _ in sent if v not in self.in_final])

    def polls_in_order(self):
        index = {key: {offset: i for i, (offset, _) in enumerate(records)} for key, records in self.final.items()}
        for process, sequence in self.sequences.items():
            last = {}
            for t in sequence:
                if t is None:
                    last = {}
                    continue
                for poll in t.polls():
                    for key, records in poll.items():
                        for offset, value in records:
                            before = last.get(key)
                            if before is not None and offset <= before:
                                self.report.add("nonmonotonic-poll", process=process, key=key, offset=offset, before=before, value=value)
                            self.gap(process, t, key, before, offset, index.get(key, {}))
                            last[key] = offset

    def gap(self, process, t, key, before, offset, index):
        i, j = index.get(before), index.get(offset)
        if i is not None and j is not None and j > i + 1:
            left_out = self.final[key][i + 1:j]
            self.report.add("poll-gap", process=process, key=key, after=before, until=offset, left_out=[list(r) for r in left_out[:5]])

    def sends_in_order(self):
        final_offset = {v: o for records in self.final.values() for o, v in records}
        last = {}
        for t in self.txns:
            for _, key, value, offset in t.sends():
                offset = final_offset.get(value, offset)
                if offset is None:
                    continue
                before = last.get((t.process, key))
                if before is not None and offset <= before:
                    self.report.add("nonmonotonic-send", process=t.process, key=key, offset=offset, before=before, value=value)
                last[t.process, key] = offset

    def cycles(self):
        """wr edges: T1 → T2 when T2 polled what T1 wrote. Strongly connected components of more than one (Tarjan, iterative)."""
        edges = collections.defaultdict(set)
        for value, readers in self.polled.items():
            t = self.writer.get(value)
            for r in readers:
                if t is not None and t is not r and r.kind != "fail" and t.kind != "fail" and r.transactional and t.transactional:
                    edges[t.number].add(r.number)
        for component in components(edges):
            self.report.add("cycle", transactions=[(n, self.txns[n].process) for n in component])
        writes = collections.defaultdict(set)
        for records in self.final.values():
            for (_, a), (_, b) in zip(records, records[1:]):
                x, y = self.writer.get(a), self.writer.get(b)
                if x is not None and y is not None and x is not y:
                    writes[x.number].add(y.number)
        self.report.counts["write-cycles"] = len(components(writes))

    def consumed(self):
        """Input ranges of committed transactions of a group: one after another, nothing twice, nothing left out."""
        ranges = collections.defaultdict(list)
        for t in self.txns:
            there = [v for _, _, v, _ in t.sends() if v in self.in_final]
            if t.kind == "ok" or (t.kind == "info" and there):  # unknown, but its output shows that it happened
                for key, (begin, end) in t.offsets.items():
                    ranges[t.group, key].append((begin, end, t))
        for (group, key), found in ranges.items():
            found.sort(key=lambda r: r[:2])
            for (_, end, t), (begin, _, u) in zip(found, found[1:]):
                if begin < end:
                    self.report.add("offsets-overlap", group=group, key=key, begin=begin, end=end, by=[t.process, u.process])
                elif any(end <= o < begin for o, _ in self.final.get(key, [])) and not self.unknown_covers(group, key, end, begin):
                    self.report.add("offsets-gap", group=group, key=key, begin=end, end=begin, by=[t.process, u.process])
        last = {}
        for t in self.txns:
            if t.kind == "ok":
                for key, (begin, end) in t.offsets.items():
                    before = last.get((t.process, t.group, key))
                    if before is not None and end < before:
                        self.report.add("commit-back", group=t.group, key=key, before=before, end=end, process=t.process)
                    last[t.process, t.group, key] = end

    def unknown_covers(self, group, key, begin, end):
        """A transaction whose outcome nobody knows and that wrote nothing visible may have consumed the range."""
        return any(t.kind == "info" and not t.sends() and t.group == group and key in t.offsets and
                   t.offsets[key][0] <= begin and end <= t.offsets[key][1] for t in self.txns)

    def check(self):
        for one in (self.offsets, self.lost, self.aborted, self.torn, self.polls_in_order, self.sends_in_order, self.cycles, self.consumed):
            one()
        return self.report


def components(edges):
    """Strongly connected components with more than one node."""
    number, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in list(edges):
        if root in number:
            continue
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(edges.get(root, ())))]
        while work:
            node, rest = work[-1]
            for to in rest:
                if to not in number:
                    number[to] = low[to] = len(number)
                    stack.append(to)
                    on_stack.add(to)
                    work.append((to, iter(edges.get(to, ()))))
                    break
                if to in on_stack:
                    low[node] = min(low[node], number[to])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    component = []
                    while True:
                        n = stack.pop()
                        on_stack.discard(n)
                        component.append(n)
                        if n == node:
                            break
                    if len(component) > 1:
                        found.append(sorted(component))
    return found


def check(events):
    return History(events).check()


def main():
    with open(sys.argv[1]) as f:
        report = check([json.loads(ln) for ln in f if ln.strip()])
    print("\n".join(report.lines()))
    return 0 if report.ok() else 1


if __name__ == "__main__":
    sys.exit(main())
