# make test-long [AGAIN=1]: what takes hours, in steps that are not done twice; tests/long.sh.
test-long: all build/venv/.ok
	@tests/long.sh $(if $(AGAIN),--again)
.PHONY: test-long
