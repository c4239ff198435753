#include "truth.h"

#include "os/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int complaints;

__attribute__((format(printf, 2, 3))) static void complain(const struct truth *t, const char *fmt, ...)
{
    va_list ap;
    complaints++;
    if (t->quiet || complaints > 10)
        return;
    va_start(ap, fmt);
    fprintf(stderr, "  ");
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

/* "a ATTEMPT RECORD COUNT " and a filler whose length and letters follow from the attempt. */
static size_t value_of(int number, int record, int count, char out[4096])
{
    size_t n = (size_t)snprintf(out, 4096, "a %d %d %d ", number, record, count);
    size_t fill =
        (size_t)((unsigned)(number * 2654435761u + (unsigned)record * 40503u) >> 5) % (number % 7 ? 200 : 1400);
    for (size_t i = 0; i < fill; i++)
        out[n++] = (char)('a' + (number + record + (int)i * (number % 11)) % 26);
    return n;
}

void truth_batch(const struct t_attempt *a, int number, int64_t producer_id, struct buf *out)
{
    struct batch_writer w;
    char value[4096];
    batch_begin(&w, out, a->ts, a->codec);
    if (a->producer >= 0) {
        w.producer_id = producer_id;
        w.producer_epoch = 0;
        w.base_sequence = a->seq;
    }
    if (a->txn) {
        w.producer_id = producer_id;
        w.producer_epoch = a->epoch;
        w.base_sequence = a->seq;
        w.flags = BATCH_TRANSACTIONAL;
    }
    for (int i = 0; i < a->count; i++) {
        size_t n = value_of(number, i, a->count, value);
        batch_record(&w, a->ts + i % 3, STR("key"), str_make(value, n), NULL, 0);
    }
    if (batch_end(&w, NULL))
        abort();
}

/* -- one partition --------------------------------------------------------------------------------------------------------- */

struct walk {
    struct truth *t;
    int topic, part;
    int64_t next, start;
    int64_t *found;  /* per attempt: base offset + 1 where it was found */
    bool *committed; /* per attempt: read_committed has it */
    struct arena *a;
    struct {
        int64_t *p;
        size_t n, cap;
    } times; /* per record */
};

static void check_value(struct walk *w, const struct record *r, int64_t base, int index)
{
    int number, record, count;
    char head[64], want[4096];
    snprintf(head, sizeof head, "%.*s", (int)(r->value.n < 63 ? r->value.n : 63), r->value.p ? r->value.p : "");
    if (sscanf(head, "a %d %d %d ", &number, &record, &count) != 3 || number < 0 || number >= w->t->nattempts) {
        complain(w->t, "offset %lld holds what nobody wrote", (long long)r->offset);
        return;
    }
    const struct t_attempt *a = &w->t->attempts[number];
    size_t n = value_of(number, index, a->count, want);
    if (a->topic != w->topic || a->part != w->part || record != index || count != a->count ||
        !str_eq(r->value, str_make(want, n)))
        complain(w->t, "offset %lld: record %d of attempt %d is not as it was sent", (long long)r->offset, record,
                 number);
    if (index)
        return;
    if (w->found[number])
        complain(w->t, "attempt %d is there twice: at %lld and %lld", number, (long long)w->found[number] - 1,
                 (long long)base);
    w->found[number] = base + 1;
}

static void walk_batch(struct walk *w, const struct batch *b)
{
    struct record_iter it;
    struct record r;
    bool got = true;
    if (!batch_crc_ok(b))
        complain(w->t, "a bad CRC at offset %lld", (long long)b->base_offset);
    if (records_begin(&it, b, w->a, 1 << 24, NULL)) {
        complain(w->t, "a batch at %lld cannot be read", (long long)b->base_offset);
        return;
    }
    for (int i = 0; records_next(&it, &r, &got, NULL) == ERR_OK && got; i++) {
        if (!(b->attributes & BATCH_CONTROL))
            check_value(w, &r, b->base_offset, i);
        if (r.offset < w->start) /* deleted in the middle of a batch */
            continue;
        if (r.offset != w->next)
            complain(w->t, "offset %lld where %lld was expected", (long long)r.offset, (long long)w->next);
        w->next = r.offset + 1;
        if (w->times.n == w->times.cap) {
            w->times.cap = w->times.cap ? w->times.cap * 2 : 64;
            if (!(w->times.p = realloc(w->times.p, w->times.cap * sizeof *w->times.p)))
                abort();
        }
        w->times.p[w->times.n++] = r.timestamp_ms;
        w->t->recovered_records++;
    }
}

static void walk_partition(struct walk *w, struct log_partition *p)
{
    struct log_slice *s;
    for (;;) {
        enum log_status status = log_read(p, w->next, 1 + sim_random(20000), true, 0, &s);
        if (status)
            complain(w->t, "reading at %lld: status %d", (long long)w->next, status);
        if (status || !s)
            break;
        struct str rest = log_slice_bytes(s);
        struct batch b;
        while (rest.n && !batch_parse(rest, &b, NULL)) {
            if (b.base_offset + b.last_offset_delta >= w->next)
                walk_batch(w, &b);
            rest = str_sub(rest, b.all.n, rest.n);
        }
        if (rest.n)
            complain(w->t, "a slice at %lld ends in the middle of a batch", (long long)w->next);
        log_slice_release(s);
        arena_reset(w->a);
    }
}

/* -- read_committed, filtered as Kafka's consumers do ------------------------------------------------------------------------- */

struct abort_list {
    struct log_aborted *p;
    size_t n;
    bool *live; /* its first offset was reached, its marker was not */
};

static bool is_void(struct abort_list *list, const struct batch *b)
{
    bool any = false;
    struct batch_marker m;
    for (size_t i = 0; i < list->n; i++) {
        if (list->p[i].producer_id != b->producer_id)
            continue;
        list->live[i] = list->live[i] || (list->p[i].first_offset >= 0 && b->base_offset >= list->p[i].first_offset);
        any = any || list->live[i];
        if (list->live[i] && batch_marker_parse(b, &m) && !m.commit) {
            list->live[i] = false;
            list->p[i].first_offset = -1;
        }
    }
    return any;
}

static void note_committed(struct walk *w, const struct batch *b)
{
    struct record_iter it;
    struct record r;
    bool got = false;
    int number;
    if (records_begin(&it, b, w->a, 1 << 24, NULL) || records_next(&it, &r, &got, NULL) || !got)
        return;
    char head[64];
    snprintf(head, sizeof head, "%.*s", (int)(r.value.n < 63 ? r.value.n : 63), r.value.p ? r.value.p : "");
    if (sscanf(head, "a %d", &number) == 1 && number >= 0 && number < w->t->nattempts)
        w->committed[number] = true;
}

static void walk_committed(struct walk *w, struct log_partition *p)
{
    int64_t next = w->start;
    struct log_slice *s;
    struct batch b;
    while (!log_read(p, next, 1 + sim_random(20000), true, LOG_READ_COMMITTED, &s) && s) {
        struct str all = log_slice_bytes(s), rest;
        struct abort_list list = {0};
        int64_t to = next;
        for (rest = all; rest.n && !batch_parse(rest, &b, NULL); rest = str_sub(rest, b.all.n, rest.n))
            to = b.base_offset + b.last_offset_delta + 1;
        if (log_aborted(p, next, to, w->a, &list.p, &list.n))
            complain(w->t, "no list of what was aborted in [%lld, %lld)", (long long)next, (long long)to);
        list.live = ARENA_ARRAY(w->a, list.n + 1, bool);
        memset(list.live, 0, list.n);
        for (rest = all; rest.n && !batch_parse(rest, &b, NULL); rest = str_sub(rest, b.all.n, rest.n))
            if (!is_void(&list, &b) && !(b.attributes & BATCH_CONTROL))
                note_committed(w, &b);
        log_slice_release(s);
        arena_reset(w->a);
        next = to;
    }
    w->t->topics[w->topic].stable[w->part] = log_partition_offsets(p).last_stable;
}

/* It may lie below the log's start; where, nobody knows when neither an answer nor a check has told. */
static bool may_be_deleted(const struct truth *t, const struct t_attempt *a)
{
    const struct t_topic *x = &t->topics[a->topic];
    int64_t start = x->start_told[a->part], base = a->acked ? a->base : a->found - 1;
    return start > 0 && (base < 0 || base + a->count <= start);
}

static void check_txn(struct truth *t, int number, const int64_t *found, const bool *committed)
{
    const struct t_txn *x = &t->txns[number];
    bool commit = x->commit && x->decision >= 0 && found[x->decision];
    for (int i = 0; i < x->n; i++) {
        const struct t_attempt *a = &t->attempts[x->attempts[i]];
        if (t->topics[a->topic].state != LIVE)
            continue;
        bool deleted = !found[x->attempts[i]] && may_be_deleted(t, a);
        if (deleted)
            continue;
        if (commit && a->sent && !found[x->attempts[i]])
            complain(t, "attempt %d is gone, the commit of its transaction %d is not", x->attempts[i], number);
        if (!commit && committed[x->attempts[i]])
            complain(t, "attempt %d of the aborted transaction %d is seen by read_committed", x->attempts[i], number);
        bool stable = found[x->attempts[i]] <= t->topics[a->topic].stable[a->part]; /* else another one holds it back */
        if (commit && a->sent && x->state == TXN_DONE && stable && !committed[x->attempts[i]])
            complain(t, "attempt %d of the committed transaction %d is not seen", x->attempts[i], number);
        t->checked_commits_of_txns += commit;
        t->checked_aborts_of_txns += !commit;
    }
}

/* Does a transaction that has not ended reach into this partition? */
static bool undecided(const struct truth *t, int topic, int part)
{
    for (int i = 0; i < t->ntxns; i++)
        for (int k = 0; t->txns[i].state != TXN_DONE && k < t->txns[i].n; k++) {
            const struct t_attempt *a = &t->attempts[t->txns[i].attempts[k]];
            if (a->topic == topic && a->part == part)
                return true;
        }
    return false;
}

/* ListOffsets by timestamp against what the walk saw. */
static void check_times(struct walk *w, struct log_partition *p)
{
    for (int i = 0; i < 12 && w->times.n; i++) {
        int64_t ts = w->times.p[sim_random(w->times.n)] + (int64_t)sim_random(3) - 1, offset, found, want = -1;
        for (size_t k = 0; k < w->times.n && want < 0; k++)
            if (w->times.p[k] >= ts)
                want = w->start + (int64_t)k;
        enum log_status status = log_offset_for_time(p, ts, &offset, &found);
        if (status || offset != want)
            complain(w->t, "the first offset at or after %lld is %lld, not %lld (status %d)", (long long)ts,
                     (long long)want, (long long)offset, status);
    }
}

static void check_start(struct truth *t, struct t_topic *x, int part, int64_t start)
{
    if (start < x->start_told[part])
        complain(t, "%s-%d begins at %lld, told was %lld", x->name, part, (long long)start,
                 (long long)x->start_told[part]);
    if (start > x->start_tried[part] && start > x->start_told[part] && !x->expires)
        complain(t, "%s-%d begins at %lld, and nobody deleted above %lld", x->name, part, (long long)start,
                 (long long)x->start_tried[part]);
    x->start_told[part] = x->start_tried[part] = start;
}

static void check_partition(struct truth *t, struct log *l, int topic, int part, int64_t *found, bool *committed)
{
    struct t_topic *x = &t->topics[topic];
    struct log_partition *p = log_partition(l, str_of(x->name), part);
    if (!p) {
        if (part < x->parts)
            complain(t, "%s-%d is gone", x->name, part);
        return;
    }
    struct log_offsets o = log_partition_offsets(p);
    struct walk w = {.t = t,
                     .topic = topic,
                     .part = part,
                     .next = o.log_start,
                     .start = o.log_start,
                     .found = found,
                     .committed = committed,
                     .a = arena_new(0)};
    check_start(t, x, part, o.log_start);
    walk_partition(&w, p);
    walk_committed(&w, p);
    if (w.next != o.high_watermark || o.log_end != o.high_watermark)
        complain(t, "%s-%d reads up to %lld, its high watermark is %lld", x->name, part, (long long)w.next,
                 (long long)o.high_watermark);
    if (w.next < x->seen[part])
        complain(t, "%s-%d ends at %lld, a reader had seen %lld", x->name, part, (long long)w.next,
                 (long long)x->seen[part]);
    if (o.last_stable != o.high_watermark && !undecided(t, topic, part))
        complain(t, "%s-%d is stable up to %lld, and no transaction holds it back from %lld", x->name, part,
                 (long long)o.last_stable, (long long)o.high_watermark);
    if (w.next < x->walked[part])
        complain(t, "%s-%d ends at %lld, the check before had read up to %lld", x->name, part, (long long)w.next,
                 (long long)x->walked[part]);
    x->walked[part] = w.next;
    check_times(&w, p);
    free(w.times.p);
    arena_free(w.a);
    log_partition_release(p);
}

/* -- everything ---------------------------------------------------------------------------------------------------------------- */

static void check_topic(struct truth *t, struct log *l, int i, int64_t *found, bool *committed, struct arena *a)
{
    struct t_topic *x = &t->topics[i];
    struct log_topic topic;
    bool there = log_topic_get(l, str_of(x->name), a, &topic);
    if (there && x->state == CREATING && i == t->ntopics - 1) { /* the answer was lost, the topic is not: or it is */
        bool mine = true;
        for (int k = 0; k < i; k++)
            mine = mine && memcmp(t->topics[k].id.b, topic.id.b, 16) != 0;
        if (mine) {
            x->id = topic.id;
            x->state = LIVE;
            x->parts = topic.partitions;
        }
    }
    there = there && !memcmp(topic.id.b, x->id.b, 16);
    if (x->state == CREATING)
        x->state = DELETED; /* it never was */
    else if (x->state == DELETED && there)
        complain(t, "the deleted topic %s is back", x->name);
    else if (x->state == LIVE && !there)
        complain(t, "topic %s is gone", x->name);
    else if (x->state == DELETING) {
        x->state = there ? LIVE : DELETED;
        x->offsets_may_go = true; /* they go first: they may be gone though the topic is not */
    }
    if (x->state != LIVE || !there)
        return;
    if (topic.partitions < x->parts || topic.partitions > x->parts_tried)
        complain(t, "topic %s has %d partitions, told were %d", x->name, topic.partitions, x->parts);
    x->parts = topic.partitions;
    for (int part = 0; part < x->parts; part++)
        check_partition(t, l, i, part, found, committed);
}

static void check_facts(struct truth *t, struct log *l, struct arena *a)
{
    for (int i = 0; i < FACTS; i++) {
        char key[32];
        struct str value;
        int64_t version = 0;
        snprintf(key, sizeof key, "fact-%d", i);
        if (log_fact_get(l, str_of(key), a, &value) && !str_to_i64(value, &version))
            complain(t, "%s is not a number", key);
        if (version < t->facts_acked[i] || version > t->facts_tried[i])
            complain(t, "%s is %lld, told was %d", key, (long long)version, t->facts_acked[i]);
        t->facts_acked[i] = t->facts_tried[i] = (int)version;
    }
}

int truth_check(struct truth *t, struct log *l)
{
    struct arena *a = arena_new(0);
    int64_t *found = calloc(ATTEMPTS, sizeof *found);
    bool *committed = calloc(ATTEMPTS, sizeof *committed);
    if (!found || !committed)
        abort();
    complaints = 0;
    for (int i = 0; i < t->ntopics; i++)
        check_topic(t, l, i, found, committed, a);
    for (int i = 0; i < t->ntxns; i++)
        check_txn(t, i, found, committed);
    for (int i = 0; i < t->nattempts; i++) {
        struct t_attempt *x = &t->attempts[i];
        x->there = found[i] != 0;
        if (t->topics[x->topic].state != LIVE)
            continue;
        if (found[i] && x->found && found[i] != x->found)
            complain(t, "attempt %d was at %lld and is at %lld", i, (long long)x->found - 1, (long long)found[i] - 1);
        x->found = found[i] ? found[i] : x->found;
        if (!x->acked)
            continue;
        if (!found[i] && may_be_deleted(t, x)) {
            t->deleted++;
            continue;
        }
        t->checked_acks++;
        if (!found[i])
            complain(t, "attempt %d was acknowledged at %s-%d offset %lld and is gone", i, t->topics[x->topic].name,
                     x->part, (long long)x->base);
        else if (found[i] - 1 != x->base)
            complain(t, "attempt %d was acknowledged at offset %lld and is at %lld", i, (long long)x->base,
                     (long long)found[i] - 1);
        else if (!x->txn && !committed[i] && x->base < t->topics[x->topic].stable[x->part])
            complain(t, "attempt %d is not seen by read_committed", i);
    }
    check_facts(t, l, a);
    free(found);
    free(committed);
    arena_free(a);
    return complaints;
}

/* What OffsetFetch says of one partition; -1: nothing. */
static int64_t committed(struct port *p, const struct t_topic *x, int part)
{
    struct arena *a = arena_new(0);
    struct kafka_offset_fetch_request *q = KAFKA_NEW(a, offset_fetch_request);
    struct kafka_offset_fetch_response r;
    q->groups.p = KAFKA_ARRAY(a, offset_fetch_group, 1);
    q->groups.n = 1;
    q->groups.p->group_id = TRUTH_GROUP;
    q->groups.p->topics.p = KAFKA_ARRAY(a, offset_fetch_topic, 1);
    q->groups.p->topics.n = 1;
    q->groups.p->topics.p->topic_id = x->id;
    q->groups.p->topics.p->partition_indexes.p = &(int32_t){part};
    q->groups.p->topics.p->partition_indexes.n = 1;
    port_call(p, KAFKA_offset_fetch, 10, q, a, &r);
    int64_t offset = -2;
    if (r.groups.n == 1 && !r.groups.p->error_code && r.groups.p->topics.n == 1 &&
        r.groups.p->topics.p->partitions.n == 1 && !r.groups.p->topics.p->partitions.p->error_code)
        offset = r.groups.p->topics.p->partitions.p->committed_offset;
    arena_free(a);
    return offset;
}

int truth_check_offsets(struct truth *t, struct port *p)
{
    complaints = 0;
    for (int i = 0; i < t->ntopics; i++)
        for (int part = 0; t->topics[i].state == LIVE && part < t->topics[i].parts; part++) {
            struct t_topic *x = &t->topics[i];
            int64_t offset = committed(p, x, part);
            bool forgotten = offset == -1 && x->offsets_may_go;
            if (offset != x->commit_acked[part] && offset != x->commit_tried[part] && !forgotten)
                complain(t, "the group's offset of %s-%d is %lld, committed was %lld (tried: %lld)", x->name, part,
                         (long long)offset, (long long)x->commit_acked[part], (long long)x->commit_tried[part]);
            x->commit_acked[part] = x->commit_tried[part] = offset;
            t->checked_commits++;
        }
    for (int i = 0; i < t->ntopics; i++)
        t->topics[i].offsets_may_go = false;
    return complaints;
}
