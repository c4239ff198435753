/*
 * A producer on a foreign cluster: what one batch of a query sends, acknowledged or rolled back as a whole.
 *
 * Records go out in the background as they come; the first one that fails is kept and ends the batch. The time limits are
 * Java's: max.block.ms for a full buffer and for coordinators, delivery.timeout.ms for a record.
 */
#include "foreign/cluster_int.h"

#include <stdio.h>
#include <stdlib.h>

enum { ABORT_MS = 3000 }; /* what is not aborted by then, the next incarnation or the broker's own time limit aborts */

struct foreign_producer {
    const struct foreign_config *config;
    const bool *cancelled;
    struct foreign_client *client;
    bool is_transactional, is_open; /* is_open: a transaction has begun */
    bool is_failed;                 /* a record was not delivered */
    struct foreign_answer failure;
    char failed_topic[256];
};

static void delivered(void *arg, const struct foreign_answer *why, const char *topic)
{
    struct foreign_producer *p = arg;
    if (!why->status || p->is_failed)
        return;
    p->is_failed = true;
    p->failure = *why;
    snprintf(p->failed_topic, sizeof p->failed_topic, "%s", topic);
}

static enum err record_fault(struct foreign_producer *p, const char *topic, const struct foreign_answer *why,
                             struct fault *f)
{
    char detail[760];
    if (why->status == FOREIGN_FENCED)
        return foreign_fault(p->config, "writing", why, f);
    snprintf(detail, sizeof detail, "%s (Kafka cluster %.*s)", why->text,
             (int)(p->config->bootstrap.n < 200 ? p->config->bootstrap.n : 200), p->config->bootstrap.p);
    return FAULT(f, ERR_KAFKA_WRITE, {"topic", topic}, {"detail", detail});
}

static enum err failure(struct foreign_producer *p, struct fault *f)
{
    return p->is_failed ? record_fault(p, p->failed_topic, &p->failure, f) : ERR_OK;
}

enum err foreign_producer_open(const struct foreign_config *config, struct str transactional_id, int32_t timeout_ms,
                               const bool *cancelled, struct foreign_producer **out, struct fault *f)
{
    struct foreign_answer why;
    char id[300];
    struct foreign_producer *p = calloc(1, sizeof *p);
    if (!p)
        return FAULT(f, ERR_NOMEM, {"what", "a Kafka producer"});
    p->config = config;
    p->cancelled = cancelled;
    p->is_transactional = transactional_id.n > 0;
    snprintf(id, sizeof id, "%.*s", STR_ARG(transactional_id));
    struct foreign_client_options o = {.kind = CLIENT_PRODUCER,
                                       .config = config,
                                       .transactional_id = p->is_transactional ? id : NULL,
                                       .transaction_ms = timeout_ms,
                                       .delivered = delivered,
                                       .arg = p};
    if (foreign_driver->open(&o, &p->client, &why)) {
        foreign_producer_close(p);
        return foreign_fault(config, "opening a producer", &why, f);
    }
    int64_t deadline = os_mono_ns() + config->block_ms * 1000000;
    while (p->is_transactional && foreign_driver->init(p->client, 2000, &why)) {
        enum err e = foreign_cancelled(cancelled) ? FAULT(f, ERR_CANCELLED)
                     : (why.status != FOREIGN_AGAIN && why.status != FOREIGN_TIMEOUT) || os_mono_ns() > deadline
                         ? foreign_fault(config, "InitProducerId", &why, f)
                         : ERR_OK;
        if (e) {
            foreign_producer_close(p);
            return e;
        }
        if (why.status == FOREIGN_AGAIN)
            os_sleep_ms(20);
    }
    *out = p;
    return ERR_OK;
}

void foreign_producer_close(struct foreign_producer *p)
{
    struct fault f;
    if (!p)
        return;
    if (p->client && p->is_open && foreign_producer_end(p, false, &f))
        os_log(OS_WARN, "foreign", "%s", fault_message(&f)); /* its timeout, or the next incarnation, aborts it */
    if (p->client) {
        if (foreign_driver->unsent(p->client))
            foreign_driver->purge(p->client);
        foreign_driver->close(p->client);
    }
    free(p);
}

static enum err begin(struct foreign_producer *p, struct fault *f)
{
    struct foreign_answer why;
    if (!p->is_transactional || p->is_open)
        return ERR_OK;
    if (foreign_driver->begin(p->client, &why))
        return foreign_fault(p->config, "beginning a transaction", &why, f);
    p->is_open = true;
    p->is_failed = false;
    return ERR_OK;
}

enum err foreign_producer_send(struct foreign_producer *p, struct str topic, int32_t partition, struct str key,
                               struct str value, const struct foreign_header *headers, size_t nheaders,
                               int64_t timestamp_ms, struct fault *f)
{
    char name[256];
    struct foreign_answer why;
    int64_t deadline = 0;
    enum err e = begin(p, f);
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    while (!e && !(e = failure(p, f))) {
        enum foreign_status s =
            foreign_driver->produce(p->client, name, partition, key, value, headers, nheaders, timestamp_ms, &why);
        if (!s)
            return ERR_OK;
        if (s != FOREIGN_TIMEOUT)
            return record_fault(p, name, &why, f);
        int64_t now = os_mono_ns();
        deadline = deadline ? deadline : now + p->config->block_ms * 1000000;
        if (foreign_cancelled(p->cancelled))
            return FAULT(f, ERR_CANCELLED);
        if (now > deadline) {
            why = (struct foreign_answer){FOREIGN_TIMEOUT, ""};
            snprintf(why.text, sizeof why.text,
                     "Failed to allocate memory within the configured max blocking time %lld ms.",
                     (long long)p->config->block_ms);
            return record_fault(p, name, &why, f);
        }
        foreign_driver->serve(p->client, FOREIGN_LOOK_MS);
    }
    return e;
}

enum err foreign_producer_partitions(struct foreign_producer *p, struct str topic, int32_t *out, struct fault *f)
{
    struct foreign_answer why;
    int64_t deadline = os_mono_ns() + p->config->block_ms * 1000000;
    char name[256];
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    for (int64_t ms = 200;; ms = ms < 2000 ? ms * 2 : ms) {
        struct arena *a = arena_new(0);
        struct foreign_topic *t;
        size_t n = 0;
        enum foreign_status s = foreign_driver->topics(p->client, topic, ms, a, &t, &n, &why);
        *out = !s && n ? t[0].partitions : 0;
        arena_free(a);
        if (*out)
            return ERR_OK;
        if (foreign_cancelled(p->cancelled))
            return FAULT(f, ERR_CANCELLED);
        if (s && s != FOREIGN_AGAIN && s != FOREIGN_TIMEOUT && s != FOREIGN_GONE)
            return record_fault(p, name, &why, f);
        if (os_mono_ns() > deadline) {
            why = (struct foreign_answer){FOREIGN_TIMEOUT, ""};
            snprintf(why.text, sizeof why.text, "Topic %.100s not present in metadata after %lld ms.", name,
                     (long long)p->config->block_ms);
            return record_fault(p, name, &why, f);
        }
        if (s != FOREIGN_TIMEOUT)
            os_sleep_ms(50); /* being created */
    }
}

enum err foreign_producer_offset(struct foreign_producer *p, struct str group, struct str topic, int32_t partition,
                                 int64_t offset, struct str metadata, struct fault *f)
{
    char group_name[300], name[256];
    struct foreign_answer why;
    int64_t deadline = os_mono_ns() + p->config->block_ms * 1000000;
    enum err e = begin(p, f);
    snprintf(group_name, sizeof group_name, "%.*s", STR_ARG(group));
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    while (!e && foreign_driver->send_offset(p->client, group_name, name, partition, offset, metadata, 2000, &why)) {
        if (foreign_cancelled(p->cancelled))
            e = FAULT(f, ERR_CANCELLED);
        else if ((why.status != FOREIGN_AGAIN && why.status != FOREIGN_TIMEOUT) || os_mono_ns() > deadline)
            e = foreign_fault(p->config, "TxnOffsetCommit", &why, f);
        else
            os_sleep_ms(10);
    }
    return e;
}

/* A record's own limit (delivery.timeout.ms) ends the wait: after it the record is reported as not delivered. */
enum err foreign_producer_flush(struct foreign_producer *p, struct fault *f)
{
    while (!p->is_failed && foreign_driver->unsent(p->client) > 0) {
        if (foreign_cancelled(p->cancelled))
            return FAULT(f, ERR_CANCELLED);
        foreign_driver->flush(p->client, FOREIGN_LOOK_MS);
    }
    foreign_driver->serve(p->client, 0);
    enum err e = failure(p, f);
    if (e && !p->is_transactional) { /* the batch has failed; the next one is another */
        foreign_driver->purge(p->client);
        foreign_driver->serve(p->client, 0);
        p->is_failed = false;
    }
    return e;
}

void foreign_producer_forget(struct foreign_producer *p)
{
    struct fault f;
    foreign_driver->purge(p->client);
    foreign_driver->serve(p->client, 0);
    if (p->is_open && foreign_producer_end(p, false, &f))
        os_log(OS_WARN, "foreign", "%s", fault_message(&f));
    p->is_failed = false;
}

static enum err unknown(struct foreign_producer *p, const struct foreign_answer *why, struct fault *f)
{
    char brokers[256];
    snprintf(brokers, sizeof brokers, "%.*s", STR_ARG(p->config->bootstrap));
    return FAULT(f, ERR_KAFKA_UNKNOWN, {"brokers", brokers}, {"detail", why->text});
}

/*
 * EndTxn is asked again until it is answered: the library knows which transaction it is about. What is not answered within max.block.ms is
 * not known to have happened.
 */
enum err foreign_producer_end(struct foreign_producer *p, bool commit, struct fault *f)
{
    struct foreign_answer why;
    if (!p->is_open)
        return ERR_OK;
    enum err e = commit ? foreign_producer_flush(p, f) : ERR_OK;
    if (e)
        return e;
    int64_t ms = commit ? p->config->block_ms : ABORT_MS, slice = ms < 5000 ? ms : 5000;
    int64_t deadline = os_mono_ns() + ms * 1000000;
    while (foreign_driver->end(p->client, commit, slice, &why)) {
        bool again = why.status == FOREIGN_AGAIN || why.status == FOREIGN_TIMEOUT;
        if (again && os_mono_ns() < deadline) {
            os_sleep_ms(10);
            continue;
        }
        p->is_open = !commit ? false : p->is_open && why.status == FOREIGN_ABORTABLE;
        return commit && again ? unknown(p, &why, f) : foreign_fault(p->config, "EndTxn", &why, f);
    }
    p->is_open = p->is_failed = false;
    return ERR_OK;
}

enum err foreign_group_offset(struct foreign_producer *p, struct str group, struct str topic, int32_t partition,
                              struct arena *a, int64_t *offset, struct str *metadata, struct fault *f)
{
    char group_name[300], name[256];
    struct foreign_answer why;
    int64_t deadline = os_mono_ns() + p->config->block_ms * 1000000;
    snprintf(group_name, sizeof group_name, "%.*s", STR_ARG(group));
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    while (foreign_driver->group_offset(p->client, group_name, name, partition, 2000, a, offset, metadata, &why)) {
        if (foreign_cancelled(p->cancelled))
            return FAULT(f, ERR_CANCELLED);
        if ((why.status != FOREIGN_AGAIN && why.status != FOREIGN_TIMEOUT) || os_mono_ns() > deadline)
            return foreign_fault(p->config, "OffsetFetch", &why, f);
        os_sleep_ms(20);
    }
    return ERR_OK;
}
