/*
 * The kafka source's place in a foreign cluster, and its reader.
 *
 *   source_latest ─▶ topics (kept for TOPICS_MS), ListOffsets ─▶ ends     follow ─▶ feeds: fetched ahead, a record wakes
 *   source_read   ─▶ whole partitions ─▶ foreign_reader: [from, until) ─▶ rows
 *
 * Rows are views into the client's messages, held until the next batch, as the log's are views into slices.
 * A topic made again under its name has no id that librdkafka 2.0 tells: what shows is what Spark sees too, an end before our offset.
 */
#include "source/source_int.h"

#include <inttypes.h>

enum { TOPICS_MS = 1000 };

/* -- the cluster ------------------------------------------------------------------------------------------------------------- */

enum err kafka_foreign_open(struct kafka_source *s, struct fault *f)
{
    const struct plan_node *scan = s->base.scan;
    enum err e = foreign_config(scan->options, scan->noptions, FOREIGN_SOURCE, s->base.arena, &s->config, f);
    return e ? e : foreign_open(s->config, s->base.env.cancelled, &s->foreign, f);
}

static void close_(struct kafka_source *s)
{
    foreign_close(s->foreign);
    s->foreign = NULL;
    if (s->asked)
        arena_free(s->asked);
    s->asked = NULL;
}

/* A source asks about the same topics all its life: its subscription's, or all. */
static enum err topics(struct kafka_source *s, const struct str *names, size_t n, struct arena *a,
                       struct kafka_topic **out, size_t *nout, struct fault *f)
{
    int64_t now = os_mono_ns();
    if (!s->asked || now - s->asked_ns > TOPICS_MS * INT64_C(1000000)) {
        struct arena *fresh = arena_new(0);
        struct foreign_topic *t;
        size_t found;
        enum err e = foreign_topics(s->foreign, names, n, fresh, &t, &found, f);
        if (e) {
            arena_free(fresh);
            return e;
        }
        if (s->asked)
            arena_free(s->asked);
        s->asked = fresh;
        s->ntopics = found;
        s->topics = ARENA_ARRAY(fresh, found + 1, struct kafka_topic);
        for (size_t i = 0; i < found; i++)
            s->topics[i] = (struct kafka_topic){t[i].name, t[i].partitions};
        s->asked_ns = now;
    }
    *out = ARENA_ARRAY(a, s->ntopics + 1, struct kafka_topic);
    *nout = s->ntopics;
    for (size_t i = 0; i < s->ntopics; i++)
        (*out)[i] = (struct kafka_topic){arena_str(a, s->topics[i].name), s->topics[i].partitions};
    return ERR_OK;
}

static enum err offsets(struct kafka_source *s, struct offsets *o, bool times, struct fault *f)
{
    struct arena *a = arena_new(0);
    struct foreign_offset *ask = ARENA_ARRAY(a, o->n + 1, struct foreign_offset);
    for (size_t i = 0; i < o->n; i++)
        ask[i] = (struct foreign_offset){o->p[i].topic, o->p[i].partition,
                                         times                         ? o->p[i].at
                                         : o->p[i].at == OFFSET_LATEST ? FOREIGN_LATEST
                                                                       : FOREIGN_EARLIEST,
                                         false};
    enum err e = foreign_offsets(s->foreign, ask, o->n, f);
    for (size_t i = 0; !e && i < o->n; i++) {
        o->p[i].at = ask[i].at;
        if (ask[i].gone) {
            s->asked_ns = INT64_MIN / 2; /* what we know of the topics is old */
            e = kafka_unknown_topic(o->p[i].topic, f);
        }
    }
    arena_free(a);
    return e;
}

static bool topic_id(struct kafka_source *s, struct str topic, struct os_uuid *id)
{
    (void)s, (void)topic, (void)id;
    return false;
}

static enum err follow(struct kafka_source *s, const struct offsets *all, const int64_t *from, struct fault *f)
{
    enum err e = ERR_OK;
    foreign_watch(s->foreign, s->wake, s->wake_arg);
    for (size_t i = 0; !e && i < all->n; i++)
        e = foreign_follow(s->foreign, all->p[i].topic, all->p[i].partition, from[i], f);
    return e;
}

static void unfollow(struct kafka_source *s)
{
    foreign_watch(s->foreign, NULL, NULL);
}

/* -- reading --------------------------------------------------------------------------------------------------------------------- */

struct reader {
    struct op op;
    struct kafka_source *source;
    struct arena *own; /* the ranges */
    struct kafka_range *ranges;
    size_t nranges, range;
    struct foreign_reader *reader; /* of the current range */
    struct foreign_reader *done;   /* of the one before, whose messages the last batch still shows */
    struct foreign_record records[BATCH_ROWS];
    struct kafka_rows rows;
};

static struct kafka_range *current(struct reader *r)
{
    return &r->ranges[r->range];
}

static void let_go(struct reader *r)
{
    if (r->done)
        foreign_reader_close(r->done);
    r->done = NULL;
}

/* What is left of the range begins where the partition begins now. */
static enum err skip_lost(struct reader *r, enum err which, struct fault *f)
{
    struct kafka_range *k = current(r);
    int64_t at = foreign_reader_at(r->reader);
    foreign_reader_close(r->reader);
    r->reader = NULL;
    if (r->source->options.fail_on_data_loss)
        return kafka_data_loss(f, which, k->topic, k->partition, at, k->until);
    struct foreign_offset o = {k->topic, k->partition, FOREIGN_EARLIEST, false};
    enum err e = foreign_offsets(r->source->foreign, &o, 1, f);
    int64_t next = o.gone || o.at <= at || o.at > k->until ? k->until : o.at;
    os_log(OS_WARN, "source", "%.*s-%d: offsets [%" PRId64 ", %" PRId64 ") are not there any more", STR_ARG(k->topic),
           k->partition, at, next);
    k->from = next;
    return e;
}

static void put_varint(struct buf *b, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    for (; z >= 0x80; z >>= 7)
        buf_u8(b, (uint8_t)(z | 0x80));
    buf_u8(b, (uint8_t)z);
}

/* As they stand in a record: one way to make columns of them. */
static enum err headers(struct reader *r, const struct foreign_record *from, struct fault *f)
{
    struct foreign_header *h = NULL;
    struct buf b = {.limit = BUF_ASKED};
    size_t n = foreign_headers(from, r->op.arena, &h);
    for (size_t i = 0; i < n; i++) {
        put_varint(&b, (int64_t)h[i].key.n);
        buf_str(&b, h[i].key);
        put_varint(&b, h[i].value.p ? (int64_t)h[i].value.n : -1);
        buf_str(&b, h[i].value.p ? h[i].value : STR(""));
    }
    r->rows.nheaders[r->rows.n] = (int32_t)n;
    r->rows.headers[r->rows.n] = arena_str(r->op.arena, buf_view(&b));
    bool bad = b.bad;
    buf_free(&b);
    return bad ? FAULT(f, ERR_NOMEM, {"what", "a record's headers"}) : ERR_OK;
}

static enum err row(struct reader *r, const struct foreign_record *from, struct fault *f)
{
    struct kafka_rows *o = &r->rows;
    uint32_t n = o->n;
    if (o->key) {
        o->key[n] = from->key;
        o->key_valid[n] = from->key.p != NULL;
    }
    if (o->value) {
        o->value[n] = from->value;
        o->value_valid[n] = from->value.p != NULL;
    }
    if (o->offset)
        o->offset[n] = from->offset;
    if (o->time && __builtin_mul_overflow(from->timestamp_ms, 1000, &o->time[n]))
        return kafka_bad_time(current(r)->topic, current(r)->partition, from->offset, from->timestamp_ms, f);
    if (o->time_type)
        o->time_type[n] = from->is_log_time;
    enum err e = o->headers ? headers(r, from, f) : ERR_OK;
    o->n++;
    return e;
}

/* Rows of the current range; none when it is done. */
static enum err fill(struct reader *r, struct fault *f)
{
    struct kafka_range *k = current(r);
    enum err e = ERR_OK;
    int n = 0;
    while (!e && !n && k->from < k->until) {
        if (!r->reader)
            e = foreign_read(r->source->foreign, k->topic, k->partition, k->from, k->until, &r->reader, f);
        if (!e)
            e = foreign_reader_next(r->reader, r->records, BATCH_ROWS, &n, f);
        if (r->reader && (e == ERR_KAFKA_LOSS_RANGE || e == ERR_KAFKA_LOSS_DELETED))
            e = skip_lost(r, e, f);
        else if (!e && !n)
            break;
    }
    for (int i = 0; !e && i < n; i++)
        e = row(r, &r->records[i], f);
    return e;
}

static void range_done(struct reader *r)
{
    r->done = r->reader;
    r->reader = NULL;
    r->range++;
}

/* A batch never spans two ranges: topic and partition are constants in it. */
static enum err next(struct op *op, struct batch_cols **out, struct fault *f)
{
    struct reader *r = (struct reader *)op;
    *out = NULL;
    let_go(r);
    while (r->range < r->nranges) {
        arena_reset(op->arena);
        struct batch_cols *b = kafka_rows_begin(&r->rows, op);
        enum err e = fill(r, f);
        if (e)
            return e;
        struct kafka_range *k = current(r);
        if (r->rows.n && !kafka_rows_end(&r->rows, op, b, k->topic, k->partition))
            return fault_internal(f, "a record's headers do not fit it");
        if (!r->rows.n || foreign_reader_at(r->reader) >= k->until)
            range_done(r);
        if (r->rows.n) {
            *out = b;
            return ERR_OK;
        }
        let_go(r);
    }
    return ERR_OK;
}

static void reader_close(struct op *op)
{
    struct reader *r = (struct reader *)op;
    let_go(r);
    if (r->reader)
        foreign_reader_close(r->reader);
    arena_free(r->own);
}

static const struct op_class READER = {"KafkaScan", next, reader_close};

static enum err reader(struct kafka_source *s, const struct kafka_range *ranges, size_t n, const struct op_env *env,
                       struct op **out, struct fault *f)
{
    struct reader *r = op_new(sizeof *r, &READER, s->base.scan, env, NULL);
    (void)f;
    r->source = s;
    r->own = arena_new(0);
    r->ranges = ARENA_ARRAY(r->own, n + 1, struct kafka_range);
    r->nranges = n;
    for (size_t i = 0; i < n; i++) {
        r->ranges[i] = ranges[i];
        r->ranges[i].topic = arena_str(r->own, ranges[i].topic);
    }
    kafka_rows_init(&r->rows, s->base.scan);
    *out = &r->op;
    return ERR_OK;
}

const struct kafka_place KAFKA_FOREIGN = {
    .close = close_,
    .topics = topics,
    .offsets = offsets,
    .topic_id = topic_id,
    .reader = reader,
    .follow = follow,
    .unfollow = unfollow,
};
