/*
 * The hash table under aggregations. Open addressing over 8-byte slots (hash tag, group number); groups lie in one arena,
 * each with its key and the states of all aggregates behind it, so that a hit touches one slot and one group.
 *
 *   slots [tag|no] ──▶ groups[no] ──▶ { key, raw, hash | state 0 | state 1 … }
 *
 * A single STRING key, by far the most common grouping, is hashed and compared as it is; other keys are encoded first.
 */
#include "operator/operator_int.h"

#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"

#include <stdlib.h>

struct group {
    struct agg_group g;
    struct str raw; /* one_string: the key itself; p NULL for null */
    uint32_t no;
};

struct slot {
    uint32_t tag, no; /* no 0: empty; else group number + 1 */
};

struct agg_table {
    const struct plan_node *node;
    struct op_memory *memory;
    size_t charged, dead_groups;
    struct arena *arena, *scratch;
    struct slot *slots;
    size_t nslots;
    VEC(struct group *) groups; /* NULL: removed */
    VEC(struct group *) touched;
    size_t live, state_size, *state_at;
    bool one_string;
    struct buf key;
    struct map *seen; /* per aggregate: DISTINCT values met, by group and encoded arguments */
    struct group **row_groups;
    void **row_states;
    uint32_t row_cap;
};

static size_t align16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

enum err agg_table_new(const struct plan_node *node, struct op_memory *memory, struct agg_table **out, struct fault *f)
{
    (void)f;
    struct agg_table *t = calloc(1, sizeof *t);
    if (!t)
        memory_out("groups");
    t->node = node;
    t->memory = memory;
    t->arena = arena_new(0);
    t->scratch = arena_new(0);
    t->nslots = 64;
    t->slots = calloc(t->nslots, sizeof *t->slots);
    t->state_at = calloc((size_t)node->naggs + 1, sizeof *t->state_at);
    t->seen = calloc((size_t)node->naggs + 1, sizeof *t->seen);
    if (!t->slots || !t->state_at || !t->seen)
        memory_out("groups");
    for (int i = 0; i < node->naggs; i++) {
        t->state_at[i] = t->state_size;
        t->state_size += align16(agg_state_size(node->aggs[i]));
    }
    t->one_string = node->ngroup == 1 && node->group[0]->type->id == TYPE_STRING;
    *out = t;
    return ERR_OK;
}

void agg_table_free(struct agg_table *t)
{
    if (!t)
        return;
    if (op_charge(t->memory, -(int64_t)t->charged, "aggregate", NULL))
        abort(); /* giving back cannot fail */
    for (int i = 0; i < t->node->naggs; i++)
        map_free(&t->seen[i]);
    free(t->seen);
    free(t->state_at);
    free(t->slots);
    free(t->row_groups);
    free(t->row_states);
    vec_free(&t->groups);
    vec_free(&t->touched);
    buf_free(&t->key);
    arena_free(t->arena);
    arena_free(t->scratch);
    free(t);
}

static struct agg_state_env state_env(struct agg_table *t, struct fault *f)
{
    return (struct agg_state_env){.arena = t->arena, .fault = f};
}

void *agg_table_state(const struct agg_table *t, void *states, int agg)
{
    return (char *)states + t->state_at[agg];
}

size_t agg_table_bytes(const struct agg_table *t)
{
    return arena_bytes(t->arena) + t->nslots * sizeof *t->slots + (t->groups.cap + t->touched.cap) * sizeof(void *);
}

static enum err charge(struct agg_table *t, struct fault *f)
{
    size_t now = agg_table_bytes(t), was = t->charged;
    if (now == was)
        return ERR_OK;
    t->charged = now;
    return op_charge(t->memory, (int64_t)now - (int64_t)was, "aggregate", f);
}

static void slot_insert(struct agg_table *t, uint64_t hash, uint32_t no)
{
    size_t i = hash & (t->nslots - 1);
    while (t->slots[i].no)
        i = (i + 1) & (t->nslots - 1);
    t->slots[i] = (struct slot){(uint32_t)(hash >> 32), no + 1};
}

static void grow_slots(struct agg_table *t)
{
    free(t->slots);
    t->nslots *= 2;
    t->slots = calloc(t->nslots, sizeof *t->slots);
    if (!t->slots)
        memory_out("groups");
    for (size_t i = 0; i < t->groups.n; i++)
        if (t->groups.p[i])
            slot_insert(t, t->groups.p[i]->g.hash, (uint32_t)i);
}

static bool raw_eq(struct str a, struct str b)
{
    return a.n == b.n && !a.p == !b.p && (!a.n || !memcmp(a.p, b.p, a.n));
}

/* The group with this key, or NULL. `key` is raw (one_string) or encoded. Removed groups stay in their slots until a rebuild. */
static inline struct group *probe(const struct agg_table *t, struct str key, uint64_t hash)
{
    for (size_t i = hash & (t->nslots - 1); t->slots[i].no; i = (i + 1) & (t->nslots - 1)) {
        if (t->slots[i].tag != (uint32_t)(hash >> 32))
            continue;
        struct group *g = t->groups.p[t->slots[i].no - 1];
        if (g && g->g.hash == hash && (t->one_string ? raw_eq(g->raw, key) : str_eq(g->g.key, key)))
            return g;
    }
    return NULL;
}

static struct group *insert(struct agg_table *t, struct str key, uint64_t hash)
{
    if ((t->groups.n + 1) * 2 > t->nslots)
        grow_slots(t);
    size_t head = align16(sizeof(struct group));
    struct group *g = arena_alloc(t->arena, head + t->state_size);
    g->g.states = (char *)g + head;
    g->g.hash = hash;
    g->no = (uint32_t)t->groups.n;
    if (t->one_string) {
        if (key.p)
            g->raw = arena_str(t->arena, key);
        uint8_t valid = key.p != NULL;
        struct column c = {.type = type_simple(TYPE_STRING), .n = 1, .mask = ~0u, .valid = &valid, .data.str = &g->raw};
        buf_clear(&t->key);
        column_encode(&t->key, &c, 0);
        g->g.key = arena_str(t->arena, buf_view(&t->key));
    } else {
        g->g.key = arena_str(t->arena, key);
    }
    vec_push(&t->groups, g);
    slot_insert(t, hash, g->no);
    t->live++;
    return g;
}

static inline uint64_t key_hash(struct str key)
{
    return hash_bytes(key.p, key.n, key.p ? 1 : 2);
}

static inline struct group *find(struct agg_table *t, struct str key, bool create, bool *created)
{
    uint64_t hash = key_hash(key);
    struct group *g = probe(t, key, hash);
    *created = !g && create;
    return *created ? insert(t, key, hash) : g;
}

static void touch(struct agg_table *t, struct group *g)
{
    if (!g->g.touched) {
        g->g.touched = true;
        vec_push(&t->touched, g);
    }
}

void agg_table_key(const struct agg_table *t, const struct agg_group *g, struct column *cols, uint32_t row,
                   struct arena *a)
{
    struct rd r = rd_of(g->key);
    for (int k = 0; k < t->node->ngroup; k++)
        column_decode(&cols[k], row, &r, a);
}

struct agg_group *agg_table_find(struct agg_table *t, struct str key, bool create, bool *created)
{
    bool made;
    struct group *g;
    if (t->one_string) {
        arena_reset(t->scratch);
        struct column c;
        column_alloc(&c, type_simple(TYPE_STRING), 1, t->scratch);
        struct rd r = rd_of(key);
        column_decode(&c, 0, &r, t->scratch);
        struct str raw = col_valid(&c, 0) ? c.data.str[0] : (struct str){0};
        if (col_valid(&c, 0) && !raw.p)
            raw.p = "";
        g = find(t, raw, create, &made);
    } else {
        g = find(t, key, create, &made);
    }
    if (created)
        *created = made;
    if (g)
        touch(t, g);
    return g ? &g->g : NULL;
}

/* -- adding rows ---------------------------------------------------------------------------------------------------- */
static void rows_reserve(struct agg_table *t, uint32_t n)
{
    if (n <= t->row_cap)
        return;
    t->row_groups = realloc(t->row_groups, n * sizeof *t->row_groups);
    t->row_states = realloc(t->row_states, n * sizeof *t->row_states);
    if (!t->row_groups || !t->row_states)
        memory_out("groups");
    t->row_cap = n;
}

static void locate_strings(struct agg_table *t, const struct column *c, uint32_t n)
{
    bool made;
    for (uint32_t i = 0; i < n; i++) {
        struct str key = {0};
        if (col_valid(c, i)) {
            key = c->data.str[COL_AT(c, i)];
            if (!key.p)
                key.p = "";
        }
        t->row_groups[i] = find(t, key, true, &made);
        touch(t, t->row_groups[i]);
    }
}

static void locate_encoded(struct agg_table *t, const struct column *keys, uint32_t n)
{
    struct buf key = {0};
    bool made;
    for (uint32_t i = 0; i < n; i++) {
        buf_clear(&key);
        for (int k = 0; k < t->node->ngroup; k++)
            column_encode(&key, &keys[k], i);
        struct str view = key.p ? buf_view(&key) : STR("");
        t->row_groups[i] = find(t, view, true, &made);
        touch(t, t->row_groups[i]);
    }
    buf_free(&key);
}

/* Row numbers that take part: those that the FILTER lets through and, for DISTINCT, that were not met before. */
static enum err narrow(struct agg_table *t, int i, struct eval *ev, const struct column *args, uint32_t *rows,
                       uint32_t *n)
{
    const struct expr *agg = t->node->aggs[i];
    *n = 0;
    if (agg->filter) {
        enum err e = expr_select(agg->filter, ev, rows, n);
        if (e)
            return e;
    } else {
        for (uint32_t r = 0; r < ev->in->n; r++)
            rows[r] = r;
        *n = ev->in->n;
    }
    if (!agg->distinct)
        return ERR_OK;
    uint32_t kept = 0;
    struct buf key = {0};
    for (uint32_t r = 0; r < *n; r++) {
        buf_clear(&key);
        buf_u32le(&key, t->row_groups[rows[r]]->no);
        for (int k = 0; k < agg->nargs; k++)
            column_encode(&key, &args[k], rows[r]);
        if (!map_put(&t->seen[i], buf_view(&key), t))
            rows[kept++] = rows[r];
    }
    buf_free(&key);
    *n = kept;
    return ERR_OK;
}

static enum err update(struct agg_table *t, int i, struct eval *ev, struct fault *f)
{
    const struct expr *agg = t->node->aggs[i];
    struct agg_state_env env = state_env(t, f);
    struct column *args = ARENA_ARRAY(ev->arena, (size_t)agg->nargs + 1, struct column);
    uint32_t n = ev->in->n;
    for (int k = 0; k < agg->nargs; k++) {
        enum err e = expr_eval(agg->args[k], ev, &args[k]);
        if (e)
            return e;
    }
    if (agg->filter || agg->distinct) {
        uint32_t *rows = ARENA_ARRAY(ev->arena, n + 1u, uint32_t);
        enum err e = narrow(t, i, ev, args, rows, &n);
        if (e || !n)
            return e;
        for (int k = 0; k < agg->nargs; k++) {
            struct column picked;
            column_gather(&picked, &args[k], rows, n, ev->arena);
            args[k] = picked;
        }
        for (uint32_t r = 0; r < n; r++)
            t->row_states[r] = (char *)t->row_groups[rows[r]]->g.states + t->state_at[i];
    } else {
        for (uint32_t r = 0; r < n; r++)
            t->row_states[r] = (char *)t->row_groups[r]->g.states + t->state_at[i];
    }
    return agg_update(agg, t->row_states, args, n, &env);
}

enum err agg_table_add(struct agg_table *t, const struct batch_cols *in, struct eval *ev, struct fault *f)
{
    ev->in = in;
    rows_reserve(t, in->n + 1);
    struct column *keys = ARENA_ARRAY(ev->arena, (size_t)t->node->ngroup + 1, struct column);
    for (int k = 0; k < t->node->ngroup; k++) {
        enum err e = expr_eval(t->node->group[k], ev, &keys[k]);
        if (e)
            return e;
    }
    if (t->one_string)
        locate_strings(t, &keys[0], in->n);
    else
        locate_encoded(t, keys, in->n);
    for (int i = 0; i < t->node->naggs; i++) {
        enum err e = update(t, i, ev, f);
        if (e)
            return e;
    }
    return charge(t, f);
}

/* -- merging, saving ------------------------------------------------------------------------------------------------- */
void agg_table_save(const struct agg_table *t, const struct agg_group *g, struct buf *out)
{
    for (int i = 0; i < t->node->naggs; i++)
        agg_save(t->node->aggs[i], agg_table_state(t, g->states, i), out);
}

enum err agg_table_merge_saved(struct agg_table *t, struct agg_group *g, struct str saved, struct fault *f)
{
    struct agg_state_env env = state_env(t, f);
    struct rd r = rd_of(saved);
    for (int i = 0; i < t->node->naggs; i++) {
        const struct expr *agg = t->node->aggs[i];
        void *tmp = arena_alloc(t->arena, align16(agg_state_size(agg)));
        if (!agg_load(agg, tmp, &r, &env))
            return FAULT(f, ERR_CORRUPT, {"what", "a saved aggregate"}, {"detail", err_name(ERR_FRAME)});
        enum err e = agg_merge(agg, agg_table_state(t, g->states, i), tmp, &env);
        if (e)
            return e;
    }
    return charge(t, f);
}

enum err agg_table_merge(struct agg_table *t, const struct agg_table *from, struct fault *f)
{
    struct agg_state_env env = state_env(t, f);
    bool made;
    for (size_t i = 0; i < from->groups.n; i++) {
        const struct group *src = from->groups.p[i];
        if (!src)
            continue;
        struct group *g = find(t, t->one_string ? src->raw : src->g.key, true, &made);
        touch(t, g);
        for (int k = 0; k < t->node->naggs; k++) {
            enum err e = agg_merge(t->node->aggs[k], agg_table_state(t, g->g.states, k),
                                   agg_table_state(from, src->g.states, k), &env);
            if (e)
                return e;
        }
    }
    return charge(t, f);
}

/* -- walking --------------------------------------------------------------------------------------------------------- */
size_t agg_table_groups(const struct agg_table *t)
{
    return t->live;
}

struct agg_group *agg_table_next(struct agg_table *t, size_t *at)
{
    while (*at < t->groups.n) {
        struct group *g = t->groups.p[(*at)++];
        if (g)
            return &g->g;
    }
    return NULL;
}

struct agg_group *agg_table_next_touched(struct agg_table *t, size_t *at)
{
    while (*at < t->touched.n) {
        struct group *g = t->touched.p[(*at)++];
        if (t->groups.p[g->no] == g)
            return &g->g;
    }
    return NULL;
}

void agg_table_remove(struct agg_table *t, struct agg_group *g)
{
    t->groups.p[((struct group *)g)->no] = NULL;
    t->live--;
    t->dead_groups++;
}

/* Move what lives into a fresh table: keys of closed windows and grown states are given back. */
static enum err rebuild(struct agg_table *t, struct fault *f)
{
    struct agg_table *fresh;
    enum err e = agg_table_new(t->node, t->memory, &fresh, f);
    if (e)
        return e;
    struct buf saved = {0};
    bool made;
    for (size_t i = 0; i < t->groups.n && !e; i++) {
        struct group *g = t->groups.p[i];
        if (!g)
            continue;
        buf_clear(&saved);
        agg_table_save(t, &g->g, &saved);
        struct group *to = find(fresh, t->one_string ? g->raw : g->g.key, true, &made);
        e = agg_table_merge_saved(fresh, &to->g, buf_view(&saved), f);
    }
    buf_free(&saved);
    struct agg_table swap = *t;
    if (!e) {
        *t = *fresh;
        *fresh = swap;
    }
    agg_table_free(fresh);
    return e;
}

enum err agg_table_clear_touched(struct agg_table *t, struct fault *f)
{
    for (size_t i = 0; i < t->touched.n; i++)
        t->touched.p[i]->g.touched = false;
    t->touched.n = 0;
    if (t->dead_groups > 1024 && t->dead_groups > t->live)
        return rebuild(t, f);
    return charge(t, f);
}

enum err agg_table_rows(struct agg_table *t, struct agg_group *const *groups, uint32_t n, struct batch_cols *out,
                        struct arena *a, struct fault *f)
{
    const struct plan_node *node = t->node;
    out->schema = node->schema;
    out->n = n;
    out->cols = ARENA_ARRAY(a, (size_t)node->schema->nfields + 1, struct column);
    for (int k = 0; k < node->ngroup; k++)
        column_alloc(&out->cols[k], node->group[k]->type, n, a);
    for (uint32_t i = 0; i < n; i++)
        agg_table_key(t, groups[i], out->cols, i, a);
    void **states = ARENA_ARRAY(a, n + 1u, void *);
    for (int i = 0; i < node->naggs; i++) {
        for (uint32_t g = 0; g < n; g++)
            states[g] = agg_table_state(t, groups[g]->states, i);
        enum err e = agg_result(node->aggs[i], states, n, &out->cols[node->ngroup + i], a, f);
        if (e)
            return e;
    }
    return ERR_OK;
}
