/*
 * Incremental fetch sessions (KIP-227): a consumer names its partitions once; later requests say what changed and answers
 * hold only what is new. At most LIMIT_FETCH_SESSIONS live; one that was not used for two minutes gives way to a new one;
 * without room the client gets session id 0 and stays with full fetches.
 */
#include "broker/broker_int.h"

#include "base/memory.h"

struct session_part {
    struct str topic; /* malloc'ed */
    struct os_uuid topic_id;
    struct kafka_fetch_partition want;
    int64_t high_watermark, log_start; /* as last answered; -1: not yet */
    bool gone;                         /* forgotten; the slot is swept when half of them are */
};

struct session {
    int32_t id, epoch; /* the epoch the next request must have */
    bool by_id;        /* topics by id (Fetch 13+) or by name */
    int64_t used_ms;
    VEC(struct session_part) parts;
    size_t ngone, hint; /* hint: where the last search ended; requests name partitions in the session's order */
    size_t index;       /* in sessions->all */
};

struct sessions {
    struct os_mutex *lock;
    struct map by_id; /* int32 bytes → session */
    VEC(struct session *) all;
};

static struct str id_key(const int32_t *id)
{
    return str_make(id, sizeof *id);
}

enum err sessions_start(struct broker *b, struct fault *f)
{
    b->sessions = calloc(1, sizeof *b->sessions);
    if (!b->sessions)
        return FAULT(f, ERR_NOMEM, {"what", "fetch sessions"});
    b->sessions->lock = os_mutex_new();
    return ERR_OK;
}

static void session_free(struct session *s)
{
    for (size_t i = 0; i < s->parts.n; i++)
        free((char *)(uintptr_t)s->parts.p[i].topic.p);
    vec_free(&s->parts);
    free(s);
}

static void drop(struct sessions *all, struct session *s)
{
    map_del(&all->by_id, id_key(&s->id));
    all->all.p[s->index] = all->all.p[--all->all.n];
    all->all.p[s->index]->index = s->index;
    session_free(s);
}

void sessions_stop(struct broker *b)
{
    while (b->sessions->all.n)
        drop(b->sessions, b->sessions->all.p[0]);
    vec_free(&b->sessions->all);
    map_free(&b->sessions->by_id);
    os_mutex_free(b->sessions->lock);
    free(b->sessions);
}

size_t sessions_count(struct broker *b)
{
    size_t n;

    os_mutex_lock(b->sessions->lock);
    n = b->sessions->all.n;
    os_mutex_unlock(b->sessions->lock);
    return n;
}

static int64_t now_ms(void)
{
    return os_mono_ns() / 1000000;
}

/* Room for one more: the session that was idle longest goes, if it was idle long enough. */
static bool make_room(struct sessions *all)
{
    struct session *oldest = NULL;

    if (all->all.n < LIMIT_FETCH_SESSIONS)
        return true;
    for (size_t i = 0; i < all->all.n; i++)
        if (!oldest || all->all.p[i]->used_ms < oldest->used_ms)
            oldest = all->all.p[i];
    if (now_ms() - oldest->used_ms < FETCH_SESSION_KEEP_MS)
        return false;
    drop(all, oldest);
    return true;
}

static struct str str_dup(struct str s)
{
    char *p = malloc(s.n + 1);

    if (!p)
        memory_out("a fetch session");
    memcpy(p, s.p, s.n);
    return str_make(p, s.n);
}

static bool same_topic(const struct session_part *p, bool by_id, struct str name, struct os_uuid id)
{
    return by_id ? memcmp(p->topic_id.b, id.b, 16) == 0 : str_eq(p->topic, name);
}

static struct session_part *part_find(struct session *s, struct str name, struct os_uuid id, int32_t partition)
{
    for (size_t k = 0; k < s->parts.n; k++) {
        size_t i = (s->hint + k) % s->parts.n;
        struct session_part *p = &s->parts.p[i];

        if (!p->gone && p->want.partition == partition && same_topic(p, s->by_id, name, id)) {
            s->hint = i + 1;
            return p;
        }
    }
    return NULL;
}

static void part_put(struct session *s, const struct kafka_fetch_topic *t, const struct kafka_fetch_partition *want,
                     bool fresh)
{
    struct session_part *p = fresh ? NULL : part_find(s, t->topic, t->topic_id, want->partition);

    if (p)
        p->want = *want;
    else
        vec_push(&s->parts, ((struct session_part){str_dup(t->topic), t->topic_id, *want, -1, -1, false}));
}

static void part_forget(struct session *s, struct session_part *p)
{
    p->gone = true;
    if (++s->ngone * 2 <= s->parts.n)
        return;
    for (size_t from = s->ngone = 0, to = 0, n = s->parts.n; from < n; from++) {
        if (s->parts.p[from].gone)
            free((char *)(uintptr_t)s->parts.p[from].topic.p);
        else
            s->parts.p[to++] = s->parts.p[from];
        s->parts.n = to;
    }
}

static struct session *session_new(struct sessions *all, bool by_id, const struct kafka_fetch_request *q)
{
    struct session *s;
    size_t n = 0;

    for (int32_t i = 0; i < q->topics.n; i++)
        n += (size_t)q->topics.p[i].partitions.n;
    if (n > LIMIT_FETCH_SESSION_PARTITIONS || !make_room(all) || !(s = calloc(1, sizeof *s)))
        return NULL;
    do {
        os_random(&s->id, sizeof s->id);
        s->id &= INT32_MAX;
    } while (!s->id || map_get(&all->by_id, id_key(&s->id)));
    s->epoch = 1;
    s->by_id = by_id;
    s->used_ms = now_ms();
    s->index = all->all.n;
    vec_push(&all->all, s);
    map_put(&all->by_id, id_key(&s->id), s);
    for (int32_t i = 0; i < q->topics.n; i++)
        for (int32_t k = 0; k < q->topics.p[i].partitions.n; k++)
            part_put(s, &q->topics.p[i], &q->topics.p[i].partitions.p[k], true);
    return s;
}

static void session_update(struct session *s, const struct kafka_fetch_request *q)
{
    for (int32_t i = 0; i < q->topics.n; i++)
        for (int32_t k = 0; k < q->topics.p[i].partitions.n; k++)
            part_put(s, &q->topics.p[i], &q->topics.p[i].partitions.p[k], false);
    for (int32_t i = 0; i < q->forgotten_topics_data.n; i++) {
        const struct kafka_fetch_forgotten *t = &q->forgotten_topics_data.p[i];

        for (int32_t k = 0; k < t->partitions.n; k++) {
            struct session_part *p = part_find(s, t->topic, t->topic_id, t->partitions.p[k]);

            if (p)
                part_forget(s, p);
        }
    }
}

static void add_part(struct fetch_plan *plan, struct str topic, struct os_uuid id,
                     const struct kafka_fetch_partition *want, size_t cached)
{
    struct fetch_part *p = &plan->parts[plan->nparts++];

    *p = (struct fetch_part){.topic = topic, .topic_id = id, .partition = want->partition, .want = *want};
    p->cached = cached;
}

/* The partitions as the request names them. A new session has them in the same order. */
static void plan_request(struct request *rq, const struct kafka_fetch_request *q, struct fetch_plan *plan, bool cached)
{
    size_t n = 0;

    for (int32_t i = 0; i < q->topics.n; i++)
        n += (size_t)q->topics.p[i].partitions.n;
    plan->parts = ARENA_ARRAY(rq->arena, n ? n : 1, struct fetch_part);
    for (int32_t i = 0; i < q->topics.n; i++)
        for (int32_t k = 0; k < q->topics.p[i].partitions.n; k++)
            add_part(plan, q->topics.p[i].topic, q->topics.p[i].topic_id, &q->topics.p[i].partitions.p[k],
                     cached ? plan->nparts + 1 : 0);
}

/* The partitions as the session knows them; what had data last time comes last, so that all get their turn. */
static void plan_session(struct request *rq, struct session *s, struct fetch_plan *plan)
{
    plan->parts = ARENA_ARRAY(rq->arena, s->parts.n ? s->parts.n : 1, struct fetch_part);
    for (size_t i = 0; i < s->parts.n; i++) {
        const struct session_part *p = &s->parts.p[(i + (size_t)s->epoch) % s->parts.n];

        if (!p->gone)
            add_part(plan, arena_str(rq->arena, p->topic), p->topic_id, &p->want, 1 + (size_t)(p - s->parts.p));
    }
}

static void plan_incremental(struct request *rq, const struct kafka_fetch_request *q, struct session *s,
                             struct fetch_plan *plan)
{
    bool by_id = rq->version >= 13;

    if (!s) {
        plan->error = KAFKA_E_FETCH_SESSION_ID_NOT_FOUND;
    } else if (q->session_epoch != s->epoch) {
        plan->error = KAFKA_E_INVALID_FETCH_SESSION_EPOCH;
    } else if (by_id != s->by_id) {
        plan->error = KAFKA_E_FETCH_SESSION_TOPIC_ID_ERROR;
    } else {
        s->epoch = s->epoch == INT32_MAX ? 1 : s->epoch + 1;
        s->used_ms = now_ms();
        session_update(s, q);
        /* too many: it begins again, with a full fetch and without a session */
        if (s->parts.n > LIMIT_FETCH_SESSION_PARTITIONS) {
            drop(rq->b->sessions, s);
            plan->error = KAFKA_E_FETCH_SESSION_ID_NOT_FOUND;
            return;
        }
        plan->session_id = s->id;
        plan->session_epoch = s->epoch;
        plan->incremental = true;
        plan_session(rq, s, plan);
    }
}

void session_plan(struct request *rq, const struct kafka_fetch_request *q, struct fetch_plan *plan)
{
    struct sessions *all = rq->b->sessions;
    struct session *s;

    *plan = (struct fetch_plan){0};
    os_mutex_lock(all->lock);
    s = q->session_id ? map_get(&all->by_id, id_key(&q->session_id)) : NULL;
    if (q->session_epoch > 0) {
        plan_incremental(rq, q, s, plan);
    } else {
        /* epoch 0: a new session, -1: none; both end an old one */
        if (s)
            drop(all, s);
        s = q->session_epoch == 0 && rq->version >= 7 ? session_new(all, rq->version >= 13, q) : NULL;
        if (s) {
            plan->session_id = s->id;
            plan->session_epoch = s->epoch;
        }
        plan_request(rq, q, plan, s != NULL);
    }
    os_mutex_unlock(all->lock);
}

/* Does this part have news for the session? Remembers what is answered. */
static bool has_news(struct session_part *cached, const struct fetch_part *p)
{
    const struct kafka_fetch_partition_response *got = &p->got;
    bool news = p->slice || got->high_watermark != cached->high_watermark ||
                got->log_start_offset != cached->log_start || got->error_code || got->diverging_epoch.epoch >= 0;

    cached->high_watermark = got->error_code ? -1 : got->high_watermark;
    cached->log_start = got->error_code ? -1 : got->log_start_offset;
    return news;
}

void session_filter(struct broker *b, const struct fetch_plan *plan, bool *keep)
{
    struct sessions *all = b->sessions;
    struct session *s;

    for (size_t i = 0; i < plan->nparts; i++)
        keep[i] = true;
    if (!plan->session_id)
        return;
    os_mutex_lock(all->lock);
    s = map_get(&all->by_id, id_key(&plan->session_id));
    if (s && s->epoch == plan->session_epoch)
        for (size_t i = 0; i < plan->nparts; i++) {
            bool news = has_news(&s->parts.p[plan->parts[i].cached - 1], &plan->parts[i]);

            keep[i] = news || !plan->incremental;
        }
    os_mutex_unlock(all->lock);
}
