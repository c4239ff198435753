# make test-realcut CYCLES=100 [SEED=n]: power cuts under real ext4 and xfs (FS_IOC_SHUTDOWN on loop mounts); tests/powercut/realcut.py.
CYCLES ?= 100
test-realcut: all build/venv/.ok
	@SEED=$(SEED) build/venv/bin/python tests/powercut/realcut.py $(CYCLES)
.PHONY: test-realcut
