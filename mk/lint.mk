# make lint: layers, formatting, clang-tidy; -Wall -Wextra -Werror is part of every build.
C_FILES := $(shell find src tests bench tools -name '*.[ch]' 2>/dev/null | sort)
TIDY_FILES := $(filter %.c,$(filter src/%,$(C_FILES)))
TIDY_STAMPS := $(TIDY_FILES:%.c=build/tidy/%.ok)

build/.deps-lint: tools/deps.sh
	@tools/deps.sh lint
	@mkdir -p build && touch $@

lint: build/.deps-lint $(GEN_C) lint-layers lint-format $(TIDY_STAMPS)
	@echo "lint: $(words $(C_FILES)) C files clean"
lint-layers:
	@python3 tools/layers.py
	@python3 tools/limits.py --check
lint-format: | build/.deps-lint
	@clang-format --dry-run -Werror $(C_FILES)
# One stamp per file, so that a second run looks only at what changed.
build/tidy/%.ok: %.c .clang-tidy | build/.deps-lint $(GEN_C)
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- -std=gnu17 -D_GNU_SOURCE -DPENSTOCK_VERSION='"$(VERSION)"' -Isrc -Ispec -I$(B)/gen \
	    >$(@:.ok=.log) 2>/dev/null || { cat $(@:.ok=.log); exit 1; }
	@touch $@
format: | build/.deps-lint
	clang-format -i $(C_FILES)
.PHONY: lint lint-layers lint-format format
