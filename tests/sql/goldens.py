#!/usr/bin/env python3
# limit: 420
"""goldens.py [--remote sc://HOST:PORT] [--update-gaps] [FILE.golden ...]: run what real Spark recorded on penstock.

Every block of tests/sql/**/*.golden runs through the unmodified PySpark client (build/venv/bin/python) and
must give the same schema, rows and errors. Without --remote a penstock of this tree is started for it. Statements listed in
tests/sql/known-gaps.txt are those that penstock does not answer as Spark does yet: they must still differ, so that the list
only shrinks; --update-gaps writes the list anew.
"""

import argparse
import collections
import contextlib
import glob
import logging
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GAPS = os.path.join(HERE, "known-gaps.txt")
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True

import penstock_server  # noqa: E402
import sql_golden  # noqa: E402


def gap_name(path, block):
    key = " ".join([block.kind] + block.args) + " " + sql_golden.json_text(block.sql)
    conf = "".join(f" {k}={v}" for k, v in sorted(block.conf.items()))
    return f"{os.path.basename(path)}: {key}{conf}"


def read_gaps():
    if not os.path.exists(GAPS):
        return set()
    with open(GAPS, encoding="utf-8") as f:
        return {line.rstrip("\n") for line in f if line.strip() and not line.startswith("#")}


def write_gaps(names):
    with open(GAPS, "w", encoding="utf-8") as f:
        f.write("# Statements that penstock does not answer as Spark does yet: tests/sql/goldens.py --update-gaps\n")
        f.writelines(name + "\n" for name in names)


class Target:
    """A session on a server; a server of ours that dies is a result, too, and another one takes its place."""

    def __init__(self, remote, server):
        self.server = server
        self.remote = remote or "sc://" + server.connect
        self.spark = penstock_server.session(self.remote)

    def run(self, block):
        """(kind, text) of what differs, or None."""
        got = sql_golden.Block(block.kind, block.sql, block.conf, block.args)
        try:
            sql_golden.run(self.spark, got, sql_golden.client_failure)
        except Exception:  # not even a setting was taken
            if self.server is None:
                raise
        if self.server is None or not self.died(got):
            return sql_golden.compare(block, got.result)
        text = f"  ! the server died\n{self.server.log_tail()}"
        self.server.start()
        self.spark = penstock_server.session(self.remote)
        return "death", text


    def died(self, got):
        """Whether our server is gone; where the client lost it, the process is given time to end."""
        try:
            self.server.process.wait(5 if not got.result or "UNAVAILABLE" in got.result[-1] else 0)
        except subprocess.TimeoutExpired:
            return False
        return True


def check(target, path, gaps, found, kinds, verbose):
    """Runs one golden file; returns how many blocks passed, failed, and are known gaps that still differ."""
    passed = failed = skipped = 0
    for block in sql_golden.read_golden(path):
        difference = target.run(block)
        name = gap_name(path, block)
        if difference is not None:
            found.append(name)
            kinds[difference[0]] += 1
        if difference is None and name not in gaps:
            passed += 1
            continue
        if difference is not None and name in gaps and difference[0] != "death":
            skipped += 1
            continue
        failed += 1
        if verbose:
            print(f"FAIL {name}\n{difference[1] if difference else '  passes now: take it off the list of gaps'}", flush=True)
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--remote")
    parser.add_argument("--update-gaps", action="store_true")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    paths = args.files or sorted(glob.glob(os.path.join(HERE, "**/*.golden"), recursive=True))
    known = read_gaps()
    gaps = set() if args.update_gaps else known
    found, kinds, passed, failed, skipped = [], collections.Counter(), 0, 0, 0
    with contextlib.nullcontext() if args.remote else penstock_server.running() as server:
        target = Target(args.remote, server)
        for path in paths:
            good, bad, gap = check(target, path, gaps, found, kinds, not args.update_gaps)
            print(f"{os.path.relpath(path, ROOT)}: {good} passed, {bad} failed, {gap} skipped", flush=True)
            passed, failed, skipped = passed + good, failed + bad, skipped + gap
    print(f"{len(found)} known or new differences: " + ", ".join(f"{n} in {kind}" for kind, n in kinds.most_common()))
    if args.update_gaps:
        names = {os.path.basename(p) for p in paths}
        write_gaps(sorted({g for g in known if g.split(": ")[0] not in names} | set(found)))
        return
    if skipped:
        print(f"skipped: {skipped} statements of tests/sql/known-gaps.txt, which penstock does not answer as Spark does yet")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


main()
