/* The requests of group membership: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and the views of groups. */
#include "broker/group_int.h"

#include "base/memory.h"

#include <stdio.h>

static struct str new_member_id(struct request *rq, struct str prefix)
{
    char uuid[37];

    os_uuid_text(os_uuid_random(), uuid);
    return arena_fmt(rq->arena, "%.*s-%s", STR_ARG(prefix), uuid);
}

/* -- JoinGroup --------------------------------------------------------------------------------------------------- */
static void add_and_rebalance(struct broker *b, struct group *g, struct str id, struct request *rq)
{
    group_add(b, g, id, rq);
    group_rebalance(b, g);
}

static void update_and_rebalance(struct broker *b, struct group *g, struct member *m, struct request *rq)
{
    member_take_join(b, m, rq);
    group_rebalance(b, g);
}

/* A static member's new incarnation got the group as it stands; remember it, then say so. */
struct static_join {
    struct request *rq;
    struct kafka_join_group_response *response;
};

static void static_stored(struct broker *b, void *arg, int16_t code)
{
    struct static_join *j = arg;

    (void)b;
    if (code)
        j->response->error_code = KAFKA_E_UNKNOWN_MEMBER_ID;
    request_reply(j->rq, j->response);
}

static void static_rejoin_stable(struct broker *b, struct group *g, struct member *m, struct request *rq,
                                 struct str old_leader)
{
    struct static_join *j = ARENA_NEW(rq->arena, struct static_join);
    struct kafka_join_group_response *r = KAFKA_NEW(rq->arena, join_group_response);
    bool leads = str_eq(g->leader, m->id);

    *j = (struct static_join){rq, r};
    r->generation_id = g->generation;
    r->protocol_type = arena_str(rq->arena, g->protocol_type);
    r->protocol_name = arena_str(rq->arena, g->protocol);
    r->member_id = arena_str(rq->arena, m->id);
    r->leader = arena_str(rq->arena, rq->version >= 9 ? g->leader : old_leader);
    if (rq->version >= 9 && leads) { /* it may go on leading without assigning anew */
        r->skip_assignment = true;
        r->members.n = (int32_t)g->members.n;
        r->members.p = KAFKA_ARRAY(rq->arena, join_group_member, g->members.n);
        for (size_t i = 0; i < g->members.n; i++) {
            struct member *other = g->members.p[i];

            r->members.p[i].member_id = arena_str(rq->arena, other->id);
            r->members.p[i].group_instance_id =
                other->instance.p ? arena_str(rq->arena, other->instance) : other->instance;
            for (size_t k = 0; k < other->protocols.n; k++)
                if (str_eq(other->protocols.p[k].name, g->protocol))
                    r->members.p[i].metadata = arena_str(rq->arena, other->protocols.p[k].metadata);
        }
    }
    m->join = NULL;
    member_alive(b, m);
    if (!store_group(b, g, static_stored, j))
        static_stored(b, j, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
}

static void replace_static(struct broker *b, struct group *g, struct member *m, struct request *rq)
{
    struct str old_leader = arena_str(rq->arena, g->leader.p ? g->leader : STR("")), picked;
    bool led = str_eq(old_leader, m->id), same;

    if (m->join)
        join_refuse(m->join, KAFKA_E_FENCED_INSTANCE_ID, m->id);
    if (m->sync)
        sync_answer(m->sync, KAFKA_E_FENCED_INSTANCE_ID, NULL, STR(""));
    m->join = m->sync = NULL;
    disown(&m->id);
    m->id = own(new_member_id(rq, m->instance));
    if (led) {
        disown(&g->leader);
        g->leader = own(m->id);
    }
    member_take_join(b, m, rq);
    picked = group_pick_protocol(g);
    same = g->protocol.p && picked.p && str_eq(picked, g->protocol);
    if (g->state == GROUP_STABLE && same)
        static_rejoin_stable(b, g, m, rq, old_leader);
    else
        group_rebalance(b, g);
}

static void join_new(struct broker *b, struct group *g, struct request *rq)
{
    const struct kafka_join_group_request *q = rq->body;
    struct str client = rq->header.client_id.p ? rq->header.client_id : STR("");
    struct member *existing;
    struct str id;

    if (q->group_instance_id.p) {
        existing = group_static(g, q->group_instance_id);
        if (existing)
            replace_static(b, g, existing, rq);
        else
            add_and_rebalance(b, g, new_member_id(rq, q->group_instance_id), rq);
        return;
    }
    id = new_member_id(rq, client);
    if (rq->version < 4) {
        add_and_rebalance(b, g, id, rq);
        return;
    }
    /* KIP-394: come again with this id, so that a lost answer leaves no ghost behind */
    vec_push(&g->pending, ((struct pending){own(id), clock_ms() + q->session_timeout_ms}));
    group_ring_at(b, clock_ms() + q->session_timeout_ms);
    join_refuse(rq, KAFKA_E_MEMBER_ID_REQUIRED, id);
}

/* Who says to be member `id` (and `instance`)? NULL and *code when it is not in the group. */
static struct member *identify(struct group *g, struct str id, struct str instance, int16_t *code)
{
    struct member *m;

    *code = KAFKA_E_NONE;
    if (instance.p) {
        m = group_static(g, instance);
        if (m && !str_eq(m->id, id)) {
            *code = KAFKA_E_FENCED_INSTANCE_ID;
            return NULL;
        }
    } else {
        m = group_member(g, id);
    }
    if (!m)
        *code = KAFKA_E_UNKNOWN_MEMBER_ID;
    return m;
}

static void join_known(struct broker *b, struct group *g, struct request *rq)
{
    const struct kafka_join_group_request *q = rq->body;
    struct member *m;
    int16_t code;

    if (!q->group_instance_id.p && pending_take(g, q->member_id)) {
        add_and_rebalance(b, g, q->member_id, rq);
        return;
    }
    m = identify(g, q->member_id, q->group_instance_id, &code);
    if (!m || g->state == GROUP_EMPTY) {
        join_refuse(rq, code ? code : KAFKA_E_UNKNOWN_MEMBER_ID, q->member_id);
        return;
    }
    switch (g->state) {
    case GROUP_COMPLETING:
        if (member_same_protocols(m, q)) /* its answer was lost: the same again */
            join_answer(b, g, m, rq);
        else
            update_and_rebalance(b, g, m, rq);
        break;
    case GROUP_STABLE:
        if (str_eq(g->leader, m->id) || !member_same_protocols(m, q))
            update_and_rebalance(b, g, m, rq);
        else
            join_answer(b, g, m, rq);
        break;
    default:
        update_and_rebalance(b, g, m, rq);
    }
}

void handle_join_group(struct request *rq)
{
    const struct kafka_join_group_request *q = rq->body;
    struct broker *b = rq->b;
    struct group *g;

    if (!q->group_id.n) {
        join_refuse(rq, KAFKA_E_INVALID_GROUP_ID, q->member_id);
        return;
    }
    if (q->session_timeout_ms < GROUP_MIN_SESSION_MS || q->session_timeout_ms > GROUP_MAX_SESSION_MS) {
        join_refuse(rq, KAFKA_E_INVALID_SESSION_TIMEOUT, q->member_id);
        return;
    }
    os_mutex_lock(b->groups->lock);
    g = group_find(b, q->group_id);
    if (b->groups->stopping)
        join_refuse(rq, KAFKA_E_NOT_COORDINATOR, q->member_id);
    else if (g ? !group_supports(g, q) : !q->protocol_type.n || q->protocols.n <= 0)
        join_refuse(rq, KAFKA_E_INCONSISTENT_GROUP_PROTOCOL, q->member_id);
    else if (!g && q->member_id.n)
        join_refuse(rq, KAFKA_E_UNKNOWN_MEMBER_ID, q->member_id);
    else if (!q->member_id.n &&
             (g ? g->members.n + g->pending.n >= LIMIT_GROUP_MEMBERS : b->groups->by_id.n >= LIMIT_GROUPS))
        join_refuse(rq, KAFKA_E_GROUP_MAX_SIZE_REACHED, q->member_id);
    else if (!q->member_id.n)
        join_new(b, g ? g : group_make(b, q->group_id), rq);
    else
        join_known(b, g, rq);
    os_mutex_unlock(b->groups->lock);
}

/* -- SyncGroup --------------------------------------------------------------------------------------------------- */
struct assigning {
    struct str group; /* owned */
    int32_t generation;
};

static void assigned(struct broker *b, void *arg, int16_t code)
{
    struct assigning *a = arg;
    struct group *g = group_find(b, a->group);

    if (g && g->state == GROUP_COMPLETING && g->generation == a->generation) {
        g->storing = false;
        if (code) {
            for (size_t i = 0; i < g->members.n; i++) {
                struct member *m = g->members.p[i];

                if (m->sync)
                    sync_answer(m->sync, code, NULL, STR(""));
                m->sync = NULL;
            }
            group_rebalance(b, g);
        } else {
            group_set_state(g, GROUP_STABLE);
            for (size_t i = 0; i < g->members.n; i++) {
                struct member *m = g->members.p[i];

                if (m->sync)
                    sync_answer(m->sync, KAFKA_E_NONE, g, m->assignment);
                m->sync = NULL;
                member_alive(b, m);
            }
        }
    }
    disown(&a->group);
    free(a);
}

static void take_assignments(struct group *g, const struct kafka_sync_group_request *q)
{
    for (size_t i = 0; i < g->members.n; i++) {
        disown(&g->members.p[i]->assignment);
        g->members.p[i]->assignment = own(STR(""));
    }
    for (int32_t i = 0; i < q->assignments.n; i++) {
        struct member *m = group_member(g, q->assignments.p[i].member_id);

        if (!m)
            continue;
        disown(&m->assignment);
        m->assignment = own(q->assignments.p[i].assignment);
    }
}

static void sync_completing(struct broker *b, struct group *g, struct member *m, struct request *rq)
{
    struct assigning *a;

    if (m->sync)
        sync_answer(m->sync, KAFKA_E_UNKNOWN_MEMBER_ID, NULL, STR(""));
    m->sync = rq;
    m->synced = true;
    if (!str_eq(g->leader, m->id) || g->storing)
        return;
    take_assignments(g, rq->body);
    a = calloc(1, sizeof *a);
    if (!a)
        memory_out("a sync of a group");
    *a = (struct assigning){own(g->id), g->generation};
    g->storing = true;
    if (!store_group(b, g, assigned, a))
        assigned(b, a, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
}

void handle_sync_group(struct request *rq)
{
    const struct kafka_sync_group_request *q = rq->body;
    struct broker *b = rq->b;
    struct group *g;
    struct member *m = NULL;
    int16_t code = KAFKA_E_NONE;

    os_mutex_lock(b->groups->lock);
    g = group_find(b, q->group_id);
    if (!q->group_id.n)
        code = KAFKA_E_INVALID_GROUP_ID;
    else if (!g || b->groups->stopping)
        code = g ? KAFKA_E_NOT_COORDINATOR : KAFKA_E_UNKNOWN_MEMBER_ID;
    else
        m = identify(g, q->member_id, q->group_instance_id, &code);
    if (m && q->generation_id != g->generation)
        code = KAFKA_E_ILLEGAL_GENERATION;
    else if (m && ((q->protocol_type.p && !str_eq(q->protocol_type, g->protocol_type)) ||
                   (q->protocol_name.p && !str_eq(q->protocol_name, g->protocol))))
        code = KAFKA_E_INCONSISTENT_GROUP_PROTOCOL;
    else if (m && g->state == GROUP_PREPARING)
        code = KAFKA_E_REBALANCE_IN_PROGRESS;
    else if (m && g->state == GROUP_EMPTY)
        code = KAFKA_E_UNKNOWN_MEMBER_ID;
    if (code) {
        sync_answer(rq, code, NULL, STR(""));
    } else if (g->state == GROUP_COMPLETING) {
        sync_completing(b, g, m, rq);
    } else {
        m->synced = true;
        member_alive(b, m);
        sync_answer(rq, KAFKA_E_NONE, g, m->assignment);
    }
    os_mutex_unlock(b->groups->lock);
}

/* -- Heartbeat and LeaveGroup ------------------------------------------------------------------------------------ */
void handle_heartbeat(struct request *rq)
{
    const struct kafka_heartbeat_request *q = rq->body;
    struct kafka_heartbeat_response *r = KAFKA_NEW(rq->arena, heartbeat_response);
    struct broker *b = rq->b;
    struct group *g;
    struct member *m = NULL;

    os_mutex_lock(b->groups->lock);
    g = group_find(b, q->group_id);
    if (!q->group_id.n)
        r->error_code = KAFKA_E_INVALID_GROUP_ID;
    else if (!g)
        r->error_code = KAFKA_E_UNKNOWN_MEMBER_ID;
    else
        m = identify(g, q->member_id, q->group_instance_id, &r->error_code);
    if (m && q->generation_id != g->generation) {
        r->error_code = KAFKA_E_ILLEGAL_GENERATION;
    } else if (m) {
        member_alive(b, m);
        r->error_code = g->state == GROUP_PREPARING ? KAFKA_E_REBALANCE_IN_PROGRESS
                        : g->state == GROUP_EMPTY   ? KAFKA_E_UNKNOWN_MEMBER_ID
                                                    : KAFKA_E_NONE;
    }
    os_mutex_unlock(b->groups->lock);
    request_reply(rq, r);
}

static int16_t leave(struct broker *b, struct group *g, struct str id, struct str instance, bool *left)
{
    struct member *m;
    int16_t code;

    if (!instance.p && pending_take(g, id)) {
        *left = true;
        return KAFKA_E_NONE;
    }
    if (instance.p && !id.n) { /* an administrator removes a static member by its instance alone */
        m = group_static(g, instance);
        code = m ? KAFKA_E_NONE : KAFKA_E_UNKNOWN_MEMBER_ID;
    } else {
        m = identify(g, id, instance, &code);
    }
    if (m) {
        group_remove(b, g, m);
        *left = true;
    }
    return code;
}

void handle_leave_group(struct request *rq)
{
    const struct kafka_leave_group_request *q = rq->body;
    struct kafka_leave_group_response *r = KAFKA_NEW(rq->arena, leave_group_response);
    struct broker *b = rq->b;
    struct group *g;
    bool left = false;

    os_mutex_lock(b->groups->lock);
    g = group_find(b, q->group_id);
    if (!q->group_id.n) {
        r->error_code = KAFKA_E_INVALID_GROUP_ID;
    } else if (rq->version < 3) {
        r->error_code = g ? leave(b, g, q->member_id, (struct str){NULL, 0}, &left) : KAFKA_E_UNKNOWN_MEMBER_ID;
    } else {
        r->members.n = q->members.n;
        r->members.p = KAFKA_ARRAY(rq->arena, leave_group_member_response, (size_t)q->members.n);
        for (int32_t i = 0; i < q->members.n; i++) {
            const struct kafka_leave_group_member *in = &q->members.p[i];

            r->members.p[i].member_id = in->member_id;
            r->members.p[i].group_instance_id = in->group_instance_id;
            r->members.p[i].error_code =
                g ? leave(b, g, in->member_id, in->group_instance_id, &left) : KAFKA_E_UNKNOWN_MEMBER_ID;
        }
    }
    if (left && g->state != GROUP_EMPTY)
        group_rebalance(b, g);
    os_mutex_unlock(b->groups->lock);
    request_reply(rq, r);
}

/* -- views ------------------------------------------------------------------------------------------------------- */
static bool in_filter(const struct str *p, int32_t n, const char *name)
{
    for (int32_t i = 0; i < n; i++)
        if (str_eq_nocase(p[i], str_of(name)))
            return true;
    return n <= 0;
}

void handle_list_groups(struct request *rq)
{
    const struct kafka_list_groups_request *q = rq->body;
    struct kafka_list_groups_response *r = KAFKA_NEW(rq->arena, list_groups_response);
    struct groups *all = rq->b->groups;
    struct map_slot *s;

    os_mutex_lock(all->lock);
    r->groups.p = KAFKA_ARRAY(rq->arena, list_groups_group, all->by_id.n);
    for (size_t i = 0; (s = map_next(&all->by_id, &i));) {
        const struct group *g = s->value;
        struct kafka_list_groups_group *out = &r->groups.p[r->groups.n];

        if (!in_filter(q->states_filter.p, q->states_filter.n, group_state_name(g->state)) ||
            !in_filter(q->types_filter.p, q->types_filter.n, "classic"))
            continue;
        out->group_id = arena_str(rq->arena, g->id);
        out->protocol_type = arena_str(rq->arena, g->protocol_type.p ? g->protocol_type : STR(""));
        out->group_state = str_of(group_state_name(g->state));
        out->group_type = STR("classic");
        r->groups.n++;
    }
    os_mutex_unlock(all->lock);
    request_reply(rq, r);
}

static void describe_members(struct request *rq, const struct group *g, struct kafka_describe_groups_group *out)
{
    out->members.n = (int32_t)g->members.n;
    out->members.p = KAFKA_ARRAY(rq->arena, describe_groups_member, g->members.n);
    for (size_t i = 0; i < g->members.n; i++) {
        const struct member *m = g->members.p[i];
        struct kafka_describe_groups_member *d = &out->members.p[i];

        d->member_id = arena_str(rq->arena, m->id);
        d->group_instance_id = m->instance.p ? arena_str(rq->arena, m->instance) : m->instance;
        d->client_id = arena_str(rq->arena, m->client_id);
        d->client_host = arena_str(rq->arena, m->client_host);
        if (g->state != GROUP_STABLE)
            continue; /* between generations nobody's subscription and share are settled */
        d->member_assignment = arena_str(rq->arena, m->assignment);
        for (size_t k = 0; k < m->protocols.n; k++)
            if (g->protocol.p && str_eq(m->protocols.p[k].name, g->protocol))
                d->member_metadata = arena_str(rq->arena, m->protocols.p[k].metadata);
    }
}

static void describe_group(struct request *rq, struct str id, struct kafka_describe_groups_group *out)
{
    const struct kafka_describe_groups_request *q = rq->body;
    const struct group *g = group_find(rq->b, id);

    out->group_id = id;
    if (q->include_authorized_operations)
        out->authorized_operations = GROUP_OPERATIONS;
    if (!g) {
        out->group_state = STR("Dead");
        if (rq->version >= 6) {
            out->error_code = KAFKA_E_GROUP_ID_NOT_FOUND;
            out->error_message = arena_fmt(rq->arena, "Group %.*s not found.", STR_ARG(id));
            out->authorized_operations = INT32_MIN;
        }
        return;
    }
    out->group_state = str_of(group_state_name(g->state));
    out->protocol_type = arena_str(rq->arena, g->protocol_type.p ? g->protocol_type : STR(""));
    if (g->state == GROUP_STABLE)
        out->protocol_data = arena_str(rq->arena, g->protocol.p ? g->protocol : STR(""));
    describe_members(rq, g, out);
}

void handle_describe_groups(struct request *rq)
{
    const struct kafka_describe_groups_request *q = rq->body;
    struct kafka_describe_groups_response *r = KAFKA_NEW(rq->arena, describe_groups_response);

    r->groups.n = q->groups.n;
    r->groups.p = KAFKA_ARRAY(rq->arena, describe_groups_group, (size_t)q->groups.n);
    os_mutex_lock(rq->b->groups->lock);
    for (int32_t i = 0; i < q->groups.n; i++)
        describe_group(rq, q->groups.p[i], &r->groups.p[i]);
    os_mutex_unlock(rq->b->groups->lock);
    request_reply(rq, r);
}
