/*
 * Transactions, both generations, through encoded requests in the simulator: what is seen and what is not, who is fenced,
 * what a restart and time do. Real clients are tests/clients/; real Kafka's words for errors are in replay_test.c.
 */
#include "broker/testbed_int.h"

#include "broker/txn_int.h"

struct me {
    struct broker_conn *conn;
    struct str id;
    int64_t producer_id;
    int16_t epoch;
    int32_t next[4]; /* sequence numbers, by partition */
};

static int16_t init(struct me *m, struct broker_conn *conn, const char *id, int64_t producer_id, int16_t epoch)
{
    struct kafka_init_producer_id_request *q = KAFKA_NEW(arena, init_producer_id_request);
    const struct kafka_init_producer_id_response *r;

    q->transactional_id = str_of(id);
    q->transaction_timeout_ms = 60000;
    q->producer_id = producer_id;
    q->producer_epoch = epoch;
    r = ask(conn, KAFKA_init_producer_id, 4, q);
    *m = (struct me){conn, str_of(id), r->producer_id, r->producer_epoch, {0}};
    return r->error_code;
}

static int16_t add(struct me *m, const char *topic, int32_t partition)
{
    struct kafka_add_partitions_to_txn_request *q = KAFKA_NEW(arena, add_partitions_to_txn_request);
    struct kafka_add_partitions_to_txn_topic *t = KAFKA_NEW(arena, add_partitions_to_txn_topic);
    const struct kafka_add_partitions_to_txn_response *r;

    q->v3_and_below_transactional_id = m->id;
    q->v3_and_below_producer_id = m->producer_id;
    q->v3_and_below_producer_epoch = m->epoch;
    q->v3_and_below_topics.p = t, q->v3_and_below_topics.n = 1;
    t->name = str_of(topic);
    t->partitions.p = &partition, t->partitions.n = 1;
    r = ask(m->conn, KAFKA_add_partitions_to_txn, 2, q);
    return r->results_by_topic_v3_and_below.p[0].results_by_partition.p[0].partition_error_code;
}

static struct buf batch_of(const char *value)
{
    struct batch_writer w;
    struct buf b = {0};

    batch_begin(&w, &b, os_now_ms(), 0);
    batch_record(&w, os_now_ms(), STR("k"), str_of(value), NULL, 0);
    if (batch_end(&w, NULL))
        abort();
    return b;
}

static int16_t write_as(struct me *m, const char *topic, int32_t partition, const char *value, int16_t version)
{
    struct kafka_produce_request *q = KAFKA_NEW(arena, produce_request);
    struct kafka_produce_topic *t = KAFKA_NEW(arena, produce_topic);
    struct kafka_produce_partition *p = KAFKA_NEW(arena, produce_partition);
    const struct kafka_produce_response *r;
    struct buf b = batch_of(value);

    batch_set_producer(b.p, b.n, &(struct batch_producer){m->producer_id, m->epoch, m->next[partition], true});
    q->transactional_id = m->id;
    q->acks = -1;
    q->topic_data.p = t, q->topic_data.n = 1;
    t->name = str_of(topic);
    t->partition_data.p = p, t->partition_data.n = 1;
    p->index = partition;
    p->records = buf_view(&b);
    r = ask(m->conn, KAFKA_produce, version, q);
    buf_free(&b);
    if (!r->responses.p[0].partition_responses.p[0].error_code)
        m->next[partition]++;
    return r->responses.p[0].partition_responses.p[0].error_code;
}

static int16_t end(struct me *m, bool commit, int16_t version)
{
    struct kafka_end_txn_request *q = KAFKA_NEW(arena, end_txn_request);
    const struct kafka_end_txn_response *r;

    q->transactional_id = m->id;
    q->producer_id = m->producer_id;
    q->producer_epoch = m->epoch;
    q->committed = commit;
    r = ask(m->conn, KAFKA_end_txn, version, q);
    if (!r->error_code && version >= 5) {
        m->producer_id = r->producer_id;
        m->epoch = r->producer_epoch;
        memset(m->next, 0, sizeof m->next);
    }
    return r->error_code;
}

static const struct kafka_fetch_partition_response *read_committed(struct broker_conn *c, const char *topic)
{
    struct kafka_fetch_request *q = fetch_request(topic, 0, 0, 0);

    q->isolation_level = 1;
    return fetched(send(c, KAFKA_fetch, 12, q));
}

/* The values that a read_committed client makes of an answer, joined by commas. */
static struct str values(const struct kafka_fetch_partition_response *p)
{
    struct str rest = p->records;
    struct buf out = {0};
    bool aborting[64] = {false};
    struct batch b;

    while (rest.n && !batch_parse(rest, &b, NULL)) {
        struct record_iter it;
        struct record r;
        bool got;

        for (int32_t i = 0; i < p->aborted_transactions.n; i++)
            if (p->aborted_transactions.p[i].first_offset <= b.base_offset + b.last_offset_delta)
                aborting[i] = true;
        for (int32_t i = 0; i < p->aborted_transactions.n; i++)
            if (aborting[i] && p->aborted_transactions.p[i].producer_id == b.producer_id) {
                if (b.attributes & BATCH_CONTROL)
                    p->aborted_transactions.p[i].producer_id = -2; /* its marker: later records are another's */
                else if (b.attributes & BATCH_TRANSACTIONAL)
                    goto next;
            }
        if (b.attributes & BATCH_CONTROL || records_begin(&it, &b, arena, 1 << 20, NULL))
            goto next;
        while (!records_next(&it, &r, &got, NULL) && got)
            buf_fmt(&out, "%s%.*s", out.n ? "," : "", STR_ARG(r.value));
    next:
        rest = str_make(rest.p + b.all.n, rest.n - b.all.n);
    }
    struct str text = arena_str(arena, out.n ? buf_view(&out) : STR(""));
    buf_free(&out);
    return text;
}

TEST(what_is_committed_is_seen_and_what_is_aborted_is_not)
{
    struct broker_conn *c;
    struct me m;

    start(0);
    make_topic("t", 2);
    c = dial("h");
    EXPECT_INT(init(&m, c, "id", -1, -1), 0);
    EXPECT_INT(write_as(&m, "t", 0, "x", 9), KAFKA_E_INVALID_TXN_STATE); /* nobody added the partition */
    EXPECT_INT(write_as(&m, "t", 0, "x", 11), KAFKA_E_TRANSACTION_ABORTABLE);
    EXPECT_INT(add(&m, "nowhere", 0), KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION);
    EXPECT_INT(add(&m, "t", 0), 0);
    EXPECT_INT(write_as(&m, "t", 0, "a", 9), 0);
    EXPECT_INT(produce(c, "t", "plain"), 0);
    EXPECT_INT(read_committed(c, "t")->last_stable_offset, 0);
    EXPECT_INT(read_committed(c, "t")->high_watermark, 2);
    EXPECT_STR(values(read_committed(c, "t")), "");
    EXPECT_INT(end(&m, true, 3), 0);
    EXPECT_STR(values(read_committed(c, "t")), "a,plain");
    EXPECT_INT(add(&m, "t", 0), 0);
    EXPECT_INT(write_as(&m, "t", 0, "b", 9), 0);
    EXPECT_INT(end(&m, false, 3), 0);
    EXPECT_STR(values(read_committed(c, "t")), "a,plain");
    EXPECT_INT(read_committed(c, "t")->aborted_transactions.n, 1);
    EXPECT_INT(read_committed(c, "t")->last_stable_offset, 5);
    EXPECT_INT(end(&m, true, 3), KAFKA_E_INVALID_TXN_STATE); /* it was aborted */
    EXPECT_INT(end(&m, false, 3), 0);                        /* asked twice */
    broker_conn_close(c);
    stop();
}

TEST(a_newer_producer_fences_and_aborts)
{
    struct broker_conn *c;
    struct me old, new;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    EXPECT_INT(init(&old, c, "id", -1, -1), 0);
    EXPECT_INT(add(&old, "t", 0), 0);
    EXPECT_INT(write_as(&old, "t", 0, "zombie", 9), 0);
    EXPECT_INT(init(&new, c, "id", -1, -1), 0);
    EXPECT_INT(new.producer_id, old.producer_id);
    EXPECT(new.epoch > old.epoch);
    EXPECT_INT(write_as(&old, "t", 0, "zombie", 9), KAFKA_E_INVALID_PRODUCER_EPOCH);
    EXPECT_INT(add(&old, "t", 0), KAFKA_E_PRODUCER_FENCED);
    EXPECT_INT(end(&old, true, 3), KAFKA_E_PRODUCER_FENCED);
    EXPECT_INT(add(&new, "t", 0), 0);
    EXPECT_INT(write_as(&new, "t", 0, "new", 9), 0);
    EXPECT_INT(end(&new, true, 3), 0);
    EXPECT_STR(values(read_committed(c, "t")), "new");
    old.id = STR("other");
    EXPECT_INT(add(&old, "t", 0), KAFKA_E_INVALID_PRODUCER_ID_MAPPING);
    broker_conn_close(c);
    stop();
}

TEST(transaction_version_2_gives_an_epoch_each_time)
{
    struct broker_conn *c;
    struct me m, late;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    EXPECT_INT(init(&m, c, "id", -1, -1), 0);
    EXPECT_INT(end(&m, true, 5), KAFKA_E_INVALID_TXN_STATE); /* nothing was begun */
    EXPECT_INT(write_as(&m, "t", 0, "a", 12), 0);            /* adds the partition by itself */
    late = m;
    EXPECT_INT(end(&m, true, 5), 0);
    EXPECT_INT(m.epoch, late.epoch + 1);
    EXPECT_INT(write_as(&late, "t", 0, "late", 12), KAFKA_E_INVALID_PRODUCER_EPOCH);
    struct me again = late;
    EXPECT_INT(end(&again, true, 5), 0); /* the answer was lost: it is told again */
    EXPECT_INT(again.epoch, m.epoch);
    EXPECT_INT(end(&late, false, 5), KAFKA_E_INVALID_TXN_STATE);
    EXPECT_INT(write_as(&m, "t", 0, "b", 12), 0);
    EXPECT_INT(end(&late, true, 5), KAFKA_E_PRODUCER_FENCED); /* not this one */
    EXPECT_INT(end(&m, false, 5), 0);
    EXPECT_INT(end(&m, false, 5), 0); /* an empty one: only the epoch moves */
    EXPECT_INT(m.epoch, late.epoch + 3);
    EXPECT_STR(values(read_committed(c, "t")), "a");
    broker_conn_close(c);
    stop();
}

TEST(the_epochs_of_a_producer_id_run_out)
{
    struct broker_conn *c;
    struct me m;
    int64_t first;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    EXPECT_INT(init(&m, c, "id", -1, -1), 0);
    first = m.producer_id;
    while (m.epoch < TXN_EPOCH_LAST && m.producer_id == first)
        if (end(&m, false, 5)) {
            EXPECT(false);
            break;
        }
    EXPECT_INT(write_as(&m, "t", 0, "last", 12), 0);
    struct me last = m;
    EXPECT_INT(end(&m, true, 5), 0);
    EXPECT(m.producer_id != first);
    EXPECT_INT(m.epoch, 0);
    EXPECT_INT(end(&last, true, 5), 0); /* again */
    EXPECT_INT(last.producer_id, m.producer_id);
    EXPECT_INT(write_as(&m, "t", 0, "first", 12), 0);
    EXPECT_INT(end(&m, true, 5), 0);
    EXPECT_STR(values(read_committed(c, "t")), "last,first");
    broker_conn_close(c);
    stop();
}

static void up_to_the_last_epoch(struct me *m, struct broker_conn *c, const char *id)
{
    int16_t code = init(m, c, id, -1, -1);

    while (!code && m->epoch < TXN_EPOCH_LAST)
        code = end(m, false, 5);
    EXPECT_INT(code, 0);
    EXPECT_INT(m->epoch, TXN_EPOCH_LAST);
}

/* What a real 4.3.1 answers at epoch 32766. (With a transaction open there it gives the next id's epoch 1, not 0.) */
TEST(a_producer_at_its_last_epoch)
{
    struct broker_conn *c;
    struct me m, last;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    up_to_the_last_epoch(&m, c, "init");
    last = m;
    EXPECT_INT(init(&m, c, "init", -1, -1), 0);
    EXPECT(m.producer_id != last.producer_id && m.epoch == 0);
    EXPECT_INT(init(&m, c, "init", -1, -1), 0);
    EXPECT_INT(m.epoch, 1);

    up_to_the_last_epoch(&m, c, "end 5");
    last = m;
    EXPECT_INT(write_as(&m, "t", 0, "committed", 12), 0);
    EXPECT_INT(end(&m, true, 5), 0);
    EXPECT(m.producer_id != last.producer_id && m.epoch == 0);
    int64_t next = m.producer_id;
    EXPECT_INT(init(&m, c, "end 5", last.producer_id, last.epoch), 0); /* it did not hear of it */
    EXPECT(m.producer_id == next && m.epoch == 0);

    up_to_the_last_epoch(&m, c, "end 4");
    last = m;
    EXPECT_INT(add(&m, "t", 0), 0);
    EXPECT_INT(write_as(&m, "t", 0, "too", 11), 0);
    EXPECT_INT(end(&m, true, 4), 0);
    EXPECT_INT(add(&m, "t", 0), 0);
    EXPECT_INT(write_as(&m, "t", 0, "void", 11), 0);
    EXPECT_INT(init(&m, c, "end 4", -1, -1), 0); /* aborts it */
    EXPECT(m.producer_id != last.producer_id && m.epoch <= 1);
    EXPECT_INT(end(&last, true, 4), KAFKA_E_INVALID_PRODUCER_ID_MAPPING);
    EXPECT_INT(write_as(&m, "t", 0, "after", 12), 0);
    EXPECT_INT(end(&m, true, 5), 0);
    EXPECT_STR(values(read_committed(c, "t")), "committed,too,after");
    broker_conn_close(c);
    stop();
}

TEST(a_transaction_ends_with_its_timeout)
{
    struct broker_conn *c;
    struct me m;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    EXPECT_INT(init(&m, c, "id", -1, -1), 0);
    EXPECT_INT(add(&m, "t", 0), 0);
    EXPECT_INT(write_as(&m, "t", 0, "a", 9), 0);
    os_sleep_ms(30000);
    EXPECT_INT(read_committed(c, "t")->last_stable_offset, 0);
    broker_conn_close(c);
    close_broker(); /* the time goes on */
    open_broker(0);
    m.conn = c = dial("h");
    os_sleep_ms(20000);
    EXPECT_INT(read_committed(c, "t")->last_stable_offset, 0);
    os_sleep_ms(11000);
    EXPECT_INT(read_committed(c, "t")->last_stable_offset, 2);
    EXPECT_STR(values(read_committed(c, "t")), "");
    EXPECT_INT(end(&m, true, 3), KAFKA_E_PRODUCER_FENCED);
    broker_conn_close(c);
    stop();
}

/* -- offsets ------------------------------------------------------------------------------------------------------------ */

static int16_t commit_offset(struct me *m, const char *group, int64_t offset, int16_t version)
{
    struct kafka_txn_offset_commit_request *q = KAFKA_NEW(arena, txn_offset_commit_request);
    struct kafka_txn_offset_commit_topic *t = KAFKA_NEW(arena, txn_offset_commit_topic);
    struct kafka_txn_offset_commit_partition *p = KAFKA_NEW(arena, txn_offset_commit_partition);
    const struct kafka_txn_offset_commit_response *r;

    q->transactional_id = m->id;
    q->group_id = str_of(group);
    q->producer_id = m->producer_id;
    q->producer_epoch = m->epoch;
    q->topics.p = t, q->topics.n = 1;
    t->name = STR("t");
    t->partitions.p = p, t->partitions.n = 1;
    p->committed_offset = offset;
    p->committed_metadata = STR("why");
    r = ask(m->conn, KAFKA_txn_offset_commit, version, q);
    return r->topics.p[0].partitions.p[0].error_code;
}

static int64_t stable_offset(struct broker_conn *c, const char *group, int16_t *code)
{
    struct kafka_offset_fetch_request *q = KAFKA_NEW(arena, offset_fetch_request);
    struct kafka_offset_fetch_group *g = KAFKA_NEW(arena, offset_fetch_group);
    struct kafka_offset_fetch_topic *t = KAFKA_NEW(arena, offset_fetch_topic);
    static int32_t zero;
    const struct kafka_offset_fetch_response *r;

    q->require_stable = true;
    q->groups.p = g, q->groups.n = 1;
    g->group_id = str_of(group);
    g->topics.p = t, g->topics.n = 1;
    t->name = STR("t");
    t->partition_indexes.p = &zero, t->partition_indexes.n = 1;
    r = ask(c, KAFKA_offset_fetch, 8, q);
    *code = r->groups.p[0].topics.p[0].partitions.p[0].error_code;
    return r->groups.p[0].topics.p[0].partitions.p[0].committed_offset;
}

TEST(offsets_count_when_their_transaction_commits)
{
    struct broker_conn *c;
    struct me m;
    int16_t code;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    EXPECT_INT(init(&m, c, "id", -1, -1), 0);
    EXPECT_INT(commit_offset(&m, "g", 7, 3), KAFKA_E_INVALID_TXN_STATE); /* without AddOffsetsToTxn */
    EXPECT_INT(commit_offset(&m, "g", 7, 5), 0);
    EXPECT_INT(stable_offset(c, "g", &code), -1);
    EXPECT_INT(code, KAFKA_E_UNSTABLE_OFFSET_COMMIT);
    broker_conn_close(c);
    close_broker();
    open_broker(0);
    m.conn = c = dial("h");
    EXPECT_INT(stable_offset(c, "g", &code), -1);
    EXPECT_INT(code, KAFKA_E_UNSTABLE_OFFSET_COMMIT);
    EXPECT_INT(end(&m, true, 5), 0);
    EXPECT_INT(stable_offset(c, "g", &code), 7);
    EXPECT_INT(code, 0);
    EXPECT_INT(commit_offset(&m, "g", 9, 5), 0);
    EXPECT_INT(end(&m, false, 5), 0);
    EXPECT_INT(stable_offset(c, "g", &code), 7);
    broker_conn_close(c);
    close_broker();
    open_broker(0);
    c = dial("h");
    EXPECT_INT(stable_offset(c, "g", &code), 7);
    broker_conn_close(c);
    stop();
}

static int16_t delete_group(struct broker_conn *c, const char *group)
{
    struct kafka_delete_groups_request *q = KAFKA_NEW(arena, delete_groups_request);
    struct str name = str_of(group);
    const struct kafka_delete_groups_response *r;

    q->groups_names.p = &name, q->groups_names.n = 1;
    r = ask(c, KAFKA_delete_groups, 2, q);
    return r->results.p[0].error_code;
}

/* A tombstone behind pending offsets takes them out of the transaction, in memory and when the log is read again. */
TEST(a_deleted_groups_pending_offsets_do_not_come_back)
{
    for (int restart = 0; restart < 2; restart++) {
        struct broker_conn *c;
        struct me m;
        int16_t code;

        start(0);
        make_topic("t", 1);
        c = dial("h");
        EXPECT_INT(init(&m, c, "id", -1, -1), 0);
        EXPECT_INT(commit_offset(&m, "g", 7, 5), 0);
        EXPECT_INT(commit_offset(&m, "other", 8, 5), 0);
        EXPECT_INT(delete_group(c, "g"), 0);
        EXPECT_INT(delete_group(c, "g"), KAFKA_E_GROUP_ID_NOT_FOUND);
        if (restart) {
            broker_conn_close(c);
            close_broker();
            open_broker(0);
            m.conn = c = dial("h");
        }
        EXPECT_INT(stable_offset(c, "g", &code), -1);
        EXPECT_INT(code, 0);
        EXPECT_INT(end(&m, true, 5), 0);
        EXPECT_INT(stable_offset(c, "g", &code), -1);
        EXPECT_INT(stable_offset(c, "other", &code), 8);
        broker_conn_close(c);
        stop();
    }
}

/* -- the server's own producers ------------------------------------------------------------------------------------------- */

static enum err append(struct broker_producer *p, int32_t partition, const char *value, struct fault *f)
{
    struct log_partition *to = log_partition(logs, STR("t"), partition);
    struct buf b = batch_of(value);
    enum err e = broker_producer_append(p, to, b.p, b.n, f);

    buf_free(&b);
    log_partition_release(to);
    return e;
}

TEST(the_servers_own_producer_commits_records_and_offset_at_once)
{
    struct broker_conn *c;
    struct broker_producer *p, *q;
    struct fault f;
    struct str metadata;
    int64_t offset;

    start(0);
    make_topic("t", 2);
    c = dial("h");
    EXPECT_INT(broker_producer_open(broker, STR("own"), INT32_MAX, &p, &f), ERR_OK);
    EXPECT_INT(broker_producer_end(p, true, &f), ERR_OK); /* nothing was begun */
    EXPECT_INT(append(p, 0, "a", &f), ERR_OK);
    EXPECT_INT(append(p, 0, "b", &f), ERR_OK);
    EXPECT_INT(append(p, 1, "c", &f), ERR_OK);
    EXPECT_INT(broker_producer_offset(p, STR("own"), STR("t"), 0, 41, STR("{\"batchId\":41}"), &f), ERR_OK);
    EXPECT_STR(values(read_committed(c, "t")), "");
    EXPECT_INT(broker_producer_end(p, true, &f), ERR_OK);
    EXPECT_STR(values(read_committed(c, "t")), "a,b");
    EXPECT_INT(broker_group_offset(broker, STR("own"), STR("t"), 0, arena, &offset, &metadata, &f), ERR_OK);
    EXPECT_INT(offset, 41);
    EXPECT(str_eqz(metadata, "{\"batchId\":41}"));
    EXPECT_INT(append(p, 0, "lost", &f), ERR_OK);
    EXPECT_INT(broker_producer_open(broker, STR("own"), INT32_MAX, &q, &f), ERR_OK); /* takes over */
    EXPECT_INT(append(p, 0, "zombie", &f), ERR_KAFKA_FENCED);
    EXPECT_INT(broker_producer_end(p, true, &f), ERR_KAFKA_FENCED);
    EXPECT_STR(values(read_committed(c, "t")), "a,b");
    EXPECT_INT(append(q, 0, "d", &f), ERR_OK);
    broker_producer_close(p);
    broker_producer_close(q); /* aborts */
    EXPECT_STR(values(read_committed(c, "t")), "a,b");
    EXPECT_INT(read_committed(c, "t")->last_stable_offset, read_committed(c, "t")->high_watermark);
    broker_conn_close(c);
    stop();
}

/* A marker that an administrator writes, and a transaction that only the log knows. */
TEST(a_hanging_transaction_ends_at_the_next_start)
{
    struct broker_conn *c;
    struct buf b = batch_of("hangs");
    struct log_partition *p;
    struct log_append_result r;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    p = log_partition(logs, STR("t"), 0);
    batch_set_producer(b.p, b.n, &(struct batch_producer){4711, 3, 0, true});
    r = log_append_wait(p, b.p, b.n);
    EXPECT_INT(r.status, LOG_OK);
    log_partition_release(p);
    EXPECT_INT(produce(c, "t", "behind"), 0);
    EXPECT_STR(values(read_committed(c, "t")), "");
    broker_conn_close(c);
    close_broker();
    open_broker(0);
    c = dial("h");
    os_sleep_ms(1000);
    EXPECT_STR(values(read_committed(c, "t")), "behind");
    broker_conn_close(c);
    stop();
    buf_free(&b);
}

/* Also while the server runs; a transaction that the coordinator knows is left alone, however long it is quiet. */
TEST(a_hanging_transaction_ends_after_a_while)
{
    struct broker_conn *c;
    struct buf b = batch_of("hangs");
    struct broker_producer *own;
    struct log_partition *p;
    struct fault f;

    start(0);
    make_topic("t", 2);
    c = dial("h");
    p = log_partition(logs, STR("t"), 0);
    batch_set_producer(b.p, b.n, &(struct batch_producer){4711, 3, 0, true});
    EXPECT_INT(log_append_wait(p, b.p, b.n).status, LOG_OK);
    log_partition_release(p);
    EXPECT_INT(produce(c, "t", "behind"), 0);
    REQUIRE(broker_producer_open(broker, STR("own"), INT32_MAX, &own, &f) == ERR_OK);
    EXPECT(append(own, 0, "known", &f) == ERR_OK);
    os_sleep_ms(TXN_TIMEOUT_MOST_MS / 2);
    EXPECT_STR(values(read_committed(c, "t")), "");
    os_sleep_ms(2 * (int64_t)TXN_LOOK_MS);
    EXPECT_STR(values(read_committed(c, "t")), "behind");
    EXPECT(broker_producer_end(own, true, &f) == ERR_OK);
    EXPECT_STR(values(read_committed(c, "t")), "behind,known");
    broker_producer_close(own);
    broker_conn_close(c);
    stop();
    buf_free(&b);
}

TEST_MAIN()
