/* `penstock topic config` and `penstock topic trim`: a topic's settings shown and altered, its old records deleted. */
#include "cli/topic_config.h"

#include <stdio.h>

enum { RESOURCE_TOPIC = 2 };

static const char *source_name(int8_t source)
{
    static const char *const NAMES[] = {"", "topic", "broker", "cluster", "server", "default"};
    return source > 0 && source < 6 ? NAMES[source] : "";
}

static enum err show(struct kclient *k, struct arena *a, struct str name, bool all, enum output_format format,
                     struct fault *f)
{
    static const struct output_column COLUMNS[] = {{"key", false}, {"value", false}, {"source", false}};
    struct kafka_describe_configs_request *q = KAFKA_NEW(a, describe_configs_request);
    struct kafka_describe_configs_response *r = KAFKA_NEW(a, describe_configs_response);
    q->resources.p = KAFKA_ARRAY(a, describe_configs_resource, 1);
    q->resources.n = 1;
    q->resources.p->resource_type = RESOURCE_TOPIC;
    q->resources.p->resource_name = name;
    q->resources.p->configuration_keys.n = -1; /* all */
    enum err e = kclient_call(k, KCLIENT_ANY, KAFKA_describe_configs, q, a, r, f);
    if (!e && r->results.n == 1)
        e = kclient_check(name, r->results.p->error_code, r->results.p->error_message, f);
    if (e)
        return e;
    struct output *o = output_new(format, COLUMNS, 3);
    for (int32_t i = 0; r->results.n == 1 && i < r->results.p->configs.n; i++) {
        const struct kafka_describe_configs_entry *c = &r->results.p->configs.p[i];
        struct str cells[] = {c->name, c->value, str_of(source_name(c->config_source))};
        if (all || c->config_source != 5)
            output_row(o, cells);
    }
    return output_end(o) ? ERR_OK : FAULT(f, ERR_IO, {"what", "standard output"}, {"detail", "cannot write"});
}

static enum err add(struct kafka_incremental_alter_configs_resource *to, const struct cli_list *list, int8_t operation,
                    struct fault *f)
{
    for (int i = 0; i < list->n; i++) {
        struct str pair = str_of(list->p[i]), value = {NULL, 0};
        ptrdiff_t eq = str_find(pair, STR("="), 0);
        bool takes_value = operation != TOPIC_CONFIG_DELETE;
        if (takes_value ? eq <= 0 : eq >= 0)
            return FAULT(f, ERR_INVALID, {"what", list->p[i]},
                         {"detail", takes_value ? "expected KEY=VALUE" : "expected KEY"});
        if (takes_value)
            value = str_sub(pair, (size_t)eq + 1, pair.n);
        to->configs.p[to->configs.n++] = (struct kafka_incremental_alter_configs_entry){
            takes_value ? str_sub(pair, 0, (size_t)eq) : pair, operation, value};
    }
    return ERR_OK;
}

enum err topic_config(struct kclient *k, struct arena *a, struct str name, const struct topic_config_args *args,
                      enum output_format format, struct fault *f)
{
    struct kafka_incremental_alter_configs_request *q = KAFKA_NEW(a, incremental_alter_configs_request);
    struct kafka_incremental_alter_configs_response *r = KAFKA_NEW(a, incremental_alter_configs_response);
    size_t n = 0;
    for (int i = 0; i < TOPIC_CONFIG_KINDS; i++)
        n += (size_t)args->change[i].n;
    if (!n)
        return show(k, a, name, args->all, format, f);
    q->resources.p = KAFKA_ARRAY(a, incremental_alter_configs_resource, 1);
    q->resources.n = 1;
    q->resources.p->resource_type = RESOURCE_TOPIC;
    q->resources.p->resource_name = name;
    q->resources.p->configs.p = KAFKA_ARRAY(a, incremental_alter_configs_entry, n);
    enum err e = ERR_OK;
    for (int i = 0; !e && i < TOPIC_CONFIG_KINDS; i++)
        e = add(q->resources.p, &args->change[i], (int8_t)i, f);
    if (!e)
        e = kclient_call(k, KCLIENT_ANY, KAFKA_incremental_alter_configs, q, a, r, f);
    if (!e && r->responses.n == 1)
        e = kclient_check(name, r->responses.p->error_code, r->responses.p->error_message, f);
    return e;
}

enum err topic_trim(struct kclient *k, struct arena *a, struct str name, const struct topic_trim_args *args,
                    enum output_format format, int64_t timeout_ms, struct fault *f)
{
    static const struct output_column COLUMNS[] = {{"topic", false}, {"partition", true}, {"first_offset", true}};
    struct kafka_delete_records_request *q = KAFKA_NEW(a, delete_records_request);
    struct kafka_delete_records_response *r = KAFKA_NEW(a, delete_records_response);
    struct kafka_metadata_topic *t;
    enum err e = kclient_topic(k, name, false, a, &t, f);
    if (e)
        return e;
    q->timeout_ms = (int32_t)timeout_ms;
    q->topics.p = KAFKA_ARRAY(a, delete_records_topic, 1);
    q->topics.n = 1;
    q->topics.p->name = name;
    q->topics.p->partitions.p = KAFKA_ARRAY(a, delete_records_partition, (size_t)t->partitions.n);
    for (int32_t i = 0; i < t->partitions.n; i++)
        if (args->partition < 0 || t->partitions.p[i].partition_index == args->partition)
            q->topics.p->partitions.p[q->topics.p->partitions.n++] =
                (struct kafka_delete_records_partition){t->partitions.p[i].partition_index, args->before};
    e = kclient_call(k, KCLIENT_ANY, KAFKA_delete_records, q, a, r, f);
    struct output *o = output_new(format, COLUMNS, 3);
    for (int32_t i = 0; !e && r->topics.n == 1 && i < r->topics.p->partitions.n; i++) {
        const struct kafka_delete_records_partition_result *p = &r->topics.p->partitions.p[i];
        char partition[24], first[24];
        snprintf(partition, sizeof partition, "%d", p->partition_index);
        snprintf(first, sizeof first, "%lld", (long long)p->low_watermark);
        struct str cells[] = {name, str_of(partition), str_of(first)};
        e = kclient_check(name, p->error_code, (struct str){NULL, 0}, f);
        if (!e)
            output_row(o, cells);
    }
    bool printed = output_end(o);
    return e || printed ? e : FAULT(f, ERR_IO, {"what", "standard output"}, {"detail", "cannot write"});
}
