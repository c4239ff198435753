/* A foreign cluster: opened, asked for topics and offsets, with the patience that Spark's admin client has. */
#include "foreign/cluster_int.h"

#include <stdio.h>
#include <stdlib.h>

const struct foreign_driver *foreign_driver = &FOREIGN_LIBRARY;

void foreign_use_memory(void)
{
    foreign_driver = &FOREIGN_MEMORY;
}

enum err foreign_fault(const struct foreign_config *c, const char *doing, const struct foreign_answer *why,
                       struct fault *f)
{
    char brokers[256];
    snprintf(brokers, sizeof brokers, "%.*s", STR_ARG(c->bootstrap));
    return FAULT(f, why->status == FOREIGN_FENCED ? ERR_KAFKA_FENCED : ERR_KAFKA_CLUSTER, {"brokers", brokers},
                 {"doing", doing}, {"detail", why->text[0] ? why->text : "no reason given"});
}

enum err foreign_open(const struct foreign_config *config, const bool *cancelled, struct foreign **out, struct fault *f)
{
    struct foreign_answer why;
    struct foreign *c = calloc(1, sizeof *c);
    if (!c)
        return FAULT(f, ERR_NOMEM, {"what", "a Kafka cluster's client"});
    c->config = config;
    c->cancelled = cancelled;
    c->lock = os_mutex_new();
    c->opening = os_mutex_new();
    struct foreign_client_options o = {.kind = CLIENT_CONTROL, .config = config};
    if (foreign_driver->open(&o, &c->control, &why)) {
        foreign_close(c);
        return foreign_fault(config, "opening a client", &why, f);
    }
    *out = c;
    return ERR_OK;
}

void foreign_close(struct foreign *c)
{
    if (!c)
        return;
    foreign_feeds_close(c);
    vec_free(&c->tails);
    if (c->control)
        foreign_driver->close(c->control);
    os_mutex_free(c->lock);
    os_mutex_free(c->opening);
    free(c);
}

/* -- asking ------------------------------------------------------------------------------------------------------------------- */

/*
 * One question, put again and again until it is answered, refused, cancelled, or the time is up. Each try gets a slice of
 * the time, the first ones short so that a cancelled query is not waited for: a request that a slice cuts off is asked again.
 */
struct patience {
    struct foreign *c;
    const char *doing;
    int64_t deadline_ns;
    int64_t slice_ms;
};

static struct patience patience(struct foreign *c, const char *doing, int64_t ms)
{
    return (struct patience){c, doing, os_mono_ns() + ms * 1000000, 2 * FOREIGN_LOOK_MS};
}

static int64_t slice(struct patience *p)
{
    int64_t left = (p->deadline_ns - os_mono_ns()) / 1000000, ms = p->slice_ms;
    p->slice_ms = p->slice_ms < 2000 ? p->slice_ms * 2 : p->slice_ms;
    return ms < left ? ms : left > 1 ? left : 1;
}

/* ERR_AGAIN: ask again. */
static enum err judge(struct patience *p, const struct foreign_answer *why, struct fault *f)
{
    if (foreign_cancelled(p->c->cancelled))
        return FAULT(f, ERR_CANCELLED);
    if ((why->status != FOREIGN_AGAIN && why->status != FOREIGN_TIMEOUT) || os_mono_ns() >= p->deadline_ns)
        return foreign_fault(p->c->config, p->doing, why, f);
    if (why->status == FOREIGN_AGAIN)
        os_sleep_ms(p->c->config->pause_ms < 10 ? 10 : p->c->config->pause_ms < 1000 ? p->c->config->pause_ms : 1000);
    return ERR_AGAIN;
}

enum err foreign_cluster_id(struct foreign *c, int64_t timeout_ms, struct arena *a, struct str *id, struct fault *f)
{
    struct patience p = patience(c, "asking for its id", timeout_ms);
    struct foreign_answer why;
    for (;;) {
        if (!foreign_driver->cluster_id(c->control, slice(&p), a, id, &why))
            return ERR_OK;
        enum err e = judge(&p, &why, f);
        if (e != ERR_AGAIN)
            return e;
    }
}

static enum err ask_topics(struct foreign *c, struct str name, struct arena *a, struct foreign_topic **out, size_t *n,
                           struct fault *f)
{
    struct patience p = patience(c, "asking for its topics", c->config->api_ms);
    struct foreign_answer why;
    for (;;) {
        enum foreign_status s = foreign_driver->topics(c->control, name, slice(&p), a, out, n, &why);
        if (s == FOREIGN_GONE)
            *n = 0;
        if (!s || s == FOREIGN_GONE)
            return ERR_OK;
        enum err e = judge(&p, &why, f);
        if (e != ERR_AGAIN)
            return e;
    }
}

enum err foreign_topics(struct foreign *c, const struct str *names, size_t n, struct arena *a,
                        struct foreign_topic **out, size_t *nout, struct fault *f)
{
    if (!names)
        return ask_topics(c, (struct str){0}, a, out, nout, f);
    *out = ARENA_ARRAY(a, n + 1, struct foreign_topic);
    *nout = n;
    for (size_t i = 0; i < n; i++) {
        struct foreign_topic *one;
        size_t found;
        enum err e = ask_topics(c, names[i], a, &one, &found, f);
        if (e)
            return e;
        (*out)[i] = found ? one[0] : (struct foreign_topic){names[i], 0};
    }
    return ERR_OK;
}

/* Which of them are not there? Metadata says. *left: how many are there. */
static enum err mark_gone(struct foreign *c, struct foreign_offset *o, size_t n, size_t *left, struct fault *f)
{
    struct arena *a = arena_new(0);
    struct foreign_topic *t = NULL;
    size_t found = 0;
    enum err e = ERR_OK;
    *left = 0;
    for (size_t i = 0; !e && i < n; i++) {
        if (!i || !str_eq(o[i].topic, o[i - 1].topic))
            e = ask_topics(c, o[i].topic, a, &t, &found, f);
        o[i].gone = !e && (!found || o[i].partition >= t[0].partitions);
        *left += !o[i].gone;
    }
    arena_free(a);
    return e;
}

/* Those that are there, in one question; GONE when that is true of one of them. */
static enum foreign_status ask_offsets(struct foreign *c, struct foreign_offset *o, size_t n, int64_t ms,
                                       struct foreign_answer *why)
{
    struct arena *a = arena_new(0);
    struct foreign_offset *ask = ARENA_ARRAY(a, n + 1, struct foreign_offset);
    size_t asked = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        if (!o[i].gone)
            ask[asked++] = o[i];
    enum foreign_status s = asked ? foreign_driver->offsets(c->control, ask, asked, ms, why) : FOREIGN_DONE;
    for (size_t i = 0; !s && i < n; i++)
        if (!o[i].gone)
            o[i].at = ask[at++].at;
    arena_free(a);
    return s;
}

/* Spark asks fetchOffset.numRetries times when it is told no; a topic that is gone answers for good only after that. */
enum err foreign_offsets(struct foreign *c, struct foreign_offset *offsets, size_t n, struct fault *f)
{
    struct patience p = patience(c, "asking for offsets", c->config->api_ms);
    struct foreign_answer why = {0};
    int64_t gone = 0;
    os_mutex_lock(c->opening);
    c->partitions = n > c->partitions ? n : c->partitions;
    os_mutex_unlock(c->opening);
    for (size_t i = 0; i < n; i++)
        offsets[i].gone = false;
    for (;;) {
        enum foreign_status s = ask_offsets(c, offsets, n, slice(&p), &why);
        if (!s)
            return ERR_OK;
        if (s == FOREIGN_GONE) {
            size_t left;
            enum err e = mark_gone(c, offsets, n, &left, f);
            if (e)
                return e;
            why.status = left < n || gone++ < c->config->tries ? FOREIGN_AGAIN : FOREIGN_GONE;
        }
        enum err e = judge(&p, &why, f);
        if (e != ERR_AGAIN)
            return e;
    }
}
