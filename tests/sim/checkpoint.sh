#!/usr/bin/env bash
# limit: 300
# Power cuts under a query's commit log, in the simulator; each of its sync call sites is missed by some seed.
make -C "$ROOT" --no-print-directory -s test-powercut-checkpoint SEEDS=300 &&
    make -C "$ROOT" --no-print-directory -s test-powercut-checkpoint-sites SEEDS=1000
