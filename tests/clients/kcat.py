#!/usr/bin/env python3
# limit: 90
"""kcat of Debian 12 (librdkafka 2.0.2), as a person types it."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import penstock_server
from cases import Skip, case, equal, has, main

server = None


def kcat(*argv, stdin=""):
    if not shutil.which("kcat"):
        raise Skip("kcat is not installed")
    p = subprocess.run(["kcat", "-b", server.kafka, *argv], input=stdin, capture_output=True, text=True, timeout=60)
    equal(p.returncode, 0, p.stderr)
    return p.stdout


@case
def every_compression_is_really_used_and_comes_back():
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        lines = "".join(f"{i}:{codec} {'x' * 100}\n" for i in range(1000))
        kcat("-t", codec, "-P", "-z", codec, "-K:", stdin=lines)
        equal(kcat("-t", codec, "-C", "-e", "-q", "-K:"), lines, codec)
        size = sum(os.path.getsize(os.path.join(server.data, codec + "-0", f))
                   for f in os.listdir(os.path.join(server.data, codec + "-0")) if f.endswith(".log"))
        # librdkafka before 2.12 compresses only for a broker that lists old versions of Produce
        equal(size < len(lines) / 2, codec != "none", f"{codec}: {size} bytes in the segment")


@case
def metadata_lists_topics_and_the_address_we_came_by():
    kcat("-t", "listed", "-P", stdin="x\n")
    text = kcat("-L")
    has(text, f"broker 1 at {server.kafka}")
    has(text, 'topic "listed" with 1 partitions')


@case
def offsets_from_the_end_and_by_time():
    kcat("-t", "ends", "-P", stdin="".join(f"{i}\n" for i in range(20)))
    equal(kcat("-t", "ends", "-C", "-o", "-3", "-e", "-q"), "17\n18\n19\n")
    equal(kcat("-t", "ends", "-C", "-o", "5", "-c", "2", "-q"), "5\n6\n")
    equal(kcat("-Q", "-t", "ends:0:-1").split()[-1], "20")
    equal(kcat("-Q", "-t", "ends:0:-2").split()[-1], "0")


@case
def a_group_reads_each_message_once():
    kcat("-t", "balanced", "-P", stdin="".join(f"{i}\n" for i in range(100)))
    kcat("-G", "kc", "-c", "60", "-X", "auto.offset.reset=earliest", "-q", "balanced")
    rest = kcat("-G", "kc", "-c", "40", "-X", "auto.offset.reset=earliest", "-q", "balanced")
    equal(rest.split(), [str(i) for i in range(60, 100)])


@case
def what_the_page_cache_has_forgotten_is_read_from_the_disk():
    lines = "".join(f"{i} {'x' * 200}\n" for i in range(20000))
    kcat("-t", "cold", "-P", stdin=lines)
    segment = os.open(os.path.join(server.data, "cold-0", "0" * 20 + ".log"), os.O_RDONLY)
    os.fsync(segment)
    os.posix_fadvise(segment, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(segment)
    equal(kcat("-t", "cold", "-C", "-e", "-q") == lines, True, "the same lines")


if __name__ == "__main__":
    with penstock_server.running("--group-initial-rebalance-delay-ms", "0") as server:
        main()
