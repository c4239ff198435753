#include "base/map.h"

#include "base/memory.h"
#include "base/vec.h"

void *vec_grow_(void *p, size_t *cap, size_t need, size_t elem)
{
    size_t c = *cap ? *cap * 2 : 8, bytes;
    if (c < need)
        c = need;
    if (__builtin_mul_overflow(c, elem, &bytes) || !(p = realloc(p, bytes)))
        memory_out("a vector");
    *cap = c;
    return p;
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t load(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = seed ^ 0x9e3779b97f4a7c15u ^ n;
    for (; n > 16; p += 16, n -= 16)
        h = mix(load(p, 8) ^ 0xa0761d6478bd642fu, load(p + 8, 8) ^ h);
    if (n > 8)
        return mix(mix(load(p, 8) ^ 0xe7037ed1a0b428dbu, h), load(p + 8, n - 8) ^ 0x8ebc6af09c88c6e3u);
    return mix(mix((n ? load(p, n) : 0) ^ 0xe7037ed1a0b428dbu, h), h ^ 0x589965cc75374cc3u);
}

uint64_t map_salt = 0x2545f4914f6cdd1du;

static uint64_t map_hash(struct str key)
{
    return hash_bytes(key.p, key.n, map_salt);
}

static struct map_slot *probe(const struct map *m, struct str key, uint64_t h)
{
    for (size_t i = h & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slots[i];
        if (!s->key && !s->hash)
            return s; /* never used */
        if (s->key && s->hash == h && str_eq(str_make(s->key, s->key_n), key))
            return s;
    }
}

static void rehash(struct map *m)
{
    struct map old = *m;
    m->cap = old.n * 4 < 16 ? 16 : 1;
    while (m->cap < old.n * 4)
        m->cap *= 2;
    m->dead = 0;
    m->slots = memory_must(calloc(m->cap, sizeof *m->slots), "a map");
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].key)
            *probe(m, str_make(old.slots[i].key, old.slots[i].key_n), old.slots[i].hash) = old.slots[i];
    free(old.slots);
}

void map_free(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    *m = (struct map){0};
}

void *map_get(const struct map *m, struct str key)
{
    if (!m->cap)
        return NULL;
    struct map_slot *s = probe(m, key, map_hash(key) | 1);
    return s->key ? s->value : NULL;
}

void *map_put(struct map *m, struct str key, void *value)
{
    if ((m->n + m->dead + 1) * 2 > m->cap)
        rehash(m);
    uint64_t h = map_hash(key) | 1;
    struct map_slot *s = probe(m, key, h);
    if (s->key) {
        void *was = s->value;
        s->value = value;
        return was;
    }
    char *k = memory_must(malloc(key.n + 1), "a map's key");
    if (key.n)
        memcpy(k, key.p, key.n);
    k[key.n] = 0;
    *s = (struct map_slot){k, key.n, h, value};
    m->n++;
    return NULL;
}

void *map_del(struct map *m, struct str key)
{
    if (!m->cap)
        return NULL;
    struct map_slot *s = probe(m, key, map_hash(key) | 1);
    if (!s->key)
        return NULL;
    void *was = s->value;
    free(s->key);
    *s = (struct map_slot){.hash = s->hash}; /* a tombstone: hash stays, so probing runs on */
    m->n--;
    m->dead++;
    return was;
}

struct map_slot *map_next(const struct map *m, size_t *i)
{
    while (*i < m->cap) {
        struct map_slot *s = &m->slots[(*i)++];
        if (s->key)
            return s;
    }
    return NULL;
}
