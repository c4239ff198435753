#!/usr/bin/env python3
"""overload.py: what an honest client's turn (produce, acknowledged, read back) takes while others attack, beside a quiet server.

The server lives in 256 MiB; attackers, honest client and server share the machine, so that what the attackers' own work costs is
in the numbers too. Prints a table in milliseconds.  overload.py [--seconds N] [ATTACK...]
"""
import argparse
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/overload")]
import attack
import box
import overload_measure as measure
import penstock_server


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("attacks", nargs="*", default=list(attack.ATTACKS))
    options = parser.parse_args()
    attack.raise_file_limit()
    print("| attack | turns/s | p50 | p99 | p99 against a quiet server | server's memory, MiB |\n|---|---|---|---|---|---|")
    quiet = None
    for name in [None, *options.attacks]:
        with box.cgroup(measure.LIMIT) as procs, penstock_server.running("--memory", "256M", cgroup=procs) as server:
            measure.prepare(server)
            turns, problem, said, most = measure.measure(server, name, options.seconds)
            p50, p99 = attack.percentile(turns, 0.5), attack.percentile(turns, 0.99)
            quiet = quiet or p99
            print(f"| {name or 'none'} | {len(turns) / options.seconds:.0f} | {p50:.2f} | {p99:.2f} | {p99 / quiet:.1f} | "
                  f"{most >> 20} |{' ' + problem if problem else ''}", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
