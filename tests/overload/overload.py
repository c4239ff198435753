#!/usr/bin/env python3
# limit: 240
"""A server in 256 MiB, attacked in every way of attack.py: it stays, it stays within, and an honest client is served all along.

overload.py [ATTACK...]; OVERLOAD_SECONDS says how long each goes on. Times are printed, not asserted: bench/overload.py measures.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
import attack
import box
import penstock_server
from overload_measure import LIMIT, measure, prepare
from cases import case, main

FLAGS = os.environ.get("OVERLOAD_FLAGS", "--memory 256M").split()
SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "2"))


def attacked(name):
    with box.cgroup(LIMIT) as procs, penstock_server.running(*FLAGS, cgroup=procs) as server:
        prepare(server)
        turns, problem, said, most = measure(server, name, SECONDS)
        print(f"{name}: {said}; the server took {most >> 20} MiB; honest turns: {len(turns)}, "
              f"p50 {attack.percentile(turns, 0.5):.2f} ms, p99 {attack.percentile(turns, 0.99):.2f} ms")
        assert server.process.poll() is None, "the server is gone:\n" + server.log_tail()
        assert not said.startswith("the attack ended"), said
        assert not problem, f"the honest client: {problem}"
        assert len(turns) > 0, "the honest client was not served once"
        assert most < LIMIT, f"{most >> 20} MiB"
        attack.Honest(server.kafka).turn()


def as_case(name):
    def run():
        attacked(name)
    run.__name__ = name
    case(run)


attack.raise_file_limit()
for each in attack.ATTACKS:
    as_case(each)
main()
