/*
 * The rate source: (timestamp, value) rows at a steady pace. Offsets are seconds since the query's first start, as in
 * Spark's RateStreamMicroBatchStream; the arithmetic of ramp-up is RateStreamProvider.valueAtSecond's.
 */
#include "source/source_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct rate {
    struct source base;
    int64_t per_second, ramp_up_s, partitions;
    bool partitions_given;
    int64_t created_ms; /* the first start: offset 0 */
};

static enum err number(const struct option *o, int n, const char *key, int64_t least, int64_t *out, bool *given,
                       struct fault *f)
{
    struct str v = option_get(o, n, key);
    if (given)
        *given = v.p != NULL;
    if (!v.p)
        return ERR_OK;
    if (!str_to_i64(str_trim(v), out) || *out < least)
        return source_option_fault(f, "Invalid value '%.*s'. The option '%s' must be %s", STR_ARG(v), key,
                                   least ? "positive" : "0 or more");
    return ERR_OK;
}

/* "5s", "2m"; a bare number is seconds. */
static enum err ramp(const struct option *o, int n, int64_t *out, struct fault *f)
{
    static const struct {
        const char *suffix;
        int64_t seconds;
    } units[] = {{"min", 60}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"", 1}};
    struct str v = str_trim(option_get(o, n, "rampUpTime"));
    if (!v.p)
        return ERR_OK;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct str suffix = str_of(units[i].suffix);
        if (str_ends(v, suffix) && str_to_i64(str_sub(v, 0, v.n - suffix.n), out) && *out >= 0 && *out < 1 << 30) {
            *out *= units[i].seconds;
            return ERR_OK;
        }
    }
    return source_option_fault(f, "Invalid value '%.*s'. The option 'rampUpTime' must not be negative", STR_ARG(v));
}

static enum err options(const struct option *o, int n, struct rate *out, struct fault *f)
{
    out->per_second = out->partitions = 1;
    enum err e = number(o, n, "rowsPerSecond", 1, &out->per_second, NULL, f);
    if (!e)
        e = number(o, n, "numPartitions", 1, &out->partitions, &out->partitions_given, f);
    return e ? e : ramp(o, n, &out->ramp_up_s, f);
}

static enum err schema(const struct option *o, int n, bool is_streaming, struct arena *a, const struct type **out,
                       struct fault *f)
{
    struct rate ignored = {0};
    enum err e = options(o, n, &ignored, f);
    if (!e && !is_streaming)
        return FAULT(f, ERR_UNSUPPORTED, {"feature", "reading the rate source as a batch"},
                     {"hint", "Use readStream."});
    struct field fields[] = {{.name = STR("timestamp"), .type = type_simple(TYPE_TIMESTAMP), .nullable = true},
                             {.name = STR("value"), .type = type_simple(TYPE_LONG), .nullable = true}};
    *out = type_struct(a, fields, 2);
    return e;
}

static enum err open_(const struct source_env *env, const struct plan_node *scan, bool is_streaming,
                      struct source **out, struct fault *f)
{
    struct rate *s = calloc(1, sizeof *s);
    (void)is_streaming;
    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "a rate source"});
    s->base = (struct source){&RATE_SOURCE, scan, *env, arena_new(0)};
    enum err e = options(scan->options, scan->noptions, s, f);
    if (e) {
        source_close(&s->base);
        return e;
    }
    *out = &s->base;
    return ERR_OK;
}

static void close_(struct source *base)
{
    free(base);
}

/* Rows made before second `s`: while ramping up the pace grows evenly, so that they are a triangle's. */
static int64_t value_at(const struct rate *r, int64_t s)
{
    int64_t delta = r->per_second / (r->ramp_up_s + 1), up = s < r->ramp_up_s ? s : r->ramp_up_s, n;
    int64_t triangle = up % 2 ? (up + 1) / 2 * delta * up : up / 2 * delta * (up + 1);
    return __builtin_mul_overflow(s - up, r->per_second, &n) ? INT64_MAX - triangle : triangle + n;
}

static enum err initial(struct source *base, int64_t now_ms, struct arena *a, struct str *offset, struct fault *f)
{
    (void)f;
    ((struct rate *)base)->created_ms = now_ms;
    *offset = arena_str(a, STR("0"));
    return ERR_OK;
}

static enum err seconds(struct str text, int64_t *out, struct fault *f)
{
    return str_to_i64(text, out) && *out >= 0 ? ERR_OK
                                              : FAULT(f, ERR_CORRUPT, {"what", "The checkpoint"},
                                                      {"detail", "a rate source's offset is not a number"});
}

static enum err latest(struct source *base, struct str start, struct str cap, int64_t now_ms, bool no_limit,
                       struct arena *a, struct str *end, struct str *latest_text, struct fault *f)
{
    struct rate *s = (struct rate *)base;
    int64_t from = 0, until = (now_ms - s->created_ms) / 1000, most = INT64_MAX;
    (void)no_limit;
    enum err e = seconds(start, &from, f);
    if (!e && cap.n)
        e = seconds(cap, &most, f);
    until = until > most ? most : until < from ? from : until;
    *end = *latest_text = arena_fmt(a, "%" PRId64, until);
    return e;
}

static int64_t watch(struct source *base, void (*wake)(void *arg), void *arg)
{
    (void)base, (void)wake, (void)arg;
    return 1000;
}

static int parts(struct source *base, struct str start, struct str end, int most, bool whole)
{
    (void)base, (void)start, (void)end, (void)most, (void)whole;
    return 1;
}

static struct str description(struct source *base, struct arena *a)
{
    struct rate *s = (struct rate *)base;
    char n[32];
    snprintf(n, sizeof n, s->partitions_given ? "%" PRId64 : "default", s->partitions);
    /* Spark's text lacks the bracket */
    return arena_fmt(a, "RateStreamV2[rowsPerSecond=%" PRId64 ", rampUpTimeSeconds=%" PRId64 ", numPartitions=%s",
                     s->per_second, s->ramp_up_s, n);
}

/* Spark keeps the creation time there, so that a restart goes on with the same clock. */
static void start_text(struct source *base, struct str initial_offset, struct buf *out)
{
    (void)initial_offset;
    buf_fmt(out, "v1\n%" PRId64, ((struct rate *)base)->created_ms);
}

static struct str restore(struct source *base, struct str text)
{
    int64_t ms;
    if (str_to_i64(text, &ms))
        ((struct rate *)base)->created_ms = ms;
    return STR("0");
}

/* -- rows ------------------------------------------------------------------------------------------------------------ */

struct reader {
    struct op op;
    int64_t value, end; /* row numbers */
    int64_t first, rows, start_us, length_us;
    int time_column, value_column;
};

static enum err next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct reader *r = (struct reader *)op;
    (void)f;
    *out = NULL;
    if (r->value >= r->end)
        return ERR_OK;
    arena_reset(op->arena);
    int64_t left = r->end - r->value;
    uint32_t n = left < BATCH_ROWS ? (uint32_t)left : BATCH_ROWS;
    struct batch_cols *b = ARENA_NEW(op->arena, struct batch_cols);
    b->schema = op->node->schema;
    b->n = n;
    b->cols = ARENA_ARRAY(op->arena, (size_t)b->schema->nfields + 1, struct column);
    for (int c = 0; c < b->schema->nfields; c++) {
        column_alloc(&b->cols[c], b->schema->fields[c].type, n, op->arena);
        for (uint32_t i = 0; i < n; i++) {
            int64_t at = r->value + i - r->first;
            /* spread over the range in whole milliseconds, as Spark rounds them */
            int64_t ms = (int64_t)((double)at * ((double)r->length_us / 1000.0 / (double)r->rows) + 0.5);
            b->cols[c].data.i64[i] = c == r->value_column ? r->value + i : r->start_us + ms * 1000;
        }
    }
    r->value += n;
    *out = b;
    return ERR_OK;
}

static const struct op_class READER = {"RateScan", next, NULL};

static enum err read_(struct source *base, struct str start, struct str end, const struct source_part *part,
                      const struct op_env *env, struct op **out, struct fault *f)
{
    struct rate *s = (struct rate *)base;
    int64_t from = 0, until = 0;
    enum err e = start.n ? seconds(start, &from, f) : ERR_OK;
    if (!e && end.n)
        e = seconds(end, &until, f);
    if (e)
        return e;
    struct reader *r = op_new(sizeof *r, &READER, base->scan, env, NULL);
    r->first = value_at(s, from);
    r->rows = value_at(s, until) - r->first;
    r->value = r->first + r->rows * part->i / part->n;
    r->end = r->first + r->rows * (part->i + 1) / part->n;
    r->start_us = (s->created_ms + from * 1000) * 1000;
    r->length_us = (until - from) * 1000000;
    r->time_column = r->value_column = -1;
    for (int i = 0; i < base->scan->schema->nfields; i++)
        *(base->scan->wanted[i] ? &r->value_column : &r->time_column) = i;
    *out = &r->op;
    return ERR_OK;
}

const struct source_class RATE_SOURCE = {
    .name = "rate",
    .provider = "RateStreamProvider",
    .schema = schema,
    .open = open_,
    .close = close_,
    .initial = initial,
    .latest = latest,
    .read = read_,
    .parts = parts,
    .watch = watch,
    .description = description,
    .start_text = start_text,
    .restore = restore,
};
