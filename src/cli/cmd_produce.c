#include "base/vec.h"
#include "cli/cli.h"
#include "cli/kclient.h"
#include "codec/codec.h"
#include "log/batch.h"
#include "os/net.h"
#include "os/os.h"
#include "os/process.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Lines become records. What one read of standard input brings becomes at most one batch per partition, sent before the
 * next read: a typed line goes out at once, a piped file in batches of hundreds of kilobytes.
 */
enum { READ_BYTES = 512 << 10, LINE_MAX_BYTES = 64 << 20, STDIN = 0 };

struct producer {
    const struct cli_command *self;
    const char *bootstrap, *topic, *key_separator, *acks_text, *compression_text;
    struct cli_list header_texts;
    int64_t partition, timeout_ms;
    int16_t acks;
    int compression;
    struct str headers[128]; /* key, value, … */
    int nheaders;
    struct kclient *k;
    struct arena *arena; /* metadata */
    struct kafka_metadata_topic *meta;
    struct buf *bytes; /* of one batch per partition */
    struct batch_writer *writers;
    bool *open;
    int32_t next; /* where records without a key go, by turns */
    int64_t sent;
};

/* Kafka's default partitioner, so that a key lands where the Java client puts it: murmur2 with seed 0x9747b28c, by
 * Austin Appleby (public domain algorithm), as org.apache.kafka.common.utils.Utils uses it. */
static uint32_t murmur2(struct str s)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28cu ^ (uint32_t)s.n;
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = s.n;
    for (; n >= 4; p += 4, n -= 4) {
        uint32_t k = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }
    if (n >= 3)
        h ^= (uint32_t)p[2] << 16;
    if (n >= 2)
        h ^= (uint32_t)p[1] << 8;
    if (n >= 1)
        h = (h ^ p[0]) * m;
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

static enum err add(struct producer *p, struct str line, int64_t now_ms, struct fault *f)
{
    struct str key = {NULL, 0}, value = line;
    struct str separator = str_of(p->key_separator);
    if (separator.n) {
        ptrdiff_t at = str_find(line, separator, 0);
        if (at < 0)
            return FAULT(f, ERR_INVALID, {"what", "a line"}, {"detail", "it has no key separator"});
        key = str_sub(line, 0, (size_t)at);
        value = str_sub(line, (size_t)at + separator.n, line.n);
    }
    int32_t n = p->meta->partitions.n;
    int32_t to = p->partition >= 0 ? (int32_t)p->partition
                 : key.p           ? (int32_t)((murmur2(key) & 0x7fffffffu) % (uint32_t)n)
                                   : p->next;
    if (!p->open[to]) {
        batch_begin(&p->writers[to], &p->bytes[to], now_ms, p->compression);
        p->open[to] = true;
    }
    batch_record(&p->writers[to], now_ms, key, value, p->headers, p->nheaders);
    return ERR_OK;
}

static enum err send_partition(struct producer *p, int32_t i, struct fault *f)
{
    enum err e = batch_end(&p->writers[i], f);
    if (e)
        return e;
    struct arena *a = arena_new(0);
    struct kafka_produce_request *request = KAFKA_NEW(a, produce_request);
    struct kafka_produce_response *response = KAFKA_NEW(a, produce_response);
    request->acks = p->acks;
    request->timeout_ms = (int32_t)p->timeout_ms;
    request->topic_data.p = KAFKA_ARRAY(a, produce_topic, 1);
    request->topic_data.n = 1;
    request->topic_data.p[0].name = p->meta->name;
    request->topic_data.p[0].partition_data.p = KAFKA_ARRAY(a, produce_partition, 1);
    request->topic_data.p[0].partition_data.n = 1;
    request->topic_data.p[0].partition_data.p[0].index = p->meta->partitions.p[i].partition_index;
    request->topic_data.p[0].partition_data.p[0].records = buf_view(&p->bytes[i]);
    int32_t leader = p->meta->partitions.p[i].leader_id;
    if (p->acks == 0) {
        e = kclient_send(p->k, leader, KAFKA_produce, request, f);
    } else {
        e = kclient_call(p->k, leader, KAFKA_produce, request, a, response, f);
        if (!e && response->responses.n == 1 && response->responses.p[0].partition_responses.n == 1) {
            const struct kafka_produce_partition_response *r = &response->responses.p[0].partition_responses.p[0];
            e = kclient_check(p->meta->name, r->error_code, r->error_message, f);
        }
    }
    p->sent += e ? 0 : p->writers[i].count;
    p->open[i] = false;
    buf_clear(&p->bytes[i]);
    arena_free(a);
    return e;
}

static enum err flush(struct producer *p, struct fault *f)
{
    enum err e = ERR_OK;
    for (int32_t i = 0; !e && i < p->meta->partitions.n; i++)
        if (p->open[i])
            e = send_partition(p, i, f);
    p->next = (p->next + 1) % p->meta->partitions.n;
    return e;
}

/* Everything up to the last line end in `in`; what is left stays. At the end of input the rest is a line too. */
static enum err take_lines(struct producer *p, struct buf *in, bool end, struct fault *f)
{
    struct str rest = buf_view(in);
    int64_t now_ms = os_now_ms();
    enum err e = ERR_OK;
    while (!e && rest.n) {
        const char *nl = memchr(rest.p, '\n', rest.n);
        if (!nl && !end)
            break;
        size_t n = nl ? (size_t)(nl - rest.p) : rest.n;
        e = add(p, str_make(rest.p, n), now_ms, f);
        rest = str_sub(rest, n + (nl != NULL), rest.n);
    }
    memmove(in->p, rest.p, rest.n);
    in->n = rest.n;
    return e ? e : flush(p, f);
}

static enum err pump(struct producer *p, struct fault *f)
{
    struct buf in = {.limit = LINE_MAX_BYTES + READ_BYTES};
    enum err e = ERR_OK;
    for (bool end = false; !e && !end;) {
        size_t n = 0;
        if (in.n > LINE_MAX_BYTES || !buf_reserve(&in, READ_BYTES)) {
            e = FAULT(f, ERR_LIMIT, {"what", "a line"}, {"limit", "64 MiB"});
            break;
        }
        e = net_read(STDIN, in.p + in.n, READ_BYTES, &n, f);
        in.n += n;
        end = n == 0;
        if (!e)
            e = take_lines(p, &in, end, f);
    }
    buf_free(&in);
    return e;
}

static int check_args(struct producer *p)
{
    static const char *const CODECS[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    p->acks = strcmp(p->acks_text, "all") == 0 ? -1 : strcmp(p->acks_text, "1") == 0 ? 1 : 0;
    if (p->acks == 0 && strcmp(p->acks_text, "0") != 0)
        return cli_usage(p->self, "--acks %s: must be all, 1 or 0", p->acks_text);
    p->compression = -1;
    for (int i = 0; i < 5; i++)
        if (strcmp(p->compression_text, CODECS[i]) == 0)
            p->compression = i;
    if (p->compression < 0)
        return cli_usage(p->self, "--compression %s: must be none, gzip, snappy, lz4 or zstd", p->compression_text);
    for (int i = 0; i < p->header_texts.n; i++) {
        struct str pair = str_of(p->header_texts.p[i]);
        ptrdiff_t eq = str_find(pair, STR("="), 0);
        if (eq < 0)
            return cli_usage(p->self, "--header %s: expected KEY=VALUE", pair.p);
        p->headers[2 * i] = str_sub(pair, 0, (size_t)eq);
        p->headers[2 * i + 1] = str_sub(pair, (size_t)eq + 1, pair.n);
        p->nheaders++;
    }
    return -1;
}

static enum err open_topic(struct producer *p, struct fault *f)
{
    enum err e = kclient_open(&p->k, p->bootstrap, (int)p->timeout_ms, f);
    if (!e)
        e = kclient_topic(p->k, str_of(p->topic), true, p->arena, &p->meta, f);
    if (e)
        return e;
    int32_t n = p->meta->partitions.n;
    if (n <= 0 || p->partition >= n)
        return FAULT(f, ERR_NOTFOUND, {"what", "that partition"});
    p->bytes = ARENA_ARRAY(p->arena, (size_t)n, struct buf);
    p->writers = ARENA_ARRAY(p->arena, (size_t)n, struct batch_writer);
    p->open = ARENA_ARRAY(p->arena, (size_t)n, bool);
    return ERR_OK;
}

int cmd_produce(const struct cli_command *self, int argc, char **argv)
{
    struct producer p = {.self = self,
                         .bootstrap = cli_default_bootstrap(),
                         .key_separator = "",
                         .acks_text = "all",
                         .compression_text = "none",
                         .partition = -1,
                         .timeout_ms = 30000};
    struct cli_option rows[] = {
        CLI_BOOTSTRAP(&p.bootstrap),
        {"key-separator", 'K', CLI_TEXT, &p.key_separator, "TEXT", "what is before it is the key, after it the value",
         0, 0},
        {"header", 'H', CLI_LIST, &p.header_texts, "KEY=VALUE", "a header for every record", 0, 0},
        {"partition", 'p', CLI_INT, &p.partition, "N", "send all to this partition [by key, else by turns]", 0, 99999},
        {"acks", 0, CLI_TEXT, &p.acks_text, "all|1|0", "all and 1: on disk before the command ends; 0: no answer [all]",
         0, 0},
        {"compression", 'z', CLI_TEXT, &p.compression_text, "CODEC", "none, gzip, snappy, lz4 or zstd [none]", 0, 0},
        {"timeout-ms", 0, CLI_INT, &p.timeout_ms, "MS", "how long to wait for the broker [30000]", 1, 3600000},
    };
    struct cli_args args;
    int rc = cli_parse(self, rows, sizeof rows / sizeof rows[0], NULL, false, argc, argv, &args);
    if (rc >= 0)
        return rc;
    if (args.n != 1)
        return cli_usage(self, "to which topic?");
    p.topic = args.p[0];
    rc = check_args(&p);
    if (rc >= 0)
        return rc;
    os_interrupt_exits();
    struct fault f;
    p.arena = arena_new(0);
    enum err e = open_topic(&p, &f);
    if (!e)
        e = pump(&p, &f);
    if (e) {
        rc = cli_fail(self, &f);
        fprintf(stderr, "penstock produce: %lld records were acknowledged before that\n", (long long)p.sent);
    }
    for (int32_t i = 0; p.bytes && i < p.meta->partitions.n; i++)
        buf_free(&p.bytes[i]);
    kclient_close(p.k);
    arena_free(p.arena);
    return e ? rc : CLI_OK;
}
