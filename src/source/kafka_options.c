/* The options of Spark's kafka source, checked in its order and refused in its words (KafkaSourceProvider of Spark 4.2). */
#include "source/source_int.h"

#include <stdarg.h>
#include <stdio.h>

static const char NO_STRATEGY[] = "of the following options %s be specified for Kafka source: subscribe, "
                                  "subscribepattern, assign. See the docs for more details.";
/* Options that Spark refuses because it decides about them itself. */
static const struct {
    const char *key, *message;
} FORBIDDEN[] = {
    {"kafka.auto.offset.reset",
     "\nKafka option 'auto.offset.reset' is not supported.\n"
     "Instead set the source option 'startingoffsets' to 'earliest' or 'latest'\n"
     "to specify where to start. Structured Streaming manages which offsets are consumed\n"
     "internally, rather than relying on the kafkaConsumer to do it. This will ensure that no\n"
     "data is missed when new topics/partitions are dynamically subscribed. Note that\n"
     "'startingoffsets' only applies when a new Streaming query is started, and\n"
     "that resuming will always pick up from where the query left off. See the docs for more\n"
     "details.\n"},
    {"kafka.key.deserializer",
     "Kafka option 'key.deserializer' is not supported as keys are deserialized as byte arrays with "
     "ByteArrayDeserializer. Use DataFrame operations to explicitly deserialize the keys."},
    {"kafka.value.deserializer",
     "Kafka option 'value.deserializer' is not supported as values are deserialized as byte arrays with "
     "ByteArrayDeserializer. Use DataFrame operations to explicitly deserialize the values."},
    {"kafka.enable.auto.commit", "Kafka option 'enable.auto.commit' is not supported."},
    {"kafka.interceptor.classes", "Kafka option 'interceptor.classes' is not supported."},
};

static enum err number(const struct option *o, int n, const char *key, int64_t least, int64_t *out,
                       const char *too_small, struct fault *f)
{
    struct str v = str_trim(option_get(o, n, key));
    if (!v.p)
        return ERR_OK;
    if (!str_to_i64(v, out))
        return source_option_fault(f, "For input string: \"%.*s\"", STR_ARG(v));
    return *out < least ? source_option_fault(f, "%s", too_small) : ERR_OK;
}

static enum err boolean(const struct option *o, int n, const char *key, bool *out, struct fault *f)
{
    struct str v = option_get(o, n, key);
    if (!v.p)
        return ERR_OK;
    *out = str_eq_nocase(v, STR("true"));
    return *out || str_eq_nocase(v, STR("false")) ? ERR_OK
                                                  : source_option_fault(f, "For input string: \"%.*s\"", STR_ARG(v));
}

static enum err subscribe(struct str v, struct arena *a, struct kafka_options *out, struct fault *f)
{
    size_t most = 1;
    for (size_t i = 0; i < v.n; i++)
        most += v.p[i] == ',';
    out->topics = ARENA_ARRAY(a, most, struct str);
    for (size_t from = 0; from <= v.n;) {
        ptrdiff_t comma = str_find(v, STR(","), from);
        size_t to = comma < 0 ? v.n : (size_t)comma;
        struct str topic = str_trim(str_sub(v, from, to - from));
        bool again = false;
        for (size_t i = 0; i < out->ntopics; i++)
            again |= str_eq(out->topics[i], topic);
        if (topic.n && !again)
            out->topics[out->ntopics++] = arena_str(a, topic);
        from = to + 1;
    }
    return out->ntopics
               ? ERR_OK
               : source_option_fault(f, "No topics to subscribe to as specified value for option 'subscribe' is '%.*s'",
                                     STR_ARG(v));
}

static enum err assign(struct str v, struct arena *a, struct kafka_options *out, struct fault *f)
{
    struct str t = str_trim(v);
    if (!t.n || t.p[0] != '{')
        return source_option_fault(f, "No topicpartitions to assign as specified value for option 'assign' is '%.*s'",
                                   STR_ARG(v));
    return offsets_parse_assign(t, a, &out->assigned)
               ? ERR_OK
               : source_option_fault(f, "Expected e.g. {\"topicA\":[0,1],\"topicB\":[0,1]}, got %.*s", STR_ARG(t));
}

static enum err strategy(const struct option *o, int n, struct arena *a, struct kafka_options *out, struct fault *f)
{
    struct str s = option_get(o, n, "subscribe"), p = option_get(o, n, "subscribePattern"),
               g = option_get(o, n, "assign");
    char text[256];
    int given = !!s.p + !!p.p + !!g.p;
    if (given != 1) {
        snprintf(text, sizeof text, NO_STRATEGY, given ? "can" : "must");
        return source_option_fault(f, "%s %s", given ? "Only one" : "One", text);
    }
    out->strategy = s.p ? KAFKA_SUBSCRIBE : p.p ? KAFKA_PATTERN : KAFKA_ASSIGN;
    if (s.p)
        return subscribe(s, a, out, f);
    if (g.p)
        return assign(g, a, out, f);
    out->pattern = arena_str(a, p);
    return str_trim(p).n
               ? ERR_OK
               : source_option_fault(
                     f, "Pattern to subscribe is empty as specified value for option 'subscribePattern' is '%.*s'",
                     STR_ARG(p));
}

/* A global time beats times per partition, which beat offsets: KafkaSourceProvider.getKafkaOffsetRangeLimit. */
static enum err bound(const struct option *o, int n, const char *prefix, enum kafka_bound otherwise, struct arena *a,
                      struct kafka_limit *out, struct fault *f)
{
    char key[64];
    snprintf(key, sizeof key, "%sTimestamp", prefix);
    struct str time = option_get(o, n, key);
    snprintf(key, sizeof key, "%sOffsetsByTimestamp", prefix);
    struct str times = option_get(o, n, key);
    snprintf(key, sizeof key, "%sOffsets", prefix);
    struct str at = str_trim(option_get(o, n, key));
    out->kind = otherwise;
    if (time.p) {
        out->kind = BOUND_TIME;
        return str_to_i64(str_trim(time), &out->time_ms)
                   ? ERR_OK
                   : source_option_fault(f, "Expected a single long value, got %.*s", STR_ARG(str_trim(time)));
    }
    if (times.p) {
        out->kind = BOUND_TIMES;
        return offsets_parse(times, a, &out->offsets)
                   ? ERR_OK
                   : source_option_fault(f,
                                         "Expected e.g. {\"topicA\": {\"0\": 123456789, \"1\": 123456789},\n"
                                         "\"topicB\": {\"0\": 123456789, \"1\": 123456789}}, got %.*s",
                                         STR_ARG(str_trim(times)));
    }
    if (!at.p)
        return ERR_OK;
    if (str_eq_nocase(at, STR("latest")) || str_eq_nocase(at, STR("earliest"))) {
        out->kind = str_eq_nocase(at, STR("latest")) ? BOUND_LATEST : BOUND_EARLIEST;
        return ERR_OK;
    }
    out->kind = BOUND_OFFSETS;
    return offsets_parse(at, a, &out->offsets)
               ? ERR_OK
               : source_option_fault(
                     f, "Expected e.g. {\"topicA\":{\"0\":23,\"1\":-1},\"topicB\":{\"0\":-2}}, got %.*s", STR_ARG(at));
}

static enum err stream_only(const struct option *o, int n, struct fault *f)
{
    if (option_get(o, n, "endingOffsets").p)
        return source_option_fault(f, "ending offset not valid in streaming queries");
    if (option_get(o, n, "endingOffsetsByTimestamp").p || option_get(o, n, "endingTimestamp").p)
        return source_option_fault(f, "ending timestamp not valid in streaming queries");
    return ERR_OK;
}

static enum err batch_only(const struct kafka_options *out, struct fault *f)
{
    if (out->starting.kind == BOUND_LATEST)
        return source_option_fault(f, "starting offset can't be latest for batch queries on Kafka");
    if (out->ending.kind == BOUND_EARLIEST)
        return source_option_fault(f, "ending offset can't be earliest for batch queries on Kafka");
    for (size_t i = 0; out->starting.kind == BOUND_OFFSETS && i < out->starting.offsets.n; i++)
        if (out->starting.offsets.p[i].at == OFFSET_LATEST)
            return source_option_fault(f, "startingOffsets for %.*s-%d can't be latest for batch queries on Kafka",
                                       STR_ARG(out->starting.offsets.p[i].topic), out->starting.offsets.p[i].partition);
    for (size_t i = 0; out->ending.kind == BOUND_OFFSETS && i < out->ending.offsets.n; i++)
        if (out->ending.offsets.p[i].at == OFFSET_EARLIEST)
            return source_option_fault(f, "ending offset for %.*s-%d can't be earliest for batch queries on Kafka",
                                       STR_ARG(out->ending.offsets.p[i].topic), out->ending.offsets.p[i].partition);
    return ERR_OK;
}

/* "15m", "30s", "200ms", "1h", "2d"; a bare number is milliseconds: JavaUtils.timeStringAs. */
static enum err delay(struct str v, int64_t *out, struct fault *f)
{
    static const struct {
        const char *suffix;
        int64_t ms;
    } units[] = {{"ms", 1}, {"min", 60000}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"", 1}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct str suffix = str_of(units[i].suffix);
        if (str_ends(v, suffix) && str_to_i64(str_trim(str_sub(v, 0, v.n - suffix.n)), out) && *out >= 0 &&
            !__builtin_mul_overflow(*out, units[i].ms, out))
            return ERR_OK;
    }
    return source_option_fault(f, "Failed to parse time string: %.*s", STR_ARG(v));
}

static enum err general(const struct option *o, int n, struct kafka_options *out, struct fault *f)
{
    int64_t ignored = 1;
    enum err e = number(o, n, "minPartitions", 1, &ignored, "minPartitions must be positive", f);
    if (!e)
        e = number(o, n, "maxRecordsPerPartition", 1, &ignored, "maxRecordsPerPartition must be positive", f);
    for (size_t i = 0; !e && i < sizeof FORBIDDEN / sizeof *FORBIDDEN; i++)
        if (option_get(o, n, FORBIDDEN[i].key).p)
            e = source_option_fault(f, "%s", FORBIDDEN[i].message);
    if (e)
        return e;
    out->bootstrap = option_get(o, n, "kafka.bootstrap.servers");
    return out->bootstrap.p
               ? ERR_OK
               : source_option_fault(f, "Option 'kafka.bootstrap.servers' must be specified for configuring "
                                        "Kafka consumer");
}

/* What load() checks already, before a query is there: KafkaSourceProvider.validateStreamOptions. */
enum err kafka_options_check(const struct option *options, int noptions, struct arena *a, struct kafka_options *out,
                             struct fault *f)
{
    *out = (struct kafka_options){.max_per_trigger = -1, .min_per_trigger = -1, .max_delay_ms = 900000};
    out->fail_on_data_loss = true;
    enum err e = stream_only(options, noptions, f);
    if (!e)
        e = strategy(options, noptions, a, out, f);
    if (!e)
        e = general(options, noptions, out, f);
    return e ? e : boolean(options, noptions, "includeHeaders", &out->headers, f);
}

static enum err limits(const struct option *o, int n, struct kafka_options *out, struct fault *f)
{
    enum err e = number(o, n, "maxOffsetsPerTrigger", INT64_MIN, &out->max_per_trigger, "", f);
    if (!e)
        e = number(o, n, "minOffsetsPerTrigger", INT64_MIN, &out->min_per_trigger, "", f);
    if (!e && out->max_per_trigger >= 0 && out->min_per_trigger > out->max_per_trigger)
        e = source_option_fault(f,
                                "The value of minOffsetPerTrigger(%lld) is higher than the maxOffsetsPerTrigger(%lld).",
                                (long long)out->min_per_trigger, (long long)out->max_per_trigger);
    if (!e && option_get(o, n, "maxTriggerDelay").p)
        e = delay(str_trim(option_get(o, n, "maxTriggerDelay")), &out->max_delay_ms, f);
    return e;
}

enum err kafka_options_read(const struct option *options, int noptions, bool is_streaming, struct arena *a,
                            struct kafka_options *out, struct fault *f)
{
    *out = (struct kafka_options){.max_per_trigger = -1, .min_per_trigger = -1, .max_delay_ms = 900000};
    out->fail_on_data_loss = true;
    enum err e = is_streaming ? stream_only(options, noptions, f) : ERR_OK;
    if (!e)
        e = strategy(options, noptions, a, out, f);
    if (!e)
        e = general(options, noptions, out, f);
    if (!e)
        e = bound(options, noptions, "starting", is_streaming ? BOUND_LATEST : BOUND_EARLIEST, a, &out->starting, f);
    if (!e && !is_streaming && !(e = bound(options, noptions, "ending", BOUND_LATEST, a, &out->ending, f)))
        e = batch_only(out, f);
    if (!e && is_streaming)
        e = limits(options, noptions, out, f);
    if (!e)
        e = boolean(options, noptions, "failOnDataLoss", &out->fail_on_data_loss, f);
    if (!e)
        e = boolean(options, noptions, "includeHeaders", &out->headers, f);
    struct str isolation = str_trim(option_get(options, noptions, "kafka.isolation.level"));
    out->read_committed = str_eq(isolation, STR("read_committed"));
    if (!e && isolation.p && !out->read_committed && !str_eq(isolation, STR("read_uncommitted")))
        e = source_option_fault(f,
                                "org.apache.kafka.common.config.ConfigException: Invalid value %.*s for configuration "
                                "isolation.level: String must be one of: read_committed, read_uncommitted",
                                STR_ARG(isolation));
    out->time_error_is_latest =
        str_eq_nocase(option_get(options, noptions, "startingOffsetsByTimestampStrategy"), STR("latest"));
    return e;
}
