/*
 * A topic's end is the end of what groups have committed for it: a topic made later under its name starts without offsets,
 * or its first records would be passed over.
 *
 * The tombstones are durable before the topic is deleted, and once more afterwards for commits that came in between. A power
 * cut between the deletion and the second pass is made good at the next start, before anyone can ask.
 */
#include "broker/group_int.h"

#include "log/batch.h"

struct forgetting {
    struct str topic;
    struct os_cond *done;
    bool ready;
};

static struct pending_filter pending_of(struct str topic)
{
    return (struct pending_filter){.topic = topic, .partition = -1, .missing = !topic.p};
}

/* Tombstones for every offset of the topic (p NULL: of topics that are not there); returns how many. With the lock held. */
static size_t put_tombstones(struct broker *b, struct str topic, struct store_write *w, struct arena *a)
{
    struct map_slot *gs, *os;
    struct log_topic known;
    size_t n = 0;

    for (size_t i = 0; (gs = map_next(&b->groups->by_id, &i));) {
        struct group *g = gs->value;

        for (size_t k = 0; (os = map_next(&g->offsets, &k));) {
            const struct committed *c = os->value;

            if (topic.p ? !str_eq(c->topic, topic) : log_topic_get(b->log, c->topic, a, &known))
                continue;
            store_put_offset(w, g->id, c, true);
            n++;
        }
        arena_reset(a);
    }
    struct pending_filter pending = pending_of(topic);
    return n + group_txn_put_tombstones(b, &pending, w);
}

static void remove_offsets(struct broker *b, struct str topic, struct arena *a)
{
    struct map_slot *gs, *os;
    struct log_topic known;

    for (size_t i = 0; (gs = map_next(&b->groups->by_id, &i));) {
        struct group *g = gs->value;

        for (size_t k = 0; (os = map_next(&g->offsets, &k));) {
            const struct committed *c = os->value;

            if (topic.p ? str_eq(c->topic, topic) : !log_topic_get(b->log, c->topic, a, &known))
                committed_remove(g, c->topic, c->partition);
        }
        arena_reset(a);
    }
}

/* Right behind the tombstones: what becomes pending later stands behind them in the log. */
static void cancel_pending(struct broker *b, struct str topic)
{
    struct pending_filter pending = pending_of(topic);

    group_txn_cancel(b, &pending);
}

/* On the timer thread with the lock held: all earlier commits have been applied, later ones have not. */
static void forgotten(struct broker *b, void *arg, int16_t code)
{
    struct forgetting *x = arg;
    struct arena *a = arena_new(0);

    (void)code;
    remove_offsets(b, x->topic, a);
    arena_free(a);
    x->ready = true;
    os_cond_broadcast(x->done);
}

void offsets_forget_topic(struct broker *b, struct str topic)
{
    struct forgetting x = {topic, os_cond_new(), false};
    struct arena *a = arena_new(0);

    os_mutex_lock(b->groups->lock);
    for (uint64_t sent = b->groups->commits_sent; b->groups->commits_applied < sent;)
        os_cond_wait(b->groups->applied, b->groups->lock); /* on their way to the disk, not yet in memory */
    struct store_write *w = store_begin(b, forgotten, &x);
    if (put_tombstones(b, topic, w, a) == 0)
        store_cancel(w);
    else if (store_send(w, NULL) != KAFKA_E_NONE)
        os_log(OS_WARN, "broker", "the offsets of topic %.*s stay until the next start", STR_ARG(topic));
    else
        for (cancel_pending(b, topic); !x.ready;)
            os_cond_wait(x.done, b->groups->lock);
    os_mutex_unlock(b->groups->lock);
    arena_free(a);
    os_cond_free(x.done);
}

enum err offsets_forget_missing(struct broker *b, struct fault *f)
{
    static const struct str missing = {NULL, 0};
    struct arena *a = arena_new(0);
    enum err e = ERR_OK;

    os_mutex_lock(b->groups->lock);
    struct store_write *w = store_begin(b, NULL, NULL);
    if (put_tombstones(b, missing, w, a)) {
        e = batch_end(w->batch, f);
        if (!e) {
            struct log_append_result r = log_append_wait(b->groups->store, w->bytes.p, w->bytes.n);
            if (r.status)
                e = FAULT(f, ERR_IO, {"what", "__consumer_offsets"}, {"detail", r.message});
        }
        if (!e) {
            remove_offsets(b, missing, a);
            cancel_pending(b, missing);
        }
    }
    store_cancel(w);
    os_mutex_unlock(b->groups->lock);
    arena_free(a);
    return e;
}
