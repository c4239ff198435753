/*
 * limit: the bounds of spec/limits.def as numbers and as errors.
 *
 *   if (n > LIMIT_VIEWS)
 *       return LIMIT_FAULT(f, VIEWS);      "The number of views exceeds its limit of 10000."
 *
 * The number stands in the table alone: code, messages, documentation (docs/limits.md) and tests read it there.
 */
#ifndef PENSTOCK_BASE_LIMIT_H
#define PENSTOCK_BASE_LIMIT_H

#include "base/fault.h"

enum {
#define X(id, value, unit, beyond, what, whose) LIMIT_##id = (value),
#include "limits.def"
#undef X
};

enum limit_id {
#define X(id, value, unit, beyond, what, whose) LIMIT_ROW_##id,
#include "limits.def"
#undef X
    LIMIT_COUNT
};
enum limit_unit { LIMIT_UNIT_COUNT, LIMIT_UNIT_BYTES, LIMIT_UNIT_DEPTH };
struct limit_row {
    const char *id;
    int value;
    enum limit_unit unit;
    const char *beyond, *what, *whose;
};
extern const struct limit_row limit_rows[LIMIT_COUNT];

/* ERR_LIMIT of a row, with its own words. */
enum err limit_fault(struct fault *f, enum limit_id l);
#define LIMIT_FAULT(f, id) limit_fault((f), LIMIT_ROW_##id)
/* "4 MiB", "255 bytes", "1000" */
void limit_text(enum limit_id l, char out[32]);

#endif
