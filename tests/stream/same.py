#!/usr/bin/env python3
# limit: 600
"""same.py [--target penstock|spark] [FILE.test ...]: run tests/stream/*.test and compare with what real Spark recorded.

Every file gets a penstock of its own (or, with --target spark, they share one real stack: that checks the recordings).
Runs with build/venv/bin/python. Files listed in tests/stream/known-gaps.txt, one name a line with
the reason after it, must still differ.
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


def check(test, server):
    """The difference between what is recorded and what `server` gives, as lines."""
    with penstock_server.connect("sc://" + server.connect) as spark:
        return stream_test.compare(test.expected(), stream_test.Run(test, spark, server.kafka).run())


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
                with contextlib.nullcontext(shared) if shared else penstock_server.running() as server:
                    difference = check(test, server)
            except Exception as e:
                difference = [f"! {type(e).__name__}: {e}"]
            if bool(difference) == (test.name in gaps):
                passed += 1
                continue
            failed += 1
            print(f"FAIL {test.name}", *(difference or ["passes now: take it off the list of gaps"]), sep="\n  ", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
