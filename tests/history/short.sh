#!/usr/bin/env bash
# limit: 150
# A short one in every `make test`, with librdkafka alone; `make test-history SECONDS=600` is the long form, with Java too.
exec "$PYTHON" "$ROOT/tests/history/history.py" --seconds 12
