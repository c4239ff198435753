# make test: everything a change must pass; make test-fast: the same without sanitizers. tests/run does the counting.
build/.deps-test: tools/deps.sh
	@tools/deps.sh test
	@mkdir -p build && touch $@
# Python clients and the real PySpark client, pinned, in a venv of the build tree.
build/venv/.ok: tools/requirements.txt | build/.deps-test
	@python3 -m venv build/venv
	@build/venv/bin/pip install -q --disable-pip-version-check -r tools/requirements.txt
	@touch $@
venv: build/venv/.ok

test: all build/venv/.ok
	@tests/run
test-fast: all build/venv/.ok
	@tests/run --fast
.PHONY: venv test test-fast

# The unit tests under ThreadSanitizer: log, broker, loops and queries share memory between threads.
tsan: build/.deps-build
	@tests/run --tsan
.PHONY: tsan
