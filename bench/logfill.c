/*
 * logfill DIR TOPICS PARTITIONS MIB [SEGMENT_MIB]: a data directory with TOPICS topics of PARTITIONS partitions each and, over all of
 * them by turns, MIB MiB of records in batches of up to 512 KiB; written through the log, as a server writes it. Ends by SIGKILL of
 * itself, so that what stands in DIR is what a killed server leaves: active segments open, the journal full of what
 * came last. For `make bench ONLY=recovery` (bench/run.py).
 */
#include "log/batch.h"
#include "log/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RECORD = 1000, BATCH = 512 << 10 };
static struct fault f;

static void must(enum err e) {
    if (!e) return;
    fprintf(stderr, "logfill: %s\n", fault_message(&f));
    exit(1);
}

static struct log_partition **partitions(struct log *l, int topics, int each) {
    struct log_partition **all = calloc((size_t)(topics * each), sizeof *all);
    for (int t = 0; all && t < topics; t++) {
        char name[32];
        snprintf(name, sizeof name, "recovery-%d", t);
        must(log_topic_create(l, str_of(name), each, NULL, 0, NULL, &f));
        for (int i = 0; i < each; i++) all[t * each + i] = log_partition(l, str_of(name), i);
    }
    return all;
}

static void make_batch(struct buf *out, size_t bytes) {
    struct batch_writer w;
    char value[RECORD];
    for (size_t i = 0; i < sizeof value; i++) value[i] = (char)('a' + (i * 2654435761u >> 7) % 26);
    batch_begin(&w, out, os_now_ms(), 0);
    do batch_record(&w, os_now_ms(), STR("key"), str_make(value, sizeof value), NULL, 0);
    while (out->n + RECORD < bytes);
    must(batch_end(&w, &f));
}

int main(int argc, char **argv) {
    if (argc < 5) return fprintf(stderr, "usage: logfill DIR TOPICS PARTITIONS MIB [SEGMENT_MIB]\n"), 2;
    int topics = atoi(argv[2]), each = atoi(argv[3]), n = topics * each;
    uint64_t bytes = strtoull(argv[4], NULL, 10) << 20, segment = argc > 5 ? strtoull(argv[5], NULL, 10) << 20 : 0;
    struct log *l;
    struct log_options o = {.dir = argv[1], .segment_bytes = segment, .durability_os = true};
    struct buf batch = {0};
    os_log_level(OS_ERROR);
    must(log_open(&l, &o, &f));
    struct log_partition **p = partitions(l, topics, each);
    make_batch(&batch, bytes / (uint64_t)n < BATCH ? bytes / (uint64_t)n : BATCH);
    for (uint64_t done = 0, i = 0; p && done < bytes; done += batch.n, i++) {
        struct log_append_result r;
        while (log_append(p[i % (uint64_t)n], batch.p, batch.n, NULL, NULL, &r) == LOG_AGAIN) os_sleep_ms(1);
        if (r.status) return fprintf(stderr, "logfill: %s\n", r.message), 1;
    }
    while (log_pending_bytes(l)) os_sleep_ms(1);
    struct log_append_result r = log_append_wait(p[0], batch.p, batch.n); /* behind everything */
    if (r.status) return 1;
    kill(getpid(), SIGKILL);
    return 1;
}
