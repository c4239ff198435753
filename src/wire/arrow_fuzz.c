/* Any bytes as the Arrow data of a local relation; what is read is written again. */
#include "wire/arrow.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct arena *a = arena_new(0);
    struct arrow_in in;
    struct fault f;
    if (n < 1 << 20 && arrow_read(str_make(p, n), a, &in, &f) == ERR_OK) {
        struct arrow_out *o = arrow_out_new(in.schema, STR("UTC"));
        struct buf b = {.limit = 64 << 20};
        enum err e = ERR_OK;
        for (size_t i = 0; i < in.nbatches && !e; i++)
            e = arrow_out_add(o, &in.batches[i], 0, in.batches[i].n, &f);
        if (!e)
            e = arrow_out_finish(o, &b, &f);
        arrow_out_free(o);
        buf_free(&b);
    }
    arena_free(a);
    return 0;
}
