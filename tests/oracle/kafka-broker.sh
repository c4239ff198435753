#!/usr/bin/env bash
# kafka-broker.sh start PORT DIR [KEY=VALUE...] | stop DIR | tool CLASS ARGS...: one real Kafka 4.3.1 broker.
#
# start   formats DIR when it is empty, starts broker and controller in one process on 127.0.0.1:PORT, and returns when it
#         answers; the settings after DIR are added to its configuration. DIR keeps configuration, data, log and pid.
#         LISTENERS (environment) names more listeners: "SASL_SSL://127.0.0.1:9093,SSL://127.0.0.1:9094".
#         KAFKA_JVM in the environment: other flags for its Java than those that start quickly.
# stop    ends the broker of DIR cleanly and waits for it.
# tool    runs one of Kafka's command line tools, for example: tool org.apache.kafka.tools.TopicCommand --list ...
# manual: yes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
jars=${ORACLE_DIR:-$root/build/oracle}/kafka
log="-Dlog4j2.configurationFile=$here/log4j2.properties"
java="java -Djava.awt.headless=true $log"

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

configure() { # PORT DIR SETTINGS...
    local port=$1 dir=$2 controller
    shift 2
    controller=$(free_port)
    cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller${LISTENERS:+,$LISTENERS}
advertised.listeners=PLAINTEXT://127.0.0.1:$port${LISTENERS:+,$LISTENERS}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
log.dirs=$dir/data
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
END
    for setting in "$@"; do
        echo "$setting" >>"$dir/server.properties"
    done
}

start() {
    local port=$1 dir
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    shift 2
    configure "$port" "$dir" "$@"
    if [ ! -e "$dir/data/meta.properties" ]; then
        $java -XX:TieredStopAtLevel=1 -cp "$jars/*" kafka.tools.StorageTool format -t penstock-oracle-00000A \
            -c "$dir/server.properties" >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; return 1; }
    fi
    setsid nohup $java ${KAFKA_JVM:--Xms256m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1} -cp "$jars/*" kafka.Kafka \
        "$dir/server.properties" >"$dir/broker.log" 2>&1 </dev/null &
    echo $! >"$dir/broker.pid"
    for _ in $(seq 600); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return 0
        fi
        kill -0 "$(cat "$dir/broker.pid")" 2>/dev/null || break
        sleep 0.1
    done
    echo "the broker did not start:" >&2
    tail -20 "$dir/broker.log" >&2
    return 1
}

stop() {
    local pid
    [ -f "$1/broker.pid" ] || return 0
    pid=$(cat "$1/broker.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || { rm -f "$1/broker.pid"; return 0; }
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$1/broker.pid"
}

case ${1:-} in
start) shift; start "$@" ;;
stop) stop "$2" ;;
tool) shift; exec $java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$jars/*" "$@" ;;
*)
    sed -n '2,8p' "$0" >&2
    exit 2
    ;;
esac
