/*
 * The hash table under aggregations. Open addressing over 8-byte slots, each a tag of the hash beside the group's address;
 * a group is one piece of memory, so that a hit touches a slot and two or three lines that lie together.
 *
 *   slots [tag|address] ──▶ { head with the plain key | state 0 | state 1 … | encoded key }
 *
 * In a table that no cache holds, the slots and groups of the rows ahead are fetched while a row is looked up.
 */
#include "operator/agg_int.h"

#include "base/map.h"
#include "base/memory.h"
#include "base/vec.h"

#include <stdlib.h>

enum { SLOTS_LEAST = 64, SLOTS_CACHED = 1 << 14, AHEAD_SLOT = 24, AHEAD_GROUP = 12 };

struct group {
    struct agg_group g;
    uint32_t no, text_n, text_at; /* of a plain key: its string is key[text_at, text_at + text_n) */
    bool odd, dead;               /* odd: compared in its encoded form */
    uint64_t word[2];
};
enum { GROUP_HEAD = (sizeof(struct group) + 15) & ~15u };

struct agg_table {
    const struct plan_node *node;
    struct op_memory *memory;
    struct agg_shape shape;
    size_t charged, dead_groups;
    struct arena *arena, *scratch;
    uint64_t *slots; /* 0: empty */
    size_t nslots;
    int shift;                  /* 64 - log2(nslots) */
    VEC(struct group *) groups; /* NULL: removed */
    VEC(struct group *) touched;
    size_t live, state_size, *state_at;
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

static void slots_new(struct agg_table *t, size_t n)
{
    t->nslots = n;
    t->shift = 64 - __builtin_ctzl(n);
    if (!(t->slots = calloc(n, sizeof *t->slots)))
        memory_out("groups");
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
    agg_shape_of(node, &t->shape);
    slots_new(t, SLOTS_LEAST);
    t->state_at = calloc((size_t)node->naggs + 1, sizeof *t->state_at);
    t->seen = calloc((size_t)node->naggs + 1, sizeof *t->seen);
    if (!t->state_at || !t->seen)
        memory_out("groups");
    for (int i = 0; i < node->naggs; i++) {
        t->state_at[i] = t->state_size;
        t->state_size += align16(agg_state_size(node->aggs[i]));
    }
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
    free(t->shape.part);
    free(t->row_groups);
    free(t->row_states);
    vec_free(&t->groups);
    vec_free(&t->touched);
    buf_free(&t->key);
    arena_free(t->arena);
    arena_free(t->scratch);
    free(t);
}

bool agg_table_is_plain(const struct agg_table *t)
{
    for (int i = 0; i < t->node->naggs; i++)
        if (t->node->aggs[i]->distinct || !agg_state_is_plain(t->node->aggs[i]))
            return false;
    return true;
}

uint32_t agg_partition(int32_t hash, uint32_t partitions)
{
    int64_t rest = hash % (int64_t)partitions; /* Spark's Pmod */
    return (uint32_t)(rest < 0 ? rest + partitions : rest);
}

static inline uint32_t shard_of(int32_t hash, struct agg_shards s)
{
    return s.n == 1 ? 0 : agg_partition(hash, s.partitions) % s.n;
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

/* -- slots ----------------------------------------------------------------------------------------------------------- */

static inline uint64_t spread(int32_t hash)
{
    return (uint32_t)hash * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint64_t tag_of(uint64_t spread_hash)
{
    return spread_hash << 40 & UINT64_C(0xffff000000000000); /* bits that do not choose the slot */
}

static inline struct group *in_slot(uint64_t slot)
{
    return (struct group *)(uintptr_t)(slot & UINT64_C(0x0000ffffffffffff));
}

static void slot_insert(struct agg_table *t, struct group *g)
{
    uint64_t h = spread(g->g.hash);
    size_t i = h >> t->shift;
    while (t->slots[i])
        i = (i + 1) & (t->nslots - 1);
    if ((uintptr_t)g >> 48)
        abort(); /* addresses of user space have 48 bits on x86-64 and on aarch64 */
    t->slots[i] = tag_of(h) | (uintptr_t)g;
}

static void grow_slots(struct agg_table *t)
{
    free(t->slots);
    slots_new(t, t->nslots * 2);
    for (size_t i = 0; i < t->groups.n; i++)
        if (t->groups.p[i])
            slot_insert(t, t->groups.p[i]);
}

/* What is looked for: a plain key, or with `odd` an encoded one. */
struct sought {
    int32_t hash;
    bool odd;
    uint64_t word[2];
    struct str bytes; /* the plain key's string; or all of the encoded key */
};

static inline uint64_t load(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* Keys are short: two words that may overlap instead of a call. */
static inline bool same_bytes(const char *a, const char *b, size_t n)
{
    if (n >= 8 && n <= 16)
        return ((load(a) ^ load(b)) | (load(a + n - 8) ^ load(b + n - 8))) == 0;
    return memcmp(a, b, n) == 0;
}

static inline bool is_sought(const struct group *g, const struct sought *s)
{
    if (g->g.hash != s->hash || g->odd != s->odd || g->dead)
        return false;
    if (g->odd)
        return str_eq(g->g.key, s->bytes);
    return g->word[0] == s->word[0] && g->word[1] == s->word[1] && g->text_n == s->bytes.n &&
           same_bytes(g->g.key.p + g->text_at, s->bytes.p, s->bytes.n);
}

/* Removed groups stay in their slots until a rebuild. */
static inline struct group *probe(const struct agg_table *t, const struct sought *s)
{
    uint64_t h = spread(s->hash), tag = tag_of(h);
    for (size_t i = h >> t->shift; t->slots[i]; i = (i + 1) & (t->nslots - 1))
        if ((t->slots[i] & UINT64_C(0xffff000000000000)) == tag && is_sought(in_slot(t->slots[i]), s))
            return in_slot(t->slots[i]);
    return NULL;
}

static inline void fetch_ahead(const struct agg_table *t, int32_t slot_hash, int32_t group_hash)
{
    __builtin_prefetch(&t->slots[spread(slot_hash) >> t->shift]);
    struct group *g = in_slot(t->slots[spread(group_hash) >> t->shift]);
    __builtin_prefetch(g);
    __builtin_prefetch((char *)g + GROUP_HEAD);
}

static struct group *insert(struct agg_table *t, const struct sought *s, struct str key, uint32_t text_at)
{
    if ((t->groups.n + 1) * 2 > t->nslots)
        grow_slots(t);
    struct group *g = arena_alloc(t->arena, GROUP_HEAD + t->state_size + key.n);
    char *bytes = (char *)g + GROUP_HEAD + t->state_size;
    if (key.n)
        memcpy(bytes, key.p, key.n);
    *g = (struct group){.g = {.key = str_make(bytes, key.n), .states = (char *)g + GROUP_HEAD, .hash = s->hash},
                        .no = (uint32_t)t->groups.n,
                        .text_n = s->odd ? 0 : (uint32_t)s->bytes.n,
                        .text_at = text_at,
                        .odd = s->odd,
                        .word = {s->word[0], s->word[1]}};
    vec_push(&t->groups, g);
    slot_insert(t, g);
    t->live++;
    return g;
}

static inline void touch(struct agg_table *t, struct group *g)
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

/* -- finding --------------------------------------------------------------------------------------------------------- */

static inline bool is_odd(const struct agg_table *t, const struct agg_keys *k, uint32_t i)
{
    return !t->shape.plain || (k->odd && k->odd[i]);
}

/* The group of row i. `key` is for encoding. */
static inline struct group *locate(struct agg_table *t, const struct agg_keys *k, uint32_t i, bool create,
                                   bool *created)
{
    struct sought s = {.hash = k->hash[i], .odd = is_odd(t, k, i)};
    uint32_t text_at = 0;
    if (!s.odd) {
        s.word[0] = k->word[0] ? k->word[0][i] : 0;
        s.word[1] = k->word[1] ? k->word[1][i] : 0;
        s.bytes = k->text && k->text[i].n ? k->text[i] : STR("");
    } else {
        buf_clear(&t->key);
        agg_key_encode(&t->shape, k, t->node->ngroup, i, &t->key, &text_at);
        s.bytes = t->key.p ? buf_view(&t->key) : STR("");
    }
    struct group *g = probe(t, &s);
    *created = !g && create;
    if (!*created)
        return g;
    if (!s.odd) {
        buf_clear(&t->key);
        agg_key_encode(&t->shape, k, t->node->ngroup, i, &t->key, &text_at);
    }
    return insert(t, &s, t->key.p ? buf_view(&t->key) : STR(""), text_at);
}

/* One encoded key as a batch of one row, in the table's scratch. */
static void keys_of_encoded(struct agg_table *t, struct str key, struct agg_keys *out)
{
    arena_reset(t->scratch);
    int n = t->node->ngroup;
    struct column *cols = ARENA_ARRAY(t->scratch, (size_t)n + 1, struct column);
    struct rd r = rd_of(key);
    for (int k = 0; k < n; k++) {
        column_alloc(&cols[k], t->node->group[k]->type, 1, t->scratch);
        column_decode(&cols[k], 0, &r, t->scratch);
    }
    agg_keys_of(&t->shape, cols, n, 1, t->scratch, out);
}

int32_t agg_table_hash(struct agg_table *t, struct str key)
{
    struct agg_keys k;
    keys_of_encoded(t, key, &k);
    return k.hash[0];
}

struct agg_group *agg_table_find(struct agg_table *t, struct str key, bool create, bool *created)
{
    struct agg_keys k;
    bool made;
    keys_of_encoded(t, key, &k);
    struct group *g = locate(t, &k, 0, create, &made);
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

/* The groups of all rows. */
static void locate_rows(struct agg_shards to, const struct agg_keys *k, struct group **out)
{
    bool made;
    for (uint32_t i = 0; i < k->n; i++) {
        struct agg_table *t = to.tables[shard_of(k->hash[i], to)];
        if (t->nslots > SLOTS_CACHED && i + AHEAD_SLOT < k->n && to.n == 1)
            fetch_ahead(t, k->hash[i + AHEAD_SLOT], k->hash[i + AHEAD_GROUP]);
        out[i] = locate(t, k, i, true, &made);
        touch(t, out[i]);
    }
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
            t->row_states[r] = (char *)t->row_groups[rows[r]] + GROUP_HEAD + t->state_at[i];
    } else {
        for (uint32_t r = 0; r < n; r++)
            t->row_states[r] = (char *)t->row_groups[r] + GROUP_HEAD + t->state_at[i];
    }
    return agg_update(agg, t->row_states, args, n, &env);
}

enum err agg_table_add(struct agg_shards to, const struct batch_cols *in, struct eval *ev, struct fault *f)
{
    struct agg_table *t = to.tables[0]; /* whose arrays serve for all */
    struct agg_keys keys;
    ev->in = in;
    rows_reserve(t, in->n + 1);
    struct column *cols = ARENA_ARRAY(ev->arena, (size_t)t->node->ngroup + 1, struct column);
    for (int k = 0; k < t->node->ngroup; k++) {
        enum err e = expr_eval(t->node->group[k], ev, &cols[k]);
        if (e)
            return e;
    }
    agg_keys_of(&t->shape, cols, t->node->ngroup, in->n, ev->arena, &keys);
    locate_rows(to, &keys, t->row_groups);
    for (int i = 0; i < t->node->naggs; i++) {
        enum err e = update(t, i, ev, f);
        if (e)
            return e;
    }
    for (uint32_t i = 0; i < to.n; i++) {
        enum err e = charge(to.tables[i], f);
        if (e)
            return e;
    }
    return ERR_OK;
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

/* The group of t with the key of another table's group. */
static struct group *counterpart(struct agg_table *t, const struct group *g)
{
    struct sought s = {.hash = g->g.hash,
                       .odd = g->odd,
                       .word = {g->word[0], g->word[1]},
                       .bytes = g->odd ? g->g.key : str_make(g->g.key.p + g->text_at, g->text_n)};
    struct group *found = probe(t, &s);
    return found ? found : insert(t, &s, g->g.key, g->text_at);
}

enum err agg_table_merge(struct agg_table *t, const struct agg_table *from, uint32_t shard, struct agg_shards of,
                         struct fault *f)
{
    struct agg_state_env env = state_env(t, f);
    for (size_t i = 0; i < from->groups.n; i++) {
        const struct group *src = from->groups.p[i];
        if (!src || shard_of(src->g.hash, of) != shard)
            continue;
        struct group *g = counterpart(t, src);
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
    struct group *gone = (struct group *)g;
    gone->dead = true;
    t->groups.p[gone->no] = NULL;
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
    for (size_t i = 0; i < t->groups.n && !e; i++) {
        struct group *g = t->groups.p[i];
        if (!g)
            continue;
        buf_clear(&saved);
        agg_table_save(t, &g->g, &saved);
        e = agg_table_merge_saved(fresh, &counterpart(fresh, g)->g, buf_view(&saved), f);
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

enum err agg_table_rows(const struct agg_table *t, struct agg_group *const *groups, uint32_t n, struct batch_cols *out,
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
