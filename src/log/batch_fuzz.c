/* Any bytes as a record batch: parse, decompress within a bound, iterate records and headers. */
#include "log/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct batch b;
    struct record_iter it;
    struct record r;
    bool got = true;
    if (batch_parse(str_make(data, n), &b, NULL))
        return 0;
    (void)batch_crc_ok(&b);
    struct arena *a = arena_new(0);
    if (records_begin(&it, &b, a, 1 << 20, NULL) == ERR_OK)
        while (got && records_next(&it, &r, &got, NULL) == ERR_OK) {
            size_t at = 0;
            struct str k, v;
            for (int i = 0; got && i < r.nheaders; i++)
                if (record_header(&r, &at, &k, &v, NULL))
                    break;
        }
    arena_free(a);
    return 0;
}
