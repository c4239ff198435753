#include "cli/topic_config.h"
#include "os/process.h"

#include <stdio.h>
#include <stdlib.h>

struct topic_args {
    const char *bootstrap, *format_text;
    enum output_format format;
    int64_t partitions, timeout_ms;
    struct cli_list configs;
    struct topic_config_args settings;
    struct topic_trim_args trim;
    const char *name;
    const struct cli_command *self;
};

static struct str number(char buf[24], int64_t v)
{
    int n = snprintf(buf, 24, "%lld", (long long)v);
    return str_make(buf, (size_t)n);
}

static enum err list(struct kclient *k, struct arena *a, const struct topic_args *args, struct fault *f)
{
    static const struct output_column COLUMNS[] = {{"topic", false}, {"partitions", true}, {"internal", false}};
    struct kafka_metadata_response *m;
    enum err e = kclient_topics(k, a, &m, f);
    if (e)
        return e;
    struct output *o = output_new(args->format, COLUMNS, 3);
    for (int32_t i = 0; i < m->topics.n; i++) {
        const struct kafka_metadata_topic *t = &m->topics.p[i];
        char count[24];
        struct str cells[] = {t->name, number(count, t->partitions.n), t->is_internal ? STR("yes") : STR("no")};
        output_row(o, cells);
    }
    return output_end(o) ? ERR_OK : FAULT(f, ERR_IO, {"what", "standard output"}, {"detail", "cannot write"});
}

static enum err parse_configs(const struct topic_args *args, struct arena *a, struct kafka_create_topics_topic *t,
                              struct fault *f)
{
    t->configs.p = KAFKA_ARRAY(a, create_topics_config, (size_t)args->configs.n);
    t->configs.n = args->configs.n;
    for (int i = 0; i < args->configs.n; i++) {
        struct str pair = str_of(args->configs.p[i]);
        ptrdiff_t eq = str_find(pair, STR("="), 0);
        if (eq <= 0)
            return FAULT(f, ERR_INVALID, {"what", args->configs.p[i]}, {"detail", "expected KEY=VALUE"});
        t->configs.p[i].name = str_sub(pair, 0, (size_t)eq);
        t->configs.p[i].value = str_sub(pair, (size_t)eq + 1, pair.n);
    }
    return ERR_OK;
}

static enum err create(struct kclient *k, struct arena *a, const struct topic_args *args, struct fault *f)
{
    struct kafka_create_topics_request *request = KAFKA_NEW(a, create_topics_request);
    struct kafka_create_topics_response *response = KAFKA_NEW(a, create_topics_response);
    request->timeout_ms = (int32_t)args->timeout_ms;
    request->topics.p = KAFKA_ARRAY(a, create_topics_topic, 1);
    request->topics.n = 1;
    struct kafka_create_topics_topic *t = &request->topics.p[0];
    t->name = str_of(args->name);
    t->num_partitions = (int32_t)args->partitions;
    t->replication_factor = -1; /* the broker's default */
    enum err e = parse_configs(args, a, t, f);
    if (!e)
        e = kclient_call(k, KCLIENT_ANY, KAFKA_create_topics, request, a, response, f);
    if (!e && response->topics.n == 1)
        e = kclient_check(str_of(args->name), response->topics.p[0].error_code, response->topics.p[0].error_message, f);
    return e;
}

static enum err describe(struct kclient *k, struct arena *a, const struct topic_args *args, struct fault *f)
{
    static const struct output_column COLUMNS[] = {
        {"topic", false}, {"partition", true}, {"leader", true}, {"first_offset", true}, {"end_offset", true}};
    struct kafka_metadata_topic *t;
    enum err e = kclient_topic(k, str_of(args->name), false, a, &t, f);
    struct output *o = output_new(args->format, COLUMNS, 5);
    for (int32_t i = 0; !e && i < t->partitions.n; i++) {
        const struct kafka_metadata_partition *p = &t->partitions.p[i];
        int64_t first = 0, end = 0;
        e = kclient_offset(k, t->name, p, -2, &first, f);
        if (!e)
            e = kclient_offset(k, t->name, p, -1, &end, f);
        char n[4][24];
        struct str cells[] = {t->name, number(n[0], p->partition_index), number(n[1], p->leader_id),
                              number(n[2], first), number(n[3], end)};
        if (!e)
            output_row(o, cells);
    }
    bool printed = output_end(o);
    return e || printed ? e : FAULT(f, ERR_IO, {"what", "standard output"}, {"detail", "cannot write"});
}

static enum err delete (struct kclient *k, struct arena *a, const struct topic_args *args, struct fault *f) {
    struct kafka_delete_topics_request *request = KAFKA_NEW(a, delete_topics_request);
    struct kafka_delete_topics_response *response = KAFKA_NEW(a, delete_topics_response);
    struct str name = str_of(args->name);
    request->topic_names.p = &name;
    request->topic_names.n = 1;
    request->timeout_ms = (int32_t)args->timeout_ms;
    enum err e = kclient_call(k, KCLIENT_ANY, KAFKA_delete_topics, request, a, response, f);
    if (!e && response->responses.n == 1)
        e = kclient_check(name, response->responses.p[0].error_code, response->responses.p[0].error_message, f);
    return e;
}

static enum err config(struct kclient *k, struct arena *a, const struct topic_args *args, struct fault *f)
{
    return topic_config(k, a, str_of(args->name), &args->settings, args->format, f);
}

static enum err trim(struct kclient *k, struct arena *a, const struct topic_args *args, struct fault *f)
{
    if (args->trim.before < -1)
        return FAULT(f, ERR_INVALID, {"what", "trim"},
                     {"detail", "it needs --before OFFSET, or --before -1 for all records"});
    return topic_trim(k, a, str_of(args->name), &args->trim, args->format, args->timeout_ms, f);
}

static const struct {
    const char *verb;
    bool named;
    enum err (*run)(struct kclient *k, struct arena *a, const struct topic_args *args, struct fault *f);
} VERBS[] = {{"list", false, list},    {"create", true, create}, {"describe", true, describe},
             {"config", true, config}, {"trim", true, trim},     {"delete", true, delete}};

static int run_verb(struct topic_args *t, const struct cli_args *args)
{
    struct fault f;
    for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++) {
        if (strcmp(VERBS[i].verb, args->p[0]) != 0)
            continue;
        if (args->n != (VERBS[i].named ? 2 : 1))
            return cli_usage(t->self, VERBS[i].named ? "%s needs one topic name" : "%s takes no name", args->p[0]);
        t->name = VERBS[i].named ? args->p[1] : "";
        struct arena *a = arena_new(0);
        struct kclient *k = NULL;
        enum err e = kclient_open(&k, t->bootstrap, (int)t->timeout_ms, &f);
        if (!e)
            e = VERBS[i].run(k, a, t, &f);
        kclient_close(k);
        arena_free(a);
        return e ? cli_fail(t->self, &f) : CLI_OK;
    }
    return cli_usage(t->self, "there is no 'topic %s'", args->p[0]);
}

int cmd_topic(const struct cli_command *self, int argc, char **argv)
{
    struct topic_args t = {.self = self, .bootstrap = cli_default_bootstrap(), .partitions = -1, .timeout_ms = 10000};
    t.trim = (struct topic_trim_args){.before = -2, .partition = -1};
    struct cli_list *change = t.settings.change;
    struct cli_option rows[] = {
        CLI_BOOTSTRAP(&t.bootstrap),
        CLI_FORMAT(&t.format_text),
        {"partitions", 'p', CLI_INT, &t.partitions, "N", "partitions of the new topic [the broker's default]", 1,
         10000},
        {"config", 0, CLI_LIST, &t.configs, "KEY=VALUE", "a setting of the new topic, such as retention.ms=86400000", 0,
         0},
        {"set", 0, CLI_LIST, &change[TOPIC_CONFIG_SET], "KEY=VALUE", "config: give a setting this value", 0, 0},
        {"unset", 0, CLI_LIST, &change[TOPIC_CONFIG_DELETE], "KEY", "config: go back to the server's value", 0, 0},
        {"append", 0, CLI_LIST, &change[TOPIC_CONFIG_APPEND], "KEY=VALUE", "config: add to a list", 0, 0},
        {"subtract", 0, CLI_LIST, &change[TOPIC_CONFIG_SUBTRACT], "KEY=VALUE", "config: take from a list", 0, 0},
        {"all", 0, CLI_FLAG, &t.settings.all, NULL, "config: show defaults, too", 0, 0},
        {"before", 0, CLI_INT, &t.trim.before, "OFFSET", "trim: delete the records below it; -1: all there are", -1,
         INT64_MAX},
        {"partition", 0, CLI_INT, &t.trim.partition, "N", "trim: of this partition [all]", 0, INT32_MAX},
        {"timeout-ms", 0, CLI_INT, &t.timeout_ms, "MS", "how long to wait for the broker [10000]", 1, 3600000},
    };
    struct cli_args args;
    int rc = cli_parse(self, rows, sizeof rows / sizeof rows[0], NULL, false, argc, argv, &args);
    if (rc >= 0)
        return rc;
    if (!args.n)
        return cli_usage(self, "what to do: list, create, describe, config, trim or delete?");
    if (!output_format(t.format_text, &t.format))
        return cli_usage(self, "--format %s: must be table, json or csv", t.format_text);
    os_interrupt_exits();
    return run_verb(&t, &args);
}
