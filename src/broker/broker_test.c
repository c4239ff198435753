/*
 * The broker's behaviour in time: groups whose members fall silent, fetches that wait, restarts. It runs in the simulator, so
 * minutes pass in microseconds and nothing depends on this machine's speed. What single requests answer is replay_test.c's.
 */
#include "broker/testbed_int.h"

/* -- fetches that wait ---------------------------------------------------------------------------------------------------- */
TEST(a_fetch_waits_its_time_out)
{
    struct broker_conn *c;
    int64_t began;
    const struct kafka_fetch_partition_response *p;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    began = os_mono_ns();
    p = fetched(send(c, KAFKA_fetch, 12, fetch_request("t", 0, 30000, 1)));
    EXPECT_INT(p->error_code, 0);
    EXPECT_INT(p->records.n, 0);
    EXPECT(os_mono_ns() - began >= 30000 * 1000000ll);
    broker_conn_close(c);
    stop();
}

TEST(a_fetch_is_woken_by_what_is_durable)
{
    struct broker_conn *reader, *writer;
    struct call *waiting;
    const struct kafka_fetch_partition_response *p;
    int64_t began;

    start(0);
    make_topic("t", 1);
    reader = dial("h");
    writer = dial("h");
    waiting = send(reader, KAFKA_fetch, 12, fetch_request("t", 0, 3600000, 1));
    os_sleep_ms(1000);
    EXPECT(!answered(waiting));
    began = os_mono_ns();
    EXPECT_INT(produce(writer, "t", "value"), 0);
    p = fetched(waiting);
    EXPECT(os_mono_ns() - began < 60 * 1000000000ll);
    EXPECT_INT(p->high_watermark, 1);
    EXPECT(p->records.n > 61);
    broker_conn_close(reader);
    broker_conn_close(writer);
    stop();
}

TEST(min_bytes_gathers_several_batches)
{
    struct broker_conn *reader, *writer;
    struct call *waiting;
    const struct kafka_fetch_partition_response *p;

    start(0);
    make_topic("t", 1);
    reader = dial("h");
    writer = dial("h");
    waiting = send(reader, KAFKA_fetch, 12, fetch_request("t", 0, 3600000, 200));
    EXPECT_INT(produce(writer, "t", "one"), 0);
    EXPECT_INT(produce(writer, "t", "two"), 0);
    os_sleep_ms(1000);
    EXPECT(!answered(waiting)); /* two batches of about 70 bytes */
    EXPECT_INT(produce(writer, "t", "three"), 0);
    p = fetched(waiting);
    EXPECT_INT(p->high_watermark, 3);
    EXPECT(p->records.n >= 200);
    broker_conn_close(reader);
    broker_conn_close(writer);
    stop();
}

TEST(a_deleted_topic_ends_the_wait)
{
    struct broker_conn *c;
    struct call *waiting;
    struct fault f;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    waiting = send(c, KAFKA_fetch, 12, fetch_request("t", 0, 3600000, 1));
    os_sleep_ms(10);
    EXPECT_INT(log_topic_delete(logs, STR("t"), &f), ERR_OK);
    EXPECT_INT(fetched(waiting)->error_code, KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION);
    broker_conn_close(c);
    stop();
}

TEST(a_closed_connection_and_a_stop_end_waits)
{
    struct broker_conn *gone, *there;
    struct call *a, *b;

    start(0);
    make_topic("t", 1);
    gone = dial("h");
    there = dial("h");
    a = send(gone, KAFKA_fetch, 12, fetch_request("t", 0, INT32_MAX, 1));
    b = send(there, KAFKA_fetch, 12, fetch_request("t", 0, INT32_MAX, 1));
    broker_conn_close(gone);
    fetched(a);
    EXPECT(!answered(b));
    broker_conn_close(there);
    stop();
    EXPECT(answered(b));
    broker_reply_free(&b->reply);
    free(b);
}

TEST(sessions_are_bounded_and_idle_ones_give_way)
{
    struct broker_conn *c;
    struct broker_stats stats;
    const struct kafka_fetch_response *r;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    for (int i = 0; i <= 1000; i++) {
        struct kafka_fetch_request *q = fetch_request("t", 0, 0, 1);

        q->session_epoch = 0;
        r = ask(c, KAFKA_fetch, 12, q);
        EXPECT(i < 1000 ? r->session_id != 0 : r->session_id == 0);
    }
    os_sleep_ms(121000);
    {
        struct kafka_fetch_request *q = fetch_request("t", 0, 0, 1);

        q->session_epoch = 0;
        r = ask(c, KAFKA_fetch, 12, q);
        EXPECT(r->session_id != 0);
    }
    broker_stats(broker, &stats);
    EXPECT_INT(stats.fetch_sessions, 1000);
    broker_conn_close(c);
    stop();
}

/* -- groups in time ----------------------------------------------------------------------------------------------------------- */
static struct call *join(struct broker_conn *c, struct str member, const char *protocol)
{
    struct kafka_join_group_request *q = KAFKA_NEW(arena, join_group_request);
    struct kafka_join_group_protocol *p = KAFKA_NEW(arena, join_group_protocol);

    q->group_id = STR("g");
    q->session_timeout_ms = 10000;
    q->rebalance_timeout_ms = 60000;
    q->member_id = member;
    q->protocol_type = STR("consumer");
    q->protocols.p = p, q->protocols.n = 1;
    p->name = str_of(protocol);
    p->metadata = STR("m");
    return send(c, KAFKA_join_group, 3, q); /* 3: no second step for the id */
}

static struct call *sync_group(struct broker_conn *c, const struct kafka_join_group_response *me)
{
    struct kafka_sync_group_request *q = KAFKA_NEW(arena, sync_group_request);

    q->group_id = STR("g");
    q->generation_id = me->generation_id;
    q->member_id = me->member_id;
    q->assignments.n = me->members.n;
    q->assignments.p = KAFKA_ARRAY(arena, sync_group_assignment, (size_t)me->members.n);
    for (int32_t i = 0; i < me->members.n; i++)
        q->assignments.p[i] =
            (struct kafka_sync_group_assignment){me->members.p[i].member_id, me->members.p[i].member_id};
    return send(c, KAFKA_sync_group, 3, q);
}

static int16_t heartbeat(struct broker_conn *c, const struct kafka_join_group_response *me)
{
    struct kafka_heartbeat_request *q = KAFKA_NEW(arena, heartbeat_request);
    const struct kafka_heartbeat_response *r;

    q->group_id = STR("g");
    q->generation_id = me->generation_id;
    q->member_id = me->member_id;
    r = ask(c, KAFKA_heartbeat, 3, q);
    return r->error_code;
}

static const struct kafka_describe_groups_group *describe(struct broker_conn *c)
{
    static struct str name = {"g", 1};
    struct kafka_describe_groups_request *q = KAFKA_NEW(arena, describe_groups_request);
    const struct kafka_describe_groups_response *r;

    q->groups.p = &name, q->groups.n = 1;
    r = ask(c, KAFKA_describe_groups, 5, q);
    return &r->groups.p[0];
}

TEST(a_silent_member_is_out_a_living_one_stays)
{
    struct broker_conn *c;
    const struct kafka_join_group_response *me;
    const struct kafka_sync_group_response *share;

    start(0);
    c = dial("h");
    me = answer(join(c, STR(""), "range"));
    EXPECT_INT(me->error_code, 0);
    share = answer(sync_group(c, me));
    EXPECT(str_eq(share->assignment, me->member_id));
    for (int i = 0; i < 10; i++) {
        os_sleep_ms(9000);
        EXPECT_INT(heartbeat(c, me), 0);
    }
    EXPECT_STR(describe(c)->group_state, "Stable");
    EXPECT_STR(describe(c)->members.p[0].client_host, "/10.0.0.9");
    os_sleep_ms(11000);
    EXPECT_STR(describe(c)->group_state, "Empty");
    EXPECT_INT(heartbeat(c, me), KAFKA_E_UNKNOWN_MEMBER_ID);
    broker_conn_close(c);
    stop();
}

TEST(who_does_not_rejoin_in_time_is_out)
{
    struct broker_conn *c, *d;
    const struct kafka_join_group_response *first, *second;
    struct call *joining;
    int beats = 0;

    start(0);
    c = dial("h");
    d = dial("h");
    first = answer(join(c, STR(""), "range"));
    answer(sync_group(c, first));
    joining = join(d, STR(""), "range");
    while (!answered(joining) && beats < 100) { /* it lives, it is told to rejoin, and does not */
        os_sleep_ms(3000);
        if (!answered(joining)) {
            int16_t code = heartbeat(c, first); /* the rebalance may end meanwhile */
            EXPECT(code == KAFKA_E_REBALANCE_IN_PROGRESS || answered(joining));
        }
        beats++;
    }
    EXPECT(beats >= 19); /* the 60 seconds of rebalance_timeout_ms */
    second = answer(joining);
    EXPECT_INT(second->generation_id, 2);
    EXPECT_INT(second->members.n, 1);
    EXPECT(str_eq(second->leader, second->member_id));
    EXPECT_INT(heartbeat(c, first), KAFKA_E_UNKNOWN_MEMBER_ID);
    broker_conn_close(c);
    broker_conn_close(d);
    stop();
}

TEST(a_leader_that_never_assigns_is_out)
{
    struct broker_conn *c, *d;
    const struct kafka_join_group_response *leader, *other;
    const struct kafka_sync_group_response *share;
    struct call *joining, *syncing;

    start(0);
    c = dial("h");
    d = dial("h");
    leader = answer(join(c, STR(""), "range"));
    joining = join(d, STR(""), "range");
    leader = answer(join(c, leader->member_id, "range"));
    other = answer(joining);
    EXPECT_INT(leader->generation_id, 2);
    EXPECT_INT(leader->members.n, 2);
    EXPECT_INT(other->members.n, 0);
    syncing = sync_group(d, other);
    for (int i = 0; i < 25 && !answered(syncing); i++) {
        os_sleep_ms(3000);
        (void)heartbeat(c, leader);
    }
    share = answer(syncing);
    EXPECT_INT(share->error_code, KAFKA_E_REBALANCE_IN_PROGRESS);
    EXPECT_INT(heartbeat(c, leader), KAFKA_E_UNKNOWN_MEMBER_ID);
    broker_conn_close(c);
    broker_conn_close(d);
    stop();
}

TEST(a_new_group_waits_for_more_members)
{
    struct broker_conn *c, *d;
    struct call *a, *b;
    const struct kafka_join_group_response *first, *second;
    int64_t began;

    start(3000);
    c = dial("h");
    d = dial("h");
    began = os_mono_ns();
    a = join(c, STR(""), "range");
    os_sleep_ms(2000);
    b = join(d, STR(""), "range");
    first = answer(a);
    second = answer(b);
    /* the second member made it wait another three seconds */
    EXPECT(os_mono_ns() - began >= 6000 * 1000000ll);
    EXPECT_INT(first->generation_id, 1);
    EXPECT_INT(second->generation_id, 1);
    EXPECT_INT(first->members.n + second->members.n, 2);
    broker_conn_close(c);
    broker_conn_close(d);
    stop();
}

TEST(members_without_a_common_protocol_are_refused)
{
    struct broker_conn *c;
    const struct kafka_join_group_response *r;

    start(0);
    c = dial("h");
    answer(join(c, STR(""), "range"));
    r = answer(join(c, STR(""), "sticky"));
    EXPECT_INT(r->error_code, KAFKA_E_INCONSISTENT_GROUP_PROTOCOL);
    broker_conn_close(c);
    stop();
}

static int16_t commit(struct broker_conn *c, const struct kafka_join_group_response *me, int64_t offset)
{
    struct kafka_offset_commit_request *q = KAFKA_NEW(arena, offset_commit_request);
    struct kafka_offset_commit_topic *t = KAFKA_NEW(arena, offset_commit_topic);
    struct kafka_offset_commit_partition *p = KAFKA_NEW(arena, offset_commit_partition);
    const struct kafka_offset_commit_response *r;

    q->group_id = STR("g");
    q->generation_id_or_member_epoch = me ? me->generation_id : -1;
    q->member_id = me ? me->member_id : STR("");
    q->topics.p = t, q->topics.n = 1;
    t->name = STR("t");
    t->partitions.p = p, t->partitions.n = 1;
    p->committed_offset = offset;
    p->committed_metadata = STR("note");
    r = ask(c, KAFKA_offset_commit, 8, q);
    return r->topics.p[0].partitions.p[0].error_code;
}

static const struct kafka_offset_fetch_partition_response *committed_in(struct broker_conn *c, const char *topic,
                                                                        int32_t partition)
{
    struct kafka_offset_fetch_request *q = KAFKA_NEW(arena, offset_fetch_request);
    struct kafka_offset_fetch_group *g = KAFKA_NEW(arena, offset_fetch_group);
    struct kafka_offset_fetch_topic *t = KAFKA_NEW(arena, offset_fetch_topic);
    const struct kafka_offset_fetch_response *r;

    q->groups.p = g, q->groups.n = 1;
    g->group_id = STR("g");
    g->topics.p = t, g->topics.n = 1;
    t->name = str_of(topic);
    t->partition_indexes.p = &partition, t->partition_indexes.n = 1;
    r = ask(c, KAFKA_offset_fetch, 8, q);
    return &r->groups.p[0].topics.p[0].partitions.p[0];
}

static const struct kafka_offset_fetch_partition_response *committed(struct broker_conn *c)
{
    return committed_in(c, "t", 0);
}

TEST(a_restart_keeps_members_generation_and_offsets)
{
    struct broker_conn *c;
    const struct kafka_join_group_response *me;
    const struct kafka_sync_group_response *share;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    me = answer(join(c, STR(""), "range"));
    answer(sync_group(c, me));
    EXPECT_INT(commit(c, me, 5), 0);
    EXPECT_INT(commit(c, me, 6), 0);
    EXPECT_INT(commit(c, NULL, 9), KAFKA_E_UNKNOWN_MEMBER_ID);
    broker_conn_close(c);
    close_broker();

    open_broker(0);
    c = dial("h");
    EXPECT_INT(heartbeat(c, me), 0);
    share = answer(sync_group(c, me));
    EXPECT_INT(share->error_code, 0);
    EXPECT(str_eq(share->assignment, me->member_id));
    EXPECT_INT(committed(c)->committed_offset, 6);
    EXPECT_STR(committed(c)->metadata, "note");
    EXPECT_INT(commit(c, me, 7), 0);
    os_sleep_ms(11000); /* and then it falls silent */
    EXPECT_STR(describe(c)->group_state, "Empty");
    EXPECT_INT(committed(c)->committed_offset, 7);
    broker_conn_close(c);
    stop();
}

TEST(a_deleted_group_stays_deleted)
{
    static struct str name = {"g", 1};
    struct broker_conn *c;
    struct kafka_delete_groups_request *q;
    const struct kafka_delete_groups_response *r;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    EXPECT_INT(commit(c, NULL, 3), 0);
    q = KAFKA_NEW(arena, delete_groups_request);
    q->groups_names.p = &name, q->groups_names.n = 1;
    r = ask(c, KAFKA_delete_groups, 2, q);
    EXPECT_INT(r->results.p[0].error_code, 0);
    EXPECT_INT(committed(c)->committed_offset, -1);
    broker_conn_close(c);
    close_broker();

    open_broker(0);
    c = dial("h");
    EXPECT_INT(committed(c)->committed_offset, -1);
    EXPECT_STR(describe(c)->group_state, "Dead");
    broker_conn_close(c);
    stop();
}

TEST(joins_and_syncs_that_wait_are_answered_by_a_stop)
{
    struct broker_conn *c, *d;
    const struct kafka_join_group_response *me, *other;
    struct call *joining;

    start(0);
    c = dial("h");
    d = dial("h");
    me = answer(join(c, STR(""), "range"));
    answer(sync_group(c, me));
    joining = join(d, STR(""), "range");
    os_sleep_ms(1);
    EXPECT(!answered(joining));
    broker_conn_close(c);
    broker_conn_close(d);
    close_broker();
    other = answer(joining);
    EXPECT_INT(other->error_code, KAFKA_E_NOT_COORDINATOR);
    arena_free(arena);
}

TEST(a_group_has_so_many_members_and_not_one_more)
{
    struct broker_conn *c;
    const struct kafka_join_group_response *r;

    start(0);
    c = dial("h");
    for (int i = 0; i <= 10000; i++) { /* version 4: each is told its id and never comes back */
        struct kafka_join_group_request *q = KAFKA_NEW(arena, join_group_request);
        struct kafka_join_group_protocol *p = KAFKA_NEW(arena, join_group_protocol);

        q->group_id = STR("g");
        q->session_timeout_ms = 10000;
        q->protocol_type = STR("consumer");
        q->protocols.p = p, q->protocols.n = 1;
        p->name = STR("range");
        r = ask(c, KAFKA_join_group, 4, q);
        EXPECT_INT(r->error_code, i < 10000 ? KAFKA_E_MEMBER_ID_REQUIRED : KAFKA_E_GROUP_MAX_SIZE_REACHED);
    }
    os_sleep_ms(11000); /* they are forgotten, and a real member gets in */
    r = answer(join(c, STR(""), "range"));
    EXPECT_INT(r->error_code, 0);
    broker_conn_close(c);
    stop();
}

TEST(a_session_holds_so_many_partitions_and_not_one_more)
{
    enum { MOST = 50000 };
    struct kafka_fetch_request *q;
    struct broker_conn *c;
    const struct kafka_fetch_response *r;

    start(0);
    make_topic("t", 1);
    c = dial("h");
    for (int more = 0; more <= 1; more++) {
        q = fetch_request("t", 0, 0, 0);
        q->session_epoch = 0;
        q->topics.p[0].partitions.n = MOST + more;
        q->topics.p[0].partitions.p = KAFKA_ARRAY(arena, fetch_partition, MOST + 1);
        for (int i = 0; i < MOST + more; i++)
            q->topics.p[0].partitions.p[i].partition = i;
        r = ask(c, KAFKA_fetch, 12, q);
        EXPECT_INT(r->responses.p[0].partitions.n, MOST + more);
        EXPECT(more ? r->session_id == 0 : r->session_id != 0);
    }
    broker_conn_close(c);
    stop();
}

TEST(the_offsets_of_a_wide_topic_go_with_it)
{
    enum { WIDE = 30000 };
    static int32_t last[] = {0, WIDE - 1};
    struct kafka_offset_commit_request *q;
    struct kafka_offset_commit_topic *t;
    struct kafka_delete_topics_request *d;
    struct str name = STR("wide");
    const struct kafka_offset_commit_response *r;
    struct broker_conn *c;

    start(0);
    make_topic("wide", WIDE);
    c = dial("h");
    q = KAFKA_NEW(arena, offset_commit_request);
    q->group_id = STR("g");
    q->topics.p = t = KAFKA_NEW(arena, offset_commit_topic), q->topics.n = 1;
    t->name = name;
    t->partitions.n = WIDE;
    t->partitions.p = KAFKA_ARRAY(arena, offset_commit_partition, WIDE);
    for (int i = 0; i < WIDE; i++) {
        t->partitions.p[i].partition_index = i;
        t->partitions.p[i].committed_offset = i;
    }
    r = ask(c, KAFKA_offset_commit, 8, q);
    EXPECT_INT(r->topics.p[0].partitions.p[WIDE - 1].error_code, 0);
    EXPECT_INT(committed_in(c, "wide", last[1])->committed_offset, WIDE - 1);
    d = KAFKA_NEW(arena, delete_topics_request);
    d->topic_names.p = &name, d->topic_names.n = 1;
    ask(c, KAFKA_delete_topics, 4, d);
    EXPECT_INT(committed_in(c, "wide", last[1])->committed_offset, -1);
    broker_conn_close(c);
    close_broker();
    open_broker(0);
    c = dial("h");
    EXPECT_INT(committed_in(c, "wide", last[0])->committed_offset, -1);
    broker_conn_close(c);
    stop();
}

TEST(clients_do_not_write_where_groups_are_kept)
{
    struct broker_conn *c;

    start(0);
    c = dial("h");
    EXPECT_INT(produce(c, "__consumer_offsets", "garbage"), KAFKA_E_INVALID_TOPIC_EXCEPTION);
    broker_conn_close(c);
    stop();
}

/* -- what depends on the connection --------------------------------------------------------------------------------------------- */
TEST(each_listener_is_told_its_own_address)
{
    static const char *const hosts[] = {"inside", "outside"};

    start(0);
    for (int i = 0; i < 2; i++) {
        struct broker_conn *c = dial(hosts[i]);
        const struct kafka_metadata_response *m = ask(c, KAFKA_metadata, 9, KAFKA_NEW(arena, metadata_request));
        const struct kafka_describe_cluster_response *d =
            ask(c, KAFKA_describe_cluster, 0, KAFKA_NEW(arena, describe_cluster_request));

        EXPECT_STR(m->brokers.p[0].host, hosts[i]);
        EXPECT_STR(d->brokers.p[0].host, hosts[i]);
        broker_conn_close(c);
    }
    stop();
}

TEST(producer_ids_are_given_once)
{
    struct broker_conn *c;
    struct kafka_init_producer_id_request *q;
    const struct kafka_init_producer_id_response *r;
    int64_t last;

    start(0);
    c = dial("h");
    q = KAFKA_NEW(arena, init_producer_id_request);
    q->transactional_id = (struct str){NULL, 0};
    r = ask(c, KAFKA_init_producer_id, 4, q);
    EXPECT_INT(r->error_code, 0);
    last = r->producer_id;
    broker_conn_close(c);
    close_broker();
    open_broker(0);
    c = dial("h");
    r = ask(c, KAFKA_init_producer_id, 4, q);
    EXPECT(r->producer_id > last);
    broker_conn_close(c);
    stop();
}

TEST_MAIN()
