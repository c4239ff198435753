/*
 * load produce|consume BOOTSTRAP TOPIC N SIZE PARTITIONS [NAME=VALUE...]: librdkafka's share of `make bench-peers`.
 *
 * produce   N records of SIZE random-looking bytes (the same for every broker), over the partitions by turns, acks=all, idempotent;
 *           ends when all are acknowledged
 * consume   N records from the beginning of all partitions, without a group; N 0: to the ends that the partitions have now
 *
 * NAME=VALUE are settings of librdkafka. Prints one line of JSON: records, seconds of wall time, CPU seconds of this client, and
 * for consume a sum over the values' hashes that does not depend on their order: equal answers have equal sums.
 */
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
    SIZE_MOST = 1 << 20,
    POLL_EVERY = 1024,
    WAIT_MS = 60000,
    BATCH_MS = 20 /* a batch is waited for as long, full or not */
};

static void die(const char *what, const char *why) {
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static long failed;

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk, (void)opaque;
    if (m->err && !failed++) fprintf(stderr, "load: %s\n", rd_kafka_err2str(m->err));
}

static void set(rd_kafka_conf_t *c, const char *name, const char *value) {
    char err[512];
    if (rd_kafka_conf_set(c, name, value, err, sizeof err) != RD_KAFKA_CONF_OK) die(name, err);
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *bootstrap, const char *const conf[][2], size_t n,
                          char **extra, int nextra) {
    char err[512];
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    set(c, "bootstrap.servers", bootstrap);
    for (size_t i = 0; i < n; i++) set(c, conf[i][0], conf[i][1]);
    for (int i = 0; i < nextra; i++) {
        char *equals = strchr(extra[i], '=');
        if (!equals) die("not NAME=VALUE", extra[i]);
        *equals = 0;
        set(c, extra[i], equals + 1);
    }
    if (type == RD_KAFKA_PRODUCER) rd_kafka_conf_set_dr_msg_cb(c, delivered);
    rd_kafka_t *rk = rd_kafka_new(type, c, err, sizeof err);
    if (!rk) die("librdkafka", err);
    return rk;
}

static void produce(rd_kafka_t *rk, const char *name, long n, size_t size, int32_t partitions) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    static char bytes[SIZE_MOST];
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < size; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        bytes[i] = (char)('A' + (x >> 33) % 26);
    }
    for (long i = 0; i < n; i++) {
        memcpy(bytes, &i, size < sizeof i ? size : sizeof i);
        while (rd_kafka_produce(topic, (int32_t)(i % partitions), RD_KAFKA_MSG_F_COPY, bytes, size, NULL, 0, NULL) ==
               -1)
            rd_kafka_poll(rk, 5);
        if (i % POLL_EVERY == 0) rd_kafka_poll(rk, 0);
    }
    rd_kafka_flush(rk, WAIT_MS);
    if (rd_kafka_outq_len(rk) || failed) die("produce", "records were not acknowledged");
    rd_kafka_topic_destroy(topic);
}

static uint64_t hash(const rd_kafka_message_t *m) { /* FNV-1a */
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < m->len; i++) h = (h ^ ((const uint8_t *)m->payload)[i]) * 1099511628211u;
    return h;
}

static long consume(rd_kafka_t *rk, const char *name, long n, int32_t partitions, uint64_t *sum) {
    rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(partitions);
    rd_kafka_message_t *batch[POLL_EVERY];
    bool to_the_end = n == 0;
    double last = now_s();
    int32_t ended = 0;
    long got = 0;
    for (int32_t i = 0; i < partitions; i++) rd_kafka_topic_partition_list_add(parts, name, i)->offset = 0;
    rd_kafka_assign(rk, parts);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    while (to_the_end ? ended < partitions : got < n) {
        ssize_t some = rd_kafka_consume_batch_queue(queue, BATCH_MS, batch, POLL_EVERY);
        if (some < 0 || now_s() - last > WAIT_MS / 1e3) die("consume", "nothing came");
        if (some) last = now_s();
        for (ssize_t i = 0; i < some; i++) {
            if (batch[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                ended++;
            } else if (batch[i]->err) {
                die("consume", rd_kafka_message_errstr(batch[i]));
            } else {
                got++;
                if (to_the_end) *sum += hash(batch[i]);
            }
            rd_kafka_message_destroy(batch[i]);
        }
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_partition_list_destroy(parts);
    return got;
}

int main(int argc, char **argv) {
    static const char *const P[][2] = {{"linger.ms", "5"},
                                       {"acks", "all"},
                                       {"enable.idempotence", "true"},
                                       {"queue.buffering.max.messages", "1000000"}};
    static const char *const C[][2] = {
        {"group.id", "load"}, {"enable.auto.commit", "false"}, {"enable.partition.eof", "true"}};
    if (argc < 7) die("usage", "load produce|consume BOOTSTRAP TOPIC N SIZE PARTITIONS [NAME=VALUE...]");
    bool produces = !strcmp(argv[1], "produce");
    long n = atol(argv[4]), size = atol(argv[5]), partitions = atol(argv[6]);
    if (n < produces || size < 1 || size > SIZE_MOST || partitions < 1) die("usage", "numbers out of range");
    rd_kafka_t *rk = produces ? client(RD_KAFKA_PRODUCER, argv[2], P, 4, argv + 7, argc - 7)
                              : client(RD_KAFKA_CONSUMER, argv[2], C, 3, argv + 7, argc - 7);
    double began = now_s();
    uint64_t sum = 0;
    if (produces)
        produce(rk, argv[3], n, (size_t)size, (int32_t)partitions);
    else
        n = consume(rk, argv[3], n, (int32_t)partitions, &sum);
    printf("{\"records\": %ld, \"seconds\": %.4f, \"client_cpu\": %.3f, \"sum\": \"%016llx\"}\n", n, now_s() - began,
           cpu_s(), (unsigned long long)sum);
    return 0; /* the client's own clean-up is not what is measured */
}
