# penstock: plain make. `make`, `make demo`, `make test`, `make lint`, `make bench` install what they lack (tools/deps.sh).
# V=1 shows the commands. SAN=asan|tsan|fuzz builds a sanitized twin under build/$(SAN).
SHELL := /bin/bash
.DEFAULT_GOAL := all
SAN ?=
V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@printf '%-6s %s\n' '$(1)' '$(2)')
VERSION := 0.1.0
B := build$(if $(SAN),/$(SAN),/rel)
PREFIX ?= /usr/local
CC := $(shell command -v ccache >/dev/null && echo ccache) $(if $(filter fuzz,$(SAN)),clang,gcc)
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-missing-field-initializers
OPT := $(if $(SAN),-O1,-O2)
, := ,
SANFLAGS := $(if $(filter asan,$(SAN)),-fsanitize=address$(,)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)$(if $(filter tsan,$(SAN)),-fsanitize=thread)$(if $(filter fuzz,$(SAN)),-fsanitize=fuzzer-no-link$(,)address$(,)undefined -fno-sanitize-recover=undefined)
CFLAGS := -std=gnu17 -D_GNU_SOURCE -DPENSTOCK_VERSION='"$(VERSION)"' $(OPT) -g -fno-plt -pthread $(SANFLAGS)
CPPFLAGS := -Isrc -Ispec -I$(B)/gen -MMD -MP
LDFLAGS := -pthread $(SANFLAGS)
# One file is the product: static wherever Debian has the archive.
# librdkafka: its Kerberos (Cyrus SASL) stays out, src/foreign/no_sasl.c says why.
STATIC_LIBS := -lrdkafka -lssl -lnghttp2 -lprotobuf-c -lzstd -llz4 -lsnappy -lz -lcrypto -lpcre2-8 -ledit -lbsd -lmd -ltinfo
# Two calls of librdkafka's are put right on their way: src/foreign/scram.c.
LDLIBS := -Wl,--wrap=HMAC,--wrap=rd_kafka_sasl_send,-u,__wrap_HMAC,-u,sasl_client_init -Wl,-Bstatic $(STATIC_LIBS) -lstdc++ -Wl,-Bdynamic -lm -ldl

PROTOS := $(shell find spec/connect -name '*.proto' | sort)
GEN_C := $(PROTOS:spec/connect/%.proto=$(B)/gen/%.pb-c.c)
SRC := $(shell find src -name '*.c' ! -name '*_test.c' ! -name '*_fuzz.c' ! -path 'src/cli/main.c' | sort)
TESTS := $(shell find src -name '*_test.c' | sort)
FUZZERS := $(shell find src tests/fuzz -name '*_fuzz.c' 2>/dev/null | sort)
OBJ := $(SRC:%.c=$(B)/%.o) $(GEN_C:%.c=%.o)
TEST_BIN := $(TESTS:src/%.c=$(B)/test/%)

all: $(if $(SAN),$(B)/penstock,build/penstock)

# The first build on a new machine installs the compiler and libraries.
build/.deps-build: tools/deps.sh
	@tools/deps.sh build
	@mkdir -p build && touch $@

build/penstock: $(B)/penstock
	@ln -sf rel/penstock $@
$(B)/penstock: $(B)/src/cli/main.o $(B)/libpenstock.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/libpenstock.a: $(OBJ)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar crs $@ $^
$(B)/%.o: %.c | build/.deps-build $(GEN_C)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -c -o $@ $<
$(B)/gen/%.pb-c.o: $(B)/gen/%.pb-c.c
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -w -c -o $@ $<
$(GEN_C) &: $(PROTOS) | build/.deps-build
	@mkdir -p $(B)/gen
	$(call say,PROTO,spec/connect)
	$(Q)protoc-c -I spec/connect --c_out=$(B)/gen $(PROTOS:spec/connect/%=%)
$(B)/test/%: $(B)/src/%.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

unit-build: $(TEST_BIN)
unit: $(TEST_BIN)
	@fail=0; for t in $(TEST_BIN); do $$t || fail=1; done; exit $$fail

list-unit:
	@echo $(TEST_BIN)
list-fuzz:
	@echo $(FUZZERS:%.c=$(B)/fuzz/%)

clean:
	rm -rf build/rel build/asan build/tsan build/fuzz build/penstock build/tidy build/test
.PHONY: all unit unit-build list-unit list-fuzz clean
.SECONDARY:
-include mk/*.mk
-include $(OBJ:.o=.d) $(B)/src/cli/main.d $(TESTS:%.c=$(B)/%.d)
