# make test-crash N=100 [SEED=…]: SIGKILL at random moments under load; tests/crash/crash.py says what is checked.
test-crash: all build/venv/.ok
	@build/venv/bin/python tests/crash/crash.py $(if $(filter command line environment,$(origin N)),$(N),100) $(SEED)
.PHONY: test-crash
