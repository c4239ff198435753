#!/usr/bin/env python3
# manual: yes
"""stream-goldens.py [FILE.test ...]: run tests/stream/*.test on real Spark 4.2.0 and Kafka 4.3.1 and write what came of each
below its `== recorded` line.

Needs `tests/oracle/setup.sh` and runs with the Python of build/venv: the script that records is the client that
tests/stream/same.py uses on penstock.
"""

import glob
import logging
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
sys.dont_write_bytecode = True

import penstock_server  # noqa: E402
import real_stack  # noqa: E402
import stream_test  # noqa: E402


def main():
    paths = sys.argv[1:] or sorted(glob.glob(os.path.join(os.path.dirname(HERE), "stream", "*.test")))
    logging.disable(logging.CRITICAL)
    with real_stack.running() as stack:
        for path in paths:
            test = stream_test.Test(path)
            with penstock_server.connect("sc://" + stack.connect) as spark:
                lines = stream_test.Run(test, spark, stack.kafka).run()
            test.write(lines, "oracle: Spark 4.2.0 and Kafka 4.3.1; command: tests/oracle/stream-goldens.py")
            batches = sum(line.startswith("batch") for line in lines)
            failures = [line for line in lines if line.startswith(("failure", "rows of"))]
            print(f"{test.name}: {batches} batches, {sum(x.startswith('row ') for x in lines)} rows {failures or ''}", flush=True)


main()
