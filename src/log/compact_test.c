/* Compaction: which records stay, what readers, producers and the next start see of it. */
#include "log/keymap.h"
#include "log/sim_test.h"

#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_text(int line, const char *got, const char *want)
{
    if (strcmp(got, want) != 0)
        TEST_FAIL_("line %d:\n   got  %s\n   want %s", line, got, want);
}
#define EXPECT_TEXT(got, want) expect_text(__LINE__, (got), (want))

static bool in_new_sim(uint64_t seed, void (*fn)(void))
{
    if (image)
        image->n = 0;
    return in_sim(seed, fn);
}

static struct log *open_log(void)
{
    struct log_options o = {
        .dir = "/d", .segment_bytes = 4096, .journal_file_bytes = 1 << 20, .retention_check_ms = 1000};
    struct log *l = NULL;
    if (log_open(&l, &o, &f)) {
        TEST_FAIL_("open: %s", fault_message(&f));
        _exit(1);
    }
    log_defaults(l, NULL, 0);
    return l;
}

static struct log_partition *table(struct log *l, const char *key, const char *value)
{
    struct log_config c[] = {{STR("cleanup.policy"), STR("compact")},
                             {STR("min.cleanable.dirty.ratio"), STR("0.01")},
                             {str_of(key), str_of(value)}};
    if (log_topic_create(l, STR("t"), 1, c, key[0] ? 3 : 2, NULL, &f))
        abort();
    return log_partition(l, STR("t"), 0);
}

struct producer_id {
    int64_t id;
    int16_t epoch;
    int32_t seq;
    bool transactional;
};

/* One batch: "k=v k2=v2 …"; "k=" is a tombstone. */
static struct log_append_result put_as(struct log_partition *p, struct producer_id *who, int codec, const char *text)
{
    struct buf b = {0};
    struct batch_writer w;
    char copy[512], *save = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    batch_begin(&w, &b, os_now_ms(), codec);
    if (who) {
        w.producer_id = who->id;
        w.producer_epoch = who->epoch;
        w.base_sequence = who->seq;
        w.flags = who->transactional ? BATCH_TRANSACTIONAL : 0;
    }
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(word, '=');
        struct str headers[] = {STR("h"), STR("x")};
        *eq = 0;
        batch_record(&w, os_now_ms(), str_of(word), eq[1] ? str_of(eq + 1) : (struct str){NULL, 0}, headers, 1);
        if (who)
            who->seq++;
    }
    if (batch_end(&w, &f))
        abort();
    struct log_append_result r = log_append_wait(p, b.p, b.n);
    EXPECT_INT(r.status, LOG_OK);
    buf_free(&b);
    return r;
}

static void put(struct log_partition *p, const char *text)
{
    put_as(p, NULL, 0, text);
}

/* Fill the active segment, so that what stands before is in a closed one. */
static void fill(struct log_partition *p)
{
    char text[512] = "filler=";
    memset(text + 7, 'x', 400);
    text[407] = 0;
    for (int i = 0; i < 12; i++)
        put(p, text);
}

struct wait {
    struct os_mutex *lock;
    struct os_cond *there;
    bool done;
};
static void marked(void *arg, const struct log_append_result *r)
{
    struct wait *w = arg;
    (void)r;
    os_mutex_lock(w->lock);
    w->done = true;
    os_cond_signal(w->there);
    os_mutex_unlock(w->lock);
}

static void end_txn(struct log_partition *p, struct producer_id *who, bool commit)
{
    struct wait w = {os_mutex_new(), os_cond_new(), false};
    struct log_marker m = {who->id, who->epoch, commit, 0, 1};
    struct log_append_result r;
    EXPECT_INT(log_append_marker(p, &m, marked, &w, &r), LOG_OK);
    os_mutex_lock(w.lock);
    while (!w.done)
        os_cond_wait(w.there, w.lock);
    os_mutex_unlock(w.lock);
    os_mutex_free(w.lock);
    os_cond_free(w.there);
}

struct seen {
    int records, batches, empty, markers, tombstones;
    int64_t next;
    char text[4096]; /* "offset:key=value " of all but fillers */
};

/* All that is there, from the log's start; offsets grow, checksums are right. */
static struct seen look(struct log_partition *p)
{
    struct seen s = {.next = log_partition_offsets(p).log_start};
    struct arena *a = arena_new(0);
    struct log_slice *slice;
    enum log_status status;
    while (!(status = log_read(p, s.next, 3000, true, 0, &slice)) && slice) {
        struct batch b;
        for (struct str rest = log_slice_bytes(slice); rest.n; rest = str_sub(rest, b.all.n, rest.n)) {
            struct record_iter it;
            struct record r;
            bool got = true;
            if (batch_parse(rest, &b, &f) || !batch_crc_ok(&b) || records_begin(&it, &b, a, 1 << 20, &f)) {
                TEST_FAIL_("a bad batch at %lld", (long long)s.next);
                _exit(1);
            }
            EXPECT(b.base_offset + b.last_offset_delta >= s.next);
            s.next = batch_end_offset(&b);
            s.batches++;
            s.empty += b.count == 0;
            s.markers += (b.attributes & BATCH_CONTROL) && b.count;
            while (!records_next(&it, &r, &got, &f) && got) {
                s.records++;
                s.tombstones += !r.value.p;
                size_t n = strlen(s.text);
                if (!(b.attributes & BATCH_CONTROL) && !str_eqz(r.key, "filler"))
                    snprintf(s.text + n, sizeof s.text - n, "%lld:%.*s=%.*s ", (long long)r.offset, STR_ARG(r.key),
                             STR_ARG(r.value));
                EXPECT(r.nheaders == 1 || (b.attributes & BATCH_CONTROL));
                EXPECT(r.timestamp_ms > 0);
            }
        }
        log_slice_release(slice);
    }
    EXPECT_INT(status, LOG_OK);
    EXPECT(s.next <= log_partition_offsets(p).high_watermark);
    arena_free(a);
    return s;
}

static void settle(void)
{
    os_sleep_ms(500);
}

static void reopen(struct log **l, struct log_partition **p)
{
    log_partition_release(*p);
    log_close(*l);
    *l = open_log();
    *p = log_partition(*l, STR("t"), 0);
}

/* -- the latest of each key -------------------------------------------------------------------------------------------- */

static void latest(void)
{
    struct log *l = open_log();
    struct log_partition *p = table(l, "", "");
    put(p, "a=1 b=1 c=1");
    put_as(p, NULL, 1, "a=2 d=1 b=2");
    put_as(p, NULL, 4, "a=3 e=1");
    put(p, "c=2");
    fill(p);
    settle();
    struct seen s = look(p);
    EXPECT_TEXT(s.text, "4:d=1 5:b=2 6:a=3 7:e=1 8:c=2 ");
    EXPECT(s.records < 12 + 9);
    int64_t offset, ts;
    EXPECT_INT(log_offset_for_time(p, 1, &offset, &ts), LOG_OK);
    EXPECT_INT(offset, 4); /* the first record that is still there */
    struct log_slice *slice;
    EXPECT_INT(log_read(p, 0, 100, true, 0, &slice), LOG_OK); /* a gap is no end */
    EXPECT(slice);
    log_slice_release(slice);
    put(p, "a=4 d=");
    fill(p);
    settle();
    EXPECT_TEXT(look(p).text, "5:b=2 7:e=1 8:c=2 21:a=4 22:d= ");
    reopen(&l, &p);
    EXPECT_TEXT(look(p).text, "5:b=2 7:e=1 8:c=2 21:a=4 22:d= ");
    leave_image();
    log_partition_release(p);
    log_close(l);
}

static void latest_later(void)
{
    struct log *l = open_log();
    struct log_partition *p = log_partition(l, STR("t"), 0);
    EXPECT_TEXT(look(p).text, "5:b=2 7:e=1 8:c=2 21:a=4 22:d= ");
    log_partition_release(p);
    log_close(l);
}

TEST(the_latest_record_of_each_key_stays)
{
    EXPECT(in_new_sim(1, latest));
    EXPECT(in_sim(2, latest_later));
}

/* -- tombstones ---------------------------------------------------------------------------------------------------------- */

static void tombstones(void)
{
    struct log *l = open_log();
    struct log_partition *p = table(l, "delete.retention.ms", "60000");
    put(p, "a=1 b=1");
    put(p, "a= b=2");
    fill(p);
    settle();
    EXPECT_TEXT(look(p).text, "2:a= 3:b=2 "); /* its horizon begins here */
    fill(p);
    settle();
    EXPECT_TEXT(look(p).text, "2:a= 3:b=2 ");
    os_sleep_ms(61000);
    fill(p);
    settle();
    EXPECT_TEXT(look(p).text, "3:b=2 ");
    log_partition_release(p);
    log_close(l);
}

TEST(a_tombstone_stays_for_delete_retention_ms)
{
    EXPECT(in_new_sim(3, tombstones));
}

/* -- when ------------------------------------------------------------------------------------------------------------------ */

static void lag(void)
{
    struct log *l = open_log();
    struct log_partition *p = table(l, "min.compaction.lag.ms", "3600000");
    put(p, "a=1");
    put(p, "a=2");
    fill(p);
    os_sleep_ms(3000000);
    EXPECT_TEXT(look(p).text, "0:a=1 1:a=2 ");
    os_sleep_ms(700000); /* by time alone: nothing else happens */
    EXPECT_TEXT(look(p).text, "1:a=2 ");
    log_partition_release(p);
    log_close(l);
}

static void ratio(void)
{
    struct log *l = open_log();
    struct log_partition *p = table(l, "max.compaction.lag.ms", "3600000");
    struct log_config c = {STR("min.cleanable.dirty.ratio"), STR("1")};
    EXPECT(log_topic_configure(l, STR("t"), &c, 1, &f) == ERR_OK);
    put(p, "a=1");
    put(p, "a=2");
    fill(p);
    settle();
    EXPECT_TEXT(look(p).text, "0:a=1 1:a=2 "); /* never above 1 */
    os_sleep_ms(3700000);
    EXPECT_TEXT(look(p).text, "1:a=2 ");
    put(p, "a=3");
    fill(p);
    c.value = STR("0.1"); /* in force at once */
    EXPECT(log_topic_configure(l, STR("t"), &c, 1, &f) == ERR_OK);
    settle();
    EXPECT(!strstr(look(p).text, "a=2"));
    log_partition_release(p);
    log_close(l);
}

TEST(lags_and_the_dirty_ratio_say_when)
{
    EXPECT(in_new_sim(4, lag));
    EXPECT(in_new_sim(5, ratio));
}

/* -- producers ------------------------------------------------------------------------------------------------------------- */

static void sequences(void)
{
    struct log *l = open_log();
    struct log_partition *p = table(l, "", "");
    struct producer_id one = {.id = 7}, other = {.id = 8};
    put_as(p, &one, 0, "a=1 b=1");
    put_as(p, &other, 0, "a=2");
    put_as(p, &one, 0, "a=3");
    put(p, "a=4 b=4");
    fill(p);
    settle();
    struct seen s = look(p);
    EXPECT_TEXT(s.text, "4:a=4 5:b=4 ");
    EXPECT(s.empty >= 2); /* the last batches of both */
    leave_image();
    log_partition_release(p);
    log_close(l);
}

static void sequences_later(void)
{
    struct log *l = open_log();
    struct log_partition *p = log_partition(l, STR("t"), 0);
    struct producer_id one = {.id = 7, .seq = 2}, other = {.id = 8};
    EXPECT(put_as(p, &one, 0, "a=3").duplicate);
    EXPECT(put_as(p, &other, 0, "a=2").duplicate);
    EXPECT(!put_as(p, &other, 0, "a=5").duplicate);
    log_partition_release(p);
    log_close(l);
}

TEST(sequences_outlive_the_records)
{
    EXPECT(in_new_sim(6, sequences));
    EXPECT(in_sim(7, sequences_later));
}

/* -- transactions ---------------------------------------------------------------------------------------------------------- */

/* What read_committed sees, as a consumer filters it. */
static void expect_committed(struct log_partition *p, const char *want)
{
    struct arena *a = arena_new(0);
    struct log_offsets o = log_partition_offsets(p);
    struct log_aborted *list;
    size_t n;
    char text[2048] = "";
    EXPECT_INT(log_aborted(p, o.log_start, o.last_stable, a, &list, &n), LOG_OK);
    struct log_slice *slice;
    for (int64_t next = o.log_start; !log_read(p, next, 1 << 20, true, LOG_READ_COMMITTED, &slice) && slice;) {
        struct batch b;
        for (struct str rest = log_slice_bytes(slice); rest.n; rest = str_sub(rest, b.all.n, rest.n)) {
            struct record_iter it;
            struct record r;
            bool got = true, is_void = false;
            struct batch_marker m;
            if (batch_parse(rest, &b, &f) || records_begin(&it, &b, a, 1 << 20, &f))
                abort();
            next = batch_end_offset(&b);
            for (size_t i = 0; i < n; i++) {
                bool its = list[i].producer_id == b.producer_id && b.base_offset >= list[i].first_offset;
                is_void |= its;
                if (its && batch_marker_parse(&b, &m) && !m.commit)
                    list[i].first_offset = INT64_MAX;
            }
            while (!(b.attributes & BATCH_CONTROL) && !is_void && !records_next(&it, &r, &got, &f) && got)
                if (!str_eqz(r.key, "filler"))
                    snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s=%.*s ", STR_ARG(r.key),
                             STR_ARG(r.value));
        }
        log_slice_release(slice);
    }
    EXPECT_TEXT(text, want);
    arena_free(a);
}

static void transactions(void)
{
    struct log *l = open_log();
    struct log_partition *p = table(l, "delete.retention.ms", "60000");
    struct producer_id one = {.id = 7, .transactional = true}, other = {.id = 8, .transactional = true};
    put(p, "a=0 b=0 c=0");
    put_as(p, &one, 0, "a=1");
    put_as(p, &other, 0, "b=1");
    end_txn(p, &one, false); /* aborted: a=0 stays the latest */
    end_txn(p, &other, true);
    put_as(p, &one, 0, "c=1");
    end_txn(p, &one, true);
    fill(p);
    settle();
    expect_committed(p, "a=0 b=1 c=1 ");
    struct seen s = look(p);
    EXPECT_TEXT(s.text, "0:a=0 4:b=1 7:c=1 ");
    EXPECT_INT(s.markers, 3);
    put_as(p, &one, 0, "c=2"); /* open: nothing from here on may be compacted */
    put(p, "b=9");
    fill(p);
    fill(p);
    settle();
    EXPECT(strstr(look(p).text, "b=1 ") != NULL);
    end_txn(p, &one, true);
    os_sleep_ms(16000); /* nobody tells when a transaction ends: it looks again */
    expect_committed(p, "a=0 c=2 b=9 ");
    fill(p);
    settle();
    os_sleep_ms(61000); /* the aborted transaction's marker goes when its horizon has passed */
    put(p, "x=1");
    fill(p);
    settle();
    os_sleep_ms(61000);
    put(p, "x=2");
    fill(p);
    settle();
    expect_committed(p, "a=0 c=2 b=9 x=2 ");
    EXPECT(look(p).markers < 4);
    reopen(&l, &p);
    expect_committed(p, "a=0 c=2 b=9 x=2 ");
    log_partition_release(p);
    log_close(l);
}

TEST(aborted_records_go_and_markers_after_them)
{
    EXPECT(in_new_sim(8, transactions));
}

/* -- readers ------------------------------------------------------------------------------------------------------------------ */

static struct log_partition *shared;
static bool stop;

static void reader(void *arg)
{
    (void)arg;
    while (!stop) {
        look(shared);
        os_sleep_ms(1);
    }
}

static void beside_readers(void)
{
    struct log *l = open_log();
    struct os_thread *t[3];
    char text[64];
    shared = table(l, "", "");
    for (int i = 0; i < 3; i++)
        EXPECT(os_thread_start(&t[i], "reader", reader, NULL, &f) == ERR_OK);
    for (int i = 0; i < 400; i++) {
        snprintf(text, sizeof text, "k%d=%d l%d=%d", i % 7, i, i % 13, i);
        put(shared, text);
        if (i % 20 == 0)
            fill(shared);
    }
    stop = true;
    for (int i = 0; i < 3; i++)
        os_thread_join(t[i]);
    settle();
    EXPECT(look(shared).records < 400);
    log_partition_release(shared);
    log_close(l);
}

TEST(readers_never_notice)
{
    for (uint64_t seed = 20; seed < 40; seed++)
        EXPECT(in_new_sim(seed, beside_readers));
}

/* -- memory ---------------------------------------------------------------------------------------------------------------------- */

static void small_map(void)
{
    struct log_options o = {.dir = "/d", .segment_bytes = 4096, .journal_file_bytes = 1 << 20, .compact_bytes = 1};
    struct log *l = NULL;
    char text[64];
    if (log_open(&l, &o, &f))
        _exit(1);
    log_defaults(l, NULL, 0);
    struct log_partition *p = table(l, "", "");
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 300; i++) { /* more keys than the map holds */
            snprintf(text, sizeof text, "k%d=%d", i, round);
            put(p, text);
        }
    fill(p);
    settle();
    struct seen s = look(p);
    EXPECT(!strstr(s.text, "=0 "));
    EXPECT(s.records >= 300 && s.records <= 300 + 24);
    log_partition_release(p);
    log_close(l);
}

TEST(a_full_map_ends_a_round_not_the_work)
{
    EXPECT(in_new_sim(9, small_map));
}

TEST(the_keys_hash_is_siphash)
{
    /* of openssl mac -macopt hexkey:000102…0f -macopt size:16 SIPHASH, over 00 01 02 … */
    static const struct {
        size_t n;
        const char *want;
    } ROWS[] = {{0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
                {2, "8177228da4a45dc7fca38bdef60affe4"},  {7, "a1f1ebbed8dbc153c0b84aa61ff08239"},
                {8, "3b62a9ba6258f5610f83e264f31497b4"},  {15, "5493e99933b0a8117e08ec0f97cfc3d9"},
                {16, "6ee2a4ca67b054bbfd3315bf85230577"}, {33, "77c6077146f01c32b6b69d5f4ea9ffcf"}};
    unsigned char key[16], in[64];
    for (int i = 0; i < 64; i++)
        in[i] = (unsigned char)i;
    memcpy(key, in, 16);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        uint64_t secret[2], out[2];
        char text[33];
        memcpy(secret, key, 16);
        siphash128(secret, str_make((const char *)in, ROWS[i].n), out);
        for (int k = 0; k < 16; k++)
            snprintf(text + 2 * k, 3, "%02x", ((unsigned char *)out)[k]);
        EXPECT_TEXT(text, ROWS[i].want);
    }
}

TEST_MAIN()
