/*
 * Fetch: read what is there; if that is less than min_bytes, wait until a partition moves or max_wait has passed, then read
 * again. Reading tries the page cache first; a cold read moves the whole request to a thread that may block.
 *
 *   handle_fetch ─▶ session_plan ─▶ attempt ─┬─ enough, an error, or no time ─▶ answer
 *                                            └─ watch partitions, alarm ─▶ fetch_wake ─▶ (connection's thread) attempt …
 *
 * A waiting fetch is named by its watches, its alarm and its connection; whoever fires first posts the next attempt.
 */
#include "broker/broker_int.h"

#include "base/memory.h"
#include "log/batch.h"

struct fetch {
    struct request *rq;
    struct fetch_plan plan;
    struct log_partition **partitions; /* per part; NULL where it does not exist */
    struct log_watch **watches;
    struct alarm alarm;
    int64_t deadline_ns;
    atomic_int refs;
    atomic_int gate; /* enum gate */
    bool cold;       /* on a thread that may block */
    bool waiting;
    size_t nheld; /* partitions to release */
};

/* A wait is armed in several steps while wakers may already come; whoever turns ARMED into FIRED posts the next attempt. */
enum gate { FIRED, ARMING, PENDING, ARMED };

static void attempt(void *arg);

void fetch_ref(struct fetch *f)
{
    atomic_fetch_add(&f->refs, 1);
}

/* The struct outlives its request: a late waker may still hold it. */
__attribute__((noinline)) void fetch_release(struct fetch *f)
{
    if (atomic_fetch_sub(&f->refs, 1) == 1)
        free(f);
}

/* -- one read of everything -------------------------------------------------------------------------------------- */
static void set_error(struct fetch_part *p, int16_t code)
{
    p->got.error_code = code;
    p->got.high_watermark = p->seen = -1;
    p->got.last_stable_offset = -1;
    p->got.log_start_offset = -1;
    p->got.aborted_transactions.n = -1;
}

static int16_t check_epoch(const struct fetch_part *p, const struct log_offsets *o)
{
    int32_t epoch = p->want.current_leader_epoch;

    if (epoch < 0 || epoch == o->leader_epoch)
        return KAFKA_E_NONE;
    return epoch < o->leader_epoch ? KAFKA_E_FENCED_LEADER_EPOCH : KAFKA_E_UNKNOWN_LEADER_EPOCH;
}

/* Whether the follower's log left ours: it knows a later epoch, or more of this one than we have (KIP-595). */
static bool diverges(struct fetch_part *p, const struct log_offsets *o)
{
    if (p->want.last_fetched_epoch < 0)
        return false;
    if (p->want.last_fetched_epoch <= o->leader_epoch && p->want.fetch_offset <= o->log_end)
        return false;
    p->got.diverging_epoch.epoch = o->leader_epoch;
    p->got.diverging_epoch.end_offset = o->log_end;
    return true;
}

/* The end of the batches in the slice. */
static int64_t slice_end(const struct log_slice *slice, int64_t from)
{
    struct str rest = log_slice_bytes(slice);
    struct batch b;

    while (rest.n && !batch_parse(rest, &b, NULL)) {
        from = b.base_offset + b.last_offset_delta + 1;
        rest = str_make(rest.p + b.all.n, rest.n - b.all.n);
    }
    return from;
}

/* Which transactions of what was read were aborted. */
static enum log_status list_aborted(struct log_partition *partition, struct fetch_part *p, struct arena *a)
{
    struct log_aborted *list;
    size_t n;
    enum log_status s =
        log_aborted(partition, p->want.fetch_offset, slice_end(p->slice, p->want.fetch_offset), a, &list, &n);

    if (s != LOG_OK) {
        log_slice_release(p->slice);
        p->slice = NULL;
        return s;
    }
    p->got.aborted_transactions.n = (int32_t)n;
    p->got.aborted_transactions.p = KAFKA_ARRAY(a, fetch_aborted, n);
    for (size_t i = 0; i < n; i++)
        p->got.aborted_transactions.p[i] = (struct kafka_fetch_aborted){list[i].producer_id, list[i].first_offset};
    return LOG_OK;
}

/* Reads one part within `room` bytes. False: the disk would have to be read. */
static bool read_part(struct fetch *f, size_t i, size_t *room, bool *first)
{
    const struct kafka_fetch_request *q = f->rq->body;
    struct fetch_part *p = &f->plan.parts[i];
    size_t most = p->want.partition_max_bytes > 0 ? (size_t)p->want.partition_max_bytes : 0;
    struct log_offsets o;
    enum log_status status = LOG_OK;
    unsigned flags;
    int16_t error;

    kafka_defaults(kafka_shape_fetch_partition_response(), &p->got);
    p->got.partition_index = p->partition;
    p->got.aborted_transactions.n = q->isolation_level ? 0 : -1;
    if (!f->partitions[i]) {
        set_error(p,
                  f->rq->version >= 13 && !p->topic.p ? KAFKA_E_UNKNOWN_TOPIC_ID : KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION);
        p->got.aborted_transactions.n = 0;
        return true;
    }
    o = log_partition_offsets(f->partitions[i]);
    error = o.deleted ? KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION : check_epoch(p, &o);
    if (!error && (p->want.fetch_offset < o.log_start || p->want.fetch_offset > o.log_end))
        error = KAFKA_E_OFFSET_OUT_OF_RANGE;
    if (error) {
        set_error(p, error);
        return true;
    }
    p->got.high_watermark = p->seen = o.high_watermark;
    p->got.last_stable_offset = o.last_stable;
    p->got.log_start_offset = o.log_start;
    most = most < *room ? most : *room;
    if (diverges(p, &o) || p->want.fetch_offset >= (q->isolation_level ? o.last_stable : o.high_watermark) ||
        (most == 0 && !*first))
        return true;
    flags = (f->cold ? 0 : LOG_READ_NOWAIT) | (q->isolation_level ? LOG_READ_COMMITTED : 0);
    status = log_read(f->partitions[i], p->want.fetch_offset, most, *first, flags, &p->slice);
    if (status == LOG_AGAIN)
        return false;
    if (status == LOG_OK && p->slice && q->isolation_level)
        status = list_aborted(f->partitions[i], p, f->rq->arena);
    if (status != LOG_OK)
        set_error(p, (int16_t)status);
    else if (p->slice) {
        size_t n = log_slice_bytes(p->slice).n;

        *first = false;
        *room -= n < *room ? n : *room;
        o = log_partition_offsets(f->partitions[i]); /* what was read may lie above the marks that were taken before */
        p->got.high_watermark = o.high_watermark;
        p->got.last_stable_offset = o.last_stable;
    }
    return true;
}

static void drop_slices(struct fetch *f)
{
    for (size_t i = 0; i < f->plan.nparts; i++) {
        if (f->plan.parts[i].slice)
            log_slice_release(f->plan.parts[i].slice);
        f->plan.parts[i].slice = NULL;
    }
}

/* *bytes: what was read; *settled: an error or divergence, which is told at once. False: cold. */
static bool read_all(struct fetch *f, size_t *bytes, bool *settled)
{
    const struct kafka_fetch_request *q = f->rq->body;
    size_t room = q->max_bytes > 0 ? (size_t)q->max_bytes : 0;
    bool first = true;

    *bytes = 0;
    *settled = false;
    room = room < LIMIT_FETCH_BYTES ? room : LIMIT_FETCH_BYTES;
    if (budget_short(
            BUDGET_OUTPUT)) { /* answers that nobody reads fill the memory: small ones now, none at the end of it */
        size_t some = budget_left(BUDGET_OUTPUT) / 64;

        room = room < some ? room : some;
        first = some >= BUDGET_SMALL;
    }
    for (size_t i = 0; i < f->plan.nparts; i++) {
        struct fetch_part *p = &f->plan.parts[i];

        if (!read_part(f, i, &room, &first)) {
            drop_slices(f);
            return false;
        }
        if (p->slice)
            *bytes += log_slice_bytes(p->slice).n;
        if (p->got.error_code || p->got.diverging_epoch.epoch >= 0)
            *settled = true;
    }
    return true;
}

/* -- the answer -------------------------------------------------------------------------------------------------- */
static bool same_topic(const struct fetch_part *a, const struct fetch_part *b, bool by_id)
{
    return by_id ? memcmp(a->topic_id.b, b->topic_id.b, 16) == 0 : str_eq(a->topic, b->topic);
}

/* Parts that follow each other and share a topic become one topic of the answer. */
static void build(struct fetch *f, const bool *keep, struct kafka_fetch_response *r, struct log_slice **slices)
{
    struct arena *a = f->rq->arena;
    bool by_id = f->rq->version >= 13;
    struct fetch_part *last = NULL;
    struct kafka_fetch_topic_response *t = NULL;
    struct kafka_fetch_partition_response *all = KAFKA_ARRAY(a, fetch_partition_response, f->plan.nparts);
    size_t nslices = 0;

    r->responses.p = KAFKA_ARRAY(a, fetch_topic_response, f->plan.nparts);
    for (size_t i = 0; i < f->plan.nparts; i++) {
        struct fetch_part *p = &f->plan.parts[i];

        if (!keep[i])
            continue;
        if (!last || !same_topic(last, p, by_id)) {
            t = &r->responses.p[r->responses.n++];
            t->topic = p->topic;
            t->topic_id = p->topic_id;
            t->partitions.p = all;
        }
        last = p;
        p->got.records = STR("");
        if (p->slice) {
            p->got.records = log_slice_bytes(p->slice);
            slices[nslices++] = p->slice;
            p->slice = NULL;
        }
        *all++ = p->got;
        t->partitions.n++;
    }
}

static void answer(struct fetch *f)
{
    struct request *rq = f->rq;
    struct kafka_fetch_response *r = KAFKA_NEW(rq->arena, fetch_response);
    struct log_slice **slices = ARENA_ARRAY(rq->arena, f->plan.nparts + 1, struct log_slice *);
    bool *keep = ARENA_ARRAY(rq->arena, f->plan.nparts + 1, bool);

    r->error_code = f->plan.error;
    r->session_id = f->plan.session_id;
    session_filter(rq->b, &f->plan, keep);
    build(f, keep, r, slices);
    drop_slices(f);
    for (size_t i = 0; i < f->nheld; i++)
        if (f->partitions[i])
            log_partition_release(f->partitions[i]);
    request_reply_slices(rq, r, slices, 0);
    fetch_release(f);
}

/* -- waiting ----------------------------------------------------------------------------------------------------- */
static void next_attempt(void *arg)
{
    struct fetch *f = arg;

    attempt(f);
    fetch_release(f);
}

static void fire(struct fetch *f)
{
    fetch_ref(f); /* the attempt's */
    conn_run(f->rq->conn, next_attempt, f);
}

/* From the committer, the timer or the connection's end. */
void fetch_wake(struct fetch *f)
{
    int gate = ARMED;

    if (atomic_compare_exchange_strong(&f->gate, &gate, FIRED)) {
        fire(f);
        return;
    }
    gate = ARMING;
    if (!atomic_compare_exchange_strong(&f->gate, &gate, PENDING) && gate == ARMED)
        fetch_wake(f); /* it was armed between the two looks */
}

static void watched(void *arg)
{
    fetch_wake(arg);
}

static void alarmed(void *arg)
{
    struct fetch *f = arg;

    fetch_wake(f);
    fetch_release(f); /* the alarm's */
}

/* False: the connection is gone. */
static bool join_waiters(struct fetch *f)
{
    struct broker_conn *c = f->rq->conn;
    bool open;

    os_mutex_lock(c->lock);
    open = !c->closed;
    if (open)
        vec_push(&c->waiting, f);
    os_mutex_unlock(c->lock);
    return open;
}

static void leave_waiters(struct fetch *f)
{
    struct broker_conn *c = f->rq->conn;

    os_mutex_lock(c->lock);
    for (size_t i = 0; i < c->waiting.n; i++)
        if (c->waiting.p[i] == f) {
            c->waiting.p[i] = c->waiting.p[--c->waiting.n];
            break;
        }
    os_mutex_unlock(c->lock);
}

static bool moved(struct fetch *f)
{
    for (size_t i = 0; i < f->plan.nparts; i++)
        if (f->partitions[i]) {
            struct log_offsets o = log_partition_offsets(f->partitions[i]);

            if (o.deleted || o.high_watermark != f->plan.parts[i].seen)
                return true;
        }
    return false;
}

/* Watches first, then one more look: what moves after the look wakes us. Once the gate is ARMED the fetch may be gone. */
static void wait_more(struct fetch *f, int64_t left_ns)
{
    int gate = ARMING;

    atomic_store(&f->gate, ARMING);
    f->waiting = true;
    atomic_fetch_add(&f->rq->b->waiting_fetches, 1);
    for (size_t i = 0; i < f->plan.nparts; i++)
        if (f->partitions[i])
            f->watches[i] = log_watch(f->partitions[i], watched, f);
    fetch_ref(f);
    alarm_set(&f->rq->b->clock, &f->alarm, (left_ns + 999999) / 1000000, alarmed, f);
    if (!join_waiters(f) || moved(f) || atomic_load(&f->rq->b->stopping))
        fetch_wake(f);
    if (!atomic_compare_exchange_strong(&f->gate, &gate, ARMED)) {
        atomic_store(&f->gate, FIRED);
        fire(f);
    }
}

static void end_wait(struct fetch *f)
{
    if (!f->waiting)
        return;
    f->waiting = false;
    atomic_fetch_sub(&f->rq->b->waiting_fetches, 1);
    leave_waiters(f);
    for (size_t i = 0; i < f->plan.nparts; i++)
        if (f->watches[i]) {
            log_unwatch(f->watches[i]);
            f->watches[i] = NULL;
        }
    if (alarm_cancel(&f->rq->b->clock, &f->alarm))
        fetch_release(f);
}

static bool given_up(struct fetch *f)
{
    bool closed;

    os_mutex_lock(f->rq->conn->lock);
    closed = f->rq->conn->closed;
    os_mutex_unlock(f->rq->conn->lock);
    return closed || atomic_load(&f->rq->b->stopping);
}

static void attempt(void *arg)
{
    struct fetch *f = arg;
    const struct kafka_fetch_request *q = f->rq->body;
    size_t bytes;
    bool settled;
    int64_t left_ns;

    end_wait(f);
    if (!read_all(f, &bytes, &settled)) {
        f->cold = true; /* from now on: this request has left the loop */
        if (clockwork_io(&f->rq->b->clock, attempt, f))
            return;
        f->plan.nparts = 0; /* too many cold reads wait: nothing now, the consumer asks again */
        bytes = 0, settled = true;
    }
    left_ns = f->deadline_ns - os_mono_ns();
    if (settled || f->plan.nparts == 0 || left_ns <= 0 || (q->min_bytes <= 0 || bytes >= (size_t)q->min_bytes) ||
        given_up(f)) {
        answer(f);
        return;
    }
    drop_slices(f);
    f->cold = false;
    wait_more(f, left_ns);
}

void handle_fetch(struct request *rq)
{
    const struct kafka_fetch_request *q = rq->body;
    struct fetch *f = calloc(1, sizeof *f);
    int64_t wait_ms = q->max_wait_ms > 0 ? q->max_wait_ms : 0;

    if (!f)
        memory_out("a fetch");
    atomic_fetch_add(&rq->b->fetch_requests, 1);
    f->rq = rq;
    f->refs = 1;
    f->deadline_ns = os_mono_ns() + wait_ms * 1000000;
    session_plan(rq, q, &f->plan);
    f->partitions = ARENA_ARRAY(rq->arena, f->plan.nparts + 1, struct log_partition *);
    f->nheld = f->plan.nparts;
    f->watches = ARENA_ARRAY(rq->arena, f->plan.nparts + 1, struct log_watch *);
    for (size_t i = 0; i < f->plan.nparts; i++) {
        struct fetch_part *p = &f->plan.parts[i];

        if (rq->version >= 13)
            p->topic = topic_name_by_id(rq->b, p->topic_id, rq->arena);
        if (p->topic.p)
            f->partitions[i] = log_partition(rq->b->log, p->topic, p->partition);
    }
    attempt(f);
}
