#include "teller.h"

#include "os/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct teller {
    struct truth *t;
    struct log *l;
    struct t_teller *me;
    int number;
    const bool *stop;
    int in_flight; /* atomic */
};

__attribute__((noreturn)) static void wrong(const struct teller *x, const char *what, int status, const char *message)
{
    if (!x->t->quiet)
        fprintf(stderr, "  teller: %s: status %d %s\n", what, status, message);
    _exit(1);
}

/* -- appends that do not wait ------------------------------------------------------------------------------------------ */

struct flight {
    struct teller *x;
    struct t_attempt *attempt; /* NULL: a marker */
};

static void done(void *arg, const struct log_append_result *r)
{
    struct flight *fly = arg;
    if (fly->attempt) {
        fly->attempt->base = r->base_offset;
        fly->attempt->acked = true;
    }
    __atomic_sub_fetch(&fly->x->in_flight, 1, __ATOMIC_RELEASE);
    free(fly);
}

static struct flight *fly(struct teller *x, struct t_attempt *attempt)
{
    struct flight *made = malloc(sizeof *made);
    if (!made)
        abort();
    *made = (struct flight){x, attempt};
    __atomic_add_fetch(&x->in_flight, 1, __ATOMIC_RELAXED);
    return made;
}

static void land(struct teller *x)
{
    while (__atomic_load_n(&x->in_flight, __ATOMIC_ACQUIRE))
        os_sleep_ms(1);
}

/* Append attempt `number`; false: the topic is gone. */
static bool append(struct teller *x, int number)
{
    struct t_attempt *a = &x->t->attempts[number];
    struct log_partition *p = log_partition(x->l, str_of(x->t->topics[a->topic].name), a->part);
    struct log_append_result r = {.status = LOG_AGAIN};
    struct os_uuid id = p ? log_partition_topic_id(p) : (struct os_uuid){{0}};
    if (!p || memcmp(id.b, x->t->topics[a->topic].id.b, 16)) {
        log_partition_release(p);
        return false;
    }
    while (r.status == LOG_AGAIN) {
        struct buf b = {0};
        truth_batch(a, number, a->txn ? x->me->id : -1, &b);
        struct flight *f = fly(x, a);
        if (log_append(p, b.p, b.n, done, f, &r)) {
            free(f);
            __atomic_sub_fetch(&x->in_flight, 1, __ATOMIC_RELAXED);
        }
        buf_free(&b);
        if (r.status == LOG_AGAIN)
            os_sleep_ms(2);
    }
    log_partition_release(p);
    a->sent = r.status == LOG_OK;
    if (r.status && r.status != LOG_UNKNOWN_TOPIC)
        wrong(x, "an append", r.status, r.message);
    return r.status == LOG_OK;
}

static void mark(struct teller *x, const struct t_attempt *a, const struct log_marker *m)
{
    struct log_partition *p = log_partition(x->l, str_of(x->t->topics[a->topic].name), a->part);
    struct log_append_result r;
    struct os_uuid id = p ? log_partition_topic_id(p) : (struct os_uuid){{0}};
    if (p && !memcmp(id.b, x->t->topics[a->topic].id.b, 16)) {
        struct flight *f = fly(x, NULL);
        if (log_append_marker(p, m, done, f, &r)) {
            free(f);
            __atomic_sub_fetch(&x->in_flight, 1, __ATOMIC_RELAXED);
            if (r.status != LOG_UNKNOWN_TOPIC)
                wrong(x, "a marker", r.status, r.message);
        }
    }
    log_partition_release(p);
}

/* The markers of a transaction, one per partition. */
static void end(struct teller *x, const struct t_txn *txn, bool commit, int16_t epoch, int version)
{
    struct log_marker m = {x->me->id, epoch, commit, 0, version};
    for (int i = 0; i < txn->n; i++) {
        const struct t_attempt *a = &x->t->attempts[txn->attempts[i]];
        bool first = true;
        for (int k = 0; k < i; k++) {
            const struct t_attempt *b = &x->t->attempts[txn->attempts[k]];
            first = first && (a->topic != b->topic || a->part != b->part);
        }
        if (first)
            mark(x, a, &m);
    }
}

/* -- transactions ------------------------------------------------------------------------------------------------------ */

/* A live partition, of the topic "s" or of any other. */
static bool pick(struct truth *t, bool source, int *topic, int *part)
{
    int live[TOPICS], n = 0;
    for (int i = 0; i < t->ntopics; i++)
        if (t->topics[i].state == LIVE && (t->topics[i].name[0] == 's') == source)
            live[n++] = i;
    if (!n)
        return false;
    *topic = live[sim_random((uint64_t)n)];
    *part = (int)sim_random((uint64_t)t->topics[*topic].parts);
    return true;
}

static int new_attempt(struct teller *x, int topic, int part, int txn)
{
    struct truth *t = x->t;
    if (t->nattempts == ATTEMPTS)
        return -1;
    t->attempts[t->nattempts] = (struct t_attempt){
        .topic = topic,
        .part = part,
        .count = 1 + (int)sim_random(6),
        .codec = sim_random(3) ? 0 : (int)sim_random(CODECS),
        .producer = -1,
        .txn = txn,
        .epoch = x->me->epoch,
        .seq = txn ? x->me->next_seq[topic][part] : -1,
        .ts = os_now_ms(),
    };
    return t->nattempts++;
}

static void new_epoch(struct t_teller *me, int16_t epoch)
{
    me->epoch = epoch;
    memset(me->next_seq, 0, sizeof me->next_seq);
}

/* What a process before this one had open. */
static void recover(struct teller *x)
{
    for (int i = 0; i < x->t->ntxns; i++) {
        struct t_txn *txn = &x->t->txns[i];
        if (txn->teller != x->number || txn->state == TXN_DONE)
            continue;
        txn->commit = txn->commit && txn->decision >= 0 && x->t->attempts[txn->decision].there;
        new_epoch(x->me, (int16_t)(x->me->epoch + (x->me->epoch == txn->epoch)));
        end(x, txn, txn->commit, x->me->epoch, 2);
        land(x);
        txn->state = TXN_DONE;
        x->t->txns_recovered++;
    }
}

static void some_records(struct teller *x, struct t_txn *txn, int number)
{
    for (int i = 1 + (int)sim_random(TXN_ATTEMPTS); i > 0 && !*x->stop; i--) {
        int topic, part, a;
        if (!pick(x->t, false, &topic, &part) || (a = new_attempt(x, topic, part, number + 1)) < 0)
            return;
        txn->attempts[txn->n] = a;
        txn->n++; /* before the append: it may be there when the power fails in it */
        if (append(x, a))
            x->me->next_seq[topic][part] += x->t->attempts[a].count;
        if (sim_random(3) == 0)
            os_sleep_ms((int64_t)sim_random(12));
    }
}

static void transaction(struct teller *x)
{
    int topic, part, number = x->t->ntxns;
    if (number == TXNS || !pick(x->t, true, &topic, &part))
        return;
    struct t_txn *txn = &x->t->txns[number];
    *txn = (struct t_txn){.teller = x->number, .epoch = x->me->epoch, .decision = -1};
    x->t->ntxns++;
    some_records(x, txn, number);
    if (*x->stop && sim_random(2))
        return; /* it stays open through the stop */
    bool commit = sim_random(3) != 0, version2 = sim_random(2);
    int decision = new_attempt(x, topic, part, 0);
    if (decision < 0)
        return;
    txn->commit = commit;
    txn->decision = decision;
    if (!append(x, decision))
        wrong(x, "the decision", 0, "its topic is gone");
    int16_t epoch = (int16_t)(txn->epoch + version2);
    end(x, txn, commit, epoch, version2 ? 2 : 1);
    if (version2)
        new_epoch(x->me, epoch);
    land(x);
    txn->state = TXN_DONE;
}

void teller_finish(struct truth *t, struct log *l, int number)
{
    struct teller x = {.t = t, .l = l, .me = &t->tellers[number], .number = number};
    recover(&x);
}

void teller_run(struct truth *t, struct log *l, int number, struct os_mutex *ids, const bool *stop)
{
    struct teller x = {.t = t, .l = l, .me = &t->tellers[number], .number = number, .stop = stop};
    os_mutex_lock(ids);
    if (x.me->id < 0 && log_producer_id(l, &x.me->id, NULL))
        _exit(1);
    t->largest_producer_id = x.me->id > t->largest_producer_id ? x.me->id : t->largest_producer_id;
    os_mutex_unlock(ids);
    while (!*stop) {
        transaction(&x);
        os_sleep_ms(1 + (int64_t)sim_random(25));
    }
    land(&x);
}
