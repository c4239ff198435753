#include "wire/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct http_request r;
    int used = http_parse(&r, (const char *)p, n);
    if (used > 0 && ((size_t)used > n || r.path.n == 0))
        __builtin_trap();
    if (used > 0)
        http_query(r.query, STR("from"));
    return 0;
}
