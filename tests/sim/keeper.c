#include "keeper.h"

#include "os/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TABLE STR("table")

static bool is_tombstone(int64_t version)
{
    return version % 5 == 0;
}

void keeper_start(struct truth *t, struct log *l)
{
    static const struct log_config CONFIGS[] = {{{"cleanup.policy", 14}, {"compact", 7}},
                                                {{"min.cleanable.dirty.ratio", 25}, {"0.1", 3}},
                                                {{"delete.retention.ms", 19}, {"30", 2}}};
    struct arena *a = arena_new(0);
    struct log_topic topic;
    if (!log_topic_get(l, TABLE, a, &topic) && log_topic_create(l, TABLE, 1, CONFIGS, 3, NULL, NULL))
        _exit(1);
    t->table_made = true;
    arena_free(a);
}

/* One batch of a few different keys, acknowledged before the next. */
static void put(struct truth *t, struct log_partition *p)
{
    struct buf b = {0};
    struct batch_writer w;
    int first = (int)sim_random(TABLE_KEYS), n = 1 + (int)sim_random(5);
    char filler[512];
    memset(filler, 'x', sizeof filler);
    batch_begin(&w, &b, os_now_ms(), sim_random(3) ? 0 : (int)sim_random(CODECS));
    for (int i = 0; i < n; i++) {
        int k = (first + i) % TABLE_KEYS;
        char key[16], version[24];
        int64_t v = ++t->table_next[k];
        t->table_tried[k] = v;
        snprintf(key, sizeof key, "k%d", k);
        snprintf(version, sizeof version, "%lld", (long long)v);
        struct str headers[] = {STR("v"), str_of(version)};
        struct str value = str_make(filler, 100 + sim_random(300));
        batch_record(&w, os_now_ms(), str_of(key), is_tombstone(v) ? (struct str){NULL, 0} : value, headers, 1);
    }
    if (batch_end(&w, NULL))
        abort();
    struct log_append_result r = {.status = LOG_AGAIN};
    while ((r = log_append_wait(p, b.p, b.n)).status == LOG_AGAIN)
        os_sleep_ms(2);
    if (r.status) {
        fprintf(stderr, "  the table: status %d %s\n", r.status, r.message);
        _exit(1);
    }
    for (int i = 0; i < n; i++)
        t->table_acked[(first + i) % TABLE_KEYS] = t->table_tried[(first + i) % TABLE_KEYS];
    buf_free(&b);
}

void keeper_run(struct truth *t, struct log *l, const bool *stop)
{
    struct log_partition *p = log_partition(l, TABLE, 0);
    while (p && !*stop) {
        for (int i = (int)sim_random(12); i > 0 && !*stop; i--)
            put(t, p);
        os_sleep_ms(1 + (int64_t)sim_random(12));
    }
    log_partition_release(p);
}

/* -- afterwards ---------------------------------------------------------------------------------------------------------- */

static int complaints;

static void complain(const struct truth *t, const char *what, int key, int64_t a, int64_t b)
{
    if (!t->quiet && complaints < 10)
        fprintf(stderr, "  table, key %d: %s (%lld, %lld)\n", key, what, (long long)a, (long long)b);
    complaints++;
}

static void take(struct truth *t, const struct record *r, int64_t *last)
{
    int key = 0;
    long long version = 0;
    size_t at = 0;
    struct str name, value;
    char text[32];
    snprintf(text, sizeof text, "%.*s", STR_ARG(r->key));
    if (sscanf(text, "k%d", &key) != 1 || key < 0 || key >= TABLE_KEYS || record_header(r, &at, &name, &value, NULL)) {
        complain(t, "a record that nobody wrote", -1, r->offset, 0);
        return;
    }
    snprintf(text, sizeof text, "%.*s", STR_ARG(value));
    version = atoll(text);
    if (version <= last[key])
        complain(t, "an old version stands behind a newer one", key, last[key], version);
    if (version > t->table_tried[key] || is_tombstone(version) != !r->value.p)
        complain(t, "a version that nobody wrote", key, version, t->table_tried[key]);
    last[key] = version;
}

static void judge(struct truth *t, int key, int64_t last)
{
    int64_t acked = t->table_acked[key], tried = t->table_tried[key];
    bool may_be_absent = acked == 0 || is_tombstone(acked) || (tried != acked && is_tombstone(tried));
    if (last ? last < acked : !may_be_absent)
        complain(t, last ? "its last record is gone, an old one is there" : "its record is gone", key, acked, last);
    t->table_acked[key] = t->table_tried[key] = last;
}

int keeper_check(struct truth *t, struct log *l)
{
    struct log_partition *p = t->table_made ? log_partition(l, TABLE, 0) : NULL;
    int64_t last[TABLE_KEYS] = {0}, next = 0;
    struct arena *a = arena_new(0);
    struct log_slice *s;
    enum log_status status = LOG_OK;
    complaints = 0;
    if (t->table_made && !p)
        complain(t, "the topic is gone", -1, 0, 0);
    bool damaged = false;
    while (p && !damaged && !(status = log_read(p, next, 1 + sim_random(20000), true, 0, &s)) && s) {
        struct batch b;
        for (struct str rest = log_slice_bytes(s); rest.n; rest = str_sub(rest, b.all.n, rest.n)) {
            struct record_iter it;
            struct record r;
            bool got = true;
            if (batch_parse(rest, &b, NULL) || !batch_crc_ok(&b) || records_begin(&it, &b, a, 1 << 24, NULL)) {
                complain(t, "a damaged batch", -1, next, 0);
                damaged = true;
                break;
            }
            if (b.base_offset < next)
                complain(t, "offsets go back", -1, next, b.base_offset);
            t->table_gaps += (uint64_t)(b.last_offset_delta + 1 - b.count);
            next = batch_end_offset(&b);
            while (!records_next(&it, &r, &got, NULL) && got)
                take(t, &r, last);
        }
        log_slice_release(s);
        arena_reset(a);
    }
    if (status)
        complain(t, "it cannot be read", -1, next, status);
    if (p && next != log_partition_offsets(p).high_watermark)
        complain(t, "it ends too early", -1, next, log_partition_offsets(p).high_watermark);
    for (int k = 0; p && k < TABLE_KEYS; k++)
        judge(t, k, last[k]);
    log_partition_release(p);
    arena_free(a);
    return complaints;
}
