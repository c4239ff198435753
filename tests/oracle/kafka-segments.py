#!/usr/bin/env python3
# manual: yes
"""kafka-segments.py DATA_DIR OUT_DIR TOPIC-PARTITION...: turn log directories of a stopped broker into text fixtures.

Each OUT_DIR/<topic-partition>.golden holds one line `file NAME HEX` per file of the directory (- for an empty file), and
after it what the broker's own kafka-dump-log prints for each .log file, one `dump NAME TEXT` line per line of its output.
Run it through `kafka-goldens.sh live`, whose conversations wrote the logs.
"""

import os
import subprocess
import sys

HEADER = """# {name}: the directory of one partition
# oracle: written by a running Apache Kafka 4.3.1 broker, stopped cleanly; dumped by its kafka-dump-log
# command: tests/oracle/kafka-goldens.sh live
# line: file NAME HEX (HEX is - for an empty file) | dump NAME TEXT
#       the order of writes is in live/*.golden; LogAppendTime, ids and partition.metadata differ from run to run
"""


def dump(path):
    here = os.path.dirname(os.path.abspath(__file__))
    command = [here + "/kafka-broker.sh", "tool", "org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--print-data-log"]
    if "__consumer_offsets" in path:
        command.append("--offsets-decoder")
    text = subprocess.run(command + ["--files", path], check=True, capture_output=True, text=True).stdout
    return [line for line in text.splitlines() if not line.startswith("Dumping ")]


def main():
    data, out, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    os.makedirs(out, exist_ok=True)
    for name in names:
        with open(f"{out}/{name}.golden", "w", encoding="utf-8") as golden:
            golden.write(HEADER.format(name=name))
            files = sorted(os.listdir(f"{data}/{name}"))
            for file in files:
                with open(f"{data}/{name}/{file}", "rb") as f:
                    golden.write(f"file {file} {f.read().hex() or '-'}\n")
            for file in files:
                if file.endswith(".log"):
                    for line in dump(f"{data}/{name}/{file}"):
                        golden.write(f"dump {file} {line}\n")


main()
