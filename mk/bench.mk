# make bench N=10000000 RUNS=3 ONLY=start,launch,latency,q1 [README=1: put it into README.md]: bench/run.py says what is measured and prints the table.
N ?= 10000000
RUNS ?= 3
ONLY ?= start,launch,latency,q1
BENCH_BIN := build/bench/gen build/bench/latency build/bench/yardstick
build/bench/yardstick: bench/yardstick.c | build/.deps-test
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O3 -march=native -Wall -Wextra -Werror -o $@ $<
build/bench/%: bench/%.c | build/.deps-test
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -pthread -Wall -Wextra -Werror -o $@ $< -lrdkafka
bench: all build/venv/.ok $(BENCH_BIN)
	@build/venv/bin/python bench/run.py --n $(N) --runs $(RUNS) --only $(ONLY) $(if $(README),--readme)
.PHONY: bench
