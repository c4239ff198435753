# make test-crash N=100 [SEED=…]: SIGKILL at random moments under load; tests/crash/crash.py says what is checked.
test-crash: all build/venv/.ok
	@build/venv/bin/python tests/crash/crash.py $(if $(filter command line environment,$(origin N)),$(N),100) $(SEED)
# The same with one of the queries writing to a real Kafka broker.
test-crash-kafka: all build/venv/.ok
	@tests/oracle/setup.sh kafka
	@build/venv/bin/python tests/crash/crash.py $(if $(filter command line environment,$(origin N)),$(N),20) $(or $(SEED),$(shell date +%s)) kafka
.PHONY: test-crash test-crash-kafka
