# What a binary is linked with so that os/alloc_fault.h can refuse it memory.
ALLOC_WRAP := $(foreach f,malloc calloc realloc strdup strndup asprintf vasprintf posix_memalign aligned_alloc,-Wl$(,)--wrap=$f)
$(B)/test/os/alloc_fault_test: LDFLAGS += $(ALLOC_WRAP)
