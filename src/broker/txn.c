/* The coordinator's state machine: who may do what, and what is written for it. Rules are those of Kafka's
 * TransactionCoordinator and TransactionMetadata. */
#include "broker/txn_int.h"

#include "base/memory.h"
#include "broker/group_int.h"

enum { RETRY_MS = 1000, EXPIRE_MS = 7 * 86400 * 1000 };

struct os_mutex *txn_gate(struct broker *b, struct str id)
{
    return b->txns->gates[hash_bytes(id.p, id.n, 7) % TXN_GATES];
}

struct txn *txn_find(struct broker *b, struct str id)
{
    os_mutex_lock(b->txns->lock);
    struct txn *t = map_get(&b->txns->by_id, id);
    os_mutex_unlock(b->txns->lock);
    return t;
}

const char *txn_state_name(enum txn_state s)
{
    static const char *const names[TXN_STATES] = {"Empty",        "Ongoing",          "PrepareCommit",
                                                  "PrepareAbort", "CompleteCommit",   "CompleteAbort",
                                                  "Dead",         "PrepareEpochFence"};
    return names[s];
}

static bool is_prepared(const struct txn *t)
{
    return t->now.state == TXN_PREPARE_COMMIT || t->now.state == TXN_PREPARE_ABORT;
}

/* -- operations ------------------------------------------------------------------------------------------------------- */

void txn_op_done(struct txn_op *op)
{
    if (atomic_fetch_sub(&op->left, 1) == 1)
        op->finish(op);
}

void txn_op_appended(void *arg, const struct log_append_result *r)
{
    struct txn_op *op = arg;
    if (r->status != LOG_OK)
        op->code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    txn_op_done(op);
}

/* -- memory ----------------------------------------------------------------------------------------------------------- */

/* Make `next` true. Readers look under the lock. */
static void become(struct broker *b, struct txn *t, const struct txn_now *next)
{
    os_mutex_lock(b->txns->lock);
    t->now = *next;
    os_mutex_unlock(b->txns->lock);
}

static void drop_parts(struct broker *b, struct txn *t, size_t from)
{
    os_mutex_lock(b->txns->lock);
    for (size_t i = from; i < t->parts.n; i++)
        disown(&t->parts.p[i].topic);
    t->parts.n = from;
    os_mutex_unlock(b->txns->lock);
}

static bool has_part(const struct txn *t, struct str topic, int32_t partition)
{
    for (size_t i = 0; i < t->parts.n; i++)
        if (t->parts.p[i].partition == partition && str_eq(t->parts.p[i].topic, topic))
            return true;
    return false;
}

/* -- ending ----------------------------------------------------------------------------------------------------------- */

struct offsets_marker { /* the marker of __consumer_offsets, whose offsets count once it is durable */
    struct txn_op *op;
    struct broker *b;
    int64_t producer_id;
    bool commit;
};

static void settle_offsets(void *arg)
{
    struct offsets_marker *m = arg;
    struct broker *b = m->b;
    group_txn_marker(b, m->producer_id, m->commit);
    if (m->op)
        txn_op_done(m->op);
    free(m);
    atomic_fetch_sub(&b->live_requests, 1);
}

/* On the committer's thread: the groups' lock is taken elsewhere. */
static void offsets_marked(void *arg, const struct log_append_result *r)
{
    (void)r;
    struct offsets_marker *m = arg;
    clockwork_now(&m->b->clock, settle_offsets, m);
}

static enum log_status mark_offsets(struct broker *b, struct log_partition *p, const struct log_marker *marker,
                                    struct txn_op *op)
{
    struct log_append_result r;
    struct offsets_marker *m = memory_must(malloc(sizeof *m), "a transaction's marker");
    *m = (struct offsets_marker){op, b, marker->producer_id, marker->commit};
    if (op)
        atomic_fetch_add(&op->left, 1);
    atomic_fetch_add(&b->live_requests, 1);
    enum log_status s = log_append_marker(p, marker, offsets_marked, m, &r);
    if (s != LOG_OK) {
        if (op)
            atomic_fetch_sub(&op->left, 1);
        atomic_fetch_sub(&b->live_requests, 1);
        free(m);
    }
    return s;
}

/* One partition's marker. False: not now. */
static bool mark(struct broker *b, const struct txn *t, const struct txn_part *part, struct txn_op *op)
{
    struct log_marker m = {.producer_id = t->now.producer_id,
                           .producer_epoch = t->now.epoch,
                           .commit = t->now.state == TXN_PREPARE_COMMIT,
                           .transaction_version = t->now.client_version};
    struct log_append_result r;
    struct log_partition *p = log_partition(b->log, part->topic, part->partition);
    enum log_status s;
    if (!p)
        return true; /* the topic was deleted, and its records with it */
    if (p == b->groups->store) {
        s = mark_offsets(b, p, &m, op);
    } else {
        if (op)
            atomic_fetch_add(&op->left, 1);
        s = log_append_marker(p, &m, op ? txn_op_appended : NULL, op, &r);
        if (s != LOG_OK && op)
            atomic_fetch_sub(&op->left, 1);
    }
    log_partition_release(p);
    if (s != LOG_OK && s != LOG_UNKNOWN_TOPIC)
        os_log(OS_WARN, "broker", "transactional id \"%.*s\": no marker in %.*s-%d: %s", STR_ARG(t->id),
               STR_ARG(part->topic), part->partition, kafka_code_name((int16_t)s));
    return s != LOG_STORAGE_ERROR && s != LOG_AGAIN;
}

void txn_complete(struct broker *b, struct txn *t, struct txn_op *op)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->parts.n; i++) {
        struct txn_part part = t->parts.p[i];
        bool is_marked = mark(b, t, &part, op);
        os_mutex_lock(b->txns->lock);
        if (is_marked)
            disown(&part.topic);
        else
            t->parts.p[kept++] = part;
        os_mutex_unlock(b->txns->lock);
    }
    os_mutex_lock(b->txns->lock);
    t->parts.n = kept;
    os_mutex_unlock(b->txns->lock);
    struct txn_now next = t->now;
    next.state = t->now.state == TXN_PREPARE_COMMIT ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
    next.update_ms = os_now_ms();
    if (t->now.next_id >= 0) { /* the epochs of this id have run out */
        next.previous_id = t->now.producer_id;
        next.producer_id = t->now.next_id;
        next.next_id = -1;
        next.epoch = 0;
        next.last_epoch = TXN_EPOCH_LAST;
    }
    if (kept || txn_store(b, t, &next, 0, op) != KAFKA_E_NONE)
        txn_ring_at(b, clock_ms() + RETRY_MS);
    else
        become(b, t, &next);
}

static int16_t prepare(struct broker *b, struct txn *t, struct txn_now *next, struct txn_op *op)
{
    next->update_ms = os_now_ms();
    bool held = log_hold(b->log); /* the decision and what follows from it: one sync */
    int16_t code = txn_store(b, t, next, t->parts.n, op);
    if (!code) {
        become(b, t, next);
        txn_complete(b, t, op);
    }
    log_let_go(b->log, held);
    return code;
}

/* As Kafka's fence: one epoch on, so that nothing of this producer is let in any more, then the abort. */
int16_t txn_abort(struct broker *b, struct txn *t, struct txn_op *op)
{
    struct txn_now next = t->now;
    next.state = TXN_PREPARE_ABORT;
    next.last_epoch = next.epoch;
    next.epoch++;
    return prepare(b, t, &next, op);
}

/* A client of transaction.version 2 ends with an epoch of its own; the last epoch of an id leads over to another id. */
static void next_epoch(struct txn_now *next, int64_t fresh)
{
    next->last_epoch = next->epoch;
    next->epoch++;
    if (next->last_epoch >= TXN_EPOCH_LAST)
        next->next_id = fresh;
}

/* The client asks again for what it had no answer to: its epoch is the one before the transaction's. */
static bool is_retry(const struct txn *t, const struct txn_who *who)
{
    if (who->producer_id == t->now.producer_id)
        return who->epoch == t->now.epoch - 1;
    return who->producer_id == t->now.previous_id && who->epoch == TXN_EPOCH_LAST && t->now.epoch == 0;
}

static int16_t end_ended(const struct txn *t, bool commit, int16_t version, bool retry)
{
    bool committed = t->now.state == TXN_COMPLETE_COMMIT || t->now.state == TXN_PREPARE_COMMIT;
    if (is_prepared(t))
        return committed == commit ? KAFKA_E_CONCURRENT_TRANSACTIONS : KAFKA_E_INVALID_TXN_STATE;
    if (t->now.state == TXN_EMPTY)
        return KAFKA_E_INVALID_TXN_STATE;
    return committed == commit && (version < 2 || retry) ? KAFKA_E_NONE : KAFKA_E_INVALID_TXN_STATE;
}

bool txn_needs_id(struct broker *b, struct str id)
{
    os_mutex_lock(b->txns->lock);
    struct txn *t = map_get(&b->txns->by_id, id);
    bool needs = t && t->now.epoch >= TXN_EPOCH_LAST;
    os_mutex_unlock(b->txns->lock);
    return needs;
}

int16_t txn_end(struct broker *b, const struct txn_who *who, bool commit, int16_t version, int64_t fresh,
                struct txn_op *op)
{
    struct txn *t = who->id.n ? txn_find(b, who->id) : NULL;
    int16_t code = KAFKA_E_NONE;
    if (!who->id.n)
        return KAFKA_E_INVALID_REQUEST;
    if (!t)
        return KAFKA_E_INVALID_PRODUCER_ID_MAPPING;
    bool retry = version >= 2 && is_retry(t, who);
    if (who->producer_id != t->now.producer_id && !retry)
        return KAFKA_E_INVALID_PRODUCER_ID_MAPPING;
    if (who->epoch != t->now.epoch && !retry)
        return KAFKA_E_PRODUCER_FENCED;
    struct txn_now next = t->now;
    next.state = commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT;
    next.client_version = version;
    if (version >= 2)
        next_epoch(&next, fresh);
    if (t->now.state == TXN_ONGOING && retry)
        return KAFKA_E_PRODUCER_FENCED; /* a late request of the transaction before */
    if (t->now.state == TXN_ONGOING)
        code = prepare(b, t, &next, op);
    else if (version >= 2 && !commit && !retry && !is_prepared(t)) /* nothing was begun: only the epoch moves */
        code = prepare(b, t, &next, op);
    else
        code = end_ended(t, commit, version, retry);
    op->producer_id = t->now.producer_id;
    op->epoch = t->now.epoch;
    return code;
}

/* -- beginning -------------------------------------------------------------------------------------------------------- */

/* Whose transaction it is, and whether anything may be added to it. */
static int16_t check(const struct txn *t, const struct txn_who *who)
{
    if (!who->id.n)
        return KAFKA_E_INVALID_REQUEST;
    if (!t || who->producer_id != t->now.producer_id)
        return KAFKA_E_INVALID_PRODUCER_ID_MAPPING;
    if (who->epoch != t->now.epoch)
        return KAFKA_E_PRODUCER_FENCED;
    return is_prepared(t) ? KAFKA_E_CONCURRENT_TRANSACTIONS : KAFKA_E_NONE;
}

int16_t txn_verify(struct broker *b, const struct txn_who *who, struct str topic, int32_t partition)
{
    struct txn *t = txn_find(b, who->id);
    int16_t code = check(t, who);
    if (code)
        return code;
    return t->now.state == TXN_ONGOING && has_part(t, topic, partition) ? KAFKA_E_NONE : KAFKA_E_TRANSACTION_ABORTABLE;
}

static void begin(struct txn *t, struct txn_now *next, int16_t version)
{
    next->state = TXN_ONGOING;
    next->start_ms = os_now_ms();
    next->client_version = version;
    t->deadline_ms = next->timeout_ms == INT32_MAX ? INT64_MAX : clock_ms() + next->timeout_ms;
}

int16_t txn_add(struct broker *b, const struct txn_who *who, const struct txn_part *parts, size_t n, int16_t version,
                struct txn_op *op)
{
    struct txn *t = txn_find(b, who->id);
    int16_t code = check(t, who);
    if (code)
        return code;
    bool is_ongoing = t->now.state == TXN_ONGOING;
    size_t had = t->parts.n;
    struct txn_now next = t->now;
    os_mutex_lock(b->txns->lock);
    for (size_t i = 0; i < n && t->parts.n <= LIMIT_TRANSACTION_PARTITIONS; i++)
        if (!has_part(t, parts[i].topic, parts[i].partition))
            vec_push(&t->parts, ((struct txn_part){own(parts[i].topic), parts[i].partition}));
    os_mutex_unlock(b->txns->lock);
    if (is_ongoing && t->parts.n == had)
        return KAFKA_E_NONE;
    if (t->parts.n > LIMIT_TRANSACTION_PARTITIONS) {
        drop_parts(b, t, had);
        return KAFKA_E_POLICY_VIOLATION;
    }
    if (!is_ongoing)
        begin(t, &next, version);
    next.update_ms = os_now_ms();
    code = txn_store(b, t, &next, t->parts.n, op);
    if (code) {
        drop_parts(b, t, had);
        return code;
    }
    become(b, t, &next);
    txn_ring_at(b, t->deadline_ms);
    return KAFKA_E_NONE;
}

/* -- InitProducerId --------------------------------------------------------------------------------------------------- */

static size_t count(struct broker *b)
{
    os_mutex_lock(b->txns->lock);
    size_t n = b->txns->by_id.n;
    os_mutex_unlock(b->txns->lock);
    return n;
}

static struct txn *make(struct str id)
{
    struct txn *t = memory_must(calloc(1, sizeof *t), "a transactional id");
    t->id = own(id);
    t->now = (struct txn_now){
        .producer_id = -1, .previous_id = -1, .next_id = -1, .epoch = -1, .last_epoch = -1, .start_ms = -1};
    return t;
}

/* The epoch that follows, by what the client says it has (KIP-360). */
static int16_t increment(struct txn_now *next, int16_t epoch, int64_t fresh)
{
    bool knows = epoch >= 0;
    if (next->epoch >= TXN_EPOCH_LAST && (!knows || epoch == next->epoch)) {
        next->previous_id = next->producer_id;
        next->producer_id = fresh;
        next->last_epoch = knows ? next->epoch : -1;
        next->epoch = 0;
    } else if (!knows || next->epoch < 0 || epoch == next->epoch) {
        next->last_epoch = knows ? next->epoch : -1;
        next->epoch++;
    } else if (epoch != next->last_epoch) {
        return KAFKA_E_PRODUCER_FENCED;
    } /* else a retry: it is told again what it was given */
    return KAFKA_E_NONE;
}

static bool is_valid_producer(const struct txn *t, const struct txn_who *who)
{
    return who->epoch < 0 || t->now.epoch < 0 || who->producer_id == t->now.producer_id ||
           (who->producer_id == t->now.previous_id && who->epoch >= TXN_EPOCH_LAST);
}

/* Store a transactional id in its new incarnation; `t` is not in the map yet when it is new. */
static int16_t renew(struct broker *b, struct txn *t, const struct txn_now *next, bool is_new, struct txn_op *op)
{
    int16_t code = txn_store(b, t, next, 0, op);
    if (code)
        return code;
    os_mutex_lock(b->txns->lock);
    t->now = *next;
    if (is_new)
        map_put(&b->txns->by_id, t->id, t);
    os_mutex_unlock(b->txns->lock);
    op->producer_id = next->producer_id;
    op->epoch = next->epoch;
    txn_ring_at(b, clock_ms() + TXN_LOOK_MS);
    return KAFKA_E_NONE;
}

int16_t txn_init(struct broker *b, const struct txn_who *who, int32_t timeout_ms, int64_t fresh, struct txn_op *op)
{
    struct txn *t = txn_find(b, who->id);
    bool is_new = !t;
    int16_t code = KAFKA_E_NONE, epoch = who->epoch;
    if (is_new && count(b) >= LIMIT_TRANSACTIONAL_IDS)
        return KAFKA_E_POLICY_VIOLATION;
    t = t ? t : make(who->id);
    if (!is_valid_producer(t, who))
        code = KAFKA_E_PRODUCER_FENCED;
    else if (t->now.state == TXN_ONGOING && epoch >= 0 && epoch != t->now.epoch)
        code = KAFKA_E_PRODUCER_FENCED;
    else if (t->now.state == TXN_ONGOING && !(code = txn_abort(b, t, op)))
        epoch = -1; /* it was right, and is behind the fence now */
    if (!code && is_prepared(t))
        code = KAFKA_E_CONCURRENT_TRANSACTIONS; /* its markers still wait for the disk */
    struct txn_now next = t->now;
    if (!code && next.producer_id < 0)
        next.producer_id = fresh;
    if (!code)
        code = increment(&next, epoch, fresh);
    if (!code) {
        next.state = TXN_EMPTY;
        next.timeout_ms = timeout_ms;
        next.start_ms = -1;
        next.update_ms = os_now_ms();
        code = renew(b, t, &next, is_new, op);
    }
    if (code && is_new)
        txn_free(t);
    return code;
}

/* -- time ------------------------------------------------------------------------------------------------------------- */

static void ring(void *arg);

void txn_ring_at(struct broker *b, int64_t deadline_ms)
{
    struct txns *x = b->txns;
    os_mutex_lock(x->lock);
    if (deadline_ms < x->alarm_ms && !x->stopping) {
        x->alarm_ms = deadline_ms;
        alarm_set(&b->clock, &x->alarm, deadline_ms - clock_ms(), ring, b);
    }
    os_mutex_unlock(x->lock);
}

/* Nobody has used it for a week, and nothing of it is open: Kafka forgets it too. */
static void expire(struct broker *b, struct txn *t)
{
    if (txn_store_forget(b, t) != KAFKA_E_NONE)
        return;
    os_mutex_lock(b->txns->lock);
    map_del(&b->txns->by_id, t->id);
    os_mutex_unlock(b->txns->lock);
    txn_free(t);
}

/* What one transaction wants done at this time; returns when it wants to be looked at again. */
static int64_t look(struct broker *b, struct str id)
{
    struct os_mutex *gate = txn_gate(b, id);
    int64_t again_ms = INT64_MAX, now_ms = clock_ms();
    os_mutex_lock(gate);
    struct txn *t = txn_find(b, id);
    if (t && t->now.state == TXN_ONGOING && t->deadline_ms <= now_ms) {
        os_log(OS_INFO, "broker", "the transaction of \"%.*s\" is aborted: it is older than its timeout of %d ms",
               STR_ARG(t->id), t->now.timeout_ms);
        if (txn_abort(b, t, NULL))
            again_ms = now_ms + RETRY_MS;
    } else if (t && t->now.state == TXN_ONGOING) {
        again_ms = t->deadline_ms;
    } else if (t && is_prepared(t)) {
        txn_complete(b, t, NULL);
        again_ms = is_prepared(t) ? now_ms + RETRY_MS : INT64_MAX;
    } else if (t && os_now_ms() - t->now.update_ms > EXPIRE_MS) {
        expire(b, t);
    }
    os_mutex_unlock(gate);
    return again_ms;
}

static void ring(void *arg)
{
    struct broker *b = arg;
    struct txns *x = b->txns;
    struct arena *a = arena_new(0);
    struct map_slot *s;
    os_mutex_lock(x->lock);
    x->alarm_ms = INT64_MAX;
    size_t n = 0;
    struct str *ids = ARENA_ARRAY(a, x->by_id.n + 1, struct str);
    for (size_t i = 0; (s = map_next(&x->by_id, &i));)
        ids[n++] = arena_str(a, map_key(s));
    os_mutex_unlock(x->lock);
    int64_t next_ms = clock_ms() + TXN_LOOK_MS;
    for (size_t i = 0; i < n; i++) {
        int64_t again_ms = look(b, ids[i]);
        next_ms = again_ms < next_ms ? again_ms : next_ms;
    }
    arena_free(a);
    txn_end_hanging(b, TXN_TIMEOUT_MOST_MS);
    txn_ring_at(b, next_ms);
}
