#!/usr/bin/env bash
# kafka-goldens.sh messages | live [NAME...] | transactions: record tests/wire/kafka/ from real Kafka 4.3.1.
#
# messages  *.golden: every message of the APIs penstock serves, in every version, as Kafka's own classes write it
# live      live/*.golden: request and response frames exchanged with a running broker (conversations of these names, or all);
#           segments/*.golden: the log directories that the broker wrote meanwhile, when all were held
# transactions  live/transactions-*.golden: likewise, about transactions
# manual: yes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
jars=${ORACLE_DIR:-$root/build/oracle}/kafka
"$here/setup.sh" kafka
command -v javac >/dev/null || { echo "recording needs a compiler: apt-get install openjdk-17-jdk-headless" >&2; exit 2; }

run() {
    java -Xmx512m -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$here/log4j2.properties" \
        -cp "$jars/*${run_classes:+:$run_classes}" "$@"
}

start_broker() { # SETTINGS...: sets dir and port; the broker ends with this script
    dir=$(mktemp -d)
    trap '"$here/kafka-broker.sh" stop "$dir"; rm -rf "$dir"' EXIT
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$here/kafka-broker.sh" start "$port" "$dir" "$@"
}

case ${1:-} in
messages) run "$here/kafka/RecordMessages.java" "$root/tests/wire/kafka" ;;
live)
    start_broker log.retention.ms=-1
    run "$here/kafka/RecordLive.java" 127.0.0.1 "$port" "$root/tests/wire/kafka/live" "${@:2}" 2>&1 |
        { grep -v '^Note: ' || true; }
    "$here/kafka-broker.sh" stop "$dir"
    [ $# = 1 ] || exit 0
    python3 "$here/kafka-segments.py" "$dir/data" "$root/tests/wire/kafka/segments" seg-0 d-0 d-1 i-0 compacted-0 \
        __consumer_offsets-0
    ;;
transactions)
    start_broker log.retention.ms=-1 transaction.abort.timed.out.transaction.cleanup.interval.ms=200
    mkdir "$dir/classes"
    javac -nowarn -d "$dir/classes" -cp "$jars/*" "$here/kafka/RecordLive.java" "$here/kafka/RecordTransactions.java" 2>&1 |
        { grep -v '^Note: ' || true; }
    run_classes=$dir/classes run RecordTransactions 127.0.0.1 "$port" "$root/tests/wire/kafka/live"
    ;;
*)
    sed -n '2,7p' "$0" >&2
    exit 2
    ;;
esac
