/*
 * txnlog DIR: fills a data directory with transactions through the log itself, and prints what Kafka's tools must find in it:
 *
 *   aborted ID FIRST LAST STABLE     an entry of a .txnindex
 *   marker COMMIT|ABORT COORDINATOR  a control batch, in the order of the log
 *   producer ID EPOCH SEQUENCE COORDINATOR TXN_FIRST     of the snapshot at the log's end
 */
#include "log/batch.h"
#include "log/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { PRODUCERS = 5, STEPS = 3000, RECORDS = 4 };
static struct fault f;
static struct log_partition *p;
static struct writer {
    int16_t epoch;
    int32_t seq;
    int64_t first; /* -1: no transaction */
} who[PRODUCERS];

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "txnlog: %s\n", what);
    exit(1);
}

static uint64_t dice(uint64_t n)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x % n;
}

static void append(int i, int codec)
{
    struct buf b = {0};
    struct batch_writer w;
    struct log_append_result r;
    int64_t now_ms = os_now_ms();
    batch_begin(&w, &b, now_ms, codec);
    for (int k = 0; k < RECORDS; k++)
        batch_record(&w, now_ms, STR("key"), STR("a value, a value, a value"), NULL, 0);
    must(!batch_end(&w, &f), fault_message(&f));
    if (i >= 0)
        batch_set_producer(b.p, b.n, &(struct batch_producer){1000 + i, who[i].epoch, who[i].seq, true});
    must(!log_append(p, b.p, b.n, NULL, NULL, &r), r.message);
    if (i >= 0) {
        who[i].seq += RECORDS;
        who[i].first = who[i].first < 0 ? r.base_offset : who[i].first;
    }
    buf_free(&b);
}

static void end(int i, bool commit, bool version2)
{
    struct log_append_result r;
    struct writer *x = &who[i];
    int32_t coordinator = 7;
    x->epoch += version2;
    x->seq = version2 ? 0 : x->seq;
    struct log_marker m = {1000 + i, x->epoch, commit, coordinator, version2 ? 2 : 1};
    must(!log_append_marker(p, &m, NULL, NULL, &r), r.message);
    printf("marker %s %d\n", commit ? "COMMIT" : "ABORT", coordinator);
    if (!commit) {
        int64_t stable = r.base_offset + 1;
        for (int k = 0; k < PRODUCERS; k++)
            if (k != i && who[k].first >= 0 && who[k].first < stable)
                stable = who[k].first;
        printf("aborted %d %lld %lld %lld\n", 1000 + i, (long long)x->first, (long long)r.base_offset,
               (long long)stable);
    }
    x->first = -1;
}

int main(int argc, char **argv)
{
    struct log *l;
    struct log_options o = {.dir = argc > 1 ? argv[1] : "", .segment_bytes = 64 << 10};
    must(argc == 2 && !log_open(&l, &o, &f), fault_message(&f));
    must(!log_topic_create(l, STR("transactions"), 1, NULL, 0, NULL, &f), fault_message(&f));
    p = log_partition(l, STR("transactions"), 0);
    for (int i = 0; i < PRODUCERS; i++)
        who[i].first = -1;
    for (int step = 0; step < STEPS; step++) {
        int i = (int)dice(PRODUCERS);
        if (dice(4) == 0)
            append(-1, (int)dice(5));
        else if (dice(3) || who[i].first < 0)
            append(i, (int)dice(5));
        else
            end(i, dice(2), dice(2));
    }
    for (int i = 0; i < PRODUCERS; i++) /* the last two stay open */
        if (i < PRODUCERS - 2 && who[i].first >= 0)
            end(i, false, true);
    struct arena *a = arena_new(0);
    struct log_producer *all;
    size_t n = log_producers(p, a, &all);
    for (size_t i = 0; i < n; i++)
        printf("producer %lld %d %d %d %lld\n", (long long)all[i].id, all[i].epoch, all[i].last_sequence,
               all[i].coordinator_epoch, (long long)all[i].txn_first_offset);
    arena_free(a);
    log_partition_release(p);
    log_close(l);
    return 0;
}
