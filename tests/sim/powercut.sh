#!/bin/bash
# limit: 400
# Power cuts in the simulator: all seeds recover; with syncs that do nothing some seed must fail. `make test-powercut` runs 1,000 seeds;
# SEED=n replays one. That each sync call site taken away alone is found takes minutes: `make test-powercut-sites`, in `make test-long`.
set -u
cd "$ROOT" || exit 1
make -s build/rel/tests/sim/powercut || exit 1
p=build/rel/tests/sim/powercut
passed=0 failed=0
check() {
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
check $p --seeds 1000
check $p --seeds 100 --nosync
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
