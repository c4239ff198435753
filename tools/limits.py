#!/usr/bin/env python3
"""limits.py: docs/limits.md from spec/limits.def. With --check (part of `make lint`): fail when it is out of date."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROW = re.compile(r'^X\((\w+), ([^,]+), (COUNT|BYTES|DEPTH), "([^"]*)", "([^"]*)", "([^"]*)"\)$', re.M)
SECTION = re.compile(r"^/\* -- (.*) -- \*/$", re.M)
HEAD = """# Limits

Generated from `spec/limits.def` by `tools/limits.py`; `make lint` compares. Limits that an operator sets are settings
(`penstock serve --help`). Some are tested at the limit and one beyond, not all yet.
"""


def size(value, unit):
    if unit == "BYTES":
        for bits, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if value % (1 << bits) == 0:
                return f"{value >> bits} {name}"
        return f"{value:,} bytes".replace(",", " ")
    return f"{value:,}".replace(",", " ")


def page():
    text = (ROOT / "spec/limits.def").read_text()
    out, rows = [HEAD], 0
    marks = [(m.start(), None, m) for m in SECTION.finditer(text)] + [(m.start(), m, None) for m in ROW.finditer(text)]
    for _, row, section in sorted(marks, key=lambda m: m[0]):
        if section:
            title = section.group(1)
            out.append(f"\n## {title[0].upper()}{title[1:]}\n\n| what | of | at most | beyond |\n|---|---|---|---|\n")
        else:
            _, value, unit, beyond, what, whose = row.groups()
            number = eval(value, {"__builtins__": {}})  # "1 << 20": our own file
            out.append(f"| {what.rstrip(',')} | {whose} | {size(number, unit)} | {beyond} |\n")
            rows += 1
    assert rows == len(re.findall(r"^X\(", text, re.M)), "a row of spec/limits.def that this program cannot read"
    return "".join(out)


def main():
    target = ROOT / "docs/limits.md"
    if "--check" not in sys.argv[1:]:
        target.write_text(page())
    elif not target.is_file() or target.read_text() != page():
        print("docs/limits.md is not what spec/limits.def says: run tools/limits.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
