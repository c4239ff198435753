# One libFuzzer target per *_fuzz.c beside its parser. `make fuzz` builds them with clang and runs each for FUZZ_SECONDS;
# a corpus, where there is one, is tests/fuzz/corpus/NAME. A finding is written to build/fuzz/findings.
FUZZ_SECONDS ?= 10
FUZZ_BIN := $(patsubst %.c,$(B)/fuzz/%,$(FUZZERS))

$(B)/fuzz/%: $(B)/%.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

fuzz-build: $(FUZZ_BIN)
ifeq ($(SAN),fuzz)
fuzz: $(FUZZ_BIN)
	@mkdir -p $(B)/findings
	@for t in $(FUZZ_BIN); do n=$$(basename $$t _fuzz); mkdir -p $(B)/corpus/$$n; \
	  seeds=tests/fuzz/corpus/$$n; [ -d $$seeds ] || seeds=; \
	  $$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=0 -verbosity=0 \
	    -artifact_prefix=$(B)/findings/$$n- $(B)/corpus/$$n $$seeds || exit 1; echo "fuzz $$n: ok"; done
else
fuzz:
	@tools/deps.sh fuzz
	+@$(MAKE) SAN=fuzz fuzz
endif
.PHONY: fuzz fuzz-build
