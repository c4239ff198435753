#!/usr/bin/env python3
# limit: 600
"""same.py [--target penstock|spark] [FILE.test ...]: run tests/stream/*.test and compare with what real Spark recorded.

Every file runs on a penstock of its own, several times where that makes a difference, with the same result: as recorded, on one
thread; with five shuffle partitions on three threads; and with the server killed (SIGKILL) and started again between the file's runs
of the query, on another number of threads and with another number of shuffle partitions asked for (which the checkpoint overrules). With --target spark
the files share one real stack and run once: that checks the recordings. Runs with build/venv/bin/python. Files listed in
tests/stream/known-gaps.txt, one name a line with the reason after it, may differ.
"""

import argparse
import contextlib
import glob
import logging
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
GAPS = os.path.join(HERE, "known-gaps.txt")
TESTS = os.path.dirname(HERE)
sys.path[:0] = [TESTS, os.path.join(TESTS, "oracle")]
sys.dont_write_bytecode = True

import penstock_server  # noqa: E402
import stream_test  # noqa: E402


def known_gaps():
    if not os.path.exists(GAPS):
        return set()
    with open(GAPS, encoding="utf-8") as f:
        return {line.split()[0] for line in f if line.strip() and not line.startswith("#")}


def check(test, server, restart=False, conf=None):
    """The difference between what is recorded and what `server` gives, as lines."""

    def between():
        server.kill()
        server.start("--query-threads", "4")
        run.conf = {"spark.sql.shuffle.partitions": "7"}
        return penstock_server.session("sc://" + server.connect)

    spark = penstock_server.session("sc://" + server.connect)
    run = stream_test.Run(test, spark, server.kafka, between if restart else None, conf)
    try:
        return stream_test.compare(test.expected(), run.run())
    finally:
        run.spark.stop()


def on_penstock(test):
    """The differences of the first way to run the file that has any."""
    five = {"spark.sql.shuffle.partitions": "5"}
    ways = [("as recorded", 1, False, {}), ("with 5 shuffle partitions on 3 threads", 3, False, five)]
    if sum(head[0] == "run" for head, _ in test.steps) > 1:
        ways.append(("with the server killed between runs", 2, True, five))
    for name, threads, restart, conf in ways:
        with penstock_server.running("--query-threads", str(threads)) as server:
            difference = check(test, server, restart, conf)
        if difference:
            return [name + ":"] + difference
    return []


def real_stack():
    import real_stack as stack

    return stack.running()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", choices=["penstock", "spark"], default="penstock")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    gaps = known_gaps() if args.target == "penstock" else set()
    passed = failed = 0
    with real_stack() if args.target == "spark" else contextlib.nullcontext() as shared:
        for path in args.files or sorted(glob.glob(os.path.join(HERE, "*.test"))):
            test = stream_test.Test(path)
            try:
                difference = check(test, shared) if shared else on_penstock(test)
            except Exception as e:
                difference = [f"! {type(e).__name__}: {e}"]
            if not difference or test.name in gaps:
                passed += 1
                if not difference and test.name in gaps:
                    print(f"{test.name} passes now: take it off the list of gaps", flush=True)
                continue
            failed += 1
            print(f"FAIL {test.name}", *difference, sep="\n  ", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
