#!/usr/bin/env python3
# manual: yes
"""frame-goldens.py [FILE.in ...]: run tests/sql/frames/*.in, pieces of Python, with the unmodified PySpark client on a real Spark
4.2.0 Connect server, and write the .golden beside each. Runs with build/venv/bin/python after `tests/oracle/setup.sh`.
tests/sql/README.md describes inputs and goldens; the checker is tests/sql/goldens.py.
"""

import glob
import logging
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [HERE, TESTS]
sys.dont_write_bytecode = True

import penstock_server  # noqa: E402
import real_stack  # noqa: E402
import sql_golden  # noqa: E402


def main():
    paths = sys.argv[1:] or sorted(glob.glob(os.path.join(TESTS, "sql/frames/*.in")))
    logging.disable(logging.CRITICAL)
    with real_stack.spark() as address, penstock_server.connect("sc://" + address) as spark:
        for path in paths:
            blocks = sql_golden.read_input(path)
            for block in blocks:
                sql_golden.run(spark, block, sql_golden.client_failure)
                for i, line in enumerate(block.result):
                    if line.startswith("message: "):  # without the server's stack
                        block.result[i] = line.split("\\n\\nJVM stacktrace")[0].rstrip('"') + '"'
            golden = path[: -len(".in")] + ".golden"
            with open(golden, "w", encoding="utf-8") as f:
                f.write("# oracle: Apache Spark 4.2.0, Connect server, pyspark-client 4.2.0\n")
                f.write("# command: build/venv/bin/python tests/oracle/frame-goldens.py\n\n")
                f.write("\n".join(block.text() for block in blocks))
            errors = sum(1 for b in blocks if b.result[0].startswith("error"))
            print(f"{os.path.basename(path)}: {len(blocks)} blocks, {errors} of them errors", flush=True)


main()
