"""cases: the frame of an integration test in Python.

    @case
    def a_port_in_use():
        equal(run("serve").returncode, 1)

    main()      # runs all cases in order, prints one line for each failure, closes with N passed, N failed, N skipped

A case passes when it returns; AssertionError, any other exception or Skip end it.
"""
import os
import subprocess
import sys
import traceback

ROOT = os.environ.get("ROOT") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PENSTOCK = os.environ.get("PENSTOCK") or os.path.join(ROOT, "build/penstock")
PYTHON = os.environ.get("PYTHON") or os.path.join(ROOT, "build/venv/bin/python")

_cases = []


class Skip(Exception):
    pass


def case(fn):
    _cases.append(fn)
    return fn


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what or 'value'}: got {got!r}, want {want!r}")


def has(text, part):
    if part not in text:
        raise AssertionError(f"{part!r} is not in {text!r}")


def run(*argv, stdin="", timeout=30, env=None):
    """penstock ARGV to its end; the finished process with texts."""
    return subprocess.run([PENSTOCK, *map(str, argv)], input=stdin, capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})})


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    only = sys.argv[1:]
    for fn in _cases:
        if only and fn.__name__ not in only:
            continue
        try:
            fn()
            counts["passed"] += 1
        except Skip as why:
            print(f"skipped {fn.__name__}: {why}")
            counts["skipped"] += 1
        except Exception:
            print(f"FAILED {fn.__name__}")
            traceback.print_exc(file=sys.stdout)
            counts["failed"] += 1
        sys.stdout.flush()
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    sys.exit(1 if counts["failed"] else 0)
