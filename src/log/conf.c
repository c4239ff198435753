/*
 * Settings of partitions: the topic's own, else the server's (log_defaults), else Kafka's default. A value that cannot be
 * read leaves the next one: the broker has checked what came from a client.
 */
#include "log/log_int.h"

#include <stdlib.h>

struct lists {
    const struct log_config *own, *defaults;
    size_t nown, ndefaults;
};

static const struct str *find(const struct lists *l, const char *key, bool own)
{
    const struct log_config *c = own ? l->own : l->defaults;
    for (size_t i = 0; i < (own ? l->nown : l->ndefaults); i++)
        if (str_eqz(c[i].key, key))
            return &c[i].value;
    return NULL;
}

static int64_t conf_i64(const struct lists *l, const char *key, int64_t least, int64_t otherwise)
{
    int64_t v;
    for (int own = 1; own >= 0; own--) {
        const struct str *value = find(l, key, own);
        if (value && str_to_i64(*value, &v) && v >= least)
            return v;
    }
    return otherwise;
}

static double conf_ratio(const struct lists *l, const char *key, double otherwise)
{
    char text[32];
    for (int own = 1; own >= 0; own--) {
        const struct str *value = find(l, key, own);
        if (!value || value->n >= sizeof text || !value->n)
            continue;
        memcpy(text, value->p, value->n);
        text[value->n] = 0;
        double v = strtod(text, NULL);
        if (v >= 0 && v <= 1)
            return v;
    }
    return otherwise;
}

static struct str conf_str(const struct lists *l, const char *key, const char *otherwise)
{
    const struct str *value = find(l, key, true);
    if (!value)
        value = find(l, key, false);
    return value ? *value : str_of(otherwise);
}

static bool is_internal(const struct log_partition *p)
{
    return str_starts(str_of(p->name), STR("__consumer_offsets-")) ||
           str_starts(str_of(p->name), STR("__transaction_state-"));
}

/* Under the topics' lock, or before anybody else knows p. */
void partition_configure(struct log_partition *p, const struct log_config *configs, size_t n)
{
    const struct log_options *o = &p->log->o;
    struct lists l = {configs, p->log->defaults.p, n, p->log->defaults.n};
    struct str policy = conf_str(&l, "cleanup.policy", "delete");
    if (is_internal(p) && !find(&l, "cleanup.policy", true))
        policy = STR("compact"); /* whatever the server's default is: these are tables */
    struct partition_conf c = {
        .segment_bytes = (uint64_t)conf_i64(&l, "segment.bytes", 1024, (int64_t)o->segment_bytes),
        .segment_index_bytes = (uint64_t)conf_i64(&l, "segment.index.bytes", 4, 10485760),
        .segment_ms = conf_i64(&l, "segment.ms", 1, o->segment_ms),
        .max_message_bytes = conf_i64(&l, "max.message.bytes", 0, 1048588),
        .timestamp_before_ms = conf_i64(&l, "message.timestamp.before.max.ms", 0, INT64_MAX),
        .timestamp_after_ms = conf_i64(&l, "message.timestamp.after.max.ms", 0, 3600000),
        .retention_ms = conf_i64(&l, "retention.ms", -1, (int64_t)7 * 86400000),
        .retention_bytes = conf_i64(&l, "retention.bytes", -1, -1),
        .delete_retention_ms = conf_i64(&l, "delete.retention.ms", 0, 86400000),
        .min_compaction_lag_ms = conf_i64(&l, "min.compaction.lag.ms", 0, 0),
        .max_compaction_lag_ms = conf_i64(&l, "max.compaction.lag.ms", 1, INT64_MAX),
        .min_cleanable_ratio = conf_ratio(&l, "min.cleanable.dirty.ratio", 0.5),
        .append_time = str_eqz(conf_str(&l, "message.timestamp.type", "CreateTime"), "LogAppendTime"),
        .compact = str_find(policy, STR("compact"), 0) >= 0,
        .delete = str_find(policy, STR("delete"), 0) >= 0,
        .name = p->name,
    };
    if (c.compact && c.segment_ms > c.max_compaction_lag_ms)
        c.segment_ms = c.max_compaction_lag_ms; /* only closed segments are compacted */
    if (c.segment_bytes > INT32_MAX)
        c.segment_bytes = INT32_MAX; /* positions are 31 bits in Kafka's index */
    os_mutex_lock(p->lock);
    p->conf = c;
    os_mutex_unlock(p->lock);
}

static struct str copy_of(struct str s)
{
    char *p = malloc(s.n + 1);
    if (!p)
        os_die("out of memory for a setting");
    memcpy(p, s.p, s.n);
    return str_make(p, s.n);
}

void conf_free(struct log *l)
{
    for (size_t i = 0; i < l->defaults.n; i++) {
        free((char *)(uintptr_t)l->defaults.p[i].key.p);
        free((char *)(uintptr_t)l->defaults.p[i].value.p);
    }
    vec_free(&l->defaults);
}

void conf_set_defaults(struct log *l, const struct log_config *configs, size_t n)
{
    conf_free(l);
    for (size_t i = 0; i < n; i++) {
        struct log_config c = {copy_of(configs[i].key), copy_of(configs[i].value)};
        vec_push(&l->defaults, c);
    }
}

void log_defaults(struct log *l, const struct log_config *configs, size_t n)
{
    struct map_slot *slot;
    os_mutex_lock(l->topics_lock);
    conf_set_defaults(l, configs, n);
    for (size_t i = 0; (slot = map_next(&l->topics, &i));) {
        const struct topic *t = slot->value;
        for (int32_t k = 0; k < t->n; k++)
            partition_configure(t->partitions[k], t->configs.p, t->configs.n);
    }
    os_mutex_unlock(l->topics_lock);
    retention_start(l);
}
