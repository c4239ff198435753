/* A consumer in a group: joins, is assigned partitions of "s", reads on from what was committed, commits, leaves or vanishes. */
#include "actors.h"

#include "os/sim.h"

#include <stdio.h>

#define GROUP STR("g")

struct member {
    struct client *c;
    char id[128]; /* empty: none yet */
    int32_t generation;
    bool assigned[W_PARTS];
    int64_t at[W_PARTS];
    int64_t beat_ns; /* when the next heartbeat is due */
};
static int32_t committed_generation[W_PARTS]; /* the highest that a commit was taken in */

static void forget(struct member *m)
{
    m->id[0] = 0;
}

/* What a group may say to a member that has done nothing wrong: join again. Anything else is wrong. */
static bool must_join(struct member *m, const char *what, int16_t code)
{
    if (code == KAFKA_E_NONE)
        return false;
    if (code == KAFKA_E_UNKNOWN_MEMBER_ID)
        forget(m);
    else if (code != KAFKA_E_REBALANCE_IN_PROGRESS && code != KAFKA_E_ILLEGAL_GENERATION && !actor_later(code))
        world_wrong("%s: %s", what, kafka_code_name(code));
    return true;
}

/* -- joining ------------------------------------------------------------------------------------------------------------------- */

struct plan { /* of the leader */
    char members[8][128];
    int n;
};

static void keep_members(struct plan *plan, const struct kafka_join_group_response *r)
{
    plan->n = 0;
    for (int i = 0; i < r->members.n && i < 8; i++)
        snprintf(plan->members[plan->n++], sizeof plan->members[0], "%.*s", STR_ARG(r->members.p[i].member_id));
}

static bool join(struct member *m, struct plan *plan)
{
    struct arena *a = arena_new(0);
    struct kafka_join_group_request *q = KAFKA_NEW(a, join_group_request);
    struct kafka_join_group_response r;
    bool joined = false;
    q->group_id = GROUP;
    q->session_timeout_ms = 8000;
    q->rebalance_timeout_ms = 10000;
    q->member_id = str_of(m->id);
    q->protocol_type = STR("consumer");
    q->protocols.p = KAFKA_ARRAY(a, join_group_protocol, 1);
    q->protocols.n = 1;
    q->protocols.p->name = STR("any");
    q->protocols.p->metadata = STR("s");
    if (client_call(m->c, KAFKA_join_group, 9, q, a, &r)) {
        if (r.error_code == KAFKA_E_MEMBER_ID_REQUIRED) {
            snprintf(m->id, sizeof m->id, "%.*s", STR_ARG(r.member_id));
        } else if (!must_join(m, "join", r.error_code)) {
            joined = true;
            snprintf(m->id, sizeof m->id, "%.*s", STR_ARG(r.member_id));
            m->generation = r.generation_id;
            plan->n = 0;
            if (str_eq(r.leader, r.member_id))
                keep_members(plan, &r);
            W->rebalances++;
        }
    }
    arena_free(a);
    return joined;
}

static bool take_assignment(struct member *m, struct str bytes)
{
    memset(m->assigned, 0, sizeof m->assigned);
    for (size_t i = 0; i < bytes.n; i++) {
        if (bytes.p[i] < '0' || bytes.p[i] >= '0' + W_PARTS)
            world_wrong("an assignment that no leader made: %.*s", STR_ARG(bytes));
        m->assigned[bytes.p[i] - '0'] = true;
    }
    return true;
}

/* Partition i goes to member i mod n. */
static bool synchronize(struct member *m, const struct plan *plan)
{
    struct arena *a = arena_new(0);
    struct kafka_sync_group_request *q = KAFKA_NEW(a, sync_group_request);
    struct kafka_sync_group_response r;
    bool ok = false;
    q->group_id = GROUP;
    q->generation_id = m->generation;
    q->member_id = str_of(m->id);
    q->protocol_type = STR("consumer");
    q->protocol_name = STR("any");
    q->assignments.p = KAFKA_ARRAY(a, sync_group_assignment, (size_t)plan->n + 1);
    q->assignments.n = plan->n;
    for (int i = 0; i < plan->n; i++) {
        char parts[W_PARTS + 1];
        int n = 0;
        for (int k = i; k < W_PARTS; k += plan->n)
            parts[n++] = (char)('0' + k);
        q->assignments.p[i].member_id = str_of(plan->members[i]);
        q->assignments.p[i].assignment = arena_str(a, str_make(parts, (size_t)n));
    }
    if (client_call(m->c, KAFKA_sync_group, 5, q, a, &r) && !must_join(m, "sync", r.error_code))
        ok = take_assignment(m, r.assignment);
    arena_free(a);
    return ok;
}

/* -- offsets --------------------------------------------------------------------------------------------------------------------- */

bool member_offset(struct client *c, struct w_topic *t, int part, int64_t *offset)
{
    struct arena *a = arena_new(0);
    struct kafka_offset_fetch_request *q = KAFKA_NEW(a, offset_fetch_request);
    struct kafka_offset_fetch_response r;
    int32_t index = part;
    bool ok = false;
    q->groups.p = KAFKA_ARRAY(a, offset_fetch_group, 1);
    q->groups.n = 1;
    q->groups.p->group_id = GROUP;
    q->groups.p->topics.p = KAFKA_ARRAY(a, offset_fetch_topic, 1);
    q->groups.p->topics.n = 1;
    q->groups.p->topics.p->topic_id = t->id;
    q->groups.p->topics.p->partition_indexes.p = &index;
    q->groups.p->topics.p->partition_indexes.n = 1;
    if (client_call(c, KAFKA_offset_fetch, 10, q, a, &r) && r.groups.n == 1 && !actor_later(r.groups.p->error_code)) {
        if (r.groups.p->error_code || r.groups.p->topics.n != 1 || r.groups.p->topics.p->partitions.n != 1)
            world_wrong("the group's offset of %s-%d: %s", t->name, part, kafka_code_name(r.groups.p->error_code));
        const struct kafka_offset_fetch_partition_response *p = r.groups.p->topics.p->partitions.p;
        ok = p->error_code == KAFKA_E_NONE;
        *offset = p->committed_offset;
        if (!ok && !actor_later(p->error_code) && !W->rotten)
            world_wrong("the group's offset of %s-%d: %s", t->name, part, kafka_code_name(p->error_code));
    }
    arena_free(a);
    return ok;
}

/* Returns whether the member is still one. */
static bool commit(struct member *m, struct w_topic *t, int part)
{
    struct arena *a = arena_new(0);
    struct kafka_offset_commit_request *q = KAFKA_NEW(a, offset_commit_request);
    struct kafka_offset_commit_response r;
    int32_t newest = committed_generation[part];
    bool again = false;
    q->group_id = GROUP;
    q->generation_id_or_member_epoch = m->generation;
    q->member_id = str_of(m->id);
    q->topics.p = KAFKA_ARRAY(a, offset_commit_topic, 1);
    q->topics.n = 1;
    q->topics.p->topic_id = t->id;
    q->topics.p->partitions.p = KAFKA_ARRAY(a, offset_commit_partition, 1);
    q->topics.p->partitions.n = 1;
    q->topics.p->partitions.p->partition_index = part;
    q->topics.p->partitions.p->committed_offset = m->at[part];
    q->topics.p->partitions.p->committed_metadata = STR("m");
    world_committing(t, part, m->at[part]);
    if (client_call(m->c, KAFKA_offset_commit, 10, q, a, &r)) {
        if (r.topics.n != 1 || r.topics.p->partitions.n != 1)
            world_wrong("a commit of one offset: an answer about %d topics", r.topics.n);
        again = must_join(m, "commit", r.topics.p->partitions.p->error_code);
        if (!again && m->generation < newest)
            world_wrong("a commit of generation %d was taken after one of generation %d", m->generation, newest);
        if (!again) {
            world_committed(t, part, m->at[part]);
            committed_generation[part] = m->generation;
        }
    }
    arena_free(a);
    return !again;
}

/* -- being a member --------------------------------------------------------------------------------------------------------------- */

static bool beat(struct member *m)
{
    struct arena *a = arena_new(0);
    struct kafka_heartbeat_request *q = KAFKA_NEW(a, heartbeat_request);
    struct kafka_heartbeat_response r;
    bool ok = true;
    q->group_id = GROUP;
    q->generation_id = m->generation;
    q->member_id = str_of(m->id);
    if (client_call(m->c, KAFKA_heartbeat, 4, q, a, &r))
        ok = !must_join(m, "heartbeat", r.error_code);
    m->beat_ns = os_mono_ns() + 2000000000;
    arena_free(a);
    return ok;
}

static void leave(struct member *m)
{
    struct arena *a = arena_new(0);
    struct kafka_leave_group_request *q = KAFKA_NEW(a, leave_group_request);
    struct kafka_leave_group_response r;
    q->group_id = GROUP;
    q->members.p = KAFKA_ARRAY(a, leave_group_member, 1);
    q->members.n = 1;
    q->members.p->member_id = str_of(m->id);
    (void)client_call(m->c, KAFKA_leave_group, 5, q, a, &r);
    forget(m);
    arena_free(a);
}

static bool start_reading(struct member *m, struct w_topic *t)
{
    for (int i = 0; i < W_PARTS; i++) {
        if (!m->assigned[i])
            continue;
        if (!member_offset(m->c, t, i, &m->at[i]))
            return false;
        world_told_committed(t, i, m->at[i], false);
        m->at[i] = m->at[i] < 0 ? 0 : m->at[i];
    }
    m->beat_ns = 0;
    return true;
}

static void wander_off(struct member *m)
{
    if (sim_random(2)) {
        leave(m);
        return;
    }
    client_drop(m->c); /* without a goodbye: the session has to end by itself */
    if (sim_random(2))
        forget(m);
    os_sleep_ms(1000 + (int64_t)sim_random(12000));
}

/* Until the group says otherwise. */
static void read_on(struct member *m, struct w_topic *t)
{
    bool mine = start_reading(m, t);
    while (mine && RUN.phase != QUIT) {
        if (os_mono_ns() >= m->beat_ns)
            mine = beat(m);
        for (int i = 0; mine && i < W_PARTS; i++) {
            if (!m->assigned[i])
                continue;
            int64_t before = m->at[i];
            m->at[i] = reader_fetch(m->c, t, i, m->at[i], 0);
            if (m->at[i] != before ? sim_random(2) == 0 : m->at[i] != t->part[i].committed)
                mine = commit(m, t, i);
        }
        if (mine && RUN.phase == WORK && sim_random(60) == 0) {
            wander_off(m);
            return;
        }
        actor_pause(RUN.phase == WORK ? 120 : 500);
    }
}

void member_run(void *arg)
{
    struct actor *me = arg;
    struct member m = {.c = &me->client};
    struct plan plan = {.n = 0};
    while (RUN.phase != QUIT) {
        struct w_topic *t = actor_topic("s");
        if (t && join(&m, &plan) && synchronize(&m, &plan))
            read_on(&m, t);
        actor_pause(RUN.phase == WORK ? 100 : 300);
    }
}

bool member_caught_up(void)
{
    struct w_topic *t = actor_topic("s");
    for (int i = 0; t && i < W_PARTS; i++)
        if ((t->part[i].committed < 0 ? 0 : t->part[i].committed) != t->part[i].hw)
            return false;
    return t != NULL;
}
