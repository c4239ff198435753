# make test-powercut: SEEDS=1000 power cuts in the simulator; SEED=n replays one, aloud. NOSYNC=1 shows that the test sees a
# disk whose syncs do nothing; test-powercut-sites takes each sync call site away in turn and shows the first seed to fail.
SEEDS ?= 1000
POWERCUT := $(B)/tests/sim/powercut

$(POWERCUT): $(B)/tests/sim/powercut.o $(B)/tests/sim/keeper.o $(B)/tests/sim/shorten.o $(B)/tests/sim/teller.o $(B)/tests/sim/truth.o $(B)/tests/sim/port.o $(B)/tests/sim/live.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
-include $(B)/tests/sim/powercut.d $(B)/tests/sim/keeper.d $(B)/tests/sim/shorten.d $(B)/tests/sim/teller.d $(B)/tests/sim/truth.d $(B)/tests/sim/port.d $(B)/tests/sim/live.d

test-powercut: $(POWERCUT)
	@$(POWERCUT) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(NOSYNC),--nosync) $(if $(DROP),--drop $(DROP))
test-powercut-sites: $(POWERCUT)
	@$(POWERCUT) --sites --seeds $(SEEDS)
.PHONY: test-powercut test-powercut-sites

# make bench-logsync DIR=/on/the/disk: the journal beside an fdatasync per segment (docs/log-sync.md).
build/bench/logsync: $(B)/bench/logsync.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
bench-logsync: build/bench/logsync
	@build/bench/logsync $(or $(DIR),build) $(or $(ROUNDS),2000)
.PHONY: bench-logsync

# make test-sim: the whole server and its clients in the simulator; SEEDS=1000 FROM=1, or SEED=n to replay one, aloud.
# test-sim-mutants: the same with one bug on purpose at a time (tests/sim/server/mutants.c), and the first seed that finds it.
SIMSERVER := $(B)/tests/sim/server/server
SIMSERVER_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/server/*.c))
SIM_WRAP := $(foreach f,producers_check partition_write meta_apply net_close checkpoint_decide,-Wl$(,)--wrap=$f)
$(SIMSERVER): $(SIMSERVER_OBJ) $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(ALLOC_WRAP) $(SIM_WRAP) -o $@ $^ $(LDLIBS)
-include $(SIMSERVER_OBJ:.o=.d)
test-sim: $(SIMSERVER)
	@$(SIMSERVER) $(if $(SEED),--seed $(SEED),--from $(or $(FROM),1) --seeds $(SEEDS))
test-sim-mutants: $(SIMSERVER)
	@$(SIMSERVER) --mutants --seeds $(SEEDS)
.PHONY: test-sim test-sim-mutants
