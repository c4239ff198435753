/*
 * latency BOOTSTRAP TOPIC FILE N: from produce to acknowledged-and-consumed, beside what the bare disk does.
 *
 * By turns, N times each: one record of 100 bytes is produced (acks=all, linger 0) and waited for until it is both
 * acknowledged and read by a consumer that polls another connection; and one 4 KiB block of FILE, which was written and
 * synced before, is overwritten and fdatasync'ed. FILE lies on the disk of the data directory. Prints one line of JSON, ms.
 */
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 4096, WARM = 200 };

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "latency: %s: %s\n", what, why);
    exit(1);
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *bootstrap, const char *const conf[][2], size_t n,
                          void (*dr)(rd_kafka_t *, const rd_kafka_message_t *, void *), void *opaque) {
    char err[512];
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    bool ok = rd_kafka_conf_set(c, "bootstrap.servers", bootstrap, err, sizeof err) == RD_KAFKA_CONF_OK;
    for (size_t i = 0; i < n; i++)
        ok &= rd_kafka_conf_set(c, conf[i][0], conf[i][1], err, sizeof err) == RD_KAFKA_CONF_OK;
    if (dr) rd_kafka_conf_set_dr_msg_cb(c, dr);
    rd_kafka_conf_set_opaque(c, opaque);
    rd_kafka_t *rk = ok ? rd_kafka_new(type, c, err, sizeof err) : NULL;
    if (!rk) die("librdkafka", err);
    return rk;
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk;
    if (m->err) die("produce", rd_kafka_err2str(m->err));
    atomic_fetch_add((atomic_long *)opaque, 1);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, double *ms, long n, const char *end) {
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    printf("\"%s\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}%s", name, ms[n / 2], ms[n * 9 / 10],
           ms[n * 99 / 100], ms[n - 1], end);
}

static double overwrite(int fd, const char *block, long i) {
    double t = now_ms();
    if (pwrite(fd, block, BLOCK, (off_t)(i % BLOCKS) * BLOCK) != BLOCK || fdatasync(fd)) die("file", "cannot write");
    return now_ms() - t;
}

int main(int argc, char **argv) {
    static const char *const P[][2] = {{"linger.ms", "0"}, {"acks", "all"}, {"socket.nagle.disable", "true"}};
    static const char *const C[][2] = {{"group.id", "latency"},
                                       {"fetch.wait.max.ms", "500"},
                                       {"fetch.min.bytes", "1"},
                                       {"enable.auto.commit", "false"},
                                       {"socket.nagle.disable", "true"}};
    if (argc != 5) die("usage", "latency BOOTSTRAP TOPIC FILE N");
    long n = atol(argv[4]);
    atomic_long acked = 0;
    rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, argv[1], P, 3, delivered, &acked);
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, argv[1], C, 5, NULL, NULL);
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(parts, argv[2], 0)->offset = 0;
    rd_kafka_assign(consumer, parts);
    int fd = open(argv[3], O_RDWR | O_CREAT, 0644);
    static char block[BLOCK];
    memset(block, 'x', sizeof block);
    for (long i = 0; i < BLOCKS; i++)
        if (fd < 0 || pwrite(fd, block, BLOCK, i * BLOCK) != BLOCK) die(argv[3], "cannot write");
    fsync(fd);
    double *record = calloc((size_t)n, sizeof *record), *disk = calloc((size_t)n, sizeof *disk);
    for (long i = -WARM; i < n; i++) {
        char text[101];
        snprintf(text, sizeof text, "%0100ld", i + WARM);
        double t = now_ms();
        while (rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(argv[2]), RD_KAFKA_V_PARTITION(0),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE(text, 100), RD_KAFKA_V_END))
            rd_kafka_poll(producer, 1);
        rd_kafka_message_t *m = NULL;
        while (!m || m->err) { /* the record itself is waited for: nothing else is in the topic */
            if (m) rd_kafka_message_destroy(m);
            m = rd_kafka_consumer_poll(consumer, 10000);
            if (!m) die("consume", "nothing came in 10 s");
        }
        if (m->len != 100 || memcmp(m->payload, text, 100)) die("consume", "another record came");
        rd_kafka_message_destroy(m);
        while (atomic_load(&acked) < i + WARM + 1) rd_kafka_poll(producer, 100);
        double ms = now_ms() - t, bare = overwrite(fd, block, i + WARM);
        if (i >= 0) {
            record[i] = ms;
            disk[i] = bare;
        }
    }
    printf("{");
    print("record", record, n, ", ");
    print("disk", disk, n, "}\n");
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    return 0;
}
