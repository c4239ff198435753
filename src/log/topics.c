/*
 * The catalogue: what topics there are, and small facts; made of the records of the metadata log (metadata.c), and changed by
 * appending to it.
 */
#include "codec/codec.h"
#include "log/log_int.h"

#include <inttypes.h>
#include <stdio.h>

enum { ID_BLOCK = 1000 };

/* -- fields ------------------------------------------------------------------------------------------------------------ */
struct reader {
    struct str rest;
    bool bad;
};

static const char *take(struct reader *r, size_t n)
{
    if (r->bad || n > r->rest.n) {
        r->bad = true;
        return NULL;
    }
    const char *p = r->rest.p;
    r->rest = str_make(p + n, r->rest.n - n);
    return p;
}

static uint32_t rd_u32(struct reader *r)
{
    const char *p = take(r, 4);
    return p ? get_u32le(p) : 0;
}

static uint64_t rd_u64(struct reader *r)
{
    const char *p = take(r, 8);
    return p ? get_u64le(p) : 0;
}

static struct str rd_str(struct reader *r)
{
    uint32_t n = rd_u32(r);
    if (r->bad || n == UINT32_MAX)
        return (struct str){NULL, 0};
    const char *p = take(r, n);
    return str_make(p, p ? n : 0);
}

static struct os_uuid rd_id(struct reader *r)
{
    struct os_uuid id = {{0}};
    const char *p = take(r, 16);
    if (p)
        memcpy(id.b, p, 16);
    return id;
}

static void put_str(struct buf *b, struct str s)
{
    buf_u32le(b, s.p ? (uint32_t)s.n : UINT32_MAX);
    if (s.p)
        buf_str(b, s);
}

static struct str id_key(const struct os_uuid *id)
{
    return str_make(id->b, 16);
}

static char *dup_str(struct str s)
{
    char *p = malloc(s.n + 1);
    if (!p)
        os_die("out of memory for the catalogue");
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

static bool name_ok(struct str name)
{
    if (name.n < 1 || name.n > 249 || str_eqz(name, ".") || str_eqz(name, ".."))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

/* -- the catalogue in memory (under topics_lock) ---------------------------------------------------------------------- */

struct topic *topic_by_id(struct log *l, struct os_uuid id)
{
    return map_get(&l->topics_by_id, id_key(&id));
}

static void topic_free(struct topic *t)
{
    for (int32_t i = 0; i < t->n; i++)
        log_partition_release(t->partitions[i]);
    for (size_t i = 0; i < t->configs.n; i++) {
        free((char *)(uintptr_t)t->configs.p[i].key.p);
        free((char *)(uintptr_t)t->configs.p[i].value.p);
    }
    vec_free(&t->configs);
    free(t->partitions);
    free(t->name);
    free(t);
}

static void set_config(struct topic *t, struct str key, struct str value)
{
    size_t i = 0;
    while (i < t->configs.n && !str_eq(t->configs.p[i].key, key))
        i++;
    if (i == t->configs.n && value.p) {
        struct log_config c = {str_make(dup_str(key), key.n), {NULL, 0}};
        vec_push(&t->configs, c);
    }
    if (i == t->configs.n)
        return;
    free((char *)(uintptr_t)t->configs.p[i].value.p);
    t->configs.p[i].value = value.p ? str_make(dup_str(value), value.n) : (struct str){NULL, 0};
    if (!value.p) {
        free((char *)(uintptr_t)t->configs.p[i].key.p);
        t->configs.p[i] = t->configs.p[--t->configs.n];
    }
}

static void add_partition(struct topic *t, struct log_partition *p)
{
    t->partitions = realloc(t->partitions, sizeof *t->partitions * (size_t)(t->n + 1));
    if (!t->partitions)
        os_die("out of memory for the catalogue");
    t->partitions[t->n++] = p;
}

static void bump(struct log *l)
{
    __atomic_add_fetch(&l->topics_version, 1, __ATOMIC_RELEASE);
}

/* -- applying a record -------------------------------------------------------------------------------------------------- */

static bool apply_header(struct log *l, struct reader *r)
{
    uint32_t format = rd_u32(r);
    struct str id = rd_str(r);
    if (r->bad || id.n != 22 || format > LOG_FORMAT)
        return false;
    memcpy(l->cluster_id, id.p, 22);
    return true;
}

/* Partitions are made here without files: recovery or the creator sees to those. */
static bool apply_topic(struct log *l, struct reader *r)
{
    struct os_uuid id = rd_id(r);
    struct str name = rd_str(r);
    uint32_t partitions = rd_u32(r), configs = rd_u32(r);
    if (r->bad || partitions > LIMIT_PARTITIONS || configs > LIMIT_TOPIC_CONFIGS || !name_ok(name) ||
        map_get(&l->topics, name))
        return false;
    struct topic *t = calloc(1, sizeof *t);
    if (!t)
        os_die("out of memory for the catalogue");
    t->name = dup_str(name);
    t->id = id;
    for (uint32_t i = 0; i < configs && !r->bad; i++) {
        struct str key = rd_str(r), value = rd_str(r);
        set_config(t, key, value);
    }
    for (uint32_t i = 0; i < partitions; i++) {
        add_partition(t, partition_new(l, name, id, (int32_t)i));
        partition_configure(t->partitions[i], t->configs.p, t->configs.n);
    }
    map_put(&l->topics, name, t);
    map_put(&l->topics_by_id, id_key(&id), t);
    bump(l);
    return !r->bad;
}

static bool apply_delete(struct log *l, struct reader *r)
{
    struct os_uuid id = rd_id(r);
    struct topic *t = r->bad ? NULL : map_del(&l->topics_by_id, id_key(&id));
    if (!t)
        return false;
    map_del(&l->topics, str_of(t->name));
    topic_free(t);
    bump(l);
    return true;
}

static bool apply_grow(struct log *l, struct reader *r)
{
    struct os_uuid id = rd_id(r);
    uint32_t n = rd_u32(r);
    struct topic *t = r->bad ? NULL : topic_by_id(l, id);
    if (!t || n > LIMIT_PARTITIONS)
        return false;
    for (int32_t i = t->n; i < (int32_t)n; i++) {
        add_partition(t, partition_new(l, str_of(t->name), id, i));
        partition_configure(t->partitions[i], t->configs.p, t->configs.n);
    }
    bump(l);
    return true;
}

static bool apply_config(struct log *l, struct reader *r)
{
    struct os_uuid id = rd_id(r);
    uint32_t n = rd_u32(r);
    struct topic *t = r->bad ? NULL : topic_by_id(l, id);
    if (!t || n > LIMIT_TOPIC_CONFIGS)
        return false;
    for (uint32_t i = 0; i < n && !r->bad; i++) {
        struct str key = rd_str(r), value = rd_str(r);
        set_config(t, key, value);
    }
    for (int32_t i = 0; i < t->n; i++)
        partition_configure(t->partitions[i], t->configs.p, t->configs.n);
    return !r->bad;
}

static bool apply_fact(struct log *l, struct reader *r)
{
    struct str key = rd_str(r), value = rd_str(r);
    if (r->bad || !key.p)
        return false;
    struct fact *made = NULL;
    if (value.p) {
        if (!(made = malloc(sizeof *made)))
            os_die("out of memory for the catalogue");
        *made = (struct fact){dup_str(value), value.n};
    }
    struct fact *was = made ? map_put(&l->facts, key, made) : map_del(&l->facts, key);
    if (was) {
        free(was->p);
        free(was);
    }
    return true;
}

static bool apply_producer_ids(struct log *l, struct reader *r)
{
    l->next_producer_id = l->producer_id_end = (int64_t)rd_u64(r);
    return !r->bad;
}

static bool (*const APPLY[REC_COUNT])(struct log *l, struct reader *r) = {
    [REC_HEADER] = apply_header,
    [REC_TOPIC] = apply_topic,
    [REC_DELETE] = apply_delete,
    [REC_GROW] = apply_grow,
    [REC_CONFIG] = apply_config,
    [REC_FACT] = apply_fact,
    [REC_PRODUCER_IDS] = apply_producer_ids,
};

/* -- records -------------------------------------------------------------------------------------------------------------- */

bool meta_apply(struct log *l, int kind, struct str rest)
{
    struct reader r = {rest, false};
    return kind < REC_COUNT && APPLY[kind] && APPLY[kind](l, &r);
}

static void put_topic(struct buf *b, struct os_uuid id, struct str name, int32_t partitions,
                      const struct log_config *configs, size_t nconfigs)
{
    meta_begin(b, REC_TOPIC);
    buf_put(b, id.b, 16);
    put_str(b, name);
    buf_u32le(b, (uint32_t)partitions);
    buf_u32le(b, (uint32_t)nconfigs);
    for (size_t i = 0; i < nconfigs; i++) {
        put_str(b, configs[i].key);
        put_str(b, configs[i].value);
    }
}

static void put_header(struct buf *b, struct str cluster_id)
{
    meta_begin(b, REC_HEADER);
    buf_u32le(b, LOG_FORMAT);
    put_str(b, cluster_id);
}

uint64_t meta_state(struct log *l, struct buf *out)
{
    struct map_slot *slot;
    uint64_t seq = 0;
    put_header(out, str_of(l->cluster_id));
    meta_seal(out, 0, seq++);
    size_t at = out->n;
    meta_begin(out, REC_PRODUCER_IDS);
    buf_u64le(out, (uint64_t)l->producer_id_end);
    meta_seal(out, at, seq++);
    os_mutex_lock(l->topics_lock);
    for (size_t i = 0; (slot = map_next(&l->topics, &i));) {
        const struct topic *t = slot->value;
        at = out->n;
        put_topic(out, t->id, str_of(t->name), t->n, t->configs.p, t->configs.n);
        meta_seal(out, at, seq++);
    }
    for (size_t i = 0; (slot = map_next(&l->facts, &i));) {
        const struct fact *fact = slot->value;
        at = out->n;
        meta_begin(out, REC_FACT);
        put_str(out, map_key(slot));
        put_str(out, str_make(fact->p, fact->n));
        meta_seal(out, at, seq++);
    }
    os_mutex_unlock(l->topics_lock);
    return seq;
}

/* The segments of new partitions, whose files are there: opening them fails only when descriptors or memory run out. */
static enum err open_files(struct log *l, struct os_uuid id, struct fault *f)
{
    struct topic *t = topic_by_id(l, id);
    enum err e = ERR_OK;
    for (int32_t i = 0; t && i < t->n; i++) {
        struct log_partition *p = t->partitions[i];
        struct segment *s = NULL;
        os_mutex_lock(p->lock);
        if (!p->segments.n && !p->failed) {
            enum err bad = segment_open(&s, &l->files, p->dir, 0, false, f);
            if (bad)
                e = bad;
            else
                vec_push(&p->segments, s);
            p->failed = bad != ERR_OK;
            p->dir_dirty = true;
        }
        os_mutex_unlock(p->lock);
    }
    return e;
}

/* Append and, once durable, apply: in one step for everyone else. */
static enum err rec_commit(struct log *l, struct buf *b, struct fault *f)
{
    enum err e = meta_append(l, b, f);
    if (!e) {
        int kind = b->p[REC_PREFIX - 1];
        struct reader r = {str_make(b->p + REC_PREFIX, b->n - REC_PREFIX), false}, again = r;
        os_mutex_lock(l->topics_lock);
        bool ok = APPLY[kind](l, &r);
        if (ok && (kind == REC_TOPIC || kind == REC_GROW))
            e = open_files(l, rd_id(&again), f);
        os_mutex_unlock(l->topics_lock);
        if (!ok)
            os_die("metadata.log: a record that was just written does not apply");
        meta_tidy(l);
    }
    buf_free(b);
    return e;
}

enum err meta_header(struct log *l, struct fault *f)
{
    char text[23];
    struct os_uuid id = os_uuid_random();
    id.b[0] &= 0x7f; /* an id that begins with - annoys command lines */
    log_id_text(id, text);
    struct buf b = {.limit = BUF_ASKED};
    put_header(&b, str_make(text, 22));
    return rec_commit(l, &b, f);
}

void meta_close(struct log *l)
{
    struct map_slot *s;
    for (size_t i = 0; (s = map_next(&l->topics, &i));)
        topic_free(s->value);
    for (size_t i = 0; (s = map_next(&l->facts, &i));) {
        struct fact *fact = s->value;
        free(fact->p);
        free(fact);
    }
    map_free(&l->topics);
    map_free(&l->topics_by_id);
    map_free(&l->facts);
    os_close(l->meta_file);
}

/* -- changes ------------------------------------------------------------------------------------------------------------- */

static enum err bad_partitions(const char *least, struct fault *f)
{
    char detail[80];
    snprintf(detail, sizeof detail, "%s, and at most %d", least, LIMIT_PARTITIONS);
    return FAULT(f, ERR_INVALID, {"what", "Number of partitions"}, {"detail", detail});
}

static enum err check_configs(const struct log_config *c, size_t n, struct fault *f)
{
    bool ok = true;
    if (n > LIMIT_TOPIC_CONFIGS)
        return LIMIT_FAULT(f, TOPIC_CONFIGS);
    for (size_t i = 0; ok && i < n; i++)
        ok = c[i].key.p && c[i].key.n <= LIMIT_TOPIC_CONFIG_BYTES && c[i].value.n <= LIMIT_TOPIC_CONFIG_BYTES;
    return ok ? ERR_OK : LIMIT_FAULT(f, TOPIC_CONFIG_BYTES);
}

static enum err missing(struct str name, struct fault *f)
{
    char text[300];
    snprintf(text, sizeof text, "Topic %.*s", (int)(name.n < 250 ? name.n : 250), name.p);
    return FAULT(f, ERR_NOTFOUND, {"what", text});
}

/* Make the files of partitions [from, to) of a topic that is not in the catalogue yet. */
static enum err make_files(struct log *l, struct str name, struct os_uuid id, int32_t from, int32_t to, struct fault *f)
{
    enum err e = ERR_OK;
    for (int32_t i = from; !e && i < to; i++) {
        struct log_partition *p = partition_new(l, name, id, i);
        e = partition_create_files(p, f);
        log_partition_release(p);
    }
    os_mutex_lock(l->topics_lock);
    l->dir_dirty = true;
    os_mutex_unlock(l->topics_lock);
    if (e) /* a full disk: leave nothing behind */
        for (int32_t i = from; i < to; i++) {
            char path[LOG_PATH];
            log_path(l, path, "%.*s-%d", STR_ARG(name), i);
            (void)!os_remove_tree(path, NULL);
        }
    return e;
}

static enum err create_locked(struct log *l, struct str name, int32_t partitions, const struct log_config *configs,
                              size_t nconfigs, struct os_uuid *id, struct fault *f)
{
    char text[300];
    os_mutex_lock(l->topics_lock);
    bool there = map_get(&l->topics, name) != NULL;
    os_mutex_unlock(l->topics_lock);
    if (there) {
        snprintf(text, sizeof text, "Topic '%.*s'", STR_ARG(name));
        return FAULT(f, ERR_EXISTS, {"what", text});
    }
    *id = os_uuid_random();
    enum err e = make_files(l, name, *id, 0, partitions, f);
    if (e)
        return e;
    struct buf b = {.limit = BUF_ASKED};
    put_topic(&b, *id, name, partitions, configs, nconfigs);
    return rec_commit(l, &b, f);
}

enum err log_topic_create(struct log *l, struct str name, int32_t partitions, const struct log_config *configs,
                          size_t nconfigs, struct os_uuid *id, struct fault *f)
{
    struct os_uuid scratch;
    if (!name_ok(name))
        return FAULT(f, ERR_INVALID, {"what", "Topic name"},
                     {"detail", "it is 1 to 249 of [a-zA-Z0-9._-], and not . or .."});
    if (partitions < 1 || partitions > LIMIT_PARTITIONS)
        return bad_partitions("it is at least 1", f);
    enum err e = check_configs(configs, nconfigs, f);
    if (e)
        return e;
    os_mutex_lock(l->meta_lock);
    e = create_locked(l, name, partitions, configs, nconfigs, id ? id : &scratch, f);
    os_mutex_unlock(l->meta_lock);
    return e;
}

/* Write a record about the topic `name` and apply it; b holds what follows the topic's id. */
static enum err change_locked(struct log *l, struct str name, int kind, struct str rest, struct fault *f)
{
    os_mutex_lock(l->topics_lock);
    struct topic *t = map_get(&l->topics, name);
    struct os_uuid id = t ? t->id : (struct os_uuid){{0}};
    os_mutex_unlock(l->topics_lock);
    if (!t)
        return missing(name, f);
    struct buf b = {.limit = BUF_ASKED};
    meta_begin(&b, kind);
    buf_put(&b, id.b, 16);
    buf_str(&b, rest);
    return rec_commit(l, &b, f);
}

/* References to the partitions of a topic; *n of them. */
static struct log_partition **hold_partitions(struct log *l, struct str name, int32_t *n)
{
    struct log_partition **held = NULL;
    *n = 0;
    os_mutex_lock(l->topics_lock);
    struct topic *t = map_get(&l->topics, name);
    if (t && t->n && !(held = malloc(sizeof *held * (size_t)t->n)))
        os_die("out of memory for the catalogue");
    for (; held && *n < t->n; ++*n)
        partition_ref(held[*n] = t->partitions[*n]);
    os_mutex_unlock(l->topics_lock);
    return held;
}

enum err log_topic_delete(struct log *l, struct str name, struct fault *f)
{
    int32_t n;
    os_mutex_lock(l->meta_lock);
    struct log_partition **held = hold_partitions(l, name, &n);
    enum err e = change_locked(l, name, REC_DELETE, STR(""), f);
    for (int32_t i = 0; i < n; i++) {
        if (!e)
            partition_delete(held[i]);
        log_partition_release(held[i]);
    }
    os_mutex_lock(l->topics_lock);
    l->dir_dirty = true;
    os_mutex_unlock(l->topics_lock);
    free(held);
    os_mutex_unlock(l->meta_lock);
    return e;
}

static enum err grow_locked(struct log *l, struct str name, int32_t partitions, struct fault *f)
{
    os_mutex_lock(l->topics_lock);
    struct topic *t = map_get(&l->topics, name);
    struct os_uuid id = t ? t->id : (struct os_uuid){{0}};
    int32_t now = t ? t->n : 0;
    os_mutex_unlock(l->topics_lock);
    if (!t)
        return missing(name, f);
    if (partitions <= now || partitions > LIMIT_PARTITIONS)
        return bad_partitions("it must be more than there are", f);
    enum err e = make_files(l, name, id, now, partitions, f);
    if (e)
        return e;
    struct buf b = {.limit = BUF_ASKED};
    buf_u32le(&b, (uint32_t)partitions);
    e = change_locked(l, name, REC_GROW, buf_whole(&b, "a change of the catalogue"), f);
    buf_free(&b);
    return e;
}

enum err log_topic_grow(struct log *l, struct str name, int32_t partitions, struct fault *f)
{
    os_mutex_lock(l->meta_lock);
    enum err e = grow_locked(l, name, partitions, f);
    os_mutex_unlock(l->meta_lock);
    return e;
}

enum err log_topic_configure(struct log *l, struct str name, const struct log_config *configs, size_t n,
                             struct fault *f)
{
    enum err e = check_configs(configs, n, f);
    if (e)
        return e;
    struct buf b = {.limit = BUF_ASKED};
    buf_u32le(&b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_str(&b, configs[i].key);
        put_str(&b, configs[i].value);
    }
    os_mutex_lock(l->meta_lock);
    e = change_locked(l, name, REC_CONFIG, buf_whole(&b, "a change of the catalogue"), f);
    os_mutex_unlock(l->meta_lock);
    buf_free(&b);
    if (!e)
        retention_soon(l);
    return e;
}

enum err log_fact_put(struct log *l, struct str key, struct str value, struct fault *f)
{
    if (!key.n || key.n > LIMIT_FACT_KEY_BYTES)
        return LIMIT_FAULT(f, FACT_KEY_BYTES);
    if (value.n > LIMIT_FACT_VALUE_BYTES)
        return LIMIT_FAULT(f, FACT_VALUE_BYTES);
    struct buf b = {.limit = BUF_ASKED};
    meta_begin(&b, REC_FACT);
    put_str(&b, key);
    put_str(&b, value);
    os_mutex_lock(l->meta_lock);
    enum err e = rec_commit(l, &b, f);
    os_mutex_unlock(l->meta_lock);
    return e;
}

enum err log_producer_id(struct log *l, int64_t *id, struct fault *f)
{
    enum err e = ERR_OK;
    os_mutex_lock(l->meta_lock);
    if (l->next_producer_id == l->producer_id_end) { /* what is left of a block is lost with the process */
        int64_t from = l->next_producer_id;
        struct buf b = {.limit = BUF_ASKED};
        meta_begin(&b, REC_PRODUCER_IDS);
        buf_u64le(&b, (uint64_t)(from + ID_BLOCK));
        if (!(e = rec_commit(l, &b, f)))
            l->next_producer_id = from;
    }
    if (!e)
        *id = l->next_producer_id++;
    os_mutex_unlock(l->meta_lock);
    return e;
}

/* -- looking ------------------------------------------------------------------------------------------------------------- */

static void snapshot(const struct topic *t, struct arena *a, struct log_topic *out)
{
    *out = (struct log_topic){
        .name = arena_str(a, str_of(t->name)),
        .id = t->id,
        .partitions = t->n,
        .configs = ARENA_ARRAY(a, t->configs.n + 1, struct log_config),
        .nconfigs = t->configs.n,
        .internal = !strcmp(t->name, "__consumer_offsets") || !strcmp(t->name, "__transaction_state"),
    };
    for (size_t i = 0; i < t->configs.n; i++)
        out->configs[i] = (struct log_config){arena_str(a, t->configs.p[i].key), arena_str(a, t->configs.p[i].value)};
}

bool log_topic_get(struct log *l, struct str name, struct arena *a, struct log_topic *out)
{
    os_mutex_lock(l->topics_lock);
    struct topic *t = map_get(&l->topics, name);
    if (t)
        snapshot(t, a, out);
    os_mutex_unlock(l->topics_lock);
    return t != NULL;
}

bool log_topic_by_id(struct log *l, struct os_uuid id, struct arena *a, struct log_topic *out)
{
    os_mutex_lock(l->topics_lock);
    struct topic *t = topic_by_id(l, id);
    if (t)
        snapshot(t, a, out);
    os_mutex_unlock(l->topics_lock);
    return t != NULL;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct log_topic *)a)->name, ((const struct log_topic *)b)->name);
}

size_t log_topics(struct log *l, struct arena *a, struct log_topic **out)
{
    struct map_slot *s;
    size_t n = 0;
    os_mutex_lock(l->topics_lock);
    *out = ARENA_ARRAY(a, l->topics.n + 1, struct log_topic);
    for (size_t i = 0; (s = map_next(&l->topics, &i));)
        snapshot(s->value, a, &(*out)[n++]);
    os_mutex_unlock(l->topics_lock);
    qsort(*out, n, sizeof **out, by_name);
    return n;
}

uint64_t log_topics_version(struct log *l)
{
    return __atomic_load_n(&l->topics_version, __ATOMIC_ACQUIRE);
}

struct log_partition *log_partition(struct log *l, struct str topic, int32_t partition)
{
    struct log_partition *p = NULL;
    os_mutex_lock(l->topics_lock);
    struct topic *t = map_get(&l->topics, topic);
    if (t && partition >= 0 && partition < t->n)
        partition_ref(p = t->partitions[partition]);
    os_mutex_unlock(l->topics_lock);
    return p;
}

static int by_id(const void *a, const void *b)
{
    const struct log_partition *x = *(struct log_partition *const *)a, *y = *(struct log_partition *const *)b;
    int c = memcmp(x->topic_id.b, y->topic_id.b, 16);
    return c ? c : (x->number > y->number) - (x->number < y->number);
}

size_t log_all_partitions(struct log *l, struct log_partition ***out)
{
    VEC(struct log_partition *) all = {0};
    struct map_slot *s;
    os_mutex_lock(l->topics_lock);
    for (size_t i = 0; (s = map_next(&l->topics, &i));) {
        struct topic *t = s->value;
        for (int32_t k = 0; k < t->n; k++) {
            partition_ref(t->partitions[k]);
            vec_push(&all, t->partitions[k]);
        }
    }
    os_mutex_unlock(l->topics_lock);
    if (all.n)
        qsort(all.p, all.n, sizeof *all.p, by_id);
    *out = all.p;
    return all.n;
}

bool log_fact_get(struct log *l, struct str key, struct arena *a, struct str *value)
{
    os_mutex_lock(l->topics_lock);
    struct fact *fact = map_get(&l->facts, key);
    if (fact)
        *value = arena_str(a, str_make(fact->p, fact->n));
    os_mutex_unlock(l->topics_lock);
    return fact != NULL;
}

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct log_config *)a)->key, ((const struct log_config *)b)->key);
}

size_t log_facts(struct log *l, struct str prefix, struct arena *a, struct log_config **out)
{
    struct map_slot *s;
    size_t n = 0;
    os_mutex_lock(l->topics_lock);
    *out = ARENA_ARRAY(a, l->facts.n + 1, struct log_config);
    for (size_t i = 0; (s = map_next(&l->facts, &i));) {
        struct fact *fact = s->value;
        if (str_starts(map_key(s), prefix))
            (*out)[n++] = (struct log_config){arena_str(a, map_key(s)), arena_str(a, str_make(fact->p, fact->n))};
    }
    os_mutex_unlock(l->topics_lock);
    qsort(*out, n, sizeof **out, by_key);
    return n;
}
