/*
 * keymap: the latest offset of each key, in a fixed amount of memory, as Kafka's SkimpyOffsetMap: 16 bytes of hash stand for
 * the key. Two keys of one hash would lose a record, so the hash is keyed with a secret of each map: SipHash-2-4 with 128 bits
 * (Aumasson, Bernstein 2012), and nobody can look for such a pair.
 */
#ifndef PENSTOCK_LOG_KEYMAP_H
#define PENSTOCK_LOG_KEYMAP_H

#include "base/str.h"

struct keymap_slot {
    uint64_t hash[2];
    int64_t offset; /* -1: empty */
};
struct keymap {
    uint64_t secret[2];
    struct keymap_slot *slots;
    size_t cap, n, most; /* most: as many as it takes; beyond, probing gets slow */
};
enum { KEYMAP_LEAST = 64 };
/* Of about `bytes`; false when there is no memory. */
bool keymap_init(struct keymap *m, size_t bytes, const uint64_t secret[2]);
void keymap_free(struct keymap *m);
bool keymap_put(struct keymap *m, struct str key, int64_t offset); /* false: full */
int64_t keymap_get(const struct keymap *m, struct str key);        /* -1: not there */

void siphash128(const uint64_t secret[2], struct str in, uint64_t out[2]);

#endif
