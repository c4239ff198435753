# What a binary is linked with so that os/alloc_fault.h can refuse it memory.
ALLOC_WRAP := $(foreach f,malloc calloc realloc strdup strndup asprintf vasprintf posix_memalign aligned_alloc,-Wl$(,)--wrap=$f)
$(B)/test/os/alloc_fault_test: LDFLAGS += $(ALLOC_WRAP)

# penstock-faults: the program in which the N-th allocation or call of the kernel fails (tests/fault/faults.c); tests/fault/nth.py runs it.
CALL_WRAP := $(foreach f,open opendir readdir preadv2 pwritev fdatasync fsync ftruncate fallocate fstat stat statvfs flock rename unlink \
    mkdir rmdir socket bind listen setsockopt accept4 read write sendmsg epoll_create1 epoll_ctl epoll_wait eventfd getrandom sigtimedwait \
    fopen pthread_create getaddrinfo,-Wl$(,)--wrap=$f)
FAULTS := $(B)/penstock-faults
$(FAULTS): $(B)/src/cli/main.o $(B)/tests/fault/faults.o $(B)/libpenstock.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) $(ALLOC_WRAP) $(CALL_WRAP) -o $@ $^ $(LDLIBS)
-include $(B)/tests/fault/faults.d
faults: $(FAULTS)
.PHONY: faults
# make test-fault: each allocation and each call of the kernel of a fixed workload fails once, in every way it can; what was interrupted goes
# on where it was (build/test/nth-*.state; delete them to begin again).
test-fault: $(FAULTS) build/venv/.ok
	@mkdir -p build/test
	@build/venv/bin/python tests/fault/nth.py alloc --state build/test/nth-alloc.state
	@build/venv/bin/python tests/fault/nth.py call --state build/test/nth-call.state
.PHONY: test-fault
