/* The keyed table: open addressing over entries of one malloc each, sized key + value; every change is recorded. */
#include "base/map.h"
#include "base/memory.h"
#include "state/state.h"

#include <stdlib.h>

struct entry {
    uint64_t hash;
    uint32_t nkey, nvalue, room; /* room for the value, so that a rewrite in place is the rule */
    char bytes[];                /* key, value */
};
struct state_store {
    uint32_t store;
    struct entry **slots; /* NULL: free; DEAD: removed */
    size_t cap, n, dead, bytes;
    struct buf changes;
};
static struct entry dead_entry;
#define DEAD (&dead_entry)

struct state_store *state_new(uint32_t store)
{
    struct state_store *s = calloc(1, sizeof *s);
    if (s)
        s->store = store;
    return s;
}

void state_free(struct state_store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->cap; i++)
        if (s->slots[i] != DEAD)
            free(s->slots[i]);
    free(s->slots);
    buf_free(&s->changes);
    free(s);
}

static struct entry **find(struct state_store *s, struct str key, uint64_t hash)
{
    for (size_t i = hash & (s->cap - 1); s->cap; i = (i + 1) & (s->cap - 1)) {
        struct entry *e = s->slots[i];
        if (!e)
            return NULL;
        if (e != DEAD && e->hash == hash && str_eq(str_make(e->bytes, e->nkey), key))
            return &s->slots[i];
    }
    return NULL;
}

static void insert(struct state_store *s, struct entry *e)
{
    size_t i = e->hash & (s->cap - 1);
    while (s->slots[i] && s->slots[i] != DEAD)
        i = (i + 1) & (s->cap - 1);
    s->dead -= s->slots[i] == DEAD;
    s->slots[i] = e;
    s->n++;
}

static void grow(struct state_store *s)
{
    if ((s->n + s->dead + 1) * 4 <= s->cap * 3)
        return;
    struct entry **old = s->slots;
    size_t old_cap = s->cap;
    s->cap = s->n * 2 < 32 ? 64 : s->n * 4 > s->cap ? s->cap * 2 : s->cap;
    s->slots = calloc(s->cap, sizeof *s->slots);
    if (!s->slots)
        memory_out("keyed state");
    s->n = s->dead = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i] && old[i] != DEAD)
            insert(s, old[i]);
    free(old);
}

struct str state_get(struct state_store *s, struct str key)
{
    struct entry **e = find(s, key, hash_bytes(key.p, key.n, 0));
    return e ? str_make((*e)->bytes + (*e)->nkey, (*e)->nvalue) : (struct str){0};
}

static void drop(struct state_store *s, struct entry **at)
{
    s->bytes -= sizeof **at + (*at)->nkey + (*at)->room;
    free(*at);
    *at = DEAD;
    s->n--;
    s->dead++;
}

void state_load(struct state_store *s, struct str key, struct str value)
{
    uint64_t hash = hash_bytes(key.p, key.n, 0);
    struct entry **at = find(s, key, hash);
    if (at && value.p && (*at)->room >= value.n) {
        memcpy((*at)->bytes + (*at)->nkey, value.p, value.n);
        (*at)->nvalue = (uint32_t)value.n;
        return;
    }
    if (at)
        drop(s, at);
    if (!value.p)
        return;
    grow(s);
    struct entry *e = malloc(sizeof *e + key.n + value.n);
    if (!e)
        memory_out("keyed state");
    *e = (struct entry){hash, (uint32_t)key.n, (uint32_t)value.n, (uint32_t)value.n};
    memcpy(e->bytes, key.p, key.n);
    if (value.n)
        memcpy(e->bytes + key.n, value.p, value.n);
    s->bytes += sizeof *e + key.n + value.n;
    insert(s, e);
}

void state_put(struct state_store *s, struct str key, struct str value)
{
    value.p = value.p ? value.p : "";
    state_change_put(&s->changes, s->store, key, value);
    state_load(s, key, value);
}

void state_remove(struct state_store *s, struct str key)
{
    state_change_remove(&s->changes, s->store, key);
    state_load(s, key, (struct str){0});
}

bool state_next(struct state_store *s, size_t *at, struct str *key, struct str *value)
{
    for (; *at < s->cap; (*at)++) {
        struct entry *e = s->slots[*at];
        if (!e || e == DEAD)
            continue;
        *key = str_make(e->bytes, e->nkey);
        *value = str_make(e->bytes + e->nkey, e->nvalue);
        (*at)++;
        return true;
    }
    return false;
}

struct buf *state_changes(struct state_store *s)
{
    return &s->changes;
}

size_t state_keys(const struct state_store *s)
{
    return s->n;
}

size_t state_bytes(const struct state_store *s)
{
    return s->bytes + s->cap * sizeof *s->slots;
}
