# make fuzz FUZZ_SECONDS=10 [TARGET=json_fuzz]: one libFuzzer target per *_fuzz.c beside its parser, built with clang, each run that long; a
# corpus, where there is one, is tests/fuzz/corpus/NAME. tests/run does the counting; findings stay in build/test/fuzz.
FUZZ_SECONDS ?= 10
FUZZ_BIN := $(FUZZERS:%.c=$(B)/fuzz/%)

$(B)/fuzz/%: $(B)/%.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)
fuzz-build: $(FUZZ_BIN)
-include $(FUZZERS:%.c=$(B)/%.d)

build/.deps-fuzz: tools/deps.sh
	@tools/deps.sh fuzz
	@mkdir -p build && touch $@
fuzz: build/.deps-fuzz
	@tests/run --fuzz $(FUZZ_SECONDS) $(if $(TARGET),--only '^fuzz $(TARGET)$$')
.PHONY: fuzz fuzz-build
