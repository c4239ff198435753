/*
 * map: byte-string keys to pointers, open addressing, insertion-ordered iteration not promised.
 *
 * For catalogues and tables of named things (topics, sessions, members), not for the data path. Keys are copied.
 * Not thread-safe; the owner locks. The program sets map_salt to a random number before its first
 * map, so that hostile names cannot line up; tests and the simulator leave it, so that the order of iteration replays.
 */
#ifndef PENSTOCK_BASE_MAP_H
#define PENSTOCK_BASE_MAP_H

#include "base/str.h"

struct map_slot {
    char *key;
    size_t key_n;
    uint64_t hash;
    void *value; /* NULL: empty or deleted */
};

struct map {
    struct map_slot *slots;
    size_t cap, n, dead;
};

extern uint64_t map_salt;

void map_free(struct map *m); /* frees keys and table, not values */
void *map_get(const struct map *m, struct str key);
/* Set key to value (not NULL); returns the value it replaced, or NULL. memory_out when there is none. */
void *map_put(struct map *m, struct str key, void *value);
void *map_del(struct map *m, struct str key); /* returns the removed value or NULL */
/* Iterate: for (size_t i = 0; (s = map_next(m, &i));) … deletion of the current entry is allowed. */
struct map_slot *map_next(const struct map *m, size_t *i);
static inline struct str map_key(const struct map_slot *s)
{
    return str_make(s->key, s->key_n);
}

/* 64-bit hash of bytes (wyhash-like, ours): not stable across releases, never written to disk. */
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);

#endif
