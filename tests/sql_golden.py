"""sql_golden: what the recorder of real Spark and the checker of penstock share: reading and writing tests/sql/**/*.golden,
running one block on a Spark session (classic or Connect), and turning its result into text.

tests/sql/README.md describes the files. A result is fetched as Arrow, so that every type comes out with its full range and
without Python's own conversions.
"""

import contextlib
import io
import itertools
import json
import re

import numpy as np

CONF_DEFAULTS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
}


class Block:
    """One statement, how it is run, and what came of it."""

    def __init__(self, kind, sql, conf=None, args=None, comment=None):
        self.kind = kind  # sql, show, tree, or py
        self.sql = sql
        self.conf = conf or {}
        self.args = args or []  # of show: rows, truncate, vertical
        self.comment = comment or []
        self.result = []

    def head(self):
        lines = ["# " + line for line in self.comment]
        for key in sorted(self.conf):
            lines.append(f"conf: {key}={self.conf[key]}")
        sql = json_text(self.sql) if needs_json(self.sql) else self.sql
        return lines + [" ".join([self.kind + ":"] + self.args + [sql])]

    def text(self):
        return "\n".join(self.head() + self.result) + "\n"


def json_text(value):
    return json.dumps(value, ensure_ascii=False)


def needs_json(sql):
    """A statement is written as it is, or as a JSON string when a line could not hold it."""
    return "\n" in sql or sql != sql.strip() or sql.startswith('"') or "\r" in sql


# ---- inputs ----------------------------------------------------------------------------------------------------------


def expand(lines, variables):
    """Every combination of the variables' values that the line names."""
    names = [n for n in variables if "{" + n + "}" in lines]
    for values in itertools.product(*(variables[n] for n in names)):
        text = lines
        for name, value in zip(names, values):
            text = text.replace("{" + name + "}", value)
        yield text


def read_input(path):
    """The blocks of an .in file, without results."""
    blocks, comment, conf, variables, pending = [], [], {}, {}, ""
    with open(path, encoding="utf-8") as f:
        source = f.read().splitlines()
    for line in source:
        if line.endswith("\\"):
            pending += line[:-1] + "\n"
            continue
        line, pending = pending + line, ""
        if not line.strip():
            variables = {}
            continue
        if line.startswith("# "):
            comment.append(line[2:])
        elif line.startswith("%conf "):
            key, value = line[6:].split("=", 1)
            conf = dict(conf, **{key.strip(): value.strip()})
        elif line.startswith("%reset"):
            conf = {}
        elif line.startswith("%for "):
            name, values = line[5:].split(":", 1)
            variables[name.strip()] = [v.strip() for v in values.split(";;")]
        else:
            for text in expand(line, variables):
                block = statement(text, conf)
                block.comment, comment = comment, []
                blocks.append(block)
    return blocks


def statement(text, conf):
    if text.startswith(">>> "):
        return Block("py", text[4:], conf)
    match = re.match(r"%show (\d+) (\d+) (true|false) ", text)
    if match:
        return Block("show", text[match.end():], conf, list(match.groups()))
    if text.startswith("%tree "):
        return Block("tree", text[6:], conf)
    if re.match(r"(?i)(select|with|values|from|show|describe|\(select)\b", text.lstrip()):
        return Block("sql", text, conf)
    return Block("sql", "SELECT " + text, conf)


def read_golden(path):
    blocks, block, comment, conf = [], None, [], {}
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    for line in lines:
        if not line:
            block, comment, conf = None, [], {}
            continue
        key, _, rest = line.partition(": ")
        if line.startswith("#"):
            comment.append(line[2:])
        elif key == "conf":
            name, value = rest.split("=", 1)
            conf[name] = value
        elif block is None and key in ("sql", "show", "tree", "py"):
            args = rest.split(" ", 3) if key == "show" else [rest]
            sql = args.pop()
            if sql.startswith('"'):
                sql = json.loads(sql)
            block = Block(key, sql, conf, args, comment)
            blocks.append(block)
            conf, comment = {}, []
        elif block is not None:
            block.result.append(line)
    return blocks


# ---- running ---------------------------------------------------------------------------------------------------------


def run(spark, block, failure):
    """Fills in block.result. `failure(exception)` names class, condition, state, parameters and message of an error."""
    conf = dict(CONF_DEFAULTS, **block.conf)
    held = spark.__dict__.setdefault("settings_of_tests", {})
    for key in [key for key in held if key not in conf]:
        spark.conf.unset(key)
        del held[key]
    for key, value in conf.items():
        if held.get(key) != value:
            spark.conf.set(key, value)
            held[key] = value
    try:
        if block.kind == "py":
            block.result = python(spark, block.sql)
            frame = None
        else:
            frame = spark.sql(block.sql)
        if block.kind == "show":
            rows, width, vertical = int(block.args[0]), int(block.args[1]), block.args[2] == "true"
            block.result = ["text: " + line for line in shown(frame, rows, width, vertical).split("\n")]
        elif block.kind == "tree":
            block.result = ["text: " + line for line in tree(frame).split("\n")]
        elif block.kind == "sql":
            block.result = table(frame)
    except Exception as e:  # the session's own errors are what is recorded; the rest is raised by failure()
        what = failure(e)
        block.result = [
            f"error: {what['condition']} {what['state']} {json_text(what['parameters'])}",
            f"class: {what['class']}",
            f"message: {json_text(what['message'])}",
        ]


def client_failure(error):
    """What the Connect client knows of an error."""
    from pyspark.errors import PySparkException

    if not isinstance(error, PySparkException) or not hasattr(error, "getCondition") or not error.getCondition():
        return {"condition": "-", "state": "-", "parameters": {}, "class": type(error).__name__, "message": str(error)}
    return {
        "condition": error.getCondition(),
        "state": error.getSqlState(),
        "parameters": dict(sorted((error.getMessageParameters() or {}).items())),
        "class": type(error).__name__,
        "message": str(error),
    }


def python(spark, code):
    """What a piece of Python prints, and its value: a frame's schema and rows, or the text of anything else. Several lines set
    `out`."""
    from pyspark.sql import DataFrame, Row, functions, types
    from pyspark.sql.window import Window

    scope = {"spark": spark, "F": functions, "T": types, "Row": Row, "Window": Window}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if "\n" in code:
            exec(code, scope)
            value = scope.get("out")
        else:
            value = eval(code, scope)
        lines = table(value) if isinstance(value, DataFrame) else ["value: " + repr(value)]
    text = printed.getvalue()
    return ["text: " + line for line in text.rstrip("\n").split("\n")] * bool(text) + lines


def shown(frame, rows, width, vertical):
    return frame._show_string(rows, False if width == 0 else width, vertical).rstrip("\n")


def tree(frame):
    return frame.schema.treeString().rstrip("\n")


def table(frame):
    fields = frame.schema.fields
    lines = ["schema: " + json_text([[f.name, f.dataType.simpleString(), f.nullable] for f in fields])]
    arrow = frame.toArrow()
    columns = []
    for field, column in zip(fields, arrow.columns):
        columns.append([encode(field.dataType, value) for value in scalars(column)])
    for row in zip(*columns):
        lines.append("row: " + json_text(list(row)))
    return lines


def scalars(column):
    for chunk in column.chunks:
        yield from chunk


def encode(kind, value):
    """A pyarrow scalar as JSON, directed by its Spark type (see tests/sql/README.md)."""
    if not value.is_valid:
        return None
    name = kind.typeName()
    if name in ENCODERS:
        return ENCODERS[name](value)
    if name.startswith("decimal"):
        return format(value.as_py(), "f")
    if name == "array":
        return [encode(kind.elementType, v) for v in value.values]
    if name == "struct":
        return [encode(field.dataType, value[i]) for i, field in enumerate(kind.fields)]
    if name == "map":
        entries = value.values
        keys, items = entries.field(0), entries.field(1)
        return [[encode(kind.keyType, k), encode(kind.valueType, v)] for k, v in zip(keys, items)]
    raise TypeError(f"the type {name} cannot be fetched: cast it to string in the input")


def encode_string(value):
    raw = value.as_buffer().to_pybytes() if value.as_buffer() is not None else b""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"bytes": raw.hex()}


def encode_double(value):
    return repr(float(value.as_py()))


def encode_float(value):
    return str(np.float32(value.as_py()))


def micros(value):
    return str(np.datetime64(value.value, "us")).removesuffix(".000000")


ENCODERS = {
    "void": lambda v: None,
    "boolean": lambda v: v.as_py(),
    "tinyint": lambda v: v.as_py(),
    "byte": lambda v: v.as_py(),
    "short": lambda v: v.as_py(),
    "integer": lambda v: v.as_py(),
    "long": lambda v: v.as_py(),
    "smallint": lambda v: v.as_py(),
    "int": lambda v: v.as_py(),
    "bigint": lambda v: v.as_py(),
    "float": encode_float,
    "double": encode_double,
    "string": encode_string,
    "binary": lambda v: v.as_buffer().to_pybytes().hex() if v.as_buffer() is not None else "",
    "date": lambda v: str(np.datetime64(v.value, "D")),
    "timestamp": lambda v: micros(v) + "Z",
    "timestamp_ntz": micros,
    "daytimeinterval": lambda v: v.value,
}


def compare(block, got):
    """(kind, text) of what differs between the recorded block and the lines `got`, or None. The message of an error is not
    compared. Kinds, from the mildest: nullable, name, parameters, error, type, rows, text, failure (an error where Spark has
    none), success (the other way round)."""
    printed = any(line.startswith("text: ") for line in block.result)
    want = [line for line in block.result if not line.startswith("message: ")]
    have = [line for line in got if not line.startswith("message: ")]
    if not re.search(r"(?i)order\s+by|sort\s+by|orderby|\bsort\(", block.sql) and not printed:
        want, have = sorted(want), sorted(have)
    if want == have:
        return None
    text = ["  - " + line for line in want if line not in have] + ["  + " + line[:400] for line in got if line not in want]
    return kind_of(want, have), "\n".join(text or ["  the rows come in another order"])


def kind_of(want, have):
    failed = [any(line.startswith("error: ") for line in lines) for lines in (want, have)]
    if failed == [True, True]:
        states = [[line.split(" ")[1:3] for line in lines if line.startswith("error: ")] for lines in (want, have)]
        return "parameters" if states[0] == states[1] else "error"
    if failed[0] != failed[1]:
        return "success" if failed[0] else "failure"
    schemas = [[json.loads(line[8:]) for line in lines if line.startswith("schema: ")] for lines in (want, have)]
    rows = [[line for line in lines if not line.startswith("schema: ")] for lines in (want, have)]
    if not schemas[0] or rows[0] != rows[1]:
        return "rows" if schemas[0] else "text"
    for part, kind in ((1, "type"), (0, "name")):
        if [column[part] for column in schemas[0][0]] != [column[part] for column in schemas[1][0]]:
            return kind
    return "nullable"
