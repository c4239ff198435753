#include "world.h"

#include "os/alloc_fault.h"
#include "os/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct world *W;

static void say(const char *fmt, va_list ap)
{
    char text[1000];
    alloc_fault_pause(); /* what is said must change nothing */
    int n = vsnprintf(text, sizeof text, fmt, ap);
    n = n < (int)sizeof text ? n : (int)sizeof text - 1;
    text[n] = '\n';
    if (!W->quiet && write(W->out, text, (size_t)n + 1) < 0)
        abort();
    alloc_fault_resume();
}

void world_say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

void world_wrong(const char *fmt, ...)
{
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    world_say("  wrong: %s", text);
    _exit(1);
}

void world_reset(void)
{
    for (int i = 0; i < W->ntopics; i++)
        for (int k = 0; k < W_PARTS; k++) {
            struct w_part *p = &W->topics[i].part[k];
            memset(p->at, 0, (size_t)p->end * sizeof *p->at);
        }
    for (int k = 0; k < W_PARTS; k++)
        memset(W->copied[k], 0, sizeof W->copied[k]);
    memset(W->copied_seen, 0, sizeof W->copied_seen);
    W->counted_seen = 0;
    for (int i = 0; i < W_QUERIES; i++) {
        W->query_starts += W->queries[i].started;
        W->query_failures += W->queries[i].failed;
    }
    memset(W->queries, 0, sizeof W->queries);
    W->ntopics = W->nattempts = 0;
    memset(W->producers, 0, sizeof W->producers);
    for (int i = 0; i < W_PRODUCERS; i++)
        W->producers[i].id = -1;
    W->rotten = false;
    W->image_n = W->hash = 0;
}

/* -- topics ---------------------------------------------------------------------------------------------------------- */

struct w_topic *world_topic(const char *name)
{
    for (int i = W->ntopics; i-- > 0;)
        if (W->topics[i].state != W_GONE && !strcmp(W->topics[i].name, name))
            return &W->topics[i];
    return NULL;
}

struct w_topic *world_topic_by_id(struct os_uuid id)
{
    for (int i = 0; i < W->ntopics; i++)
        if (!memcmp(W->topics[i].id.b, id.b, sizeof id.b))
            return &W->topics[i];
    return NULL;
}

bool world_pick(struct w_topic **t, int *part)
{
    int live[W_TOPICS], n = 0;
    for (int i = 0; i < W->ntopics; i++)
        if (W->topics[i].state == W_LIVE && W->topics[i].name[0] != 'q') /* q…: the queries' */
            live[n++] = i;
    if (!n)
        return false;
    *t = &W->topics[live[sim_random((uint64_t)n)]];
    *part = (int)sim_random((uint64_t)(*t)->parts);
    return true;
}

/* -- attempts ---------------------------------------------------------------------------------------------------------- */

int world_attempt(int producer, struct w_topic *t, int part)
{
    struct w_producer *p = &W->producers[producer];
    struct w_part *x = &t->part[part];
    int topic = (int)(t - W->topics);
    if (W->nattempts == W_ATTEMPTS || x->hw + 64 * W_RECORDS_MAX > W_OFFSETS)
        return -1;
    W->attempts[W->nattempts] = (struct w_attempt){
        .topic = topic,
        .part = part,
        .count = 1 + (int)sim_random(sim_random(4) ? 3 : W_RECORDS_MAX),
        .codec = sim_random(4) ? 0 : (int)sim_random(5),
        .producer = producer,
        .producer_id = p->id,
        .epoch = p->epoch,
        .seq = p->next_seq[topic][part],
        .ts = 1789990000000 + W->nattempts * 7 - (int64_t)sim_random(50), /* no clock's: it may be set back by hours */
        .base = -1,
        .before = x->last[producer],
    };
    p->next_seq[topic][part] += W->attempts[W->nattempts].count;
    x->last[producer] = W->nattempts + 1;
    return W->nattempts++;
}

/* "a ATTEMPT RECORD COUNT " and letters whose number and choice follow from the attempt. */
static size_t value_of(int number, int record, int count, char out[2048])
{
    size_t n = (size_t)snprintf(out, 2048, "a %d %d %d ", number, record, count);
    size_t fill = (size_t)((unsigned)(number * 2654435761u + (unsigned)record * 40503u) >> 5) % (number % 9 ? 60 : 900);
    for (size_t i = 0; i < fill; i++)
        out[n++] = (char)('a' + (number + record + (int)i * (number % 11)) % 26);
    return n;
}

void world_batch(int number, struct buf *out)
{
    const struct w_attempt *a = &W->attempts[number];
    struct batch_writer w;
    char value[2048];
    batch_begin(&w, out, a->ts, a->codec);
    w.producer_id = a->producer_id;
    w.producer_epoch = a->epoch;
    w.base_sequence = a->seq;
    for (int i = 0; i < a->count; i++) {
        size_t n = value_of(number, i, a->count, value);
        batch_record(&w, a->ts + i % 3, STR("key"), str_make(value, n), NULL, 0);
    }
    if (batch_end(&w, NULL))
        abort();
}

static const char *where(const struct w_attempt *a)
{
    static char text[40];
    snprintf(text, sizeof text, "%s-%d", W->topics[a->topic].name, a->part);
    return text;
}

/* The attempt stands at `base`: for the first time, or as before. */
static void placed(int number, int64_t base)
{
    struct w_attempt *a = &W->attempts[number];
    if (a->base >= 0 && a->base != base)
        world_wrong("attempt %d is in %s twice, or has moved: at %lld and at %lld", number, where(a),
                    (long long)a->base, (long long)base);
    if (a->base >= 0)
        return;
    a->base = base;
    for (int k = a->before; k; k = W->attempts[k - 1].before)
        if (W->attempts[k - 1].base >= 0) {
            if (W->attempts[k - 1].base >= base)
                world_wrong("producer %d: attempt %d stands at %lld in %s, the later attempt %d at %lld", a->producer,
                            k - 1, (long long)W->attempts[k - 1].base, where(a), number, (long long)base);
            break;
        }
}

void world_acked(int number, int64_t base)
{
    struct w_attempt *a = &W->attempts[number];
    struct w_part *p = &W->topics[a->topic].part[a->part];
    W->acks += !a->acked;
    a->acked = true;
    if (base < 0)
        return;
    placed(number, base);
    if (p->hw < base + a->count)
        p->hw = base + a->count;
}

/* -- what readers are told ------------------------------------------------------------------------------------------------ */

void world_told_hw(struct w_topic *t, int part, int64_t before, int64_t hw)
{
    struct w_part *p = &t->part[part];
    if (t->state != W_LIVE)
        return;
    if (hw < before && !W->rotten)
        world_wrong("the high watermark of %s-%d is %lld, before it was %lld", t->name, part, (long long)hw,
                    (long long)before);
    p->hw = hw > p->hw ? hw : p->hw;
}

static void check_record(struct w_topic *t, int part, const struct record *r, int64_t base, int index)
{
    int number, record, count;
    char head[64], want[2048];
    struct w_part *p = &t->part[part];
    W->records_checked++;
    snprintf(head, sizeof head, "%.*s", (int)(r->value.n < 63 ? r->value.n : 63), r->value.p ? r->value.p : "");
    if (sscanf(head, "a %d %d %d ", &number, &record, &count) != 3 || number < 0 || number >= W->nattempts)
        world_wrong("offset %lld of %s-%d holds what nobody wrote", (long long)r->offset, t->name, part);
    const struct w_attempt *a = &W->attempts[number];
    size_t n = value_of(number, index, a->count, want);
    if (a->topic != (int)(t - W->topics) || a->part != part || record != index || count != a->count ||
        !str_eq(r->value, str_make(want, n)))
        world_wrong("offset %lld of %s-%d: record %d of attempt %d is not as it was sent", (long long)r->offset,
                    t->name, part, record, number);
    placed(number, base);
    uint32_t mark = 1 + (uint32_t)(number * W_RECORDS_MAX + index);
    if (r->offset >= W_OFFSETS)
        world_wrong("offset %lld of %s-%d: nobody wrote so many", (long long)r->offset, t->name, part);
    if (p->at[r->offset] && p->at[r->offset] != mark)
        world_wrong("offset %lld of %s-%d was attempt %u and is attempt %d", (long long)r->offset, t->name, part,
                    (p->at[r->offset] - 1) / W_RECORDS_MAX, number);
    p->at[r->offset] = mark;
    p->end = r->offset + 1 > p->end ? r->offset + 1 : p->end;
}

static int64_t check_batch(struct w_topic *t, int part, const struct batch *b, int64_t next, struct arena *a)
{
    struct record_iter it;
    struct record r;
    bool got = true;
    if (!batch_crc_ok(b) && W->rotten)
        return -1;
    if (!batch_crc_ok(b))
        world_wrong("%s-%d serves a batch with a bad CRC at offset %lld", t->name, part, (long long)b->base_offset);
    if (records_begin(&it, b, a, 1 << 24, NULL))
        world_wrong("%s-%d: the batch at %lld cannot be read", t->name, part, (long long)b->base_offset);
    if (b->base_offset > next)
        world_wrong("%s-%d: offset %lld comes where %lld was asked for", t->name, part, (long long)b->base_offset,
                    (long long)next);
    for (int i = 0; records_next(&it, &r, &got, NULL) == ERR_OK && got; i++)
        if (r.offset >= next) {
            if (r.offset != next++)
                world_wrong("%s-%d: a gap before offset %lld", t->name, part, (long long)r.offset);
            check_record(t, part, &r, b->base_offset, i);
        }
    return next;
}

int64_t world_told_records(struct w_topic *t, int part, int64_t from, struct str bytes)
{
    struct arena *a = arena_new(0);
    struct batch b;
    for (; bytes.n && !batch_parse(bytes, &b, NULL); bytes = str_sub(bytes, b.all.n, bytes.n))
        if (b.base_offset + b.last_offset_delta >= from) {
            int64_t next = check_batch(t, part, &b, from, a);
            if (next < 0) { /* the reader sees that it is damaged, as Kafka's clients do */
                W->rots_seen++;
                break;
            }
            from = next;
        }
    arena_free(a);
    if (from > t->part[part].hw && t->state == W_LIVE)
        world_wrong("%s-%d serves offset %lld, its high watermark is %lld", t->name, part, (long long)from - 1,
                    (long long)t->part[part].hw);
    return from;
}

void world_all_there(struct w_topic *t, int part)
{
    struct w_part *p = &t->part[part];
    for (int i = 0; i < W->nattempts; i++) {
        const struct w_attempt *a = &W->attempts[i];
        if (a->topic != (int)(t - W->topics) || a->part != part || !a->acked)
            continue;
        if (a->base < 0 || a->base + a->count > p->end || p->at[a->base] != 1 + (uint32_t)(i * W_RECORDS_MAX)) {
            if (!W->rotten)
                world_wrong("attempt %d was acknowledged in %s-%d at %lld and is gone", i, t->name, part,
                            (long long)a->base);
        }
    }
}

/* -- a group's offsets -------------------------------------------------------------------------------------------------------- */

void world_committing(struct w_topic *t, int part, int64_t offset)
{
    struct w_part *p = &t->part[part];
    if (p->nmaybe == W_MAYBE) { /* the oldest is long decided */
        memmove(p->maybe, p->maybe + 1, (W_MAYBE - 1) * sizeof *p->maybe);
        p->nmaybe--;
    }
    p->maybe[p->nmaybe++] = offset;
}

void world_committed(struct w_topic *t, int part, int64_t offset)
{
    t->part[part].committed = offset;
}

void world_told_committed(struct w_topic *t, int part, int64_t offset, bool only_one_owner)
{
    struct w_part *p = &t->part[part];
    bool right = offset == p->committed;
    W->commits_checked++;
    for (int i = 0; i < p->nmaybe && !right; i++)
        right = p->maybe[i] == offset;
    if (!right && !W->rotten)
        world_wrong("the group's offset of %s-%d is %lld, committed was %lld", t->name, part, (long long)offset,
                    (long long)p->committed);
    if (offset > p->hw && !W->rotten)
        world_wrong("the group's offset of %s-%d is %lld, its end is %lld", t->name, part, (long long)offset,
                    (long long)p->hw);
    if (only_one_owner) { /* nothing can be under way any more: this is what it is */
        p->committed = offset;
        p->nmaybe = 0;
    }
}
