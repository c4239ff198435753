#include "base/limit.h"

#include <stdio.h>

const struct limit_row limit_rows[LIMIT_COUNT] = {
#define X(id, value, unit, beyond, what, whose) {#id, value, LIMIT_UNIT_##unit, beyond, what, whose},
#include "limits.def"
#undef X
};

void limit_text(enum limit_id l, char out[32])
{
    int n = limit_rows[l].value;
    if (limit_rows[l].unit != LIMIT_UNIT_BYTES)
        snprintf(out, 32, "%d", n);
    else if (n % (1 << 30) == 0)
        snprintf(out, 32, "%d GiB", n >> 30);
    else if (n % (1 << 20) == 0)
        snprintf(out, 32, "%d MiB", n >> 20);
    else if (n % (1 << 10) == 0)
        snprintf(out, 32, "%d KiB", n >> 10);
    else
        snprintf(out, 32, "%d bytes", n);
}

enum err limit_fault(struct fault *f, enum limit_id l)
{
    char text[32];
    limit_text(l, text);
    return FAULT(f, ERR_LIMIT, {"what", limit_rows[l].what}, {"limit", text});
}
