/* Kafka's records as columns: what both readers of the kafka source, the log's and a foreign cluster's, make of them. */
#include "source/source_int.h"

#include <inttypes.h>
#include <stdio.h>

void kafka_rows_init(struct kafka_rows *r, const struct plan_node *scan)
{
    for (int i = 0; i < COLS; i++)
        r->column_of[i] = -1;
    for (int i = 0; i < scan->schema->nfields; i++)
        if (scan->wanted[i] >= 0 && scan->wanted[i] < COLS)
            r->column_of[scan->wanted[i]] = i;
}

enum err kafka_bad_time(struct str topic, int32_t partition, int64_t offset, int64_t ms, struct fault *f)
{
    char name[256], number[16], at[24], time[24];
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    snprintf(number, sizeof number, "%d", partition);
    snprintf(at, sizeof at, "%" PRId64, offset);
    snprintf(time, sizeof time, "%" PRId64, ms);
    return FAULT(f, ERR_KAFKA_TIMESTAMP, {"topic", name}, {"partition", number}, {"offset", at}, {"timestamp", time});
}

static struct column *wanted(struct kafka_rows *r, struct batch_cols *b, int which)
{
    return r->column_of[which] < 0 ? NULL : &b->cols[r->column_of[which]];
}

static void *alloc(struct kafka_rows *r, struct op *op, struct batch_cols *b, int which, const struct type *t,
                   uint8_t **valid)
{
    struct column *c = wanted(r, b, which);
    if (!c)
        return NULL;
    *c = (struct column){.type = t, .mask = ~0u};
    c->data.any = arena_alloc(op->arena, type_width(t) * BATCH_ROWS);
    if (valid)
        c->valid = *valid = arena_alloc(op->arena, BATCH_ROWS);
    return c->data.any;
}

static void constant(struct kafka_rows *r, struct op *op, struct batch_cols *b, int which, const struct type *t,
                     const void *value, size_t n)
{
    struct column *c = wanted(r, b, which);
    if (!c)
        return;
    *c = (struct column){.type = t, .mask = 0, .n = b->n};
    c->data.any = arena_alloc(op->arena, n);
    memcpy(c->data.any, value, n);
}

struct batch_cols *kafka_rows_begin(struct kafka_rows *r, struct op *op)
{
    const struct type *schema = op->node->schema;
    struct batch_cols *b = ARENA_NEW(op->arena, struct batch_cols);
    r->n = 0;
    r->headers = NULL;
    b->schema = schema;
    b->cols = ARENA_ARRAY(op->arena, (size_t)schema->nfields + 1, struct column);
    r->key = alloc(r, op, b, COL_KEY, type_simple(TYPE_BINARY), &r->key_valid);
    r->value = alloc(r, op, b, COL_VALUE, type_simple(TYPE_BINARY), &r->value_valid);
    r->offset = alloc(r, op, b, COL_OFFSET, type_simple(TYPE_LONG), NULL);
    r->time = alloc(r, op, b, COL_TIME, type_simple(TYPE_TIMESTAMP), NULL);
    r->time_type = alloc(r, op, b, COL_TIME_TYPE, type_simple(TYPE_INT), NULL);
    if (r->column_of[COL_HEADERS] >= 0) {
        r->headers = ARENA_ARRAY(op->arena, BATCH_ROWS, struct str);
        r->nheaders = ARENA_ARRAY(op->arena, BATCH_ROWS, int32_t);
    }
    return b;
}

/* Bytes after a zigzag varint of their length, -1 for null. */
static struct str bytes(struct rd *r)
{
    int64_t n = rd_varint(r);
    if (n < -1 || n > (int64_t)r->n)
        r->bad = true;
    return n < 0 ? (struct str){0} : rd_bytes(r, (size_t)n);
}

/* array<struct<key: string, value: binary>>, null where a record has none. */
static bool headers(struct kafka_rows *r, struct op *op, struct batch_cols *b)
{
    struct column *c = wanted(r, b, COL_HEADERS);
    if (!c)
        return true;
    uint32_t total = 0, at = 0;
    for (uint32_t i = 0; i < r->n; i++)
        total += (uint32_t)r->nheaders[i];
    const struct type *t = op->node->schema->fields[r->column_of[COL_HEADERS]].type;
    column_alloc(c, t, r->n, op->arena);
    uint8_t *valid = column_valid_alloc(c, r->n, op->arena);
    column_alloc(&c->children[0], t->fields[0].type, total, op->arena);
    struct column *key = &c->children[0].children[0], *value = &c->children[0].children[1];
    uint8_t *value_valid = column_valid_alloc(value, total ? total : 1, op->arena);
    for (uint32_t i = 0; i < r->n; i++) {
        struct rd in = rd_of(r->headers[i]);
        c->data.offsets[i] = at;
        valid[i] = r->nheaders[i] > 0;
        for (int32_t k = 0; k < r->nheaders[i]; k++, at++) {
            key->data.str[at] = bytes(&in);
            value->data.str[at] = bytes(&in);
            if (in.bad || !key->data.str[at].p)
                return false;
            value_valid[at] = value->data.str[at].p != NULL;
        }
    }
    c->data.offsets[r->n] = at;
    return true;
}

bool kafka_rows_end(struct kafka_rows *r, struct op *op, struct batch_cols *b, struct str topic, int32_t partition)
{
    b->n = r->n;
    for (int i = 0; i < b->schema->nfields; i++)
        b->cols[i].n = r->n;
    constant(r, op, b, COL_TOPIC, type_simple(TYPE_STRING), &topic, sizeof topic);
    constant(r, op, b, COL_PARTITION, type_simple(TYPE_INT), &partition, sizeof partition);
    return headers(r, op, b);
}
