/*
 * Feeds: a partition's tail, and readers of ranges on it.
 *
 *   messages taken:  [ given out … | next … ]        at: every record below it has been given out, or does not exist
 *                                   ^first   ^n      seen: the same for what was taken from the driver
 *
 * A range that begins where the feed is goes on from there, without a word to the broker. Any other begins the tail anew.
 * Nothing is waited for that the driver does not say: its `ready` wakes, and every FOREIGN_LOOK_MS the query is asked
 * whether it was cancelled.
 */
#include "base/memory.h"
#include "foreign/cluster_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { STALL_MS = 1000 }; /* nothing came for so long: ask whether the partition is still there */

struct foreign_feed {
    struct foreign *cluster;
    struct str topic; /* malloc'ed */
    int32_t partition;
    struct foreign_tail *tail; /* NULL: not begun */
    bool is_read;              /* a reader has it; changed under both locks */
    int64_t at, seen;
    void *messages[FOREIGN_BATCH];
    int first, n;
    struct os_cond *came;
    bool ready; /* under the cluster's lock */
};
struct foreign_reader {
    struct foreign_feed *feed;
    int64_t from, until;
    void *held[FOREIGN_BATCH]; /* given out with the last call */
    int nheld;
};

/* -- begin, end ----------------------------------------------------------------------------------------------------------------- */

static void ready(void *arg)
{
    struct foreign_feed *feed = arg;
    struct foreign *c = feed->cluster;
    os_mutex_lock(c->lock);
    feed->ready = true;
    os_cond_broadcast(feed->came);
    if (c->wake && !feed->is_read) /* a reader takes it itself */
        c->wake(c->wake_arg);
    os_mutex_unlock(c->lock);
}

static void stop(struct foreign_feed *feed)
{
    if (feed->tail)
        foreign_driver->tail_stop(feed->tail);
    feed->tail = NULL;
    while (feed->first < feed->n)
        foreign_driver->release(feed->messages[feed->first++]);
    feed->first = feed->n = 0;
}

static void feed_free(struct foreign_feed *feed)
{
    stop(feed);
    os_cond_free(feed->came);
    free((char *)feed->topic.p);
    free(feed);
}

void foreign_feeds_close(struct foreign *c)
{
    for (size_t i = 0; i < c->tails.n; i++)
        feed_free(c->tails.p[i]);
    c->tails.n = 0;
    if (c->feeds)
        foreign_driver->close(c->feeds);
    c->feeds = NULL;
}

/* The client whose memory is shared by all feeds. Many more partitions than it was made for: made again, by the query's
 * thread, when nobody reads. */
static enum err open_feeds(struct foreign *c, struct fault *f)
{
    int64_t n = c->partitions > c->tails.n ? (int64_t)c->partitions : (int64_t)c->tails.n + 1;
    int64_t bytes = LIMIT_FOREIGN_AHEAD_BYTES / n;
    bytes = bytes < 4096 ? 4096 : bytes > LIMIT_FOREIGN_AHEAD_BYTES / 4 ? LIMIT_FOREIGN_AHEAD_BYTES / 4 : bytes;
    if (c->feeds && (bytes >= c->ahead_bytes / 2 || c->readers))
        return ERR_OK;
    foreign_feeds_close(c);
    struct foreign_answer why;
    struct foreign_client_options o = {.kind = CLIENT_FEEDS, .config = c->config, .ahead_bytes = bytes};
    c->ahead_bytes = bytes;
    return foreign_driver->open(&o, &c->feeds, &why) ? foreign_fault(c->config, "opening a client", &why, f) : ERR_OK;
}

static struct foreign_feed *find(struct foreign *c, struct str topic, int32_t partition)
{
    for (size_t i = 0; i < c->tails.n; i++)
        if (c->tails.p[i]->partition == partition && str_eq(c->tails.p[i]->topic, topic))
            return c->tails.p[i];
    struct foreign_feed *feed = calloc(1, sizeof *feed);
    char *name = malloc(topic.n + 1);
    if (!feed || !name)
        memory_out("a partition's feed");
    memcpy(name, topic.p, topic.n);
    feed->cluster = c;
    feed->topic = str_make(name, topic.n);
    feed->partition = partition;
    feed->came = os_cond_new();
    vec_push(&c->tails, feed);
    return feed;
}

/* Where the feed is `at`, or else begun there. */
static enum err begin(struct foreign_feed *feed, int64_t at, struct fault *f)
{
    struct foreign *c = feed->cluster;
    struct foreign_answer why;
    if (feed->tail && feed->at == at)
        return ERR_OK;
    stop(feed);
    feed->at = feed->seen = at;
    os_mutex_lock(c->lock);
    feed->ready = true;
    os_mutex_unlock(c->lock);
    return foreign_driver->tail_start(c->feeds, feed->topic, feed->partition, at, ready, feed, &feed->tail, &why)
               ? foreign_fault(c->config, "beginning to read", &why, f)
               : ERR_OK;
}

static void set_read(struct foreign_feed *feed, bool is_read)
{
    os_mutex_lock(feed->cluster->lock);
    feed->is_read = is_read;
    os_mutex_unlock(feed->cluster->lock);
}

static enum err claim(struct foreign *c, struct str topic, int32_t partition, struct foreign_feed **out,
                      struct fault *f)
{
    os_mutex_lock(c->opening);
    enum err e = open_feeds(c, f);
    struct foreign_feed *feed = *out = e ? NULL : find(c, topic, partition);
    if (feed && feed->is_read) {
        e = fault_internal(f, "%.*s-%d is read twice at once", STR_ARG(topic), partition);
    } else if (feed) {
        set_read(feed, true);
        c->readers++;
    }
    os_mutex_unlock(c->opening);
    return e;
}

static void unclaim(struct foreign_feed *feed)
{
    struct foreign *c = feed->cluster;
    os_mutex_lock(c->opening);
    set_read(feed, false);
    c->readers--;
    os_mutex_unlock(c->opening);
}

void foreign_watch(struct foreign *c, void (*wake)(void *arg), void *arg)
{
    os_mutex_lock(c->lock);
    c->wake = wake;
    c->wake_arg = arg;
    os_mutex_unlock(c->lock);
}

enum err foreign_follow(struct foreign *c, struct str topic, int32_t partition, int64_t at, struct fault *f)
{
    struct foreign_feed *feed;
    enum err e = claim(c, topic, partition, &feed, f);
    if (e)
        return e;
    e = begin(feed, at, f);
    unclaim(feed);
    return e;
}

enum err foreign_read(struct foreign *c, struct str topic, int32_t partition, int64_t from, int64_t until,
                      struct foreign_reader **out, struct fault *f)
{
    struct foreign_feed *feed;
    enum err e = claim(c, topic, partition, &feed, f);
    if (e)
        return e;
    struct foreign_reader *r = calloc(1, sizeof *r);
    if (!r)
        memory_out("a reader");
    *r = (struct foreign_reader){.feed = feed, .from = from, .until = until};
    if ((e = begin(feed, from, f))) {
        foreign_reader_close(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

static void let_go(struct foreign_reader *r)
{
    for (int i = 0; i < r->nheld; i++)
        foreign_driver->release(r->held[i]);
    r->nheld = 0;
}

void foreign_reader_close(struct foreign_reader *r)
{
    let_go(r);
    unclaim(r->feed);
    free(r);
}

int64_t foreign_reader_at(const struct foreign_reader *r)
{
    return r->feed->at;
}

/* -- reading -------------------------------------------------------------------------------------------------------------------- */

static void take(struct foreign_feed *feed)
{
    feed->first = 0;
    feed->n = foreign_driver->tail_take(feed->tail, feed->messages, FOREIGN_BATCH, &feed->seen);
}

/* Give out what was taken; stops at the range's end. An error among the messages ends it with *s. */
static int give(struct foreign_reader *r, struct foreign_record *records, int cap, enum foreign_status *s,
                struct foreign_answer *why)
{
    struct foreign_feed *feed = r->feed;
    int n = 0;
    *s = FOREIGN_DONE;
    cap = cap < FOREIGN_BATCH ? cap : FOREIGN_BATCH;
    while (feed->first < feed->n && n < cap && feed->at < r->until) {
        void *m = feed->messages[feed->first];
        struct foreign_record *to = &records[n];
        *s = foreign_driver->look(m, to, why);
        if (*s == FOREIGN_DONE && to->offset >= r->until) {
            feed->at = r->until; /* nothing is left below it; the record is the next range's */
            break;
        }
        feed->first++;
        if (*s == FOREIGN_DONE && to->offset >= feed->at) {
            feed->at = to->offset + 1;
            r->held[r->nheld++] = m;
            n++;
            continue;
        }
        if (*s == FOREIGN_TIMEOUT && to->offset > feed->at) /* the end of the log: nothing more below */
            feed->at = to->offset;
        foreign_driver->release(m);
        if (*s == FOREIGN_TIMEOUT || *s == FOREIGN_AGAIN || *s == FOREIGN_GONE)
            *s = FOREIGN_DONE; /* what passes by itself; whether a partition is gone, metadata must say (examine) */
        if (*s)
            break;
    }
    if (!*s && feed->first == feed->n && feed->seen > feed->at) /* what is not seen: markers, aborted records */
        feed->at = feed->seen;
    return n;
}

/* Is the partition still there, and does it begin at or before us? */
static enum err examine(struct foreign_reader *r, struct fault *f)
{
    struct foreign_feed *feed = r->feed;
    struct foreign_offset o[2] = {{feed->topic, feed->partition, FOREIGN_EARLIEST, false},
                                  {feed->topic, feed->partition, FOREIGN_LATEST, false}};
    struct fault ignored;
    enum err e = foreign_offsets(feed->cluster, &o[0], 1, f ? f : &ignored);
    if (!e && !o[0].gone)
        e = foreign_offsets(feed->cluster, &o[1], 1, f ? f : &ignored);
    if (e)
        return e == ERR_CANCELLED ? e : ERR_OK; /* nobody there to ask: waited for, up to the limit */
    if (o[0].gone)
        return ERR_KAFKA_LOSS_DELETED;
    return o[0].at > feed->at || o[1].at < feed->at ? ERR_KAFKA_LOSS_RANGE : ERR_OK;
}

static enum err timed_out(struct foreign_reader *r, int64_t ms, struct fault *f)
{
    struct foreign_feed *feed = r->feed;
    struct foreign_answer why = {FOREIGN_TIMEOUT, ""};
    char doing[300], trouble[256];
    foreign_driver->trouble(feed->cluster->feeds, trouble, sizeof trouble);
    snprintf(doing, sizeof doing, "reading %.*s-%d", STR_ARG(feed->topic), feed->partition);
    snprintf(why.text, sizeof why.text, "Cannot fetch record for offset %" PRId64 " in %" PRId64 " milliseconds%s%s%s",
             feed->at, ms, *trouble ? " (" : "", trouble, *trouble ? ")" : "");
    return foreign_fault(feed->cluster->config, doing, &why, f);
}

/* Until the driver says that something came, or it is time to look around. */
static void wait(struct foreign_feed *feed)
{
    struct foreign *c = feed->cluster;
    int64_t until = os_mono_ns() + FOREIGN_LOOK_MS * INT64_C(1000000);
    os_mutex_lock(c->lock);
    while (!feed->ready && os_cond_wait_until(feed->came, c->lock, until))
        ;
    feed->ready = false;
    os_mutex_unlock(c->lock);
}

static enum err refused(struct foreign_reader *r, const struct foreign_answer *why, struct fault *f)
{
    char doing[300];
    if (why->status == FOREIGN_RANGE)
        return ERR_KAFKA_LOSS_RANGE;
    snprintf(doing, sizeof doing, "reading %.*s-%d", STR_ARG(r->feed->topic), r->feed->partition);
    return foreign_fault(r->feed->cluster->config, doing, why, f);
}

enum err foreign_reader_next(struct foreign_reader *r, struct foreign_record *records, int cap, int *n, struct fault *f)
{
    struct foreign_feed *feed = r->feed;
    struct foreign *c = feed->cluster;
    struct foreign_answer why;
    int64_t start = os_mono_ns(), stalled = start;
    let_go(r);
    for (*n = 0; feed->at < r->until;) {
        enum foreign_status s;
        if (feed->first == feed->n)
            take(feed);
        *n = give(r, records, cap, &s, &why);
        enum err e = s ? refused(r, &why, f) : ERR_OK;
        if (e) {
            stop(feed); /* the next reader begins anew */
            return e;
        }
        if (*n)
            return ERR_OK;
        if (feed->at >= r->until || feed->first < feed->n)
            continue;
        if (foreign_cancelled(c->cancelled))
            return FAULT(f, ERR_CANCELLED);
        int64_t now = os_mono_ns();
        if (now - start > c->config->poll_ms * 1000000)
            return timed_out(r, c->config->poll_ms, f);
        if (now - stalled > STALL_MS * INT64_C(1000000)) {
            if ((e = examine(r, f))) {
                stop(feed);
                return e;
            }
            stalled = os_mono_ns();
        }
        wait(feed);
    }
    return ERR_OK;
}

size_t foreign_headers(const struct foreign_record *r, struct arena *a, struct foreign_header **out)
{
    return foreign_driver->headers(r->message, a, out);
}
