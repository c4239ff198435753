#!/usr/bin/env python3
# limit: 120
# sanitized: yes
"""What an operator meets at the command line: settings, refusals, health, a clean stop."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from cases import PENSTOCK, case, equal, has, main, run

ANY = ["--kafka-listen", "127.0.0.1:0", "--connect-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]


class Server:
    def __init__(self, *argv, env=None):
        self.process = subprocess.Popen([PENSTOCK, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})
        self.line = self.process.stdout.readline()
        self.at = dict(re.findall(r"(\w+)=(\S+)", self.line))

    def end(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.out, self.err = self.process.communicate(timeout=30)
        return self.process.returncode


@contextlib.contextmanager
def server(*argv, env=None):
    s = Server(*argv, env=env)
    try:
        yield s
    finally:
        if s.process.poll() is None:
            s.process.kill()
            s.process.communicate()


@contextlib.contextmanager
def scratch():
    with tempfile.TemporaryDirectory() as d:
        yield d


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


@case
def ready_health_metrics_and_a_clean_stop():
    with scratch() as d, server("serve", "--data", d, *ANY) as s:
        assert s.line.startswith("ready "), s.line
        for name in ("kafka", "connect", "http"):
            host, port = s.at[name].rsplit(":", 1)
            socket.create_connection((host, int(port)), 5).close()
        equal(get(s.at["http"], "/livez"), (200, "ok\n"))
        equal(get(s.at["http"], "/readyz"), (200, "ok\n"))
        status, text = get(s.at["http"], "/metrics")
        equal(status, 200)
        has(text, "# TYPE penstock_log_appended_records_total counter\n")
        equal(get(s.at["http"], "/nope")[0], 404)
        equal(s.end(), 0, "exit code after SIGTERM")
        equal(s.out, "", "standard output after ready")


@case
def an_interrupt_is_130():
    with scratch() as d, server("serve", "--data", d, *ANY) as s:
        equal(s.end(signal.SIGINT), 130)


@case
def dev_leaves_nothing_behind():
    with scratch() as tmp, server("dev", *ANY, env={"TMPDIR": tmp}) as s:
        equal(len(os.listdir(tmp)), 1)
        equal(s.end(), 0)
        equal(os.listdir(tmp), [])


@case
def a_port_in_use_is_named():
    for flag in ("--kafka-listen", "--connect-listen", "--http-listen"):
        with scratch() as d, socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            p = run("serve", "--data", d, *ANY, flag, address)
            equal(p.returncode, 1, flag)
            has(p.stderr, address)
            has(p.stderr, "in use")
            equal(p.stdout, "", "no ready line")


@case
def a_second_server_on_the_directory_is_refused():
    with scratch() as d, server("serve", "--data", d, *ANY) as first:
        p = run("serve", "--data", d, *ANY)
        equal(p.returncode, 1)
        has(p.stderr, "in use by another process")
        has(p.stderr, d)
        equal(get(first.at["http"], "/readyz")[0], 200)
        equal(first.end(), 0)


@case
def a_directory_that_cannot_be_written_is_named():
    with scratch() as d:
        path = os.path.join(d, "file")
        open(path, "w").close()
        for bad in (path, path + "/below", "/proc/penstock"):
            p = run("serve", "--data", bad, *ANY)
            equal(p.returncode, 1, bad)
            has(p.stderr, "/proc/penstock" if bad.startswith("/proc") else path)


@case
def a_data_directory_of_a_newer_format_is_refused():
    with scratch() as d:
        with server("serve", "--data", d, *ANY) as s:
            equal(s.end(), 0)
        with open(os.path.join(d, "FORMAT"), "w") as f:
            f.write("9999\n")
        p = run("serve", "--data", d, *ANY)
        equal(p.returncode, 1)
        has(p.stderr, "newer penstock")


@case
def topics_are_configured_and_trimmed():
    with scratch() as d, server("serve", "--data", d, *ANY, "--retention-ms", "3600000") as s:
        at = ("-b", s.at["kafka"], "--format", "csv")
        equal(run("topic", "create", "a", *at).returncode, 0)
        equal(run("produce", "a", *at[:2], stdin="".join("%d\n" % i for i in range(5))).returncode, 0)
        has(run("topic", "config", "a", *at).stdout, "retention.ms,3600000,server\n")
        equal(run("topic", "config", "a", "--set", "retention.ms=-1", "--append", "cleanup.policy=compact", *at).stderr, "")
        shown = run("topic", "config", "a", *at).stdout
        has(shown, "retention.ms,-1,topic\n")
        has(shown, '"delete,compact",topic\n')
        equal(run("topic", "config", "a", "--unset", "retention.ms", "--subtract", "cleanup.policy=compact", *at).stderr, "")
        has(run("topic", "config", "a", *at).stdout, "retention.ms,3600000,server\n")
        has(run("topic", "config", "a", "--set", "retention.ms=soon", *at).stderr, "Not a number of type LONG")
        has(run("topic", "trim", "a", "--before", "3", *at).stdout, "a,0,3\n")
        has(run("topic", "describe", "a", *at).stdout, "a,0,1,3,5\n")
        has(run("topic", "trim", "a", "--before", "6", *at).stderr, "OFFSET_OUT_OF_RANGE")
        has(run("topic", "trim", "a", *at).stderr, "--before")


@case
def wrong_usage_is_2_and_says_what_is_right():
    for argv, part in (
        ([], "Usage: penstock COMMAND"),
        (["nope"], "there is no command 'nope'"),
        (["serve", "--durabilty", "os"], "did you mean --durability?"),
        (["serve", "--loops", "99"], "from 0 to 64"),
        (["serve", "--kafka-listen", "9092"], "HOST:PORT"),
        (["serve", "--data"], "needs a value"),
        (["serve", "extra"], "unexpected argument 'extra'"),
        (["topic"], "list, create, describe, config, trim or delete"),
        (["topic", "create"], "needs one topic name"),
        (["topic", "create", "a", "--partitions", "0"], "from 1 to 10000"),
        (["produce"], "which topic"),
        (["produce", "t", "--acks", "2"], "all, 1 or 0"),
        (["consume", "t", "--from", "middle"], "beginning, end or an offset"),
        (["consume", "t", "--format", "xml"], "table, json or csv"),
        (["run"], "which script"),
    ):
        p = run(*argv)
        equal(p.returncode, 2, argv)
        has(p.stderr, part)
        equal(p.stdout, "", "standard output")


@case
def a_wrong_setting_names_its_place():
    with scratch() as d:
        path = os.path.join(d, "conf")
        with open(path, "w") as f:
            f.write("# all well here\nloops = 2\nlops = 3\n")
        p = run("serve", "--config", path)
        equal(p.returncode, 2)
        has(p.stderr, path + ":3")
        has(p.stderr, "unknown key 'lops'")
        p = run("serve", env={"PENSTOCK_LOOPS": "many"})
        equal(p.returncode, 2)
        has(p.stderr, "PENSTOCK_LOOPS")
        equal(run("serve", "--config", d + "/missing").returncode, 1)


@case
def flags_win_over_environment_over_file():
    with scratch() as d:
        path = os.path.join(d, "conf")
        with open(path, "w") as f:
            f.write(f"data = {d}/from-file\nhttp-listen = 127.0.0.1:1\nkafka-listen = 127.0.0.1:0\nconnect-listen = 127.0.0.1:0\n")
        env = {"PENSTOCK_DATA": d + "/from-env", "PENSTOCK_HTTP_LISTEN": "127.0.0.1:2"}
        with server("serve", "--config", path, "--http-listen", "127.0.0.1:0", env=env) as s:
            equal(get(s.at["http"], "/livez")[0], 200)
            assert os.path.isdir(d + "/from-env") and not os.path.exists(d + "/from-file")
            equal(s.end(), 0)


@case
def an_unreachable_server_is_4():
    for argv in (["topic", "list", "-b", "127.0.0.1:1"], ["produce", "t", "-b", "127.0.0.1:1"],
                 ["consume", "t", "-b", "127.0.0.1:1"], ["sql", "-c", "SELECT 1", "--remote", "sc://127.0.0.1:1"]):
        p = run(*argv)
        equal(p.returncode, 4, argv)
        has(p.stderr, "127.0.0.1:1")


@case
def a_port_that_speaks_something_else_is_no_kafka():
    with scratch() as d, server("serve", "--data", d, *ANY) as s:
        p = run("topic", "list", "-b", s.at["http"])
        assert p.returncode in (1, 4, 5) and p.stderr.startswith("penstock topic: "), (p.returncode, p.stderr)


@case
def help_teaches():
    p = run("help")
    equal(p.returncode, 0)
    names = re.findall(r"^  (\w+) +\S", p.stdout, re.M)
    for name in ("dev", "serve", "run", "topic", "produce", "consume", "sql", "version"):
        assert name in names, name
    for name in set(names) - {"help"}:
        p = run(name, "--help")
        equal(p.returncode, 0, name)
        has(p.stdout, "Usage: penstock " + name)
    has(run("serve", "--help").stdout, "--kafka-listen HOST:PORT")
    has(run("version").stdout, "penstock ")


@case
def http_garbage_does_no_harm():
    with scratch() as d, server("serve", "--data", d, *ANY) as s:
        host, port = s.at["http"].split(":")
        for junk in (b"\x00" * 100000, b"GET " + b"a" * 100000, b"GET / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n",
                     os.urandom(5000), b"\r\n" * 20000):
            with socket.create_connection((host, int(port)), 5) as c:
                c.settimeout(5)
                with contextlib.suppress(OSError):
                    c.sendall(junk)
                    c.recv(65536)
        equal(get(s.at["http"], "/livez")[0], 200)
        equal(s.end(), 0)


main()
