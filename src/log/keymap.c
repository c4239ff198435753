#include "log/keymap.h"

#include <stdlib.h>
#include <string.h>

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

static uint64_t sip_end(struct sip *s)
{
    for (int i = 0; i < 4; i++)
        sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

void siphash128(const uint64_t secret[2], struct str in, uint64_t out[2])
{
    struct sip s = {secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du ^ 0xee,
                    secret[0] ^ 0x6c7967656e657261u, secret[1] ^ 0x7465646279746573u};
    uint64_t word, last = (uint64_t)in.n << 56;
    size_t i = 0;
    for (; in.n - i >= 8; i += 8) {
        memcpy(&word, in.p + i, 8);
        sip_word(&s, word);
    }
    for (size_t k = 0; i + k < in.n; k++)
        last |= (uint64_t)(unsigned char)in.p[i + k] << (8 * k);
    sip_word(&s, last);
    s.v2 ^= 0xee;
    out[0] = sip_end(&s);
    s.v1 ^= 0xdd;
    out[1] = sip_end(&s);
}

bool keymap_init(struct keymap *m, size_t bytes, const uint64_t secret[2])
{
    size_t cap = bytes / sizeof *m->slots;
    *m = (struct keymap){.secret = {secret[0], secret[1]}, .cap = cap < KEYMAP_LEAST ? KEYMAP_LEAST : cap};
    m->most = m->cap / 10 * 9;
    m->slots = malloc(m->cap * sizeof *m->slots);
    for (size_t i = 0; m->slots && i < m->cap; i++)
        m->slots[i].offset = -1;
    return m->slots;
}

void keymap_free(struct keymap *m)
{
    free(m->slots);
    *m = (struct keymap){0};
}

static struct keymap_slot *slot(const struct keymap *m, struct str key, uint64_t hash[2])
{
    siphash128(m->secret, key, hash);
    size_t i = hash[0] % m->cap;
    while (m->slots[i].offset >= 0 && (m->slots[i].hash[0] != hash[0] || m->slots[i].hash[1] != hash[1]))
        i = i + 1 == m->cap ? 0 : i + 1;
    return &m->slots[i];
}

bool keymap_put(struct keymap *m, struct str key, int64_t offset)
{
    uint64_t hash[2];
    struct keymap_slot *s = slot(m, key, hash);
    if (s->offset < 0 && m->n == m->most)
        return false;
    m->n += s->offset < 0;
    *s = (struct keymap_slot){{hash[0], hash[1]}, offset};
    return true;
}

int64_t keymap_get(const struct keymap *m, struct str key)
{
    uint64_t hash[2];
    return slot(m, key, hash)->offset;
}
