/*
 * The memory sink: a table in memory under the query's name (Spark's MemorySink). Append and update add rows, complete
 * replaces them; a batch id that was seen is dropped.
 *
 *   memory_tables ──name──▶ table { parts: [ arena + rows ] }   one lock for all: writers are one per table, readers copy
 */
#include "base/map.h"
#include "base/memory.h"
#include "sink/sink_int.h"

#include <ctype.h>
#include <stdlib.h>

struct part {
    struct part *next;
    struct arena *arena;
    struct batch_cols rows;
};
struct table {
    struct arena *arena; /* its schema */
    const struct type *schema;
    struct part *first, **end;
    int nparts;
    const struct sink *writer; /* NULL: its query has ended */
};
struct memory_tables {
    struct os_mutex *lock;
    struct map by_name; /* lower case */
};
struct memory {
    struct sink base;
    struct part *first, **end; /* of the open batch */
    int64_t last_batch;
};

static void parts_free(struct part *p)
{
    while (p) {
        struct part *next = p->next;
        arena_free(p->arena);
        free(p);
        p = next;
    }
}

static void table_free(struct table *t)
{
    if (!t)
        return;
    parts_free(t->first);
    arena_free(t->arena);
    free(t);
}

struct memory_tables *memory_tables_new(void)
{
    struct memory_tables *t = calloc(1, sizeof *t);
    if (!t)
        memory_out("the memory sink");
    t->lock = os_mutex_new();
    return t;
}

void memory_tables_free(struct memory_tables *t)
{
    struct map_slot *slot;
    if (!t)
        return;
    for (size_t i = 0; (slot = map_next(&t->by_name, &i));)
        table_free(slot->value);
    map_free(&t->by_name);
    os_mutex_free(t->lock);
    free(t);
}

static struct str lower(struct str name, struct arena *a)
{
    char *p = arena_z(a, name);
    for (size_t i = 0; i < name.n; i++)
        p[i] = (char)tolower((unsigned char)p[i]);
    return str_make(p, name.n);
}

const struct rel *memory_table(struct memory_tables *t, struct str name, struct arena *a)
{
    struct rel *r = NULL;
    struct str key = lower(name, a);
    os_mutex_lock(t->lock);
    struct table *table = map_get(&t->by_name, key);
    if (table) {
        r = rel_new(a, REL_LOCAL, 0);
        r->schema = type_copy(a, table->schema);
        r->batches = ARENA_ARRAY(a, (size_t)table->nparts + 1, struct batch_cols);
        for (struct part *p = table->first; p; p = p->next) {
            struct batch_cols *b = &r->batches[r->nbatches++];
            *b = (struct batch_cols){r->schema, p->rows.n,
                                     ARENA_ARRAY(a, (size_t)r->schema->nfields + 1, struct column)};
            for (int c = 0; c < r->schema->nfields; c++)
                column_copy(&b->cols[c], &p->rows.cols[c], a);
        }
    }
    os_mutex_unlock(t->lock);
    return r;
}

static enum err open_(struct sink *base, struct fault *f)
{
    struct memory *s = (struct memory *)base;
    s->last_batch = -1;
    s->end = &s->first;
    if (!base->query_name.n)
        return FAULT(f, ERR_QUERY_NAME_NEEDED);
    struct table *t = calloc(1, sizeof *t);
    if (!t || !base->env.tables) {
        free(t);
        return fault_internal(f, "the memory sink has no tables");
    }
    t->arena = arena_new(0);
    t->schema = type_copy(t->arena, base->schema);
    t->end = &t->first;
    t->writer = base;
    struct str key = lower(base->query_name, base->arena);
    os_mutex_lock(base->env.tables->lock);
    table_free(map_put(&base->env.tables->by_name, key, t));
    os_mutex_unlock(base->env.tables->lock);
    return ERR_OK;
}

static void abort_(struct sink *base)
{
    struct memory *s = (struct memory *)base;
    parts_free(s->first);
    s->first = NULL;
    s->end = &s->first;
}

static enum err begin(struct sink *base, int64_t batch_id, struct fault *f)
{
    (void)batch_id, (void)f;
    abort_(base);
    return ERR_OK;
}

static enum err write_(struct sink *base, const struct batch_cols *rows, struct fault *f)
{
    struct memory *s = (struct memory *)base;
    struct part *p = rows->n ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return rows->n ? FAULT(f, ERR_NOMEM, {"what", "the memory sink"}) : ERR_OK;
    int ncols = base->schema->nfields;
    p->arena = arena_new(0);
    p->rows = (struct batch_cols){base->schema, rows->n, ARENA_ARRAY(p->arena, (size_t)ncols + 1, struct column)};
    for (int c = 0; c < ncols; c++)
        column_copy(&p->rows.cols[c], &rows->cols[c], p->arena);
    *s->end = p;
    s->end = &p->next;
    return ERR_OK;
}

static enum err commit(struct sink *base, struct fault *f)
{
    struct memory *s = (struct memory *)base;
    struct memory_tables *tables = base->env.tables;
    (void)f;
    os_mutex_lock(tables->lock);
    struct table *t = map_get(&tables->by_name, lower(base->query_name, base->arena));
    if (t && t->writer == base && base->batch_id > s->last_batch) {
        if (base->mode == OUTPUT_COMPLETE) {
            parts_free(t->first);
            t->first = NULL;
            t->end = &t->first;
            t->nparts = 0;
        }
        for (struct part *p = s->first; p; p = p->next)
            t->nparts++;
        if (s->first) {
            *t->end = s->first;
            t->end = s->end;
        }
        s->first = NULL;
        s->last_batch = base->batch_id;
    }
    os_mutex_unlock(tables->lock);
    abort_(base);
    return ERR_OK;
}

static void close_(struct sink *base)
{
    struct memory_tables *tables = base->env.tables;
    abort_(base);
    if (!tables || !base->query_name.n)
        return;
    os_mutex_lock(tables->lock);
    struct table *t = map_get(&tables->by_name, lower(base->query_name, base->arena));
    if (t && t->writer == base)
        t->writer = NULL;
    os_mutex_unlock(tables->lock);
}

const struct sink_class MEMORY_SINK = {
    .name = "memory",
    .class_name = "MemorySink",
    .open = open_,
    .begin = begin,
    .write = write_,
    .commit = commit,
    .abort = abort_,
    .close = close_,
    .size = sizeof(struct memory),
};
