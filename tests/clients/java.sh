#!/usr/bin/env bash
# limit: 420
# The Java client 4.3.1 through Kafka's own command line tools. They come from Maven Central (tests/oracle/setup.sh kafka);
# which installs what is missing, Java too.
set -u
root=${ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
jars=${ORACLE_DIR:-$root/build/oracle}/kafka
passed=0 failed=0

if ! java --version >/dev/null 2>&1 || [ ! -d "$jars" ]; then
    "$root/tests/oracle/setup.sh" kafka || failed=1
fi
if [ $failed = 1 ]; then
    echo "Java or Kafka's jars could not be installed"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/penstock-java-XXXXXX")
"${PENSTOCK:-$root/build/penstock}" serve --data "$dir/data" --kafka-listen 127.0.0.1:0 --connect-listen 127.0.0.1:0 \
    --http-listen 127.0.0.1:0 --group-initial-rebalance-delay-ms 0 >"$dir/ready" 2>"$dir/log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$dir"' EXIT
for _ in $(seq 200); do grep -q ^ready "$dir/ready" && break; sleep 0.1; done
at=$(grep -o 'kafka=[^ ]*' "$dir/ready" | cut -d= -f2)

java_class() { # CLASS ARGS...
    timeout 100 java -Xmx256m -Dlog4j2.configurationFile="$root/tests/oracle/log4j2.properties" -cp "$jars/*" "$@" 2>&1
}

tool() { # CLASS ARGS...
    local class=$1
    shift
    java_class "org.apache.kafka.tools.$class" "$@"
}

check() { # NAME COMMAND...: passes when the command succeeds
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -5 "$dir/log"
    fi
}

console() {
    seq 1 500 | tool ConsoleProducer --bootstrap-server "$at" --topic console \
        --compression-codec "$1" >"$dir/out" || { cat "$dir/out"; return 1; }
    tool consumer.ConsoleConsumer --bootstrap-server "$at" --topic console --from-beginning --max-messages 500 \
        --group "console-$1" --timeout-ms 60000 >"$dir/out"
    [ "$(grep -c '^[0-9]*$' "$dir/out")" = 500 ] || { tail -5 "$dir/out"; return 1; }
}

performance() {
    tool ProducerPerformance --topic perf --num-records 200000 --record-size 100 --throughput -1 \
        --bootstrap-server "$at" --command-property acks=all >"$dir/out"
    grep -q '^200000 records sent' "$dir/out" || { tail -5 "$dir/out"; return 1; }
    tool ConsumerPerformance --bootstrap-server "$at" --topic perf --num-records 200000 >"$dir/out"
    [ "$(tail -1 "$dir/out" | cut -d, -f5 | tr -d ' ')" -ge 200000 ] || { tail -5 "$dir/out"; return 1; }
}

topics() {
    tool TopicCommand --bootstrap-server "$at" --create --topic made --partitions 3 --config retention.ms=1000000 \
        >"$dir/out" && tool TopicCommand --bootstrap-server "$at" --describe --topic made >"$dir/out"
    grep -q 'PartitionCount: 3' "$dir/out" && grep -q 'retention.ms=1000000' "$dir/out" || { cat "$dir/out"; return 1; }
    tool TopicCommand --bootstrap-server "$at" --alter --topic made --partitions 4 >"$dir/out" &&
        tool TopicCommand --bootstrap-server "$at" --delete --topic made >"$dir/out" || { cat "$dir/out"; return 1; }
}

groups() {
    tool consumer.group.ConsumerGroupCommand --bootstrap-server "$at" --describe --group console-gzip >"$dir/out"
    grep -Eq 'console-gzip +console +0 +500 +500 +0' "$dir/out" || { cat "$dir/out"; return 1; }
    tool consumer.group.ConsumerGroupCommand --bootstrap-server "$at" --reset-offsets --to-earliest --execute \
        --topic console --group console-gzip >"$dir/out"
    grep -Eq 'console-gzip +console +0 +0' "$dir/out" || { cat "$dir/out"; return 1; }
    tool consumer.group.ConsumerGroupCommand --bootstrap-server "$at" --delete --group console-gzip >"$dir/out"
    grep -q 'successful' "$dir/out" || { cat "$dir/out"; return 1; }
}

offsets_topic() { # Kafka's own reader of __consumer_offsets
    tool consumer.ConsoleConsumer --bootstrap-server "$at" --topic __consumer_offsets --from-beginning --timeout-ms 5000 \
        --formatter org.apache.kafka.tools.consumer.OffsetsMessageFormatter >"$dir/out"
    grep -q '"group":"console-gzip","topic":"console","partition":0' "$dir/out" || { tail -5 "$dir/out"; return 1; }
    tool consumer.ConsoleConsumer --bootstrap-server "$at" --topic __consumer_offsets --from-beginning --timeout-ms 5000 \
        --formatter org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter >"$dir/out"
    grep -q '"group":"console-gzip"' "$dir/out" || { tail -5 "$dir/out"; return 1; }
}

configs() { # kafka-configs.sh
    java_class kafka.admin.ConfigCommand --bootstrap-server "$at" --alter --entity-type topics --entity-name console \
        --add-config 'retention.ms=86400000,cleanup.policy=[compact,delete]' >"$dir/out" || { cat "$dir/out"; return 1; }
    java_class kafka.admin.ConfigCommand --bootstrap-server "$at" --alter --entity-type topics --entity-name console \
        --delete-config retention.ms >"$dir/out" || { cat "$dir/out"; return 1; }
    java_class kafka.admin.ConfigCommand --bootstrap-server "$at" --describe --entity-type topics --entity-name console \
        >"$dir/out"
    grep -q 'cleanup.policy=compact,delete' "$dir/out" && ! grep -q 'retention.ms=86400000' "$dir/out" ||
        { cat "$dir/out"; return 1; }
    java_class kafka.admin.ConfigCommand --bootstrap-server "$at" --alter --entity-type brokers --entity-default \
        --add-config log.retention.bytes=123456789 >"$dir/out" || { cat "$dir/out"; return 1; }
    java_class kafka.admin.ConfigCommand --bootstrap-server "$at" --describe --entity-type brokers --entity-default >"$dir/out"
    grep -q 'log.retention.bytes=123456789' "$dir/out" || { cat "$dir/out"; return 1; }
    ! java_class kafka.admin.ConfigCommand --bootstrap-server "$at" --alter --entity-type topics --entity-name console \
        --add-config no.such=1 >"$dir/out"
    grep -q 'Unknown topic config name: no.such' "$dir/out" || { cat "$dir/out"; return 1; }
}

delete_records() { # kafka-delete-records.sh
    echo '{"partitions":[{"topic":"perf","partition":0,"offset":150000}],"version":1}' >"$dir/delete.json"
    tool DeleteRecordsCommand --bootstrap-server "$at" --offset-json-file "$dir/delete.json" >"$dir/out"
    grep -q 'partition: perf-0.*low_watermark: 150000' "$dir/out" || { cat "$dir/out"; return 1; }
    tool GetOffsetShell --bootstrap-server "$at" --topic perf --time earliest >"$dir/out"
    grep -q '^perf:0:150000$' "$dir/out" || { cat "$dir/out"; return 1; }
    tool ConsumerPerformance --bootstrap-server "$at" --topic perf --num-records 50000 >"$dir/out"
    [ "$(tail -1 "$dir/out" | cut -d, -f5 | tr -d ' ')" = 50000 ] || { tail -5 "$dir/out"; return 1; }
}

check 'console producer and consumer, gzip' console gzip
check 'producer and consumer performance' performance
check 'topics' topics
check 'settings' configs
check 'deletion of records' delete_records
check 'the offsets topic' offsets_topic
check 'groups' groups
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
