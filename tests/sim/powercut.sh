#!/usr/bin/env bash
# limit: 300
# Power cuts in the simulator; .ci/run and `make test-powercut` run 1,000 seeds.
exec make -C "$ROOT" --no-print-directory -s test-powercut SEEDS=200
