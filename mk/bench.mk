# make bench N=10000000 RUNS=3 ONLY=start,launch,latency,pipeline,q1,q2,q3,cores [README=1: put it into README.md]: bench/run.py says what is measured and prints the table.
N ?= 10000000
RUNS ?= 3
ONLY ?= start,launch,latency,pipeline,q1,q2,q3,cores
BENCH_BIN := build/bench/logfill build/bench/gen build/bench/latency build/bench/pipeline $(foreach q,1 2 3,build/bench/yardstick-q$(q))
build/bench/yardstick-q%: bench/yardstick.c bench/yardstick.h | build/.deps-test
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O3 -march=native -DQ=$* -Wall -Wextra -Werror -o $@ $<
build/bench/%: bench/%.c | build/.deps-test
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -pthread -Wall -Wextra -Werror -o $@ $< -lrdkafka
# make bench-peers N=… RUNS=… ONLY=start,broker,pipeline,q1,q2,q3: beside Kafka 4.3.1 and Spark 4.2, which it installs; bench/peers.py.
bench-peers: all build/venv/.ok build/bench/gen build/bench/load build/bench/pipeline
	@tests/oracle/setup.sh kafka spark
	@build/venv/bin/python bench/peers.py --n $(N) --runs $(RUNS) $(if $(filter command line environment,$(origin ONLY)),--only $(ONLY))
bench: all build/venv/.ok $(BENCH_BIN)
	@build/venv/bin/python bench/run.py --n $(N) --runs $(RUNS) --only $(ONLY) $(if $(README),--readme)
.PHONY: bench bench-peers
# A data directory as a killed server leaves it (bench ONLY=recovery).
build/bench/logfill: $(B)/bench/logfill.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
# make bench-overload: an honest client's p99 while others attack, in 256 MiB.
bench-overload: all build/venv/.ok
	@build/venv/bin/python bench/overload.py
.PHONY: bench-overload
# make flame QUERY=q1|q2|q3 [N=…]: docs/flame-QUERY.svg, of the server while it runs that query (perf; kernel.perf_event_paranoid <= 2).
QUERY ?= q1
flame: all build/venv/.ok build/bench/gen
	@build/venv/bin/python bench/flame.py $(QUERY) docs/flame-$(QUERY).svg $(if $(filter command line,$(origin N)),--n $(N))
.PHONY: flame
