/*
 * pipeline BOOTSTRAP IN OUT FILE RATE SECONDS: from a producer through a query to a consumer, beside what the bare disk does.
 *
 * A producer writes RATE messages of 100 bytes a second, evenly, to topic IN (acks=all, linger 0), each with the time at which it
 * was handed to the client; a read_committed consumer of OUT looks at the clock when one arrives. Meanwhile, every few
 * milliseconds, one 4 KiB block of FILE, which was written and synced before, is overwritten and fdatasync'ed. FILE lies on the
 * disk of the data directory. The first two seconds do not count. Prints one line of JSON, in ms.
 */
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 4096, SIZE = 100, WARM_S = 2, PROBE_US = 4000, TICK_NS = 1000000, LAST_S = 10 };

static const char *bootstrap, *in_topic, *out_topic, *file;
static long rate, seconds;
static atomic_bool stop;
static atomic_long sent;
static double *disk_ms;
static long ndisk;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "pipeline: %s: %s\n", what, why);
    exit(1);
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *const conf[][2], size_t n) {
    char err[512];
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    bool ok = rd_kafka_conf_set(c, "bootstrap.servers", bootstrap, err, sizeof err) == RD_KAFKA_CONF_OK;
    for (size_t i = 0; i < n; i++)
        ok &= rd_kafka_conf_set(c, conf[i][0], conf[i][1], err, sizeof err) == RD_KAFKA_CONF_OK;
    rd_kafka_t *rk = ok ? rd_kafka_new(type, c, err, sizeof err) : NULL;
    if (!rk) die("librdkafka", err);
    return rk;
}

/* RATE a second in steps of a millisecond; what a late step missed is made up for, and counts from when it was due. */
static void *produce(void *arg) {
    static const char *const P[][2] = {{"linger.ms", "0"},
                                       {"acks", "all"},
                                       {"socket.nagle.disable", "true"},
                                       {"queue.buffering.max.messages", "1000000"}};
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, P, 4);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, in_topic, NULL);
    int64_t began = now_ns();
    (void)arg;
    for (long i = 0; !atomic_load(&stop); i++) {
        int64_t due = began + i * (INT64_C(1000000000) / rate);
        char text[SIZE + 1];
        for (int64_t now = now_ns(); now < due; now = now_ns()) {
            struct timespec t = {0, due - now < TICK_NS ? due - now : TICK_NS};
            rd_kafka_poll(rk, 0);
            nanosleep(&t, NULL);
        }
        int n = snprintf(text, sizeof text, "{\"t\":%020lld,\"content\":\"content-%03ld\",\"pad\":\"", (long long)due,
                         i % 1000);
        memset(text + n, 'x', (size_t)(SIZE - n));
        memcpy(text + SIZE - 2, "\"}", 2);
        while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, text, SIZE, NULL, 0, NULL))
            rd_kafka_poll(rk, 1);
        atomic_fetch_add(&sent, 1);
    }
    rd_kafka_flush(rk, 30000);
    return NULL;
}

static void *probe(void *arg) {
    static char block[BLOCK];
    int fd = open(file, O_RDWR | O_CREAT, 0644);
    (void)arg;
    memset(block, 'x', sizeof block);
    for (long i = 0; i < BLOCKS; i++)
        if (fd < 0 || pwrite(fd, block, BLOCK, i * BLOCK) != BLOCK) die(file, "cannot write");
    fsync(fd);
    for (long i = 0; !atomic_load(&stop) && ndisk < seconds * 1000; i++) {
        int64_t t = now_ns();
        if (pwrite(fd, block, BLOCK, i % BLOCKS * BLOCK) != BLOCK || fdatasync(fd)) die(file, "cannot write");
        disk_ms[ndisk++] = (double)(now_ns() - t) / 1e6;
        usleep(PROBE_US);
    }
    close(fd);
    return NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, double *ms, long n, const char *end) {
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    if (n == 0) die(name, "nothing was measured");
    printf("\"%s\": {\"n\": %ld, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f}%s", name,
           n, ms[n / 2], ms[n * 9 / 10], ms[n * 99 / 100], ms[n * 999 / 1000], ms[n - 1], end);
}

int main(int argc, char **argv) {
    static const char *const C[][2] = {{"group.id", "pipeline"},         {"isolation.level", "read_committed"},
                                       {"enable.auto.commit", "false"},  {"auto.offset.reset", "latest"},
                                       {"socket.nagle.disable", "true"}, {"fetch.wait.max.ms", "100"}};
    if (argc != 7) die("usage", "pipeline BOOTSTRAP IN OUT FILE RATE SECONDS");
    bootstrap = argv[1], in_topic = argv[2], out_topic = argv[3], file = argv[4], rate = atol(argv[5]),
    seconds = atol(argv[6]);
    if (rate < 1 || rate > 1000000 || seconds < WARM_S + 1) die("usage", "numbers out of range");
    double *ms = malloc((size_t)(rate * (seconds + 1)) * sizeof *ms);
    disk_ms = malloc((size_t)seconds * 1000 * sizeof *disk_ms);
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, C, 6);
    rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(1);
    rd_kafka_poll_set_consumer(rk);
    int64_t low, high; /* from the end as it is now: a later look might pass over the first messages */
    if (rd_kafka_query_watermark_offsets(rk, out_topic, 0, &low, &high, 30000)) die(out_topic, "its end is not known");
    rd_kafka_topic_partition_list_add(parts, out_topic, 0)->offset = high;
    rd_kafka_assign(rk, parts);
    rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 500);
    if (m) rd_kafka_message_destroy(m);
    pthread_t producer, prober;
    int64_t began = now_ns(), end = began + seconds * INT64_C(1000000000);
    pthread_create(&producer, NULL, produce, NULL);
    pthread_create(&prober, NULL, probe, NULL);
    long n = 0, got = 0;
    for (int64_t now = began; now < end || (got < atomic_load(&sent) && now < end + LAST_S * INT64_C(1000000000));
         now = now_ns()) {
        if (now >= end) atomic_store(&stop, true);
        m = rd_kafka_consumer_poll(rk, 100);
        if (m && !m->err && m->len == SIZE) {
            int64_t at = now_ns(), due = atoll((const char *)m->payload + 5);
            got++;
            if (due >= began + WARM_S * INT64_C(1000000000) && due < end && n < rate * (seconds + 1))
                ms[n++] = (double)(at - due) / 1e6;
        }
        if (m) rd_kafka_message_destroy(m);
    }
    atomic_store(&stop, true);
    pthread_join(producer, NULL);
    pthread_join(prober, NULL);
    printf("{\"sent\": %ld, \"got\": %ld, ", atomic_load(&sent), got);
    print("pipeline", ms, n, ", ");
    print("disk", disk_ms, ndisk, "}\n");
    return got == atomic_load(&sent) ? 0 : 1;
}
