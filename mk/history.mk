# make test-history SECONDS=60 [SEED=n]: librdkafka and Java under kills, pauses and cut connections; tests/history/history.py says what
# is checked, tests/history/checker.py how.
SECONDS ?= 60
test-history: all build/venv/.ok
	@tests/oracle/setup.sh kafka
	@command -v javac >/dev/null || tools/deps.sh history
	@build/venv/bin/python tests/history/history.py --java --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
.PHONY: test-history
