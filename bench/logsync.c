/*
 * logsync DIR [ROUNDS]: what an acknowledgement costs: one journal for all partitions, or an fdatasync per segment.
 *
 * A round appends one batch of 1 KiB to each partition and ends when all are durable: through the log (its journal, its
 * group commit), and as plain files that grow, each written and fdatasync'ed on its own. By turns, with 1 and with 1,000
 * partitions, on the same disk. Prints a line each: rounds, batches per second, p50 and p99 of a round in milliseconds.
 */
#include "log/batch.h"
#include "log/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { MANY = 1000, VALUE = 940 };
static struct fault f;
static struct buf batch;

static void must(enum err e) {
    if (!e) return;
    fprintf(stderr, "logsync: %s\n", fault_message(&f));
    exit(1);
}

struct round {
    struct os_mutex *lock;
    struct os_cond *done;
    int left;
};

static void acknowledged(void *arg, const struct log_append_result *r) {
    struct round *x = arg;
    (void)r;
    os_mutex_lock(x->lock);
    if (--x->left == 0) os_cond_signal(x->done);
    os_mutex_unlock(x->lock);
}

static void journal_round(struct round *x, struct log_partition **p, int n) {
    x->left = n;
    for (int i = 0; i < n; i++) {
        struct log_append_result r;
        while (log_append(p[i], batch.p, batch.n, acknowledged, x, &r) == LOG_AGAIN) os_sleep_ms(1);
    }
    os_mutex_lock(x->lock);
    while (x->left) os_cond_wait(x->done, x->lock);
    os_mutex_unlock(x->lock);
}

static void files_round(struct os_file **files, int n, uint64_t at) {
    for (int i = 0; i < n; i++) {
        must(os_pwrite(files[i], batch.p, batch.n, at, &f));
        must(os_sync(files[i], "bench", &f));
    }
}

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print(const char *what, int n, int64_t *ns, int rounds) {
    int64_t sum = 0;
    for (int i = 0; i < rounds; i++) sum += ns[i];
    qsort(ns, (size_t)rounds, sizeof *ns, by_time);
    printf("%-22s %5d partitions %6d rounds %10.0f batches/s  round p50 %8.3f ms  p99 %8.3f ms\n", what, n, rounds,
           (double)n * rounds / ((double)sum / 1e9), (double)ns[rounds / 2] / 1e6, (double)ns[rounds * 99 / 100] / 1e6);
}

static void measure(const char *dir, struct log *l, int n, int rounds) {
    struct round x = {os_mutex_new(), os_cond_new(), 0};
    struct log_partition **p = calloc((size_t)n, sizeof *p);
    struct os_file **files = calloc((size_t)n, sizeof *files);
    int64_t *journal = calloc((size_t)rounds, sizeof *journal), *plain = calloc((size_t)rounds, sizeof *plain);
    char path[512], topic[16];
    snprintf(topic, sizeof topic, "t%d", n);
    must(log_topic_create(l, str_of(topic), n, NULL, 0, NULL, &f));
    for (int i = 0; i < n; i++) {
        p[i] = log_partition(l, str_of(topic), i);
        snprintf(path, sizeof path, "%s/file-%d-%d", dir, n, i);
        must(os_open(&files[i], path, OS_RDWR | OS_CREATE | OS_TRUNC, &f));
    }
    for (int r = 0; r < rounds; r++) { /* by turns: what else the machine does hits both */
        int64_t start = os_mono_ns();
        journal_round(&x, p, n);
        journal[r] = os_mono_ns() - start;
        start = os_mono_ns();
        files_round(files, n, (uint64_t)r * batch.n);
        plain[r] = os_mono_ns() - start;
    }
    print("journal", n, journal, rounds);
    print("fdatasync per segment", n, plain, rounds);
    for (int i = 0; i < n; i++) {
        log_partition_release(p[i]);
        os_close(files[i]);
    }
    free(p);
    free(files);
    free(journal);
    free(plain);
    os_cond_free(x.done);
    os_mutex_free(x.lock);
}

int main(int argc, char **argv) {
    char dir[400], value[VALUE], data[450];
    struct batch_writer w;
    struct log *l;
    int rounds = argc > 2 ? atoi(argv[2]) : 2000;
    if (argc < 2 || rounds < 100) return fprintf(stderr, "usage: logsync DIR [ROUNDS, at least 100]\n"), 2;
    snprintf(dir, sizeof dir, "%s/logsync", argv[1]);
    snprintf(data, sizeof data, "%s/data", dir);
    must(os_remove_tree(dir, &f));
    must(os_mkdirs(dir, &f));
    os_raise_file_limit();
    memset(value, 'x', sizeof value);
    batch_begin(&w, &batch, os_now_ms(), 0);
    batch_record(&w, os_now_ms(), STR("key"), str_make(value, sizeof value), NULL, 0);
    must(batch_end(&w, &f));
    must(log_open(&l, &(struct log_options){.dir = data}, &f));
    measure(dir, l, 1, rounds);
    measure(dir, l, MANY, rounds / 20);
    log_close(l);
    must(os_remove_tree(dir, &f));
    return 0;
}
