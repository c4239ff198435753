#!/usr/bin/env bash
# spark-connect.sh start PORT DIR [KEY=VALUE...] | stop DIR: one real Spark 4.2.0 Connect server with its Kafka source.
#
# start   runs local[1] on 127.0.0.1:PORT with the session time zone UTC and one shuffle partition, adds the settings after
#         DIR, and returns when the port answers. DIR keeps its log, warehouse and pid; the console sink prints into DIR/server.log.
# stop    ends the server of DIR and waits for it.
# manual: yes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
oracle=${ORACLE_DIR:-$root/build/oracle}

start() {
    local port=$1 dir python home conf=()
    mkdir -p "$2"
    dir=$(cd "$2" && pwd)
    shift 2
    python=$oracle/spark-venv/bin/python
    home=$("$python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
    for setting in spark.sql.session.timeZone=UTC spark.sql.shuffle.partitions=1 spark.ui.enabled=false \
        spark.driver.host=127.0.0.1 spark.driver.bindAddress=127.0.0.1 "spark.sql.warehouse.dir=$dir/warehouse" \
        "spark.connect.grpc.binding.port=$port" spark.connect.grpc.binding.address=127.0.0.1 "$@"; do
        conf+=(--conf "$setting")
    done
    (
        cd "$dir"
        SPARK_HOME=$home PYSPARK_PYTHON=$python TZ=UTC setsid nohup "$home/bin/spark-submit" --master 'local[1]' \
            --driver-memory 1g --driver-java-options "-Duser.timezone=UTC -Dlog4j2.configurationFile=$here/log4j2.properties" \
            --jars "$(echo "$oracle"/spark/*.jar | tr ' ' ,)" --class org.apache.spark.sql.connect.service.SparkConnectServer \
            "${conf[@]}" spark-internal >"$dir/server.log" 2>&1 </dev/null &
        echo $! >"$dir/server.pid"
    )
    for _ in $(seq 900); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return 0
        fi
        kill -0 "$(cat "$dir/server.pid")" 2>/dev/null || break
        sleep 0.1
    done
    echo "Spark Connect did not start:" >&2
    tail -20 "$dir/server.log" >&2
    return 1
}

stop() {
    local pid
    [ -f "$1/server.pid" ] || return 0
    pid=$(cat "$1/server.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 200); do
        kill -0 "$pid" 2>/dev/null || { rm -f "$1/server.pid"; return 0; }
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$1/server.pid"
}

case ${1:-} in
start) shift; start "$@" ;;
stop) stop "$2" ;;
*)
    sed -n '2,6p' "$0" >&2
    exit 2
    ;;
esac
