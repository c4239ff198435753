/*
 * Transactions in the log: fencing as Kafka's ProducerAppendInfo fences, the last stable offset, aborted lists; the same
 * after stops, kills and damage. The long ones hold the log to a model that forgets nothing.
 */
#include "log/log_int.h"
#include "log/sim_test.h"

#include <stdio.h>

/* -- appends that wait ------------------------------------------------------------------------------------------------- */

struct pending {
    struct os_mutex *lock;
    struct os_cond *done;
    bool ready;
    struct log_append_result r;
};

static void told(void *arg, const struct log_append_result *r)
{
    struct pending *w = arg;
    os_mutex_lock(w->lock);
    w->r = *r;
    w->ready = true;
    os_cond_signal(w->done);
    os_mutex_unlock(w->lock);
}

static struct log_append_result finish(struct pending *w, enum log_status status)
{
    os_mutex_lock(w->lock);
    while (!status && !w->ready)
        os_cond_wait(w->done, w->lock);
    os_mutex_unlock(w->lock);
    os_cond_free(w->done);
    os_mutex_free(w->lock);
    return w->r;
}

static struct log_append_result append(struct log_partition *p, enum log_origin origin, struct batch_producer who,
                                       int count)
{
    struct buf b = {0};
    struct batch_writer w;
    batch_begin(&w, &b, os_now_ms(), 0);
    for (int i = 0; i < count; i++)
        batch_record(&w, os_now_ms(), STR("k"), STR("some value, so that segments fill"), NULL, 0);
    if (batch_end(&w, &f))
        abort();
    if (who.id >= 0)
        batch_set_producer(b.p, b.n, &who);
    struct pending x = {.lock = os_mutex_new(), .done = os_cond_new()};
    enum log_status status = log_append_as(p, origin, b.p, b.n, told, &x, &x.r);
    struct log_append_result r = finish(&x, status);
    buf_free(&b);
    return r;
}

static struct log_append_result put(struct log_partition *p, int64_t id, int16_t epoch, int32_t seq, int count)
{
    return append(p, LOG_FROM_CLIENT, (struct batch_producer){id, epoch, seq, true}, count);
}

static struct log_append_result put_plain(struct log_partition *p, int64_t id, int16_t epoch, int32_t seq)
{
    return append(p, LOG_FROM_CLIENT, (struct batch_producer){id, epoch, seq, false}, 1);
}

static struct log_append_result end(struct log_partition *p, struct log_marker m)
{
    struct pending x = {.lock = os_mutex_new(), .done = os_cond_new()};
    return finish(&x, log_append_marker(p, &m, told, &x, &x.r));
}

static struct log *start(void)
{
    struct log *l = NULL;
    struct log_options o = {.dir = "/d", .segment_bytes = 3000, .journal_file_bytes = 1 << 20};
    if (log_open(&l, &o, &f))
        fprintf(stderr, "open: %s\n", fault_message(&f));
    return l;
}

static struct log_partition *fresh(void)
{
    struct log *l = start();
    if (!l || log_topic_create(l, STR("t"), 1, NULL, 0, NULL, &f))
        return NULL;
    return log_partition(l, STR("t"), 0);
}

/* -- what a reader gets ------------------------------------------------------------------------------------------------ */

static size_t aborted_of(struct log_partition *p, int64_t from, int64_t to, struct log_aborted out[64])
{
    struct arena *a = arena_new(0);
    struct log_aborted *list;
    size_t n;
    EXPECT_INT(log_aborted(p, from, to, a, &list, &n), LOG_OK);
    EXPECT(n <= 64);
    for (size_t i = 0; i < n && i < 64; i++)
        out[i] = list[i];
    arena_free(a);
    return n;
}

static int64_t stable(struct log_partition *p)
{
    return log_partition_offsets(p).last_stable;
}

/* The offsets that a read_committed consumer hands on, as Kafka's clients filter: data of a listed producer from the listed
 * offset on is void until an abort marker of that producer. */
static size_t committed(struct log_partition *p, int64_t from, int64_t *out, size_t cap)
{
    struct log_slice *s;
    size_t got = 0;
    while (log_read(p, from, 700, true, LOG_READ_COMMITTED, &s) == LOG_OK && s) {
        struct batch b;
        struct str all = log_slice_bytes(s);
        int64_t to = from;
        for (struct str rest = all; rest.n && !batch_parse(rest, &b, NULL); rest = str_sub(rest, b.all.n, rest.n))
            to = b.base_offset + b.last_offset_delta + 1;
        struct log_aborted list[64];
        size_t n = aborted_of(p, from, to, list);
        bool live[64] = {0};
        for (struct str rest = all; rest.n && !batch_parse(rest, &b, NULL); rest = str_sub(rest, b.all.n, rest.n)) {
            struct batch_marker m = {true, 0};
            bool void_ = false;
            for (size_t i = 0; i < n; i++) {
                live[i] = live[i] || (b.producer_id == list[i].producer_id && b.base_offset >= list[i].first_offset &&
                                      list[i].first_offset >= 0);
                void_ = void_ || (live[i] && b.producer_id == list[i].producer_id);
            }
            if (batch_marker_parse(&b, &m) && !m.commit)
                for (size_t i = 0; i < n; i++)
                    if (live[i] && list[i].producer_id == b.producer_id) {
                        live[i] = false;
                        list[i].first_offset = -1;
                    }
            for (int32_t i = 0; !(b.attributes & BATCH_CONTROL) && !void_ && i < b.count; i++)
                if (b.base_offset + i >= from && got < cap)
                    out[got++] = b.base_offset + i;
        }
        from = to;
        log_slice_release(s);
    }
    return got;
}

static void picture(void)
{
    struct log_partition *p = fresh();
    REQUIRE(p);
    int64_t seen[16];
    struct log_aborted list[64];
    EXPECT_INT(put_plain(p, -1, 0, 0).base_offset, 0);
    EXPECT_INT(put(p, 7, 0, 0, 1).base_offset, 1);
    EXPECT_INT(stable(p), 1);
    EXPECT_INT(put(p, 8, 0, 0, 1).base_offset, 2);
    EXPECT_INT(put_plain(p, -1, 0, 0).base_offset, 3);
    EXPECT_INT(put(p, 7, 0, 1, 1).base_offset, 4);
    EXPECT_INT(put(p, 8, 0, 1, 1).base_offset, 5);
    EXPECT(log_txn_open(p, 7, 0) && log_txn_open(p, 8, 0) && !log_txn_open(p, 7, 1) && !log_txn_open(p, 9, 0));
    EXPECT(log_txn_oldest_ms(p) > 0);
    EXPECT_INT(stable(p), 1);
    EXPECT_INT(committed(p, 0, seen, 16), 1);
    EXPECT_INT(end(p, (struct log_marker){7, 0, true, 3, 1}).base_offset, 6);
    EXPECT_INT(put_plain(p, -1, 0, 0).base_offset, 7);
    EXPECT_INT(stable(p), 2);
    EXPECT_INT(committed(p, 0, seen, 16), 2); /* 0, 1 */
    EXPECT_INT(aborted_of(p, 0, 8, list), 0);
    EXPECT_INT(end(p, (struct log_marker){8, 0, false, 3, 1}).base_offset, 8);
    EXPECT_INT(stable(p), 9);
    EXPECT_INT(log_txn_oldest_ms(p), -1);
    EXPECT_INT(committed(p, 0, seen, 16), 5); /* 0, 1, 3, 4, 7 */
    EXPECT(seen[2] == 3 && seen[3] == 4 && seen[4] == 7);
    EXPECT(aborted_of(p, 0, 9, list) == 1 && list[0].producer_id == 8 && list[0].first_offset == 2);
    EXPECT_INT(aborted_of(p, 0, 2, list), 0);
    EXPECT_INT(aborted_of(p, 8, 9, list), 1);
    EXPECT_INT(aborted_of(p, 9, 12, list), 0);
    leave_image();
}

TEST(the_picture_in_the_header)
{
    EXPECT(in_sim(1, picture));
    image->n = 0;
}

/* -- fencing ----------------------------------------------------------------------------------------------------------- */

static void fencing(void)
{
    struct log_partition *p = fresh();
    REQUIRE(p);
    /* Transaction version 1: markers carry the epoch of the records. */
    EXPECT_INT(put(p, 1, 5, 0, 2).status, LOG_OK);
    EXPECT_INT(put_plain(p, 1, 5, 2).status, LOG_INVALID_TXN_STATE); /* not transactional inside of one */
    EXPECT_INT(put(p, 1, 5, 3, 1).status, LOG_OUT_OF_ORDER_SEQUENCE);
    EXPECT_INT(end(p, (struct log_marker){1, 4, true, 1, 1}).status, LOG_INVALID_PRODUCER_EPOCH);
    EXPECT_INT(end(p, (struct log_marker){1, 5, true, 1, 1}).status, LOG_OK);
    EXPECT_INT(put(p, 1, 5, 2, 1).status, LOG_OK); /* sequences go on behind it */
    EXPECT_INT(put(p, 1, 5, 0, 2).duplicate, true);
    EXPECT_INT(end(p, (struct log_marker){1, 6, false, 0, 1}).status, LOG_TRANSACTION_COORDINATOR_FENCED);
    EXPECT_INT(end(p, (struct log_marker){1, 6, false, 2, 1}).status, LOG_OK); /* an abort that fences */
    EXPECT_INT(put(p, 1, 5, 3, 1).status, LOG_INVALID_PRODUCER_EPOCH);
    EXPECT_INT(put(p, 1, 6, 3, 1).status, LOG_OUT_OF_ORDER_SEQUENCE); /* nothing in this epoch yet: 0 */
    EXPECT_INT(put(p, 1, 6, 0, 1).status, LOG_OK);
    EXPECT_INT(put(p, 1, 7, 1, 1).status, LOG_OUT_OF_ORDER_SEQUENCE);
    EXPECT_INT(put(p, 1, 7, 0, 1).status, LOG_OK);
    EXPECT_INT(put(p, 1, 7, -1, 1).status, LOG_INVALID_RECORD);

    /* Version 2: the marker's epoch is above the records', and only the same marker may come again. */
    EXPECT_INT(put(p, 2, 0, 0, 1).status, LOG_OK);
    EXPECT_INT(end(p, (struct log_marker){2, 0, true, 1, 2}).status, LOG_INVALID_PRODUCER_EPOCH);
    EXPECT_INT(end(p, (struct log_marker){2, 1, true, 1, 2}).status, LOG_OK);
    EXPECT_INT(end(p, (struct log_marker){2, 1, true, 1, 2}).status, LOG_OK);
    EXPECT_INT(put(p, 2, 0, 1, 1).status, LOG_INVALID_PRODUCER_EPOCH); /* late */
    EXPECT_INT(put(p, 2, 1, 0, 1).status, LOG_OK);
    EXPECT_INT(end(p, (struct log_marker){2, 1, true, 1, 2}).status, LOG_INVALID_PRODUCER_EPOCH); /* late, too */
    EXPECT(log_txn_open(p, 2, 1));

    struct batch_producer stranger = {3, 0, 4, true};
    EXPECT_INT(append(p, LOG_FROM_CLIENT_V2, stranger, 1).status, LOG_OUT_OF_ORDER_SEQUENCE);
    EXPECT_INT(append(p, LOG_FROM_CLIENT, stranger, 1).status, LOG_OK);
    struct batch_producer offsets = {4, 0, -1, true};
    EXPECT_INT(append(p, LOG_FROM_COORDINATOR, offsets, 1).status, LOG_OK);
    EXPECT_INT(append(p, LOG_FROM_COORDINATOR, offsets, 1).status, LOG_OK);
    EXPECT_INT(append(p, LOG_FROM_CLIENT, offsets, 1).status, LOG_INVALID_RECORD);

    struct buf b = {0};
    struct log_append_result r;
    EXPECT(batch_marker_put(&b, 4, 0, (struct batch_marker){true, 1}, os_now_ms(), &f) == ERR_OK);
    EXPECT_INT(log_append(p, b.p, b.n, NULL, NULL, &r), LOG_INVALID_RECORD); /* a client's marker */
    EXPECT(strstr(r.message, "control records") != NULL);
    buf_free(&b);

    struct arena *a = arena_new(0);
    struct log_producer *all;
    EXPECT_INT(log_producers(p, a, &all), 4);
    EXPECT(all[0].id == 1 && all[0].epoch == 7 && all[0].last_sequence == 0 && all[0].coordinator_epoch == 2 &&
           all[0].txn_first_offset >= 0);
    EXPECT(all[3].id == 4 && all[3].last_sequence == -1 && all[3].coordinator_epoch == -1);
    arena_free(a);
}

TEST(who_is_fenced)
{
    EXPECT(in_sim(2, fencing));
    image->n = 0;
}

/* -- a model ----------------------------------------------------------------------------------------------------------- */

enum { MODEL_PRODUCERS = 6, MODEL_TXNS = 4000 };
struct model_txn {
    int64_t id, first, last; /* last -1: open */
    bool commit;
};
static struct model {
    int64_t next;
    struct {
        int16_t epoch;
        int32_t seq;
        int txn; /* -1: none */
    } who[MODEL_PRODUCERS];
    struct model_txn txns[MODEL_TXNS];
    int ntxns;
    int order[MODEL_TXNS], ended; /* by marker */
    int64_t good[1 << 14];        /* data offsets outside of transactions, and of committed ones */
    int ngood;
} * M;

static void good(int64_t first, int n)
{
    for (int i = 0; i < n; i++)
        M->good[M->ngood++] = first + i;
}

static int64_t data_offsets[MODEL_PRODUCERS][4000];
static int ndata[MODEL_PRODUCERS]; /* of open transactions; kept in one process, a kill happens with them in the note */

static void model_data(struct log_partition *p, int i)
{
    int count = 1 + (int)sim_random(3);
    struct log_append_result r = put(p, 100 + i, M->who[i].epoch, M->who[i].seq, count);
    EXPECT_INT(r.status, LOG_OK);
    EXPECT_INT(r.base_offset, M->next);
    M->who[i].seq += count;
    if (M->who[i].txn < 0) {
        M->who[i].txn = M->ntxns;
        M->txns[M->ntxns++] = (struct model_txn){100 + i, M->next, -1, false};
    }
    for (int k = 0; k < count; k++)
        data_offsets[i][ndata[i]++] = M->next + k;
    M->next += count;
}

static void model_end(struct log_partition *p, int i)
{
    bool commit = sim_random(2), v2 = sim_random(2);
    if (M->who[i].txn < 0)
        return;
    M->who[i].epoch += v2;
    M->who[i].seq = v2 ? 0 : M->who[i].seq;
    struct log_append_result r = end(p, (struct log_marker){100 + i, M->who[i].epoch, commit, 1, v2 ? 2 : 1});
    EXPECT_INT(r.status, LOG_OK);
    EXPECT_INT(r.base_offset, M->next);
    struct model_txn *x = &M->txns[M->who[i].txn];
    x->last = M->next++;
    x->commit = commit;
    M->order[M->ended++] = M->who[i].txn;
    M->who[i].txn = -1;
    for (int k = 0; commit && k < ndata[i]; k++)
        good(data_offsets[i][k], 1);
    ndata[i] = 0;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void check_range(struct log_partition *p, int64_t from, int64_t to)
{
    struct arena *a = arena_new(0);
    struct log_aborted *list;
    size_t n, at = 0;
    EXPECT_INT(log_aborted(p, from, to, a, &list, &n), LOG_OK);
    for (int i = 0; i < M->ended; i++) {
        const struct model_txn *x = &M->txns[M->order[i]];
        if (x->commit || x->last < from || x->first >= to)
            continue;
        if (at >= n || list[at].producer_id != x->id || list[at].first_offset != x->first)
            TEST_FAIL_("[%lld, %lld): aborted %lld from %lld on is missing", (long long)from, (long long)to,
                       (long long)x->id, (long long)x->first);
        at++;
    }
    EXPECT_INT(n, at);
    arena_free(a);
}

static void check_model(struct log_partition *p)
{
    static int64_t seen[1 << 14], want[1 << 14];
    struct log_offsets o = log_partition_offsets(p);
    int64_t unstable = M->next;
    for (int i = 0; i < M->ntxns; i++)
        if (M->txns[i].last < 0 && M->txns[i].first < unstable)
            unstable = M->txns[i].first;
    EXPECT_INT(o.high_watermark, M->next);
    EXPECT_INT(o.last_stable, unstable);
    for (int i = 0; i < 30; i++) {
        int64_t from = (int64_t)sim_random((uint64_t)o.last_stable + 1);
        check_range(p, from, from + 1 + (int64_t)sim_random((uint64_t)(o.last_stable - from) + 1));
    }
    for (int i = 0; i < MODEL_PRODUCERS; i++) {
        EXPECT_INT(log_txn_open(p, 100 + i, M->who[i].epoch), M->who[i].txn >= 0);
        if (M->who[i].seq) { /* the last batch again: it is known */
            struct producer *x = producers_find(&p->producers, 100 + i);
            EXPECT(x && x->n && x->batch[x->n - 1].last_seq == M->who[i].seq - 1);
        }
    }
    int nwant = 0;
    for (int i = 0; i < M->ngood; i++)
        if (M->good[i] < unstable)
            want[nwant++] = M->good[i];
    qsort(want, (size_t)nwant, sizeof *want, by_number);
    size_t n = committed(p, 0, seen, 1 << 14);
    EXPECT_INT(n, nwant);
    EXPECT(!memcmp(seen, want, (n < (size_t)nwant ? n : (size_t)nwant) * sizeof *seen));
}

/* Work on the model, through clean stops, until the process is "killed". */
static void model_round(void)
{
    bool new = image->n == 0;
    struct log_partition *p;
    struct log *l;
    M = (struct model *)(void *)image->note;
    if (new) {
        memset(M, 0, sizeof *M);
        for (int i = 0; i < MODEL_PRODUCERS; i++)
            M->who[i].txn = -1;
        p = fresh();
        REQUIRE(p);
        l = p->log;
    } else {
        l = start();
        REQUIRE(l);
        p = log_partition(l, STR("t"), 0);
        check_model(p);
        for (int i = 0; i < MODEL_PRODUCERS; i++) /* what they had open is not in this process's arrays: abort it */
            if (M->who[i].txn >= 0) {
                struct log_append_result r = end(p, (struct log_marker){100 + i, ++M->who[i].epoch, false, 1, 2});
                EXPECT_INT(r.status, LOG_OK);
                M->txns[M->who[i].txn].last = M->next++;
                M->order[M->ended++] = M->who[i].txn;
                M->who[i].txn = -1;
                M->who[i].seq = 0;
            }
    }
    for (int step = 0; step < 150; step++) {
        int i = (int)sim_random(MODEL_PRODUCERS);
        uint64_t dice = sim_random(20);
        if (dice < 11) {
            model_data(p, i);
        } else if (dice < 15) {
            model_end(p, i);
        } else if (dice < 18) {
            EXPECT_INT(put_plain(p, -1, 0, 0).base_offset, M->next);
            good(M->next++, 1);
        } else if (dice < 19) {
            log_kick(l, true, false);
        } else if (sim_random(3) == 0) {
            log_partition_release(p);
            log_close(l);
            l = start();
            REQUIRE(l);
            p = log_partition(l, STR("t"), 0);
        }
        if (step % 10 == 0)
            check_model(p);
    }
    leave_image();
}

TEST(a_model_agrees_through_stops_and_kills)
{
    for (uint64_t seed = 0; seed < 12; seed++) {
        for (uint64_t round = 0; round < 4; round++)
            if (!in_sim(1000 + seed * 16 + round, model_round))
                TEST_FAIL_("seed %d round %d", (int)seed, (int)round);
        image->n = 0;
    }
}

/* -- damage ------------------------------------------------------------------------------------------------------------ */

static char damaged_path[64];
static uint64_t damaged_at;
static int damaged_wrong;

static void find_sealed(void)
{
    struct os_stat s;
    for (int64_t base = 0; base < 2000; base++) {
        snprintf(damaged_path, sizeof damaged_path, "/d/t-0/%020lld.txnindex", (long long)base);
        if (!os_stat(damaged_path, &s, NULL) && s.size % 34 == 4 && s.size > 34) {
            image->acked = (int64_t)s.size;
            memcpy(image->note + sizeof *M, damaged_path, sizeof damaged_path);
            return;
        }
    }
    EXPECT(!"no sealed transaction index");
}

/* Every bit of a closed segment's transaction index: its checksum sees it, and all are made anew. */
static void flipped(void)
{
    EXPECT(sim_flip(damaged_path, damaged_at));
    M = (struct model *)(void *)image->note;
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    check_model(p);
    log_partition_release(p);
    log_close(l);
    l = start(); /* and they stay good */
    REQUIRE(l);
    p = log_partition(l, STR("t"), 0);
    check_model(p);
}

static void cut_off(void)
{
    struct os_file *file;
    REQUIRE(os_open(&file, damaged_path, OS_RDWR, &f) == ERR_OK);
    EXPECT(os_truncate(file, damaged_at, &f) == ERR_OK);
    os_close(file);
    damaged_at = 0;
    M = (struct model *)(void *)image->note;
    struct log *l = start();
    REQUIRE(l);
    check_model(log_partition(l, STR("t"), 0));
}

/* Any file of a partition with transactions, any bit: no crash, and it opens or refuses by name. */
static void any_flip(void)
{
    static const char *const EXT[] = {"txnindex", "snapshot", "log", "index"};
    struct os_stat s;
    char path[64];
    for (int64_t base = (int64_t)sim_random(600), tries = 0; tries < 700; base = (base + 1) % 600, tries++) {
        snprintf(path, sizeof path, "/d/t-0/%020lld.%s", (long long)base, EXT[damaged_wrong % 4]);
        if (os_stat(path, &s, NULL) || !s.size)
            continue;
        (void)sim_flip(path, sim_random(s.size));
        break;
    }
    struct log *l = NULL;
    struct log_options o = {.dir = "/d", .segment_bytes = 3000, .journal_file_bytes = 1 << 20};
    enum err e = log_open(&l, &o, &f);
    EXPECT(e == ERR_OK || e == ERR_CORRUPT);
    struct log_partition *p = e ? NULL : log_partition(l, STR("t"), 0);
    struct arena *a = arena_new(0);
    struct log_aborted *list;
    struct log_producer *all;
    size_t n;
    if (!p)
        return;
    (void)log_aborted(p, 0, 10000, a, &list, &n);
    (void)log_producers(p, a, &all);
    (void)put(p, 500, 0, 0, 1);
    (void)end(p, (struct log_marker){500, 1, false, 0, 2});
    log_partition_release(p);
    log_close(l);
}

TEST(damaged_files_of_transactions)
{
    for (uint64_t round = 0; round < 3; round++)
        EXPECT(in_sim(3000 + round, model_round));
    EXPECT(in_sim(3010, find_sealed));
    memcpy(damaged_path, image->note + sizeof *M, sizeof damaged_path);
    for (damaged_at = 0; damaged_at < (uint64_t)image->acked; damaged_at += 1 + damaged_at / 8)
        if (!in_sim(3020 + damaged_at, flipped))
            TEST_FAIL_("byte %d of %s", (int)damaged_at, damaged_path);
    for (damaged_at = 0; damaged_at < (uint64_t)image->acked; damaged_at += 13)
        if (!in_sim(4020 + damaged_at, cut_off))
            TEST_FAIL_("%s cut at %d", damaged_path, (int)damaged_at);
    for (damaged_wrong = 0; damaged_wrong < 120; damaged_wrong++)
        if (!in_sim(5000 + (uint64_t)damaged_wrong, any_flip))
            TEST_FAIL_("flip %d", damaged_wrong);
    image->n = 0;
}

/* -- time -------------------------------------------------------------------------------------------------------------- */

static void expire_write(void)
{
    struct log_partition *p = fresh();
    REQUIRE(p);
    for (int i = 0; i < 100; i++)
        EXPECT_INT(put_plain(p, 1000 + i, 0, 0).status, LOG_OK);
    EXPECT_INT(put(p, 1, 0, 0, 1).base_offset, 100);
    os_sleep_ms(3 * 86400000LL);
    for (int i = 0; i < 300; i++)
        EXPECT_INT(put_plain(p, 2000 + i, 0, 0).status, LOG_OK);
    EXPECT(!producers_find(&p->producers, 1000));
    EXPECT(log_txn_open(p, 1, 0)); /* idle for days, and open */
    EXPECT(os_now_ms() - log_txn_oldest_ms(p) > 2 * 86400000LL);
    EXPECT_INT(stable(p), 100);
    struct log *l = p->log;
    log_partition_release(p);
    log_close(l);
    leave_image();
}

static void expire_read(void)
{
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    EXPECT(log_txn_open(p, 1, 0));
    EXPECT_INT(stable(p), 100);
    EXPECT_INT(put(p, 1, 0, 1, 1).status, LOG_OK);
    EXPECT_INT(end(p, (struct log_marker){1, 1, false, 0, 2}).status, LOG_OK);
    EXPECT_INT(stable(p), 403);
}

TEST(an_open_transaction_is_never_forgotten)
{
    EXPECT(in_sim(6000, expire_write));
    EXPECT(in_sim(6001, expire_read));
    image->n = 0;
}

static void five_write(void)
{
    struct log_partition *p = fresh();
    REQUIRE(p);
    for (int i = 0; i < 7; i++)
        EXPECT_INT(put_plain(p, 1, 0, i).base_offset, i);
    struct log *l = p->log;
    log_partition_release(p);
    log_close(l);
    leave_image();
}

static void five_read(void)
{
    struct log *l = start();
    REQUIRE(l);
    struct log_partition *p = log_partition(l, STR("t"), 0);
    for (int i = 2; i < 7; i++) {
        struct log_append_result r = put_plain(p, 1, 0, i);
        EXPECT(r.duplicate && r.base_offset == i);
    }
    EXPECT_INT(put_plain(p, 1, 0, 1).status, LOG_OUT_OF_ORDER_SEQUENCE);
    EXPECT_INT(put_plain(p, 1, 0, 7).base_offset, 7);
}

TEST(five_batches_are_known_after_a_stop)
{
    EXPECT(in_sim(6010, five_write));
    EXPECT(in_sim(6011, five_read));
    image->n = 0;
}

TEST_MAIN()
