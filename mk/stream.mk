# make test-powercut-checkpoint: SEEDS=1000 power cuts under a query's commit log; SEED=n replays one; NOSYNC=1 shows that the
# test sees a disk whose syncs do nothing; test-powercut-checkpoint-sites takes each of its sync call sites away in turn.
SEEDS ?= 1000
CHECKPOINT_SIM := $(B)/tests/sim/checkpoint

$(CHECKPOINT_SIM): $(B)/tests/sim/checkpoint.o $(B)/libpenstock.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
-include $(B)/tests/sim/checkpoint.d

test-powercut-checkpoint: $(CHECKPOINT_SIM)
	@$(CHECKPOINT_SIM) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(NOSYNC),--nosync)
test-powercut-checkpoint-sites: $(CHECKPOINT_SIM)
	@$(CHECKPOINT_SIM) --sites --seeds $(SEEDS)
.PHONY: test-powercut-checkpoint test-powercut-checkpoint-sites
