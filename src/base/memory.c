#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

void (*memory_stop)(const char *what);

void memory_out(const char *what)
{
    if (memory_stop)
        memory_stop(what);
    fprintf(stderr, "penstock: out of memory for %s\n", what);
    _Exit(1);
}

void *memory_must(void *p, const char *what)
{
    if (!p)
        memory_out(what);
    return p;
}
