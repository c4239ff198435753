#!/usr/bin/env bash
# limit: 180
# A few kills in every `make test`; `make test-crash N=100` is the long form.
exec "$PYTHON" "$ROOT/tests/crash/crash.py" 8
