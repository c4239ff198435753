/*
 * offsets: Spark's JSON texts of Kafka positions, {"topic":{"0":23,"1":-1}}, as sorted lists.
 *
 * Lists live in the arena that was passed; names are copied into it. Order: topic, then partition.
 */
#ifndef PENSTOCK_SOURCE_OFFSETS_H
#define PENSTOCK_SOURCE_OFFSETS_H

#include "base/arena.h"

enum { OFFSET_LATEST = -1, OFFSET_EARLIEST = -2 };
struct offset {
    struct str topic;
    int32_t partition;
    int64_t at;
};
struct offsets {
    struct offset *p;
    size_t n;
};

/* {"t":{"0":1}}; false when it is anything else. */
bool offsets_parse(struct str json, struct arena *a, struct offsets *out);
/* {"t":[0,1]} (`assign`): at is 0. */
bool offsets_parse_assign(struct str json, struct arena *a, struct offsets *out);
void offsets_sort(struct offsets *o);
struct offset *offsets_find(const struct offsets *o, struct str topic, int32_t partition);
struct str offsets_text(const struct offsets *o, struct arena *a);

#endif
