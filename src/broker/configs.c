/* Configuration keys: DescribeConfigs, and the check and echo of a new topic's settings. Rows in spec/kafka/configs.def. */
#include "broker/broker_int.h"

#include <stdio.h>

enum config_type { BOOLEAN = 1, STRING, INT, SHORT, LONG, DOUBLE, LIST };
enum config_source { SOURCE_TOPIC = 1, SOURCE_DEFAULT_BROKER = 3, SOURCE_STATIC_BROKER = 4, SOURCE_DEFAULT = 5 };
enum resource_type { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

struct config_row {
    const char *name;
    int8_t type;
    const char *value, *synonym, *synonym_value, *allowed, *doc;
};

static const struct config_row TOPIC_ROWS[] = {
#define TOPIC(name, type, value, synonym, synonym_value, allowed, doc)                                                 \
    {name, type, value, synonym, synonym_value, allowed, doc},
#define BROKER(name, type, value, doc)
#include "kafka/configs.def"
#undef TOPIC
#undef BROKER
};
static const struct config_row BROKER_ROWS[] = {
#define TOPIC(name, type, value, synonym, synonym_value, allowed, doc)
#define BROKER(name, type, value, doc) {name, type, value, name, value, "", doc},
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

    if (!number(row, value, &v))
        return arena_fmt(a, "Not a number of type %s", TYPE_NAMES[row->type]).p;
    if (colon && v < low)
        return arena_fmt(a, "Value must be at least %g", low).p;
    if (colon && colon[1] && v > strtod(colon + 1, NULL))
        return arena_fmt(a, "Value must be no more than %s", colon + 1).p;
    return NULL;
}

static const char *check_words(struct arena *a, const struct config_row *row, struct str value)
{
    if (!*row->allowed)
        return NULL;
    for (size_t at = 0; at <= value.n;) {
        ptrdiff_t comma = row->type == LIST ? str_find(value, STR(","), at) : -1;
        size_t end = comma < 0 ? value.n : (size_t)comma;

        if (!word_allowed(row->allowed, str_trim(str_sub(value, at, end - at))))
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

int16_t config_check(struct arena *a, struct str name, struct str value, struct str *message)
{
    const struct config_row *row = find_row(TOPIC_ROWS, NTOPIC_ROWS, name);
    const char *why = NULL;

    if (!row) {
        *message = arena_fmt(a, "Unknown topic config name: %.*s", STR_ARG(name));
        return KAFKA_E_INVALID_CONFIG;
    }
    if (!value.p) {
        *message = arena_fmt(a, "Null value not supported for topic configs: %.*s", STR_ARG(name));
        return KAFKA_E_INVALID_CONFIG;
    }
    if (row->type == BOOLEAN)
        why = str_eq_nocase(value, STR("true")) || str_eq_nocase(value, STR("false"))
                  ? NULL
                  : "Expected value to be either true or false";
    else if (row->type == STRING || row->type == LIST)
        why = check_words(a, row, value);
    else
        why = check_number(a, row, value);
    if (!why)
        return KAFKA_E_NONE;
    *message = arena_fmt(a, "Invalid value %.*s for configuration %.*s: %s", STR_ARG(value), STR_ARG(name), why);
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

/* min.insync.replicas comes from the cluster's default in a real cluster, whose tools then show it so. */
static int8_t default_source(const struct config_row *row)
{
    return strcmp(row->name, "min.insync.replicas") == 0 ? SOURCE_DEFAULT_BROKER : SOURCE_DEFAULT;
}

void config_created(struct broker *b, struct arena *a, const struct log_config *set, size_t nset,
                    struct kafka_create_topics_result *out)
{
    (void)b;
    out->configs.n = NTOPIC_ROWS;
    out->configs.p = KAFKA_ARRAY(a, create_topics_config_response, NTOPIC_ROWS);
    for (size_t i = 0; i < NTOPIC_ROWS; i++) {
        struct kafka_create_topics_config_response *c = &out->configs.p[i];
        const struct log_config *own = topic_value(set, nset, TOPIC_ROWS[i].name);

        c->name = str_of(TOPIC_ROWS[i].name);
        c->value = own ? own->value : str_of(TOPIC_ROWS[i].value);
        c->config_source = own ? SOURCE_TOPIC : default_source(&TOPIC_ROWS[i]);
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

static void add_synonym(struct kafka_describe_configs_entry *e, const char *name, struct str value, int8_t source)
{
    e->synonyms.p[e->synonyms.n++] = (struct kafka_describe_configs_synonym){str_of(name), value, source};
}

static void fill_entry(struct request *rq, const struct config_row *row, const struct log_config *own,
                       struct kafka_describe_configs_entry *e)
{
    const struct kafka_describe_configs_request *q = rq->body;

    e->name = str_of(row->name);
    e->value = own ? own->value : str_of(row->value);
    e->config_source = own ? SOURCE_TOPIC : default_source(row);
    e->config_type = row->type;
    if (q->include_documentation)
        e->documentation = str_of(row->doc);
    else
        e->documentation = (struct str){NULL, 0};
    if (!q->include_synonyms)
        return;
    e->synonyms.p = KAFKA_ARRAY(rq->arena, describe_configs_synonym, 3);
    if (own)
        add_synonym(e, row->name, own->value, SOURCE_TOPIC);
    if (default_source(row) != SOURCE_DEFAULT)
        add_synonym(e, row->synonym, str_of(row->synonym_value), default_source(row));
    if (*row->synonym)
        add_synonym(e, row->synonym, str_of(row->synonym_value), SOURCE_DEFAULT);
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

        if (!wanted(in, row->name) || (cluster && default_source(row) != SOURCE_DEFAULT_BROKER))
            continue;
        fill_entry(rq, row, NULL, e);
        e->read_only = true;
        e->value = value;
        if (!str_eqz(value, row->value))
            e->config_source = SOURCE_STATIC_BROKER;
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
