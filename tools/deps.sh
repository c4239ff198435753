#!/usr/bin/env bash
# deps.sh SET: install what a make target needs on Debian 12, where it is missing. Root or `sudo -n`; otherwise print the
# exact command and exit 2.
set -euo pipefail
case "${1:-build}" in
build) want="gcc libc6-dev make pkg-config protobuf-c-compiler libprotobuf-c-dev libnghttp2-dev libzstd-dev liblz4-dev
libsnappy-dev zlib1g-dev libssl-dev librdkafka-dev libpcre2-dev libedit-dev libbsd-dev libmd-dev libncurses-dev g++ tzdata" ;;
lint) want="clang clang-tidy clang-format python3" ;;
fuzz) want="clang libclang-rt-14-dev" ;;
clients) want="kcat librdkafka-dev python3 python3-venv jq sqlite3 npm openjdk-17-jre-headless maven curl" ;;
history) want="openjdk-17-jdk-headless" ;;
test) want="python3 python3-venv kcat e2fsprogs xfsprogs librdkafka-dev jq curl sqlite3" ;;
demo) want="python3 python3-venv jq npm sqlite3" ;;
*) echo "deps.sh: unknown set '$1'" >&2; exit 2 ;;
esac
missing=()
for p in $want; do
    case $p in npm | jq | sqlite3 | kcat | curl) ! command -v "$p" >/dev/null || continue ;; esac # from elsewhere is fine
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0
cmd="apt-get install -y --no-install-recommends ${missing[*]}"
run() { # with an index refresh, once
    "$@" apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive "$@" $cmd -q >/dev/null
}
echo "installing: ${missing[*]}" >&2
if [ "$(id -u)" = 0 ]; then
    run env
elif sudo -n true 2>/dev/null; then
    run sudo -n
else
    echo "missing packages; run: sudo $cmd" >&2
    exit 2
fi
