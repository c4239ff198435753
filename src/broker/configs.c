/* Configuration keys: DescribeConfigs, and the check and echo of a new topic's settings. Rows in spec/kafka/configs.def. */
#include "broker/config_int.h"

#include <stdio.h>

static const struct config_row TOPIC_ROWS[] = {
#define TOPIC(name, type, value, synonym, synonym_value, dynamic, allowed, doc)                                        \
    {name, type, value, synonym, synonym_value, dynamic, allowed, doc},
#define BROKER(name, type, value, doc)
#include "kafka/configs.def"
#undef TOPIC
#undef BROKER
};
static const struct config_row BROKER_ROWS[] = {
#define TOPIC(name, type, value, synonym, synonym_value, dynamic, allowed, doc)
#define BROKER(name, type, value, doc) {name, type, value, name, value, name, "", doc},
#include "kafka/configs.def"
};
enum {
    NTOPIC_ROWS = sizeof TOPIC_ROWS / sizeof TOPIC_ROWS[0],
    NBROKER_ROWS = sizeof BROKER_ROWS / sizeof BROKER_ROWS[0]
};

/* -- checks ------------------------------------------------------------------------------------------------------ */
static const char *const TYPE_NAMES[] = {"", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST"};

static bool word_allowed(const char *allowed, struct str word)
{
    struct str all = str_of(allowed);

    for (size_t at = 0; at <= all.n;) {
        ptrdiff_t bar = str_find(all, STR("|"), at);
        size_t end = bar < 0 ? all.n : (size_t)bar;

        if (str_eq(str_sub(all, at, end - at), word))
            return true;
        at = end + 1;
    }
    return false;
}

/* "a|b" as "a, b" */
static struct str word_list(struct arena *a, const char *allowed)
{
    struct buf b = {0};
    struct str out;

    for (; *allowed; allowed++)
        if (*allowed == '|')
            buf_z(&b, ", ");
        else
            buf_u8(&b, (uint8_t)*allowed);
    out = arena_str(a, buf_view(&b));
    buf_free(&b);
    return out;
}

static bool number(const struct config_row *row, struct str value, double *out)
{
    char text[64], *end;
    int64_t whole;

    if (row->type != DOUBLE) {
        if (!str_to_i64(value, &whole) || (row->type == INT && whole != (int32_t)whole) ||
            (row->type == SHORT && whole != (int16_t)whole))
            return false;
        *out = (double)whole;
        return true;
    }
    if (value.n == 0 || value.n >= sizeof text)
        return false;
    memcpy(text, value.p, value.n);
    text[value.n] = 0;
    *out = strtod(text, &end);
    return *end == 0;
}

/* NULL when the number is allowed, else what is wrong. */
static const char *check_number(struct arena *a, const struct config_row *row, struct str value)
{
    const char *colon = strchr(row->allowed, ':');
    double v, low = strtod(row->allowed, NULL);
    int low_n = colon ? (int)(colon - row->allowed) : 0;

    if (!number(row, value, &v))
        return arena_fmt(a, "Not a number of type %s", TYPE_NAMES[row->type]).p;
    if (colon && v < low)
        return arena_fmt(a, "Value must be at least %.*s", low_n, row->allowed).p;
    if (colon && colon[1] && v > strtod(colon + 1, NULL))
        return arena_fmt(a, "Value must be no more than %s", colon + 1).p;
    return NULL;
}

/* *bad: the word that is not allowed. */
static const char *check_words(struct arena *a, const struct config_row *row, struct str value, struct str *bad)
{
    if (!*row->allowed || (row->type == LIST && !value.n))
        return NULL;
    for (size_t at = 0; at <= value.n;) {
        ptrdiff_t comma = row->type == LIST ? str_find(value, STR(","), at) : -1;
        size_t end = comma < 0 ? value.n : (size_t)comma;

        *bad = str_trim(str_sub(value, at, end - at));
        if (!word_allowed(row->allowed, *bad))
            return arena_fmt(a, "String must be one of: %.*s", STR_ARG(word_list(a, row->allowed))).p;
        at = end + 1;
    }
    return NULL;
}

static const struct config_row *find_row(const struct config_row *rows, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(name, rows[i].name))
            return &rows[i];
    return NULL;
}

const struct config_row *config_topic_row(struct str name)
{
    return find_row(TOPIC_ROWS, NTOPIC_ROWS, name);
}

const struct config_row *config_topic_rows(size_t i)
{
    return i < NTOPIC_ROWS ? &TOPIC_ROWS[i] : NULL;
}

const struct config_row *config_dynamic_row(struct str broker_key)
{
    for (size_t i = 0; broker_key.n && i < NTOPIC_ROWS; i++)
        if (str_eqz(broker_key, TOPIC_ROWS[i].dynamic))
            return &TOPIC_ROWS[i];
    return NULL;
}

bool config_is_broker_key(struct str name)
{
    return find_row(BROKER_ROWS, NBROKER_ROWS, name) != NULL;
}

struct str config_wrong(struct arena *a, const struct config_row *row, struct str name, struct str value)
{
    const char *why = NULL;

    if (row->type == BOOLEAN)
        why = str_eq_nocase(value, STR("true")) || str_eq_nocase(value, STR("false"))
                  ? NULL
                  : "Expected value to be either true or false";
    else if (row->type == STRING || row->type == LIST)
        why = check_words(a, row, value, &value);
    else
        why = check_number(a, row, value);
    if (!why && strcmp(row->name, "remote.storage.enable") == 0 && str_eq_nocase(value, STR("true")))
        return STR("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log "
                   "storage.");
    return why ? arena_fmt(a, "Invalid value %.*s for configuration %.*s: %s", STR_ARG(value), STR_ARG(name), why)
               : (struct str){NULL, 0};
}

int16_t config_check(struct arena *a, struct str name, struct str value, struct str *message)
{
    const struct config_row *row = config_topic_row(name);

    if (!row)
        *message = arena_fmt(a, "Unknown topic config name: %.*s", STR_ARG(name));
    else if (!value.p)
        *message = arena_fmt(a, "Null value not supported for topic configs: %.*s", STR_ARG(name));
    else if (!(*message = config_wrong(a, row, name, value)).p)
        return KAFKA_E_NONE;
    return KAFKA_E_INVALID_CONFIG;
}

/* -- what a topic has -------------------------------------------------------------------------------------------- */
static const struct log_config *topic_value(const struct log_config *set, size_t nset, const char *name)
{
    for (size_t i = 0; i < nset; i++)
        if (str_eqz(set[i].key, name))
            return &set[i];
    return NULL;
}

static void link_value(struct config_chain *c, const char *name, struct str value, int8_t source)
{
    if (!c->n) {
        c->value = value;
        c->source = source;
    }
    c->link[c->n].name = name;
    c->link[c->n].value = value;
    c->link[c->n++].source = source;
}

static struct str null_when_empty(const struct config_row *row, const char *value)
{
    return *value || row->type == STRING || row->type == LIST ? str_of(value) : (struct str){NULL, 0};
}

void config_chain(struct broker *b, struct arena *a, const struct config_row *row, const struct log_config *own,
                  struct config_chain *out)
{
    *out = (struct config_chain){.source = SOURCE_DEFAULT};
    if (own)
        link_value(out, row->name, own->value, SOURCE_TOPIC);
    os_mutex_lock(b->configs->lock);
    for (int all = 0; *row->dynamic && all < 2; all++)
        for (size_t i = 0; i < b->configs->altered.n; i++) {
            const struct config_altered *x = &b->configs->altered.p[i];

            if (x->all == all && strcmp(x->key, row->dynamic) == 0)
                link_value(out, row->dynamic, arena_str(a, str_of(x->value)),
                           all ? SOURCE_DYNAMIC_DEFAULT : SOURCE_DYNAMIC_BROKER);
        }
    os_mutex_unlock(b->configs->lock);
    if (strcmp(row->name, "min.insync.replicas") ==
        0) /* from the cluster's default in a real one, whose tools show it so */
        link_value(out, row->synonym, str_of(row->synonym_value), SOURCE_DYNAMIC_DEFAULT);
    for (size_t i = 0; *row->dynamic && i < b->o.nsettings; i++)
        if (str_eqz(b->o.settings[i].key, row->dynamic))
            link_value(out, row->dynamic, b->o.settings[i].value, SOURCE_STATIC_BROKER);
    if (!out->n)
        out->value = null_when_empty(row, row->value);
    if (*row->synonym && out->n < 5) {
        bool first = !out->n;

        link_value(out, row->synonym, null_when_empty(row, row->synonym_value), SOURCE_DEFAULT);
        if (first) /* the topic's default may have another unit */
            out->value = null_when_empty(row, row->value);
    }
}

void config_created(struct broker *b, struct arena *a, const struct log_config *set, size_t nset,
                    struct kafka_create_topics_result *out)
{
    out->configs.n = NTOPIC_ROWS;
    out->configs.p = KAFKA_ARRAY(a, create_topics_config_response, NTOPIC_ROWS);
    for (size_t i = 0; i < NTOPIC_ROWS; i++) {
        struct kafka_create_topics_config_response *c = &out->configs.p[i];
        struct config_chain chain;

        config_chain(b, a, &TOPIC_ROWS[i], topic_value(set, nset, TOPIC_ROWS[i].name), &chain);
        c->name = str_of(TOPIC_ROWS[i].name);
        c->value = chain.value;
        c->config_source = chain.source;
    }
}

/* -- DescribeConfigs --------------------------------------------------------------------------------------------- */
static bool wanted(const struct kafka_describe_configs_resource *q, const char *name)
{
    for (int32_t i = 0; i < q->configuration_keys.n; i++)
        if (str_eqz(q->configuration_keys.p[i], name))
            return true;
    return q->configuration_keys.n <= 0; /* null and, as Kafka has it, an empty list: all */
}

static void fill_entry(struct request *rq, const struct config_row *row, const struct log_config *own,
                       struct kafka_describe_configs_entry *e)
{
    const struct kafka_describe_configs_request *q = rq->body;
    struct config_chain chain;

    config_chain(rq->b, rq->arena, row, own, &chain);
    e->name = str_of(row->name);
    e->value = chain.value;
    e->config_source = chain.source;
    e->config_type = row->type;
    if (q->include_documentation)
        e->documentation = str_of(row->doc);
    else
        e->documentation = (struct str){NULL, 0};
    if (!q->include_synonyms)
        return;
    e->synonyms.p = KAFKA_ARRAY(rq->arena, describe_configs_synonym, 5);
    for (int i = 0; i < chain.n; i++)
        if (chain.link[i].value.p)
            e->synonyms.p[e->synonyms.n++] = (struct kafka_describe_configs_synonym){
                str_of(chain.link[i].name), chain.link[i].value, chain.link[i].source};
}

static void describe_topic(struct request *rq, const struct kafka_describe_configs_resource *in,
                           struct kafka_describe_configs_result *out)
{
    struct log_topic t;
    const char *why;

    if (!topic_name_ok(in->resource_name, &why)) {
        out->error_code = KAFKA_E_INVALID_TOPIC_EXCEPTION;
        out->error_message = str_of(kafka_code_message(out->error_code));
        return;
    }
    if (!log_topic_get(rq->b->log, in->resource_name, rq->arena, &t)) {
        out->error_code = KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    out->configs.p = KAFKA_ARRAY(rq->arena, describe_configs_entry, NTOPIC_ROWS);
    for (size_t i = 0; i < NTOPIC_ROWS; i++)
        if (wanted(in, TOPIC_ROWS[i].name))
            fill_entry(rq, &TOPIC_ROWS[i], topic_value(t.configs, t.nconfigs, TOPIC_ROWS[i].name),
                       &out->configs.p[out->configs.n++]);
}

/* Settings that this broker was started with, beside the table's. */
static struct str live_value(struct request *rq, const struct config_row *row)
{
    const struct broker_options *o = &rq->b->o;

    if (strcmp(row->name, "num.partitions") == 0)
        return arena_fmt(rq->arena, "%d", o->default_partitions);
    if (strcmp(row->name, "group.initial.rebalance.delay.ms") == 0)
        return arena_fmt(rq->arena, "%d", o->rebalance_delay_ms);
    if (strcmp(row->name, "auto.create.topics.enable") == 0)
        return o->no_auto_create ? STR("false") : STR("true");
    return str_of(row->value);
}

static void describe_broker(struct request *rq, const struct kafka_describe_configs_resource *in,
                            struct kafka_describe_configs_result *out)
{
    bool cluster = in->resource_name.n == 0; /* the cluster-wide defaults: only what a broker would have been told */

    if (!cluster && !str_eqz(in->resource_name, "1")) {
        out->error_code = KAFKA_E_INVALID_REQUEST;
        out->error_message = arena_fmt(rq->arena, "Unexpected broker id, expected 1 or empty string, but received %.*s",
                                       STR_ARG(in->resource_name));
        return;
    }
    out->configs.p = KAFKA_ARRAY(rq->arena, describe_configs_entry, NBROKER_ROWS);
    for (size_t i = 0; i < NBROKER_ROWS; i++) {
        const struct config_row *row = &BROKER_ROWS[i];
        struct kafka_describe_configs_entry *e = &out->configs.p[out->configs.n];
        struct str value = live_value(rq, row);

        if (!wanted(in, row->name))
            continue;
        *e = (struct kafka_describe_configs_entry){0};
        fill_entry(rq, row, NULL, e);
        if (cluster && e->config_source != SOURCE_DYNAMIC_DEFAULT)
            continue;
        if (cluster && e->synonyms.n)
            e->synonyms.n = 1; /* all that it is about */
        e->read_only = !config_dynamic_row(str_of(row->name));
        if (!str_eqz(value, row->value)) {
            e->value = value;
            e->config_source = SOURCE_STATIC_BROKER;
        }
        out->configs.n++;
    }
}

void handle_describe_configs(struct request *rq)
{
    const struct kafka_describe_configs_request *q = rq->body;
    struct kafka_describe_configs_response *r = KAFKA_NEW(rq->arena, describe_configs_response);

    r->results.n = q->resources.n;
    r->results.p = KAFKA_ARRAY(rq->arena, describe_configs_result, (size_t)q->resources.n);
    for (int32_t i = 0; i < q->resources.n; i++) {
        const struct kafka_describe_configs_resource *in = &q->resources.p[i];
        struct kafka_describe_configs_result *out = &r->results.p[i];

        out->resource_type = in->resource_type;
        out->resource_name = in->resource_name;
        if (in->resource_type == RESOURCE_TOPIC) {
            describe_topic(rq, in, out);
        } else if (in->resource_type == RESOURCE_BROKER) {
            describe_broker(rq, in, out);
        } else {
            out->error_code = KAFKA_E_INVALID_REQUEST;
            out->error_message = str_of(kafka_code_message(KAFKA_E_INVALID_REQUEST));
        }
    }
    request_reply(rq, r);
}
