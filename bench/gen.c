/*
 * gen N VARIANT [BOOTSTRAP TOPIC]: N JSON messages of six fields, 127 bytes on average, over four partitions by turns.
 *
 * Seeded: the same N and VARIANT give the same messages. Without a topic they go to standard output, a line each. With one
 * they are produced through librdkafka (idempotent, acks=all). Ten messages share a millisecond of event time.
 *
 *   plain    {"user":"u71","content":"content-007","rating":4,"ts":"2026-01-01T00:00:00.000Z","device":"browser-3","session":"0123abcd"}
 *   order    the six fields in random order          escapes  \" \\ \/ \n \u00e9 and \ud83d\ude00 in content and user
 *   fields   fields left out, null, of another type, and up to four unknown ones, nested too
 *   groups   a million different contents
 */
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;
static uint64_t rnd(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

enum variant { PLAIN, ORDER, ESCAPES, FIELDS, GROUPS };

/* The six fields' texts for message i. */
static void six(char f[6][160], long i, enum variant v) {
    static const char *const ESCAPED[] = {"\\\"", "\\\\", "\\/", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\t", "\\u0041"};
    uint64_t r = rnd();
    long ms = i / 10, s = ms / 1000;
    unsigned group = (unsigned)((r >> 20) % (v == GROUPS ? 1000000 : 1000));
    const char *escaped = v == ESCAPES ? ESCAPED[group % 8] : "";
    snprintf(f[0], 160, "\"user\":\"u%s%u\"", v == ESCAPES && (r & 1) ? "\\u0075" : "", (unsigned)(r % 100000));
    snprintf(f[1], 160, "\"content\":\"content-%s%03u\"", escaped, group);
    snprintf(f[2], 160, "\"rating\":%u", (unsigned)((r >> 40) % 5 + 1));
    snprintf(f[3], 160, "\"ts\":\"2026-01-01T%02ld:%02ld:%02ld.%03ldZ\"", s / 3600, s / 60 % 60, s % 60, ms % 1000);
    snprintf(f[4], 160, "\"device\":\"browser-%u\"", (unsigned)((r >> 44) % 10));
    snprintf(f[5], 160, "\"session\":\"%08x\"", (unsigned)(r >> 32));
}

static int join(char *out, char f[][160], const int *order, int n) {
    int len = 0;
    for (int k = 0; k < n; k++) len += sprintf(out + len, "%c%s", k ? ',' : '{', f[order[k]]);
    out[len++] = '}';
    return len;
}

static int message(char *out, long i, enum variant v) {
    static const char *const UNKNOWN[] = {"\"geo\":{\"lat\":48.1,\"lon\":11.5}", "\"tags\":[\"a\",\"b\",{\"c\":null}]",
                                          "\"agent\":\"Mozilla/5.0\"", "\"ok\":true"};
    char f[10][160];
    int order[10] = {0, 1, 2, 3, 4, 5}, n = 6;
    six(f, i, v);
    if (v == FIELDS) {
        uint64_t r = rnd();
        for (int k = 0; k < 4; k++)
            if (r >> k & 1) {
                strcpy(f[n], UNKNOWN[k]);
                order[n] = n;
                n++;
            }
        if ((r >> 8) % 16 == 0) strcpy(f[2], "\"rating\":null");
        if ((r >> 12) % 16 == 0) order[2] = order[--n]; /* no rating */
        if ((r >> 16) % 16 == 0) strcpy(f[1], "\"content\":null");
    }
    for (int k = n - 1; k > 0 && (v == ORDER || v == FIELDS); k--) {
        int j = (int)(rnd() >> 33) % (k + 1), t = order[k];
        order[k] = order[j];
        order[j] = t;
    }
    return join(out, f, order, n);
}

static rd_kafka_t *producer(const char *bootstrap) {
    static const char *const CONF[][2] = {{"linger.ms", "50"},      {"batch.num.messages", "5000"},
                                          {"batch.size", "500000"}, {"queue.buffering.max.messages", "1000000"},
                                          {"acks", "all"},          {"enable.idempotence", "true"}};
    char err[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool ok = rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, err, sizeof err) == RD_KAFKA_CONF_OK;
    for (size_t i = 0; i < sizeof CONF / sizeof CONF[0]; i++)
        ok &= rd_kafka_conf_set(conf, CONF[i][0], CONF[i][1], err, sizeof err) == RD_KAFKA_CONF_OK;
    rd_kafka_t *rk = ok ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof err) : NULL;
    if (!rk) {
        fprintf(stderr, "gen: %s\n", err);
        exit(1);
    }
    return rk;
}

int main(int argc, char **argv) {
    static const char *const NAMES[] = {"plain", "order", "escapes", "fields", "groups"};
    int v = 0;
    while (argc > 2 && v < 5 && strcmp(argv[2], NAMES[v])) v++;
    if ((argc != 3 && argc != 5) || v == 5) {
        fprintf(stderr, "usage: gen N plain|order|escapes|fields|groups [BOOTSTRAP TOPIC]\n");
        return 2;
    }
    long n = atol(argv[1]);
    rd_kafka_t *rk = argc == 5 ? producer(argv[3]) : NULL;
    rd_kafka_topic_t *topic = rk ? rd_kafka_topic_new(rk, argv[4], NULL) : NULL;
    for (long i = 0; i < n; i++) {
        char text[2048];
        int len = message(text, i, (enum variant)v);
        if (!rk) {
            text[len++] = '\n';
            fwrite(text, 1, (size_t)len, stdout);
            continue;
        }
        while (rd_kafka_produce(topic, (int32_t)(i & 3), RD_KAFKA_MSG_F_COPY, text, (size_t)len, NULL, 0, NULL) == -1)
            rd_kafka_poll(rk, 10);
        if (!(i & 1023)) rd_kafka_poll(rk, 0);
    }
    if (rk) rd_kafka_flush(rk, 120000);
    int left = rk ? rd_kafka_outq_len(rk) : 0;
    if (left) fprintf(stderr, "gen: %d messages were not acknowledged\n", left);
    return left || ferror(stdout) ? 1 : 0;
}
