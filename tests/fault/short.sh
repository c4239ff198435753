#!/usr/bin/env bash
# limit: 180
# Every so-many-th allocation and call of the kernel fails, in a release build; tests/fault/nth.py says what must hold, and
# `make test-fault` goes through all of them.
set -u
cd "$ROOT" && make -s faults || exit 1
passed=0 failed=0
go() {
    local out line
    out=$("$PYTHON" tests/fault/nth.py "$@" 2>&1)
    line=$(tail -n 1 <<<"$out")
    grep -q 'none is left' <<<"$out" && grep -q ' 0 failed' <<<"$line" || echo "$out"
    passed=$((passed + $(sed -nE 's/^([0-9]+) passed.*/\1/p' <<<"$line")))
    failed=$((failed + $(sed -nE 's/.*, ([0-9]+) failed.*/\1/p' <<<"$line")))
}
go alloc --from 11 --stride 29
go call --from 5 --stride 53
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ] && [ $passed != 0 ]
