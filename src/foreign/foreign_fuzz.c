/* JAAS texts and JKS stores: any bytes give an answer or an error, never a crash. The first byte picks. */
#include "foreign/foreign_int.h"

static enum err add(void *arg, const struct jks_entry *e, struct fault *f)
{
    (void)f;
    for (int i = 0; i < e->n; i++)
        for (size_t k = 0; k < e->certificates[i].n; k++)
            *(unsigned char *)arg ^= (unsigned char)e->certificates[i].p[k];
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new(0);
    struct jaas j;
    unsigned char sum = 0;
    enum err e = ERR_OK;
    if (n && data[0] % 2)
        e = jaas_parse(str_make(data + 1, n - 1), a, &j, NULL);
    else if (n) /* no password: the digest is not asked for, so that the fuzzer gets in */
        e = jks_parse("fuzz", str_make(data + 1, n - 1), STR(""), STR("key"), a, add, &sum, NULL);
    (void)e;
    arena_free(a);
    return 0;
}
