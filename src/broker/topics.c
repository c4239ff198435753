/* Topics: Metadata (with auto-creation), CreateTopics, DeleteTopics, CreatePartitions. What writes runs on an I/O thread. */
#include "broker/broker_int.h"
#include "broker/group_int.h"

#include <stdio.h>

bool uuid_is_zero(struct os_uuid id)
{
    static const struct os_uuid zero;

    return memcmp(id.b, zero.b, 16) == 0;
}

struct str topic_name_by_id(struct broker *b, struct os_uuid id, struct arena *a)
{
    struct log_topic t;

    return log_topic_by_id(b->log, id, a, &t) ? t.name : (struct str){NULL, 0};
}

/* Kafka's rule for names; *why gets the reason as Kafka words it, with the name where %s stands. */
bool topic_name_ok(struct str name, const char **why)
{
    if (name.n == 0)
        *why = "the empty string is not allowed";
    else if (str_eqz(name, ".") || str_eqz(name, ".."))
        *why = "'%s' is not allowed";
    else if (name.n > 249)
        *why = "the length of '%s' is longer than the max allowed length 249";
    else {
        for (size_t i = 0; i < name.n; i++) {
            char c = name.p[i];

            if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                  c == '-')) {
                *why = "'%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
                return false;
            }
        }
        return true;
    }
    return false;
}

struct str topic_name_wrong(struct arena *a, struct str name, const char *why)
{
    struct buf b = {0};
    const char *hole = strstr(why, "%s");
    struct str out;

    buf_z(&b, "Topic name is invalid: ");
    if (hole) {
        buf_put(&b, why, (size_t)(hole - why));
        buf_str(&b, name);
        buf_z(&b, hole + 2);
    } else {
        buf_z(&b, why);
    }
    out = arena_str(a, buf_view(&b));
    buf_free(&b);
    return out;
}

/* -- Metadata ---------------------------------------------------------------------------------------------------- */
static void describe_partitions(struct arena *a, int32_t n, struct kafka_metadata_topic *out)
{
    static int32_t node = NODE_ID; /* shared by all answers, never written */

    out->partitions.p = KAFKA_ARRAY(a, metadata_partition, (size_t)n);
    out->partitions.n = n;
    for (int32_t i = 0; i < n; i++) {
        struct kafka_metadata_partition *p = &out->partitions.p[i];

        p->partition_index = i;
        p->leader_id = NODE_ID;
        p->leader_epoch = 0;
        p->replica_nodes.p = p->isr_nodes.p = &node;
        p->replica_nodes.n = p->isr_nodes.n = 1;
    }
}

static void describe_topic(struct request *rq, const struct log_topic *t, struct kafka_metadata_topic *out)
{
    out->name = t->name;
    out->topic_id = t->id;
    out->is_internal = t->internal;
    describe_partitions(rq->arena, t->partitions, out);
}

/* May the topic be made for a client that only asked? */
static bool auto_creates(struct request *rq)
{
    const struct kafka_metadata_request *q = rq->body;

    return !rq->b->o.no_auto_create && q->allow_auto_topic_creation;
}

static int16_t auto_create(struct request *rq, struct str name, struct log_topic *t)
{
    struct fault f;
    struct os_uuid id;
    enum err e = log_topic_create(rq->b->log, name, rq->b->o.default_partitions, NULL, 0, &id, &f);

    if (e && e != ERR_EXISTS) {
        os_log(OS_ERROR, "broker", "cannot create topic %.*s: %s", STR_ARG(name), fault_message(&f));
        return (int16_t)err_kafka(e);
    }
    if (!e)
        os_log(OS_INFO, "broker", "topic %.*s created with %d partition(s), as a client asked for it", STR_ARG(name),
               rq->b->o.default_partitions);
    return log_topic_get(rq->b->log, name, rq->arena, t) ? KAFKA_E_NONE : KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
}

/* False: creating it would block, and we are not where that is allowed. */
static bool metadata_of(struct request *rq, const struct kafka_metadata_request_topic *in, bool may_block,
                        struct kafka_metadata_topic *out)
{
    struct log_topic t;
    const char *why;

    out->name = in->name;
    out->topic_id = in->topic_id;
    if (!in->name.p) {
        if (log_topic_by_id(rq->b->log, in->topic_id, rq->arena, &t))
            describe_topic(rq, &t, out);
        else
            out->error_code = KAFKA_E_UNKNOWN_TOPIC_ID;
    } else if (log_topic_get(rq->b->log, in->name, rq->arena, &t)) {
        describe_topic(rq, &t, out);
    } else if (!topic_name_ok(in->name, &why)) {
        out->error_code = KAFKA_E_INVALID_TOPIC_EXCEPTION;
    } else if (!auto_creates(rq)) {
        out->error_code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (!may_block) {
        return false;
    } else {
        out->error_code = auto_create(rq, in->name, &t);
        if (!out->error_code)
            describe_topic(rq, &t, out);
    }
    return true;
}

static bool seen_before(const struct kafka_metadata_request *q, int32_t i)
{
    for (int32_t k = 0; k < i && k < 1000; k++) /* beyond a thousand names a repetition is merely answered twice */
        if (q->topics.p[k].name.p && q->topics.p[i].name.p && str_eq(q->topics.p[k].name, q->topics.p[i].name))
            return true;
    return false;
}

static void fill_cluster(struct request *rq, struct kafka_metadata_response *r)
{
    const struct kafka_metadata_request *q = rq->body;

    r->brokers.n = 1;
    r->brokers.p = KAFKA_ARRAY(rq->arena, metadata_broker, 1);
    r->brokers.p->node_id = NODE_ID;
    r->brokers.p->host = str_of(rq->conn->peer.advertised_host);
    r->brokers.p->port = rq->conn->peer.advertised_port;
    r->cluster_id = str_of(log_cluster_id(rq->b->log));
    r->controller_id = NODE_ID;
    if (q->include_cluster_authorized_operations)
        r->cluster_authorized_operations = CLUSTER_OPERATIONS;
    for (int32_t i = 0; i < r->topics.n && q->include_topic_authorized_operations; i++)
        r->topics.p[i].topic_authorized_operations = TOPIC_OPERATIONS;
}

static bool answer_metadata(struct request *rq, bool may_block)
{
    const struct kafka_metadata_request *q = rq->body;
    struct kafka_metadata_response *r = KAFKA_NEW(rq->arena, metadata_response);
    bool all = q->topics.n < 0 || (rq->version == 0 && q->topics.n == 0);

    if (all) {
        struct log_topic *topics;
        size_t n = log_topics(rq->b->log, rq->arena, &topics);

        r->topics.p = KAFKA_ARRAY(rq->arena, metadata_topic, n);
        r->topics.n = (int32_t)n;
        for (size_t i = 0; i < n; i++)
            describe_topic(rq, &topics[i], &r->topics.p[i]);
    } else {
        r->topics.p = KAFKA_ARRAY(rq->arena, metadata_topic, (size_t)q->topics.n);
        for (int32_t i = 0; i < q->topics.n; i++) {
            if (seen_before(q, i))
                continue;
            if (!metadata_of(rq, &q->topics.p[i], may_block, &r->topics.p[r->topics.n++]))
                return false;
        }
    }
    fill_cluster(rq, r);
    request_reply(rq, r);
    return true;
}

static void metadata_on_io(struct request *rq)
{
    (void)answer_metadata(rq, true);
}

void handle_metadata(struct request *rq)
{
    if (!answer_metadata(rq, false))
        request_on_io(rq, metadata_on_io);
}

/* -- CreateTopics ------------------------------------------------------------------------------------------------ */
struct creation {
    int32_t partitions;
    struct log_config *configs;
    size_t nconfigs;
};

/* Manual assignments: partitions 0..n-1, each on this node. */
static int16_t check_assignments(struct request *rq, const struct kafka_create_topics_topic *t, struct creation *c,
                                 struct str *message)
{
    bool *seen = ARENA_ARRAY(rq->arena, (size_t)t->assignments.n, bool);

    if (t->replication_factor != -1 || t->num_partitions != -1) {
        *message = t->replication_factor != -1
                       ? STR("A manual partition assignment was specified, but replication factor was not set to -1.")
                       : STR("A manual partition assignment was specified, but numPartitions was not set to -1.");
        return KAFKA_E_INVALID_REQUEST;
    }
    for (int32_t i = 0; i < t->assignments.n; i++) {
        const struct kafka_create_topics_assignment *a = &t->assignments.p[i];

        if (a->partition_index < 0 || a->partition_index >= t->assignments.n || seen[a->partition_index]) {
            *message = STR("partitions should be a consecutive 0-based integer sequence");
            return KAFKA_E_INVALID_REPLICA_ASSIGNMENT;
        }
        seen[a->partition_index] = true;
        if (a->broker_ids.n < 1) {
            *message = STR("The manual partition assignment includes an empty replica list.");
            return KAFKA_E_INVALID_REPLICA_ASSIGNMENT;
        }
        for (int32_t k = 0; k < a->broker_ids.n; k++)
            if (a->broker_ids.p[k] != NODE_ID) {
                *message = arena_fmt(rq->arena,
                                     "The manual partition assignment includes broker %d, but no such broker is "
                                     "registered.",
                                     a->broker_ids.p[k]);
                return KAFKA_E_INVALID_REPLICA_ASSIGNMENT;
            }
    }
    c->partitions = t->assignments.n;
    return KAFKA_E_NONE;
}

static int16_t check_counts(struct request *rq, const struct kafka_create_topics_topic *t, struct creation *c,
                            struct str *message)
{
    if (t->assignments.n > 0)
        return check_assignments(rq, t, c, message);
    if (t->replication_factor < -1 || t->replication_factor == 0) {
        *message = STR("Replication factor must be larger than 0, or -1 to use the default value.");
        return KAFKA_E_INVALID_REPLICATION_FACTOR;
    }
    if (t->num_partitions < -1 || t->num_partitions == 0) {
        *message = STR("Number of partitions was set to an invalid non-positive value.");
        return KAFKA_E_INVALID_PARTITIONS;
    }
    if (t->replication_factor > 1 && !rq->b->o.any_replication_factor) {
        *message = arena_fmt(rq->arena,
                             "Unable to replicate the partition %d time(s): The target replication factor of %d cannot "
                             "be reached because only 1 broker(s) are registered or some brokers have all their log "
                             "directories cordoned.",
                             t->replication_factor, t->replication_factor);
        return KAFKA_E_INVALID_REPLICATION_FACTOR;
    }
    c->partitions = t->num_partitions == -1 ? rq->b->o.default_partitions : t->num_partitions;
    return KAFKA_E_NONE;
}

static int16_t check_configs(struct request *rq, const struct kafka_create_topics_topic *t, struct creation *c,
                             struct str *message)
{
    c->configs = ARENA_ARRAY(rq->arena, (size_t)t->configs.n + 1, struct log_config);
    for (int32_t i = 0; i < t->configs.n; i++) {
        const struct kafka_create_topics_config *k = &t->configs.p[i];
        int16_t code = config_check(rq->arena, k->name, k->value, message);

        if (code)
            return code;
        c->configs[c->nconfigs++] = (struct log_config){k->name, k->value};
    }
    return KAFKA_E_NONE;
}

/* "a.b" and "a_b" would be one metric name: Kafka keeps them apart. */
static bool collides(struct request *rq, struct str name, struct str *other)
{
    struct log_topic *topics;
    size_t n;

    if (!memchr(name.p, '.', name.n) && !memchr(name.p, '_', name.n))
        return false;
    n = log_topics(rq->b->log, rq->arena, &topics);
    for (size_t i = 0; i < n; i++) {
        bool same = topics[i].name.n == name.n;

        for (size_t k = 0; same && k < name.n; k++) {
            char a = name.p[k] == '.' ? '_' : name.p[k], b = topics[i].name.p[k] == '.' ? '_' : topics[i].name.p[k];

            same = a == b;
        }
        if (same) {
            *other = topics[i].name;
            return true;
        }
    }
    return false;
}

static int16_t check_creation(struct request *rq, const struct kafka_create_topics_topic *t, struct creation *c,
                              struct str *message)
{
    struct log_topic existing;
    struct str other;
    const char *why;
    int16_t code;

    if (!topic_name_ok(t->name, &why)) {
        *message = topic_name_wrong(rq->arena, t->name, why);
        return KAFKA_E_INVALID_TOPIC_EXCEPTION;
    }
    if (log_topic_get(rq->b->log, t->name, rq->arena, &existing)) {
        *message = arena_fmt(rq->arena, "Topic '%.*s' already exists.", STR_ARG(t->name));
        return KAFKA_E_TOPIC_ALREADY_EXISTS;
    }
    if (collides(rq, t->name, &other)) {
        *message =
            arena_fmt(rq->arena, "Topic '%.*s' collides with existing topic: %.*s", STR_ARG(t->name), STR_ARG(other));
        return KAFKA_E_INVALID_TOPIC_EXCEPTION;
    }
    code = check_counts(rq, t, c, message);
    return code ? code : check_configs(rq, t, c, message);
}

static void create_one(struct request *rq, const struct kafka_create_topics_topic *t, bool validate_only,
                       struct kafka_create_topics_result *out)
{
    struct creation c = {0};
    struct fault f;
    enum err e;

    out->name = t->name;
    out->error_message = (struct str){NULL, 0};
    out->error_code = check_creation(rq, t, &c, &out->error_message);
    if (out->error_code)
        return;
    if (validate_only) {
        out->topic_id = os_uuid_random();
    } else {
        e = log_topic_create(rq->b->log, t->name, c.partitions, c.configs, c.nconfigs, &out->topic_id, &f);
        if (e) {
            out->error_code = (int16_t)err_kafka(e);
            out->error_message = arena_str(rq->arena, str_of(fault_message(&f)));
            return;
        }
    }
    out->num_partitions = c.partitions;
    out->replication_factor = 1;
    config_created(rq->b, rq->arena, c.configs, c.nconfigs, out);
}

static void create_topics(struct request *rq)
{
    const struct kafka_create_topics_request *q = rq->body;
    struct kafka_create_topics_response *r = KAFKA_NEW(rq->arena, create_topics_response);

    r->topics.p = KAFKA_ARRAY(rq->arena, create_topics_result, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++) {
        struct kafka_create_topics_result *out = &r->topics.p[r->topics.n];
        int32_t before = 0, after = i + 1;

        while (before < i && !str_eq(q->topics.p[before].name, q->topics.p[i].name))
            before++;
        while (after < q->topics.n && !str_eq(q->topics.p[after].name, q->topics.p[i].name))
            after++;
        if (before < i)
            continue; /* named twice: answered once, and refused */
        r->topics.n++;
        if (after < q->topics.n) {
            out->name = q->topics.p[i].name;
            out->error_code = KAFKA_E_INVALID_REQUEST;
            out->error_message = STR("Duplicate topic name.");
        } else {
            create_one(rq, &q->topics.p[i], q->validate_only, out);
        }
    }
    request_reply(rq, r);
}

void handle_create_topics(struct request *rq)
{
    request_on_io(rq, create_topics);
}

/* -- DeleteTopics ------------------------------------------------------------------------------------------------ */
static void delete_one(struct request *rq, struct str name, struct os_uuid id, struct kafka_delete_topics_result *out)
{
    struct log_topic t;
    struct fault f;
    enum err e;
    bool found;

    out->name = name;
    out->topic_id = id;
    if (name.p && !uuid_is_zero(id)) {
        out->error_code = KAFKA_E_INVALID_REQUEST;
        out->error_message = STR("You may not specify both topic name and topic id.");
        return;
    }
    found = name.p ? log_topic_get(rq->b->log, name, rq->arena, &t) : log_topic_by_id(rq->b->log, id, rq->arena, &t);
    if (!found) {
        out->error_code = name.p ? KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_E_UNKNOWN_TOPIC_ID;
        out->error_message = str_of(kafka_code_message(out->error_code));
        return;
    }
    out->name = t.name;
    out->topic_id = t.id;
    if (t.internal) {
        out->error_code = KAFKA_E_INVALID_TOPIC_EXCEPTION;
        out->error_message = STR("Internal topics hold the groups' offsets and cannot be deleted.");
        return;
    }
    offsets_forget_topic(rq->b, t.name);
    e = log_topic_delete(rq->b->log, t.name, &f);
    offsets_forget_topic(rq->b, t.name);
    if (e) {
        out->error_code = (int16_t)err_kafka(e);
        out->error_message = arena_str(rq->arena, str_of(fault_message(&f)));
    } else {
        os_log(OS_INFO, "broker", "topic %.*s deleted", STR_ARG(t.name));
    }
}

static void delete_topics(struct request *rq)
{
    const struct kafka_delete_topics_request *q = rq->body;
    struct kafka_delete_topics_response *r = KAFKA_NEW(rq->arena, delete_topics_response);
    int32_t n = rq->version >= 6 ? q->topics.n : q->topic_names.n;

    r->responses.p = KAFKA_ARRAY(rq->arena, delete_topics_result, (size_t)n);
    for (int32_t i = 0; i < n; i++) {
        struct str name = rq->version >= 6 ? q->topics.p[i].name : q->topic_names.p[i];
        struct os_uuid id = rq->version >= 6 ? q->topics.p[i].topic_id : (struct os_uuid){0};
        int32_t other = 0;

        while (other < n && rq->version >= 6 &&
               (other == i || !name.p || !q->topics.p[other].name.p || !str_eq(q->topics.p[other].name, name)))
            other++;
        if (rq->version >= 6 && other < n) {
            if (other < i)
                continue;
            r->responses.p[r->responses.n].name = name;
            r->responses.p[r->responses.n].error_code = KAFKA_E_INVALID_REQUEST;
            r->responses.p[r->responses.n++].error_message = STR("Duplicate topic name.");
        } else {
            delete_one(rq, name, id, &r->responses.p[r->responses.n++]);
        }
    }
    request_reply(rq, r);
}

void handle_delete_topics(struct request *rq)
{
    request_on_io(rq, delete_topics);
}

/* -- CreatePartitions -------------------------------------------------------------------------------------------- */
static int16_t check_growth(struct request *rq, const struct kafka_create_partitions_topic *t, int32_t have,
                            struct str *message)
{
    int32_t more = t->count - have;

    if (more < 0) {
        *message = arena_fmt(rq->arena, "The topic %.*s currently has %d partition(s); %d would not be an increase.",
                             STR_ARG(t->name), have, t->count);
        return KAFKA_E_INVALID_PARTITIONS;
    }
    if (more == 0) {
        *message = arena_fmt(rq->arena, "Topic already has %d partition(s).", have);
        return KAFKA_E_INVALID_PARTITIONS;
    }
    if (t->assignments.n < 0)
        return KAFKA_E_NONE;
    if (t->assignments.n != more) {
        *message = arena_fmt(rq->arena,
                             "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.",
                             more, t->assignments.n);
        return KAFKA_E_INVALID_REPLICA_ASSIGNMENT;
    }
    for (int32_t i = 0; i < more; i++)
        if (t->assignments.p[i].broker_ids.n != 1 || t->assignments.p[i].broker_ids.p[0] != NODE_ID) {
            *message = STR("The manual partition assignment includes a broker that is not registered.");
            return KAFKA_E_INVALID_REPLICA_ASSIGNMENT;
        }
    return KAFKA_E_NONE;
}

static void grow_one(struct request *rq, const struct kafka_create_partitions_topic *t, bool validate_only,
                     struct kafka_create_partitions_result *out)
{
    struct log_topic have;
    struct fault f;
    enum err e;

    out->name = t->name;
    if (!log_topic_get(rq->b->log, t->name, rq->arena, &have)) {
        out->error_code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        out->error_message = str_of(kafka_code_message(out->error_code));
        return;
    }
    if (have.internal) {
        out->error_code = KAFKA_E_INVALID_REQUEST;
        out->error_message = STR("Internal topics cannot grow: groups are found by their partition.");
        return;
    }
    out->error_code = check_growth(rq, t, have.partitions, &out->error_message);
    if (out->error_code || validate_only)
        return;
    e = log_topic_grow(rq->b->log, t->name, t->count, &f);
    if (e) {
        out->error_code = (int16_t)err_kafka(e);
        out->error_message = arena_str(rq->arena, str_of(fault_message(&f)));
    }
}

static void create_partitions(struct request *rq)
{
    const struct kafka_create_partitions_request *q = rq->body;
    struct kafka_create_partitions_response *r = KAFKA_NEW(rq->arena, create_partitions_response);

    r->results.n = q->topics.n;
    r->results.p = KAFKA_ARRAY(rq->arena, create_partitions_result, (size_t)q->topics.n);
    for (int32_t i = 0; i < q->topics.n; i++)
        grow_one(rq, &q->topics.p[i], q->validate_only, &r->results.p[i]);
    request_reply(rq, r);
}

void handle_create_partitions(struct request *rq)
{
    request_on_io(rq, create_partitions);
}
