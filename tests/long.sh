#!/usr/bin/env bash
# long.sh [--again]: `make test-long`. What is too long for every change: more seeds, more kills, real power cuts, every fault, long fuzzing.
#
# Each step leaves build/long/NAME.done behind when it has passed, with its closing lines; a second call goes on with what is missing
# (steps by seed range, so that little is lost). --again forgets them. Ends with a summary of all, and `N passed, N failed, N skipped`.
set -u
cd "$(dirname "$0")/.." || exit 1
out=build/long
[ "${1:-}" = --again ] && rm -rf $out
mkdir -p $out
failed=()

step() { # NAME LINES COMMAND...: LINES of its end are the summary
    local name=$1 lines=$2 t0=$SECONDS
    shift 2
    [ -e "$out/$name.done" ] && return 0
    echo "== $name: $*"
    if "$@" >"$out/$name.log" 2>&1 </dev/null; then
        { grep -vE '^make|^ *(CC|AR|LINK)' "$out/$name.log" | tail -n "$lines"; echo "in $((SECONDS - t0)) s"; } >"$out/$name.done"
        cat "$out/$name.done"
    else
        failed+=("$name")
        tail -n 40 "$out/$name.log"
        echo "== $name FAILED; the whole log is $out/$name.log"
    fi
}
have() { make -n "$1" >/dev/null 2>&1; }

for from in 1 1001 2001 3001 4001; do
    step "sim-$from" 3 make test-sim FROM=$from SEEDS=1000
done
step powercut 2 make test-powercut SEEDS=5000
step powercut-sites 20 make test-powercut-sites SEEDS=2000
step powercut-checkpoint 2 make test-powercut-checkpoint
step realcut 3 make test-realcut CYCLES=100
step crash 8 make test-crash N=200
step crash-kafka 8 make test-crash-kafka N=50
step history 4 make test-history SECONDS=600
have test-fault && step fault 6 make test-fault
for target in $(make --no-print-directory -s list-fuzz SAN=fuzz); do
    name=$(basename "$target")
    step "fuzz-$name" 1 make fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-600}" TARGET="$name"
done

echo "== summary"
for f in "$out"/*.done; do
    [ -e "$f" ] && echo "$(basename "$f" .done): $(grep -v '^in ' "$f" | tail -n 1)"
done
[ ${#failed[@]} = 0 ] || echo "failed: ${failed[*]}"
echo "$(find "$out" -name '*.done' | wc -l) passed, ${#failed[@]} failed, 0 skipped"
[ ${#failed[@]} = 0 ]
