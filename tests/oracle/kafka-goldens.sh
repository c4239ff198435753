#!/usr/bin/env bash
# kafka-goldens.sh messages|live|segments: record tests/wire/kafka/*.golden (and live/, segments/) from real Kafka 4.3.1.
#
# messages  every message of the APIs penstock serves, in every version, as Kafka's own classes write it
# live      request and response frames exchanged with a running broker
# segments  small log directories that a running broker wrote
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
jars=${ORACLE_DIR:-$root/build/oracle}/kafka
"$here/setup.sh" kafka
command -v javac >/dev/null || { echo "recording needs a compiler: apt-get install openjdk-17-jdk-headless" >&2; exit 2; }

run() {
    java -Xmx512m -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$jars/*" "$@"
}

case ${1:-} in
messages) run "$here/kafka/RecordMessages.java" "$root/tests/wire/kafka" ;;
live | segments) exec python3 "$here/kafka-$1.py" ;;
*)
    sed -n '2,6p' "$0" >&2
    exit 2
    ;;
esac
