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

# make fuzz SECONDS=10: one libFuzzer target per parser (src/**/*_fuzz.c), each run that long from an empty corpus
# (or tests/fuzz/corpus/NAME).
SECONDS_EACH := $(or $(SECONDS),10)
ifeq ($(SAN),fuzz)
FUZZ_BIN := $(FUZZERS:%.c=$(B)/bin/%)
$(B)/bin/%: $(B)/%.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	clang -fsanitize=fuzzer,address,undefined -pthread -o $@ $^ $(LDLIBS)
fuzz-build: $(FUZZ_BIN)
-include $(FUZZERS:%.c=$(B)/%.d)
endif
build/.deps-fuzz: tools/deps.sh
	@tools/deps.sh fuzz
	@mkdir -p build && touch $@
fuzz: build/.deps-fuzz
	@$(MAKE) --no-print-directory SAN=fuzz fuzz-build
	@tests/run --fuzz $(SECONDS_EACH)
.PHONY: fuzz fuzz-build
# The unit tests under ThreadSanitizer: log, broker, loops and queries share memory between threads.
tsan: build/.deps-build
	@tests/run --tsan
.PHONY: tsan
