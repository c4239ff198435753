#!/usr/bin/env bash
# setup.sh [clients|kafka|spark|all]: fetch what the oracles need, once; a second run finds everything and does nothing.
#
#   clients   build/venv: a Python with the unmodified clients that tests run (`make venv`)
#   kafka     build/oracle/kafka/*.jar: Apache Kafka 4.3.1, broker and command line tools
#   spark     build/oracle/spark-venv: full PySpark 4.2.0 with its JVM jars; build/oracle/spark/*.jar: its Kafka source
#   all       the three of them (the default)
#
# Only the package registries are used (Debian, PyPI, Maven Central). A missing Debian package is installed as root or with
# `sudo -n`; otherwise the command to type is printed and the exit status is 2. ORACLE_DIR names another place than
# build/oracle, so that several work trees can share one copy.
# manual: yes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
oracle=${ORACLE_DIR:-$root/build/oracle}

spark_packages="pyspark==4.2.0 pandas==2.3.3 numpy<2.4 pyarrow==22.0.0"

# need_debian COMMAND PACKAGE...: installs the packages when COMMAND does not succeed.
need_debian() {
    local test=$1
    shift
    if bash -c "$test" >/dev/null 2>&1; then
        return 0
    fi
    local as=""
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "missing packages; type: sudo apt-get install -y --no-install-recommends $*" >&2
            exit 2
        fi
        as="sudo -n"
    fi
    $as apt-get update -q >/dev/null
    $as env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null
    bash -c "$test" >/dev/null 2>&1 || { echo "still missing after installing $*: $test" >&2; exit 1; }
}

# stamped FILE TEXT: whether FILE says that exactly TEXT is installed already.
stamped() {
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

# python_env DIR PACKAGES: a virtual environment with the packages; made anew when the list of packages changed.
python_env() {
    local dir=$1
    shift
    local want
    want=$(echo $*)
    stamped "$dir/.packages" "$want" && return 0
    need_debian 'python3 -c "import venv, ensurepip"' python3 python3-venv
    rm -rf "$dir"
    mkdir -p "$(dirname "$dir")"
    python3 -m venv "$dir"
    # shellcheck disable=SC2086
    "$dir/bin/pip" install -q --disable-pip-version-check setuptools wheel
    # shellcheck disable=SC2086
    "$dir/bin/pip" install -q --disable-pip-version-check $want
    echo "$want" >"$dir/.packages"
}

# jars DIR POM: the jars that POM names, with their runtime dependencies, in DIR.
jars() {
    local dir=$1 pom=$2 want
    want=$(sha256sum <"$pom")
    stamped "$dir/.pom" "$want" && return 0
    need_debian 'mvn --version' maven openjdk-17-jre-headless
    # Java keeps its own list of authorities: let it have those that the administrator added to the system's.
    [ "$(id -u)" != 0 ] || update-ca-certificates --fresh >/dev/null 2>&1 || true
    rm -rf "$dir"
    mkdir -p "$dir"
    mvn -q -B -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$dir"
    echo "$want" >"$dir/.pom"
}

need_java() {
    need_debian 'java --version 2>&1 | grep -qE "^openjdk (17|21)"' openjdk-17-jre-headless
}

for piece in ${@:-all}; do
    case $piece in
    clients) make -C "$root" --no-print-directory venv ;;
    kafka)
        need_java
        jars "$oracle/kafka" "$here/pom-kafka.xml"
        ;;
    spark)
        need_java
        python_env "$oracle/spark-venv" $spark_packages
        jars "$oracle/spark" "$here/pom-spark.xml"
        ;;
    all) "$0" clients kafka spark ;;
    *)
        sed -n '2,10p' "$0" >&2
        exit 2
        ;;
    esac
done
