/* The state machine of a classic consumer group. Everything here runs with the groups' lock held. */
#include "broker/group_int.h"

#include "base/memory.h"

#include <stdio.h>

int64_t clock_ms(void)
{
    return os_mono_ns() / 1000000;
}

struct str own(struct str s)
{
    char *p;

    if (!s.p)
        return s;
    p = malloc(s.n + 1);
    if (!p)
        memory_out("a group");
    memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return str_make(p, s.n);
}

void disown(struct str *s)
{
    free((char *)(uintptr_t)s->p);
    *s = (struct str){NULL, 0};
}

static void replace(struct str *s, struct str with)
{
    struct str copy = own(with);

    disown(s);
    *s = copy;
}

const char *group_state_name(enum group_state s)
{
    static const char *const names[] = {"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"};

    return names[s];
}

/* -- groups and members ------------------------------------------------------------------------------------------ */
struct group *group_find(struct broker *b, struct str id)
{
    return map_get(&b->groups->by_id, id);
}

struct group *group_make(struct broker *b, struct str id)
{
    struct group *g = calloc(1, sizeof *g);

    if (!g)
        memory_out("a group");
    g->id = own(id.p ? id : STR(""));
    g->since_ms = os_now_ms();
    map_put(&b->groups->by_id, g->id, g);
    return g;
}

static void member_free(struct member *m)
{
    for (size_t i = 0; i < m->protocols.n; i++) {
        disown(&m->protocols.p[i].name);
        disown(&m->protocols.p[i].metadata);
    }
    vec_free(&m->protocols);
    disown(&m->id);
    disown(&m->instance);
    disown(&m->client_id);
    disown(&m->client_host);
    disown(&m->assignment);
    free(m);
}

void group_drop(struct broker *b, struct group *g)
{
    struct map_slot *s;

    map_del(&b->groups->by_id, g->id);
    while (g->members.n)
        group_remove(b, g, g->members.p[g->members.n - 1]);
    for (size_t i = 0; i < g->pending.n; i++)
        disown(&g->pending.p[i].id);
    for (size_t i = 0; (s = map_next(&g->offsets, &i));) {
        struct committed *c = s->value;

        disown(&c->topic);
        disown(&c->metadata);
        free(c);
    }
    map_free(&g->offsets);
    vec_free(&g->members);
    vec_free(&g->pending);
    disown(&g->id);
    disown(&g->protocol_type);
    disown(&g->protocol);
    disown(&g->leader);
    free(g);
}

struct member *group_member(const struct group *g, struct str id)
{
    for (size_t i = 0; i < g->members.n; i++)
        if (str_eq(g->members.p[i]->id, id))
            return g->members.p[i];
    return NULL;
}

struct member *group_static(const struct group *g, struct str instance)
{
    for (size_t i = 0; i < g->members.n; i++)
        if (g->members.p[i]->instance.p && str_eq(g->members.p[i]->instance, instance))
            return g->members.p[i];
    return NULL;
}

bool pending_take(struct group *g, struct str id)
{
    for (size_t i = 0; i < g->pending.n; i++)
        if (str_eq(g->pending.p[i].id, id)) {
            disown(&g->pending.p[i].id);
            g->pending.p[i] = g->pending.p[--g->pending.n];
            return true;
        }
    return false;
}

void member_alive(struct broker *b, struct member *m)
{
    m->deadline_ms = clock_ms() + m->session_ms;
    group_ring_at(b, m->deadline_ms);
}

void member_take_join(struct broker *b, struct member *m, struct request *rq)
{
    const struct kafka_join_group_request *q = rq->body;

    for (size_t i = 0; i < m->protocols.n; i++) {
        disown(&m->protocols.p[i].name);
        disown(&m->protocols.p[i].metadata);
    }
    m->protocols.n = 0;
    for (int32_t i = 0; i < q->protocols.n; i++)
        vec_push(&m->protocols, ((struct protocol){own(q->protocols.p[i].name), own(q->protocols.p[i].metadata)}));
    m->session_ms = q->session_timeout_ms;
    m->rebalance_ms =
        rq->version >= 1 && q->rebalance_timeout_ms >= 0 ? q->rebalance_timeout_ms : q->session_timeout_ms;
    replace(&m->client_id, rq->header.client_id.p ? rq->header.client_id : STR(""));
    replace(&m->client_host, arena_fmt(rq->arena, "/%s", rq->conn->peer.client_host));
    if (m->join && m->join != rq)
        join_refuse(m->join, KAFKA_E_UNKNOWN_MEMBER_ID, m->id); /* it asked again: only the last one is answered */
    m->join = rq;
    member_alive(b, m);
}

struct member *group_add(struct broker *b, struct group *g, struct str id, struct request *rq)
{
    const struct kafka_join_group_request *q = rq->body;
    struct member *m = calloc(1, sizeof *m);

    if (!m)
        memory_out("a member");
    m->id = own(id);
    m->instance = own(q->group_instance_id);
    m->assignment = own(STR(""));
    if (!g->members.n) {
        replace(&g->protocol_type, q->protocol_type);
        replace(&g->leader, id);
    }
    vec_push(&g->members, m);
    b->groups->nmembers++;
    member_take_join(b, m, rq);
    g->joined_in_delay = true;
    return m;
}

void group_remove(struct broker *b, struct group *g, struct member *m)
{
    for (size_t i = 0; i < g->members.n; i++)
        if (g->members.p[i] == m) {
            memmove(&g->members.p[i], &g->members.p[i + 1], (g->members.n - i - 1) * sizeof g->members.p[0]);
            g->members.n--;
            break;
        }
    b->groups->nmembers--;
    if (m->join)
        join_refuse(m->join, KAFKA_E_UNKNOWN_MEMBER_ID, m->id);
    if (m->sync)
        sync_answer(m->sync, KAFKA_E_UNKNOWN_MEMBER_ID, NULL, STR(""));
    if (g->leader.p && str_eq(g->leader, m->id))
        replace(&g->leader, g->members.n ? g->members.p[0]->id : (struct str){NULL, 0});
    member_free(m);
}

/* -- protocols --------------------------------------------------------------------------------------------------- */
static bool member_knows(const struct member *m, struct str protocol)
{
    for (size_t i = 0; i < m->protocols.n; i++)
        if (str_eq(m->protocols.p[i].name, protocol))
            return true;
    return false;
}

static bool all_know(const struct group *g, struct str protocol)
{
    for (size_t i = 0; i < g->members.n; i++)
        if (!member_knows(g->members.p[i], protocol))
            return false;
    return true;
}

bool group_supports(const struct group *g, const struct kafka_join_group_request *q)
{
    if (!q->protocol_type.n || q->protocols.n <= 0)
        return false;
    if (!g->members.n)
        return true;
    if (!str_eq(g->protocol_type, q->protocol_type))
        return false;
    for (int32_t i = 0; i < q->protocols.n; i++)
        if (all_know(g, q->protocols.p[i].name))
            return true;
    return false;
}

bool member_same_protocols(const struct member *m, const struct kafka_join_group_request *q)
{
    if (m->protocols.n != (size_t)q->protocols.n)
        return false;
    for (size_t i = 0; i < m->protocols.n; i++)
        if (!str_eq(m->protocols.p[i].name, q->protocols.p[i].name) ||
            !str_eq(m->protocols.p[i].metadata, q->protocols.p[i].metadata))
            return false;
    return true;
}

/* The first of m's protocols that everybody knows: its vote. */
static struct str vote(const struct group *g, const struct member *m)
{
    for (size_t i = 0; i < m->protocols.n; i++)
        if (all_know(g, m->protocols.p[i].name))
            return m->protocols.p[i].name;
    return (struct str){NULL, 0};
}

struct str group_pick_protocol(const struct group *g)
{
    struct str best = {NULL, 0};
    size_t most = 0;

    for (size_t i = 0; i < g->members.n; i++) {
        struct str mine = vote(g, g->members.p[i]);
        size_t votes = 0;

        for (size_t k = 0; mine.p && k < g->members.n; k++)
            votes += str_eq(vote(g, g->members.p[k]), mine);
        if (votes > most) {
            most = votes;
            best = mine;
        }
    }
    return best;
}

static struct str metadata_for(const struct member *m, struct str protocol)
{
    for (size_t i = 0; i < m->protocols.n; i++)
        if (str_eq(m->protocols.p[i].name, protocol))
            return m->protocols.p[i].metadata;
    return STR("");
}

/* -- answers ----------------------------------------------------------------------------------------------------- */
void join_refuse(struct request *rq, int16_t code, struct str member_id)
{
    struct kafka_join_group_response *r = KAFKA_NEW(rq->arena, join_group_response);

    r->error_code = code;
    r->protocol_name = rq->version >= 7 ? (struct str){NULL, 0} : STR("");
    r->member_id = member_id.p ? member_id : STR("");
    request_reply(rq, r);
}

/* The generation as it stands; the leader also gets who is in it. */
void join_answer(struct broker *b, struct group *g, struct member *m, struct request *rq)
{
    struct kafka_join_group_response *r = KAFKA_NEW(rq->arena, join_group_response);

    r->generation_id = g->generation;
    r->protocol_type = g->protocol_type;
    r->protocol_name = g->protocol;
    r->leader = g->leader;
    r->member_id = m->id;
    if (str_eq(g->leader, m->id)) {
        r->members.n = (int32_t)g->members.n;
        r->members.p = KAFKA_ARRAY(rq->arena, join_group_member, g->members.n);
        for (size_t i = 0; i < g->members.n; i++)
            r->members.p[i] = (struct kafka_join_group_member){g->members.p[i]->id, g->members.p[i]->instance,
                                                               metadata_for(g->members.p[i], g->protocol)};
    }
    m->join = NULL;
    member_alive(b, m);
    request_reply(rq, r);
}

void sync_answer(struct request *rq, int16_t code, const struct group *g, struct str assignment)
{
    struct kafka_sync_group_response *r = KAFKA_NEW(rq->arena, sync_group_response);

    r->error_code = code;
    if (g) {
        r->protocol_type = g->protocol_type;
        r->protocol_name = g->protocol;
    }
    r->assignment = assignment;
    request_reply(rq, r);
}

/* -- the rebalance ----------------------------------------------------------------------------------------------- */
void group_set_state(struct group *g, enum group_state state)
{
    g->state = state;
    g->since_ms = os_now_ms();
}

static int32_t longest_rebalance_ms(const struct group *g)
{
    int32_t most = 0;

    for (size_t i = 0; i < g->members.n; i++)
        if (g->members.p[i]->rebalance_ms > most)
            most = g->members.p[i]->rebalance_ms;
    return most;
}

static void refuse_syncs(struct group *g)
{
    for (size_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.p[i];

        replace(&m->assignment, STR(""));
        if (m->sync)
            sync_answer(m->sync, KAFKA_E_REBALANCE_IN_PROGRESS, NULL, STR(""));
        m->sync = NULL;
    }
}

void group_rebalance(struct broker *b, struct group *g)
{
    int32_t longest = longest_rebalance_ms(g), delay = b->o.rebalance_delay_ms;

    if (g->state == GROUP_PREPARING) {
        group_try_complete(b, g);
        return;
    }
    if (g->state == GROUP_COMPLETING)
        refuse_syncs(g);
    g->initial_delay = g->state == GROUP_EMPTY && delay > 0;
    if (g->initial_delay) {
        delay = delay < longest ? delay : longest;
        g->delay_left_ms = longest - delay;
        g->joined_in_delay = false;
        g->rebalance_deadline_ms = clock_ms() + delay;
    } else {
        g->rebalance_deadline_ms = clock_ms() + longest;
    }
    group_set_state(g, GROUP_PREPARING);
    group_ring_at(b, g->rebalance_deadline_ms);
    group_try_complete(b, g);
}

/* Members that did not join in time are out; a static one stays until its session ends. */
static void drop_absent(struct broker *b, struct group *g)
{
    for (size_t i = g->members.n; i-- > 0;)
        if (!g->members.p[i]->join && !g->members.p[i]->instance.p)
            group_remove(b, g, g->members.p[i]);
}

/* The leader must be one who joined. False: nobody did (all static and away). */
static bool settle_leader(struct group *g)
{
    struct member *leader = g->leader.p ? group_member(g, g->leader) : NULL;

    if (leader && leader->join)
        return true;
    for (size_t i = 0; i < g->members.n; i++)
        if (g->members.p[i]->join) {
            replace(&g->leader, g->members.p[i]->id);
            return true;
        }
    return false;
}

static void become_empty(struct broker *b, struct group *g)
{
    g->generation++;
    disown(&g->protocol);
    disown(&g->leader);
    group_set_state(g, GROUP_EMPTY);
    if (!store_group(b, g, NULL, NULL))
        os_log(OS_WARN, "broker", "group %.*s: its end could not be written", STR_ARG(g->id));
}

static void complete_join(struct broker *b, struct group *g)
{
    drop_absent(b, g);
    g->initial_delay = false;
    if (!g->members.n) {
        become_empty(b, g);
        return;
    }
    if (!settle_leader(g)) {
        g->rebalance_deadline_ms = clock_ms() + longest_rebalance_ms(g);
        group_ring_at(b, g->rebalance_deadline_ms);
        return;
    }
    g->generation = g->generation == INT32_MAX ? 1 : g->generation + 1;
    replace(&g->protocol, group_pick_protocol(g));
    group_set_state(g, GROUP_COMPLETING);
    g->storing = false;
    g->rebalance_deadline_ms = clock_ms() + longest_rebalance_ms(g);
    group_ring_at(b, g->rebalance_deadline_ms);
    for (size_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.p[i];

        m->synced = false;
        if (m->join)
            join_answer(b, g, m, m->join);
    }
}

void group_try_complete(struct broker *b, struct group *g)
{
    if (g->state != GROUP_PREPARING || g->initial_delay || g->pending.n)
        return;
    for (size_t i = 0; i < g->members.n; i++)
        if (!g->members.p[i]->join)
            return;
    complete_join(b, g);
}

/* -- time -------------------------------------------------------------------------------------------------------- */
static void rebalance_time_is_up(struct broker *b, struct group *g)
{
    if (g->state == GROUP_PREPARING && g->initial_delay && g->joined_in_delay && g->delay_left_ms > 0) {
        int64_t delay = b->o.rebalance_delay_ms < g->delay_left_ms ? b->o.rebalance_delay_ms : g->delay_left_ms;

        g->delay_left_ms -= delay;
        g->joined_in_delay = false;
        g->rebalance_deadline_ms = clock_ms() + delay;
    } else if (g->state == GROUP_PREPARING) {
        for (size_t i = g->pending.n; i-- > 0;)
            pending_take(g, g->pending.p[i].id);
        complete_join(b, g);
    } else if (g->state == GROUP_COMPLETING && !g->storing) {
        for (size_t i = g->members.n; i-- > 0;)
            if (!g->members.p[i]->synced)
                group_remove(b, g, g->members.p[i]);
        group_rebalance(b, g);
    }
}

/* A member whose session ended leaves; one that waits for an answer of ours lives. */
static void expire_members(struct broker *b, struct group *g, int64_t now_ms)
{
    bool changed = false;

    for (size_t i = g->members.n; i-- > 0;) {
        struct member *m = g->members.p[i];

        if (m->join || m->sync) {
            m->deadline_ms = now_ms + m->session_ms;
        } else if (m->deadline_ms <= now_ms) {
            os_log(OS_INFO, "broker", "group %.*s: member %.*s was not heard of for %d ms and is out", STR_ARG(g->id),
                   STR_ARG(m->id), m->session_ms);
            group_remove(b, g, m);
            changed = true;
        }
    }
    for (size_t i = g->pending.n; i-- > 0;)
        if (g->pending.p[i].deadline_ms <= now_ms) {
            pending_take(g, g->pending.p[i].id);
            changed = true;
        }
    if (changed && g->state != GROUP_EMPTY)
        group_rebalance(b, g);
}

static int64_t next_deadline(const struct group *g)
{
    int64_t next = INT64_MAX;

    if (g->state == GROUP_PREPARING || (g->state == GROUP_COMPLETING && !g->storing))
        next = g->rebalance_deadline_ms;
    for (size_t i = 0; i < g->members.n; i++)
        next = g->members.p[i]->deadline_ms < next ? g->members.p[i]->deadline_ms : next;
    for (size_t i = 0; i < g->pending.n; i++)
        next = g->pending.p[i].deadline_ms < next ? g->pending.p[i].deadline_ms : next;
    return next;
}

static void ring(void *arg)
{
    struct broker *b = arg;
    struct groups *all = b->groups;
    int64_t next = INT64_MAX, now;
    struct map_slot *s;

    os_mutex_lock(all->lock);
    all->alarm_ms = INT64_MAX;
    now = clock_ms();
    for (size_t i = 0; !all->stopping && (s = map_next(&all->by_id, &i));) {
        struct group *g = s->value;
        int64_t own_next;

        expire_members(b, g, now);
        if ((g->state == GROUP_PREPARING || g->state == GROUP_COMPLETING) && g->rebalance_deadline_ms <= now)
            rebalance_time_is_up(b, g);
        own_next = next_deadline(g);
        next = own_next < next ? own_next : next;
    }
    if (next != INT64_MAX)
        group_ring_at(b, next > now ? next : now + 1);
    os_mutex_unlock(all->lock);
}

void group_ring_at(struct broker *b, int64_t deadline_ms)
{
    struct groups *all = b->groups;

    if (deadline_ms >= all->alarm_ms || all->stopping)
        return;
    all->alarm_ms = deadline_ms;
    alarm_set(&b->clock, &all->alarm, deadline_ms - clock_ms(), ring, b);
}

/* -- start and stop ---------------------------------------------------------------------------------------------- */
enum err groups_start(struct broker *b, struct fault *f)
{
    b->groups = calloc(1, sizeof *b->groups);
    if (!b->groups)
        return FAULT(f, ERR_NOMEM, {"what", "consumer groups"});
    b->groups->lock = os_mutex_new();
    b->groups->applied = os_cond_new();
    b->groups->alarm_ms = INT64_MAX;
    return store_load(b, f);
}

void groups_close(struct broker *b)
{
    struct groups *all = b->groups;
    struct map_slot *s;

    os_mutex_lock(all->lock);
    all->stopping = true;
    for (size_t i = 0; (s = map_next(&all->by_id, &i));) {
        struct group *g = s->value;

        for (size_t k = 0; k < g->members.n; k++) {
            struct member *m = g->members.p[k];

            if (m->join)
                join_refuse(m->join, KAFKA_E_NOT_COORDINATOR, m->id);
            if (m->sync)
                sync_answer(m->sync, KAFKA_E_NOT_COORDINATOR, NULL, STR(""));
            m->join = m->sync = NULL;
        }
    }
    os_mutex_unlock(all->lock);
    alarm_cancel(&b->clock, &all->alarm);
}

void groups_stop(struct broker *b)
{
    struct groups *all = b->groups;

    for (size_t i = 0; i < all->by_id.cap;) {
        struct map_slot *s = map_next(&all->by_id, &i);

        if (!s)
            break;
        group_drop(b, s->value);
    }
    if (all->store)
        log_partition_release(all->store);
    group_txn_free(b);
    map_free(&all->by_id);
    os_mutex_free(all->lock);
    os_cond_free(all->applied);
    free(all);
    b->groups = NULL;
}

void groups_count(struct broker *b, uint64_t *ngroups, uint64_t *nmembers)
{
    os_mutex_lock(b->groups->lock);
    *ngroups = b->groups->by_id.n;
    *nmembers = b->groups->nmembers;
    os_mutex_unlock(b->groups->lock);
}
