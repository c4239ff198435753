/*
 * AlterConfigs and IncrementalAlterConfigs: a topic's settings, and those of the broker's that topics inherit. Each resource is
 * changed as a whole or not at all, durably, and is in force when it is answered. Messages are Kafka's.
 */
#include "broker/config_int.h"

#include "base/memory.h"

#include <stdio.h>

#define FACT_PREFIX "config/broker/"

enum operation { OP_SET, OP_DELETE, OP_APPEND, OP_SUBTRACT };

struct entry {
    struct str name, value;
    int8_t op;
};
struct alteration { /* of one resource */
    struct request *rq;
    int8_t type;
    struct str resource;
    struct entry *entries;
    int32_t n;
    bool replace; /* what is not named loses its value */
    bool validate_only;
    int16_t code;
    struct str message;
};

static bool refuse(struct alteration *x, int16_t code, struct str message)
{
    x->code = code;
    x->message = message;
    return false;
}

/* -- the broker's ------------------------------------------------------------------------------------------------ */

static void altered_set(struct config_state *c, struct str key, struct str value, bool all)
{
    size_t i = 0;

    while (i < c->altered.n && (c->altered.p[i].all != all || !str_eqz(key, c->altered.p[i].key)))
        i++;
    if (i < c->altered.n) {
        free(c->altered.p[i].key);
        free(c->altered.p[i].value);
        c->altered.p[i] = c->altered.p[--c->altered.n];
    }
    if (value.p) {
        struct config_altered x = {strndup(key.p, key.n), strndup(value.p, value.n), all};

        vec_push(&c->altered, x);
    }
}

/* What topics inherit, to the log: the default of a row when nothing else is said. */
static void push_defaults(struct broker *b)
{
    struct arena *a = arena_new(0);
    struct log_config list[64];
    const struct config_row *row;
    size_t n = 0;

    for (size_t i = 0; (row = config_topic_rows(i)) && n < 64; i++) {
        struct config_chain chain;

        config_chain(b, a, row, NULL, &chain);
        if (*row->dynamic && chain.source != SOURCE_DEFAULT)
            list[n++] = (struct log_config){str_of(row->name), chain.value};
    }
    log_defaults(b->log, list, n);
    arena_free(a);
}

void configs_start(struct broker *b)
{
    struct arena *a = arena_new(0);
    struct log_config *facts;
    size_t n = log_facts(b->log, STR(FACT_PREFIX), a, &facts);

    b->configs = calloc(1, sizeof *b->configs);
    if (!b->configs)
        memory_out("settings");
    b->configs->lock = os_mutex_new();
    for (size_t i = 0; i < n; i++) {
        struct str rest = str_sub(facts[i].key, strlen(FACT_PREFIX), facts[i].key.n);
        ptrdiff_t slash = str_find(rest, STR("/"), 0);

        if (slash >= 0)
            altered_set(b->configs, str_sub(rest, (size_t)slash + 1, rest.n), facts[i].value, slash == 0);
    }
    push_defaults(b);
    arena_free(a);
}

void configs_stop(struct broker *b)
{
    for (size_t i = 0; i < b->configs->altered.n; i++) {
        free(b->configs->altered.p[i].key);
        free(b->configs->altered.p[i].value);
    }
    vec_free(&b->configs->altered);
    os_mutex_free(b->configs->lock);
    free(b->configs);
}

static bool broker_resource(struct alteration *x)
{
    int64_t id;

    if (!x->resource.n)
        return true;
    if (!str_to_i64(x->resource, &id) || id != (int32_t)id)
        return refuse(x, KAFKA_E_INVALID_REQUEST,
                      arena_fmt(x->rq->arena, "Node id must be an integer, but it is: %.*s", STR_ARG(x->resource)));
    if (id != NODE_ID)
        return refuse(x, KAFKA_E_INVALID_REQUEST,
                      arena_fmt(x->rq->arena, "Unexpected broker id, expected %d, but received %.*s", NODE_ID,
                                STR_ARG(x->resource)));
    return true;
}

static struct str altered_value(struct broker *b, struct arena *a, struct str key, bool all)
{
    struct str value = {NULL, 0};

    os_mutex_lock(b->configs->lock);
    for (size_t i = 0; i < b->configs->altered.n; i++)
        if (b->configs->altered.p[i].all == all && str_eqz(key, b->configs->altered.p[i].key))
            value = arena_str(a, str_of(b->configs->altered.p[i].value));
    os_mutex_unlock(b->configs->lock);
    return value;
}

/* -- the new value ----------------------------------------------------------------------------------------------- */

static bool list_has(struct str list, struct str word)
{
    for (size_t at = 0; list.n && at <= list.n;) {
        ptrdiff_t comma = str_find(list, STR(","), at);
        size_t end = comma < 0 ? list.n : (size_t)comma;

        if (str_eq(str_trim(str_sub(list, at, end - at)), word))
            return true;
        at = end + 1;
    }
    return false;
}

/* The words of `from` that `other` has or has not, behind those of `to`. */
static void add_words(struct buf *to, struct str from, struct str other, bool has)
{
    for (size_t at = 0; from.n && at <= from.n;) {
        ptrdiff_t comma = str_find(from, STR(","), at);
        size_t end = comma < 0 ? from.n : (size_t)comma;
        struct str word = str_trim(str_sub(from, at, end - at));

        if (word.n && list_has(other, word) == has) {
            buf_z(to, to->n ? "," : "");
            buf_str(to, word);
        }
        at = end + 1;
    }
}

/* Append to and subtract from a list; `now` is the resource's own value, else the default. */
static struct str change_list(struct arena *a, struct str now, const struct entry *e)
{
    struct buf b = {0};
    struct str out;

    add_words(&b, now, e->op == OP_APPEND ? STR("") : e->value, false);
    if (e->op == OP_APPEND)
        add_words(&b, e->value, now, false);
    out = arena_str(a, buf_view(&b));
    buf_free(&b);
    return out.p ? out : STR("");
}

/* The entry's value as it is to be; p NULL: none. `row` NULL: a key that nobody knows. */
static bool new_value(struct alteration *x, const struct config_row *row, struct str own, const struct entry *e,
                      struct str *out)
{
    struct arena *a = x->rq->arena;
    struct str wrong;

    *out = (struct str){NULL, 0};
    if (e->op == OP_DELETE)
        return true;
    if (e->op != OP_SET && row && row->type != LIST)
        return refuse(x, KAFKA_E_INVALID_CONFIG,
                      arena_fmt(a, "Can't %s to key %.*s because its type is not LIST.",
                                e->op == OP_APPEND ? "APPEND" : "SUBTRACT", STR_ARG(e->name)));
    *out = e->op == OP_SET ? e->value : change_list(a, own.p ? own : row ? str_of(row->value) : STR(""), e);
    if (!row)
        return true;
    wrong = config_wrong(a, row, e->name, *out);
    if (!wrong.p)
        return true;
    return refuse(x, x->type == RESOURCE_BROKER ? KAFKA_E_INVALID_REQUEST : KAFKA_E_INVALID_CONFIG, wrong);
}

/* -- one resource ------------------------------------------------------------------------------------------------ */

/* What Kafka looks at before it knows what the resource is. */
static bool check_entries(struct alteration *x)
{
    struct buf nulls = {0};

    for (int32_t i = 0; i < x->n; i++)
        for (int32_t k = 0; k < i && k < (int32_t)LIMIT_TOPIC_CONFIGS; k++)
            if (str_eq(x->entries[i].name, x->entries[k].name))
                return refuse(x, KAFKA_E_INVALID_REQUEST, STR("Error due to duplicate config keys"));
    if (x->n > (int32_t)LIMIT_TOPIC_CONFIGS)
        return refuse(x, KAFKA_E_INVALID_REQUEST,
                      arena_fmt(x->rq->arena, "More than %d settings of one resource", (int)LIMIT_TOPIC_CONFIGS));
    for (int32_t i = 0; i < x->n; i++)
        if (!x->entries[i].value.p && x->entries[i].op != OP_DELETE) {
            buf_z(&nulls, nulls.n ? "," : "");
            buf_str(&nulls, x->entries[i].name);
        }
    if (nulls.n)
        refuse(x, KAFKA_E_INVALID_REQUEST,
               arena_fmt(x->rq->arena, "Null value not supported for : %.*s", (int)nulls.n, nulls.p));
    buf_free(&nulls);
    for (int32_t i = 0; !x->code && i < x->n; i++)
        if (x->entries[i].op < OP_SET || x->entries[i].op > OP_SUBTRACT)
            return refuse(x, KAFKA_E_UNKNOWN_SERVER_ERROR, (struct str){NULL, 0}); /* Kafka's answer */
    return !x->code;
}

static bool failed(struct alteration *x, enum err e, struct fault *f)
{
    return !e || refuse(x, (int16_t)err_kafka(e), arena_str(x->rq->arena, str_of(fault_message(f))));
}

static bool has_entry(const struct alteration *x, struct str name)
{
    for (int32_t i = 0; i < x->n; i++)
        if (str_eq(x->entries[i].name, name))
            return true;
    return false;
}

static bool find_topic(struct alteration *x, struct log_topic *t)
{
    struct arena *a = x->rq->arena;
    const char *why;

    if (!x->resource.n)
        return refuse(x, KAFKA_E_INVALID_REQUEST, STR("Default topic resources are not allowed."));
    if (!topic_name_ok(x->resource, &why))
        return refuse(x, KAFKA_E_INVALID_TOPIC_EXCEPTION, topic_name_wrong(a, x->resource, why));
    if (!log_topic_get(x->rq->b->log, x->resource, a, t))
        return refuse(x, KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION,
                      arena_fmt(a, "The topic '%.*s' does not exist.", STR_ARG(x->resource)));
    return true;
}

static bool alter_topic(struct alteration *x)
{
    struct log_topic t;
    struct fault f;
    struct log_config *changes;
    size_t n = 0;

    if (!find_topic(x, &t))
        return false;
    changes = ARENA_ARRAY(x->rq->arena, (size_t)x->n + t.nconfigs + 1, struct log_config);
    for (int32_t i = 0; i < x->n; i++) {
        const struct entry *e = &x->entries[i];
        const struct config_row *row = config_topic_row(e->name);
        struct str own = {NULL, 0};

        for (size_t k = 0; k < t.nconfigs; k++)
            own = str_eq(t.configs[k].key, e->name) ? t.configs[k].value : own;
        if (!row && e->op != OP_DELETE)
            return refuse(x, KAFKA_E_INVALID_CONFIG,
                          arena_fmt(x->rq->arena, "Unknown topic config name: %.*s", STR_ARG(e->name)));
        changes[n].key = e->name;
        if (!new_value(x, row, own, e, &changes[n].value))
            return false;
        n += row || own.p;
    }
    for (size_t k = 0; x->replace && k < t.nconfigs; k++)
        if (!has_entry(x, t.configs[k].key))
            changes[n++] = (struct log_config){t.configs[k].key, {NULL, 0}};
    return x->validate_only || !n || failed(x, log_topic_configure(x->rq->b->log, t.name, changes, n, &f), &f);
}

static bool put_altered(struct alteration *x, struct str key, struct str value, bool all)
{
    struct fault f;
    struct str fact = arena_fmt(x->rq->arena, FACT_PREFIX "%s/%.*s", all ? "" : "1", STR_ARG(key));

    if (!failed(x, log_fact_put(x->rq->b->log, fact, value, &f), &f))
        return false;
    os_mutex_lock(x->rq->b->configs->lock);
    altered_set(x->rq->b->configs, key, value, all);
    os_mutex_unlock(x->rq->b->configs->lock);
    return true;
}

/* Those that were altered and that a replacing request does not name. */
static bool drop_others(struct alteration *x, bool all)
{
    struct config_state *c = x->rq->b->configs;
    struct str gone[64];
    size_t n = 0;

    os_mutex_lock(c->lock);
    for (size_t i = 0; i < c->altered.n && n < 64; i++)
        if (c->altered.p[i].all == all && !has_entry(x, str_of(c->altered.p[i].key)))
            gone[n++] = arena_str(x->rq->arena, str_of(c->altered.p[i].key));
    os_mutex_unlock(c->lock);
    for (size_t i = 0; i < n; i++)
        if (!put_altered(x, gone[i], (struct str){NULL, 0}, all))
            return false;
    return true;
}

static bool alter_broker(struct alteration *x)
{
    struct arena *a = x->rq->arena;
    struct str *values = ARENA_ARRAY(a, (size_t)x->n + 1, struct str);
    bool all = x->resource.n == 0;

    if (!broker_resource(x))
        return false;
    for (int32_t i = 0; i < x->n; i++) {
        const struct entry *e = &x->entries[i];
        const struct config_row *row = config_dynamic_row(e->name);

        if (!row && e->op == OP_DELETE && !config_is_broker_key(e->name))
            continue;
        if (!row) /* Kafka takes a key that it does not know, and does nothing with it */
            return refuse(x, KAFKA_E_INVALID_REQUEST,
                          arena_fmt(a,
                                    config_is_broker_key(e->name) ? "Cannot update these configs dynamically: [%.*s]"
                                                                  : "Unknown broker config name: %.*s",
                                    STR_ARG(e->name)));
        if (!new_value(x, row, altered_value(x->rq->b, a, e->name, all), e, &values[i]))
            return false;
    }
    if (x->validate_only)
        return true;
    for (int32_t i = 0; i < x->n; i++)
        if (config_dynamic_row(x->entries[i].name) && !put_altered(x, x->entries[i].name, values[i], all))
            return false;
    if (x->replace && !drop_others(x, all))
        return false;
    push_defaults(x->rq->b);
    return true;
}

static void alter(struct alteration *x)
{
    x->message = (struct str){NULL, 0};
    if (!check_entries(x))
        return;
    if (x->type == RESOURCE_TOPIC)
        alter_topic(x);
    else if (x->type == RESOURCE_BROKER)
        alter_broker(x);
    else
        refuse(x, KAFKA_E_INVALID_REQUEST, arena_fmt(x->rq->arena, "Unknown resource type %d", x->type));
}

/* -- the requests ------------------------------------------------------------------------------------------------ */

/* Both kinds of request, resource by resource: the macro is the only place where their two sets of structs differ. */
#define ALTER_ALL(kind, OP, replaces)                                                                                  \
    const struct kafka_##kind##_request *q = rq->body;                                                                 \
    struct kafka_##kind##_response *r = KAFKA_NEW(rq->arena, kind##_response);                                         \
    r->responses.n = q->resources.n;                                                                                   \
    r->responses.p = KAFKA_ARRAY(rq->arena, kind##_result, (size_t)q->resources.n);                                    \
    for (int32_t i = 0; i < q->resources.n; i++) {                                                                     \
        const struct kafka_##kind##_resource *in = &q->resources.p[i];                                                 \
        struct alteration x = {.rq = rq,                                                                               \
                               .type = in->resource_type,                                                              \
                               .resource = in->resource_name,                                                          \
                               .n = in->configs.n,                                                                     \
                               .entries = ARENA_ARRAY(rq->arena, (size_t)in->configs.n + 1, struct entry),             \
                               .replace = replaces,                                                                    \
                               .validate_only = q->validate_only};                                                     \
        bool twice = false;                                                                                            \
        for (int32_t k = 0; k < in->configs.n; k++)                                                                    \
            x.entries[k] = (struct entry){in->configs.p[k].name, in->configs.p[k].value, OP};                          \
        for (int32_t k = 0; k < q->resources.n; k++)                                                                   \
            twice |= k != i && q->resources.p[k].resource_type == in->resource_type &&                                 \
                     str_eq(q->resources.p[k].resource_name, in->resource_name);                                       \
        if (twice)                                                                                                     \
            refuse(&x, KAFKA_E_INVALID_REQUEST, STR("Each resource must appear at most once."));                       \
        else                                                                                                           \
            alter(&x);                                                                                                 \
        r->responses.p[i] = (struct kafka_##kind##_result){x.code, x.message, in->resource_type, in->resource_name};   \
    }                                                                                                                  \
    request_reply(rq, r)

static void alter_configs(struct request *rq)
{
    ALTER_ALL(alter_configs, OP_SET, true);
}

static void incremental_alter_configs(struct request *rq)
{
    ALTER_ALL(incremental_alter_configs, in->configs.p[k].config_operation, false);
}

void handle_alter_configs(struct request *rq)
{
    request_on_io(rq, alter_configs);
}

void handle_incremental_alter_configs(struct request *rq)
{
    request_on_io(rq, incremental_alter_configs);
}
