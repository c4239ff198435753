#!/usr/bin/env python3
# limit: 60
"""The checker itself: a right history passes, and each kind of damage to it is found by its name.

The right histories come from a model of a broker: an append-only list per partition, transactions that end in commit, abort or
an unknown outcome, readers that stop at the last stable offset. 40 seeds; each damage is done to every seed.
"""
import collections
import copy
import random
import sys

import checker

PARTITIONS = ["a-0", "a-1", "b-0"]


class Model:
    """Writes a right history: events, and at the end the final read."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.events, self.now, self.value = [], 0.0, 0
        self.log = {k: [] for k in PARTITIONS}         # (value or None for a marker, txn number)
        self.state = {}                                # txn number → "open", "commit", "abort"
        self.open = {}
        self.position = collections.defaultdict(dict)  # reader → key → offset
        self.group = {k: 0 for k in PARTITIONS}

    def tick(self):
        self.now += 1.0
        return self.now

    def event(self, p, kind, **more):
        self.events.append(dict(p=p, kind=kind, f="txn", t=self.tick(), **more))

    def stable(self, key):
        for offset, (_, txn) in enumerate(self.log[key]):
            if self.state.get(txn) == "open":
                return offset
        return len(self.log[key])

    def poll(self, reader):
        got = {}
        for key in PARTITIONS:
            at, end = self.position[reader].get(key, 0), self.stable(key)
            until = min(end, at + self.rng.randrange(1, 6))
            records = [[o, self.log[key][o][0]] for o in range(at, until)
                       if self.log[key][o][0] is not None and self.state.get(self.log[key][o][1], "commit") == "commit"]
            self.position[reader][key] = max(at, until)
            if records:
                got[key] = records
        return got

    def send(self, key, txn):
        self.value += 1
        self.log[key].append((self.value, txn))
        return ["send", key, self.value, len(self.log[key]) - 1]

    def writer(self, p):
        txn = len(self.state)
        self.event(p, "invoke", transactional=True, ops=[])
        self.state[txn] = "open"
        self.open[p] = (txn, [], {})

    def step(self, p):
        txn, ops, offsets = self.open[p]
        if len(ops) < 5 and self.rng.random() < 0.7:
            ops.append(self.send(self.rng.choice(PARTITIONS), txn))
            return
        if p == "w0" and not any(o[0] == "poll" for o in ops):  # consumes, transforms, produces
            key = self.rng.choice(PARTITIONS)
            begin, end = self.group[key], self.stable(key)
            records = [[o, self.log[key][o][0]] for o in range(begin, end)
                       if self.log[key][o][0] is not None and self.state.get(self.log[key][o][1]) == "commit"]
            if records:
                self.events.append(dict(p=p, kind="ok", f="reset"))  # it reads from the group's offset
                ops.append(["poll", {key: records}])
                ops.append(self.send(key, txn))
                offsets[key] = [begin, end]
                return
        how = self.rng.choice(["commit", "commit", "abort", "unknown"])
        commit_t = self.tick()
        happened = "abort" if how == "abort" else "commit" if how == "commit" else self.rng.choice(["commit", "abort"])
        self.state[txn] = happened
        for key in {o[1] for o in ops if o[0] == "send"}:
            self.log[key].append((None, txn))
        if happened == "commit":
            for key, (_, end) in offsets.items():
                self.group[key] = end
        kind = {"commit": "ok", "abort": "fail", "unknown": "info"}[how]
        if kind == "info":
            ops = [o[:3] + [None] if o[0] == "send" else o for o in ops]
        del self.open[p]
        self.event(p, kind, transactional=True, ops=ops, commit_t=commit_t, offsets=offsets, group="g")

    def run(self, steps):
        for _ in range(steps):
            p = self.rng.choice(["w0", "w1", "w2", "r0", "r1"])
            if p[0] == "r":
                if self.rng.random() < 0.02:
                    self.events.append(dict(p=p, kind="ok", f="reset"))
                    self.position[p] = {k: self.rng.randrange(len(self.log[k]) + 1) for k in PARTITIONS}
                self.event(p, "invoke", ops=[])
                self.event(p, "ok", ops=[["poll", self.poll(p)]])
            elif p in self.open:
                self.step(p)
            else:
                self.writer(p)
        while self.open:
            self.step(next(iter(self.open)))
        self.events.append(dict(p="end", kind="ok", f="final", read={
            k: [[o, v] for o, (v, txn) in enumerate(log) if v is not None and self.state[txn] == "commit"] for k, log in self.log.items()}))
        return self.events


def done(events, kind, want=lambda e: True):
    return [e for e in events if e["f"] == "txn" and e["kind"] == kind and want(e)]


def sends(e):
    return [o for o in e["ops"] if o[0] == "send"]


def final(events):
    return events[-1]["read"]


def damage_inconsistent(events, rng):
    e = rng.choice(done(events, "ok", lambda e: len(sends(e)) > 1))
    a, b = sends(e)[:2]
    b[1], b[3] = a[1], a[3]


def damage_duplicate(events, rng):
    records = final(events)[rng.choice([k for k in PARTITIONS if final(events)[k]])]
    records.append([records[-1][0] + 1000, records[0][1]])


def damage_lost(events, rng):
    e = rng.choice(done(events, "ok", lambda e: e.get("transactional") and len(sends(e)) >= 1))
    gone = {o[2] for o in sends(e)}
    for records in final(events).values():
        records[:] = [r for r in records if r[1] not in gone]


def damage_aborted(events, rng):
    e = rng.choice(done(events, "fail", lambda e: sends(e)))
    _, key, value, offset = sends(e)[0]
    r = rng.choice(done(events, "ok", lambda e: e["p"] == "r0"))
    r["ops"].append(["poll", {key: [[offset, value]]}])


def damage_precommitted(events, rng):
    """A writer asks for its commit only after somebody read from it."""
    polled = {v: e for e in done(events, "ok") for o in e["ops"] if o[0] == "poll" for rs in o[1].values() for _, v in rs}
    for e in done(events, "ok", lambda e: e.get("transactional")):
        for o in sends(e):
            if o[2] in polled and polled[o[2]] is not e:
                e["commit_t"] = polled[o[2]]["t"] + 0.5
                return
    raise LookupError


def damage_torn(events, rng):
    there = {v for rs in final(events).values() for _, v in rs}
    e = rng.choice(done(events, "info", lambda e: len(sends(e)) > 1 and sends(e)[0][2] in there))
    for records in final(events).values():
        records[:] = [r for r in records if r[1] != sends(e)[0][2]]


def damage_back(events, rng):
    e = rng.choice(done(events, "ok", lambda e: e["p"][0] == "r" and any(len(rs) > 1 for o in e["ops"] for rs in o[1].values())))
    next(rs for rs in e["ops"][0][1].values() if len(rs) > 1).reverse()


def damage_gap(events, rng):
    e = rng.choice(done(events, "ok", lambda e: e["p"][0] == "r" and any(len(rs) > 2 for o in e["ops"] for rs in o[1].values())))
    del next(rs for rs in e["ops"][0][1].values() if len(rs) > 2)[1]


def damage_send_order(events, rng):
    for e in done(events, "ok", lambda e: e.get("transactional")):
        by_key = collections.defaultdict(list)
        for o in sends(e):
            by_key[o[1]].append(o)
        for key, two in by_key.items():
            if len(two) > 1:
                a, b = two[0], two[1]
                a[2], b[2] = b[2], a[2]
                return
    raise LookupError


def damage_unknown(events, rng):
    final(events)["a-0"].append([10 ** 6, 10 ** 9])


def damage_cycle(events, rng):
    wrote = {o[2]: e for e in done(events, "ok") for o in sends(e)}
    for e in done(events, "ok", lambda e: e["p"] == "w0"):
        for o in list(e["ops"]):
            for rs in o[1].values() if o[0] == "poll" else []:
                for _, v in rs:
                    if v in wrote and wrote[v] is not e and sends(e):
                        _, key, value, offset = sends(e)[0]
                        wrote[v]["ops"].append(["poll", {key: [[offset, value]]}])
                        return
    raise LookupError


def consuming(events):
    found = done(events, "ok", lambda e: e.get("offsets"))
    by_key = collections.defaultdict(list)
    for e in found:
        for key in e["offsets"]:
            by_key[key].append(e)
    return by_key


def damage_overlap(events, rng):
    key, es = next((k, es) for k, es in consuming(events).items() if len(es) > 1)
    es[1]["offsets"][key][0] -= 1


def damage_hole(events, rng):
    for key, es in consuming(events).items():
        for e in es[1:]:
            begin, end = e["offsets"][key]
            inside = [o for o, _ in final(events)[key] if begin <= o < end]
            before = [x for x in es if x["offsets"][key][1] == begin]
            if inside and before and inside[0] + 1 < end:
                e["offsets"][key][0] = inside[0] + 1
                return
    raise LookupError


def damage_commit_back(events, rng):
    key, es = next((k, es) for k, es in consuming(events).items() if len(es) > 1)
    es[1]["offsets"][key] = [0, es[0]["offsets"][key][1] - 1]


DAMAGE = {
    "inconsistent-offset": damage_inconsistent, "duplicate": damage_duplicate, "lost-write": damage_lost, "aborted-read": damage_aborted,
    "precommitted-read": damage_precommitted, "torn-transaction": damage_torn, "nonmonotonic-poll": damage_back, "poll-gap": damage_gap,
    "nonmonotonic-send": damage_send_order, "unknown-value": damage_unknown, "cycle": damage_cycle, "offsets-overlap": damage_overlap,
    "offsets-gap": damage_hole, "commit-back": damage_commit_back,
}
SEEDS = 40


def main():
    passed = failed = 0
    found = collections.Counter()
    tried = collections.Counter()
    for seed in range(SEEDS):
        events = Model(seed).run(600)
        report = checker.check(events)
        if report.ok():
            passed += 1
        else:
            failed += 1
            print(f"seed {seed}: a right history is complained about:\n" + "\n".join(report.lines()))
        for name, damage in DAMAGE.items():
            broken = copy.deepcopy(events)
            try:
                damage(broken, random.Random(seed))
            except (LookupError, StopIteration):
                continue  # this seed has nothing of that kind
            tried[name] += 1
            found[name] += name in checker.check(broken).anomalies
    for name in DAMAGE:
        ok = tried[name] >= SEEDS // 2 and found[name] == tried[name]
        passed, failed = passed + ok, failed + (not ok)
        print(f"{name}: found in {found[name]} of {tried[name]} histories that have it")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
