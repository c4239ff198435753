/* The kafka.* options of a script: Java's names and values checked as Java's ConfigDef does it, and told to librdkafka. */
#include "foreign/foreign_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum java_type { STRING, LIST, INT, LONG, BOOLEAN, DOUBLE, CLASS, PASSWORD };
enum { SOURCE = 1, SINK = 2, BOTH = 3 };
static const struct row {
    const char *name;
    enum java_type type;
    int role;
    const char *to;
    int64_t least, most;
    const char *choices;
} ROWS[] = {
#define J(name, type, role, to, least, most, choices) {name, type, role, to, least, most, choices},
#include "kafka_properties.def"
#undef J
};
enum { NROWS = sizeof ROWS / sizeof *ROWS };

/* -- properties -------------------------------------------------------------------------------------------------------- */

const char *foreign_property(const struct foreign_config *c, const char *name)
{
    for (int i = 0; i < c->nproperties; i++)
        if (!strcmp(c->properties[i].name, name))
            return c->properties[i].value;
    return NULL;
}

/* There are fewer librdkafka names in this module than there is room for. */
void foreign_property_set(struct foreign_config *c, struct arena *a, const char *name, struct str value)
{
    int i = 0;
    while (i < c->nproperties && strcmp(c->properties[i].name, name))
        i++;
    if (i == FOREIGN_PROPERTIES)
        abort();
    c->properties[i] = (struct foreign_property){name, arena_z(a, value)};
    c->nproperties += i == c->nproperties;
}

static void set_number(struct foreign_config *c, struct arena *a, const char *name, int64_t value)
{
    foreign_property_set(c, a, name, arena_fmt(a, "%lld", (long long)value));
}

struct str java_option(const struct java_options *o, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "kafka.%s", name);
    return option_get(o->options, o->n, key);
}

/* -- values ---------------------------------------------------------------------------------------------------------------- */

enum err java_invalid(struct fault *f, const char *name, struct str value, const char *detail)
{
    char text[1024];
    snprintf(text, sizeof text,
             "org.apache.kafka.common.config.ConfigException: Invalid value %.*s for configuration %s%s%s",
             value.n < 300 ? (int)value.n : 300, value.p, name, *detail ? ": " : "", detail);
    return FAULT(f, ERR_SOURCE_OPTION, {"message", text});
}

static bool is_choice(const char *choices, struct str v)
{
    for (struct str rest = str_of(choices); rest.n;) {
        ptrdiff_t comma = str_find(rest, STR(","), 0);
        size_t n = comma < 0 ? rest.n : (size_t)comma;
        if (str_eq(str_make(rest.p, n), v))
            return true;
        rest = str_sub(rest, n + 1, rest.n);
    }
    return false;
}

static enum err no_choice(const struct row *r, struct str v, struct fault *f)
{
    char text[300];
    size_t n = (size_t)snprintf(text, sizeof text, "String must be one of: ");
    for (const char *p = r->choices; *p && n + 3 < sizeof text; p++) {
        text[n++] = *p;
        if (*p == ',')
            text[n++] = ' ';
    }
    text[n] = 0;
    return java_invalid(f, r->name, v, text);
}

static bool is_double(struct str v)
{
    char text[64], *end;
    if (!v.n || v.n >= sizeof text)
        return false;
    memcpy(text, v.p, v.n);
    text[v.n] = 0;
    return isfinite(strtod(text, &end)) && !*end;
}

/* ConfigDef.parseType, and its ValidString. *number: of INT and LONG. */
static enum err check(const struct row *r, struct str raw, int64_t *number, struct fault *f)
{
    struct str v = r->type == PASSWORD ? raw : str_trim(raw);
    bool is_number = r->type == INT || r->type == LONG;
    *number = 0;
    if (is_number && !str_to_i64(v, number))
        return java_invalid(f, r->name, raw, r->type == INT ? "Not a number of type INT" : "Not a number of type LONG");
    if (r->type == INT && (*number > INT32_MAX || *number < INT32_MIN))
        return java_invalid(f, r->name, raw, "Not a number of type INT");
    if (r->type == BOOLEAN && !str_eq_nocase(v, STR("true")) && !str_eq_nocase(v, STR("false")))
        return java_invalid(f, r->name, raw, "Expected value to be either true or false");
    if (r->type == DOUBLE && !is_double(v))
        return java_invalid(f, r->name, raw, "Not a number of type DOUBLE");
    return *r->choices && !is_choice(r->choices, v) ? no_choice(r, v, f) : ERR_OK;
}

static enum err put(const struct row *r, struct str raw, struct foreign_config *c, struct arena *a, struct fault *f)
{
    int64_t number;
    enum err e = check(r, raw, &number, f);
    if (e || !*r->to || !strcmp(r->to, "!"))
        return e;
    if (r->type != INT && r->type != LONG) {
        struct str v = str_trim(raw);
        char low[8] = "";
        if (r->type == BOOLEAN) /* "True" is true to Java */
            v = str_of(strcpy(low, str_eq_nocase(v, STR("true")) ? "true" : "false"));
        foreign_property_set(c, a, r->to, v);
        return ERR_OK;
    }
    if (r->least || r->most)
        number = number < r->least ? r->least : number > r->most ? r->most : number;
    set_number(c, a, r->to, number);
    return ERR_OK;
}

/* -- numbers that code reads ------------------------------------------------------------------------------------------------- */

static enum err read_number(const struct option *o, int n, const char *key, int64_t least, int64_t *out,
                            struct fault *f)
{
    struct str v = option_get(o, n, key);
    if (!v.p)
        return ERR_OK;
    const char *name = strncmp(key, "kafka.", 6) ? key : key + 6;
    if (!str_to_i64(str_trim(v), out)) {
        char text[400];
        snprintf(text, sizeof text, "For input string: \"%.*s\"", v.n < 300 ? (int)v.n : 300, v.p);
        return FAULT(f, ERR_SOURCE_OPTION, {"message", text});
    }
    char detail[64];
    snprintf(detail, sizeof detail, "Value must be at least %lld", (long long)least);
    return *out < least ? java_invalid(f, name, v, detail) : ERR_OK;
}

static enum err source_numbers(const struct option *o, int n, struct foreign_config *c, struct arena *a,
                               struct fault *f)
{
    int64_t bytes = 0;
    enum err e = read_number(o, n, "kafkaConsumer.pollTimeoutMs", 0, &c->poll_ms, f);
    if (!e)
        e = read_number(o, n, "fetchOffset.numRetries", 0, &c->tries, f);
    if (!e)
        e = read_number(o, n, "fetchOffset.retryIntervalMs", 0, &c->pause_ms, f);
    if (!e)
        e = read_number(o, n, "kafka.default.api.timeout.ms", 0, &c->api_ms, f);
    if (!e)
        e = read_number(o, n, "kafka.max.partition.fetch.bytes", 0, &c->fetch_bytes, f);
    if (!e)
        e = read_number(o, n, "kafka.fetch.max.bytes", 0, &bytes, f);
    c->fetch_bytes = c->fetch_bytes < 1024 ? 1024 : c->fetch_bytes;
    struct str isolation = str_trim(option_get(o, n, "kafka.isolation.level"));
    c->read_committed = str_eq(isolation, STR("read_committed"));
    foreign_property_set(c, a, "isolation.level", c->read_committed ? isolation : STR("read_uncommitted"));
    if (!foreign_property(c, "check.crcs"))
        foreign_property_set(c, a, "check.crcs", STR("true")); /* Java's default */
    if (!foreign_property(c, "fetch.max.bytes"))
        set_number(c, a, "fetch.max.bytes", 8 << 20); /* Java: 50 MiB; a response is held whole */
    return e;
}

int32_t foreign_transaction_ms(const struct foreign_config *c)
{
    return c->transaction_ms < INT32_MAX ? (int32_t)c->transaction_ms : INT32_MAX;
}

/* -- producers --------------------------------------------------------------------------------------------------------------- */

static enum err refuse(struct fault *f, const char *feature, const char *hint)
{
    return FAULT(f, ERR_UNSUPPORTED, {"feature", feature}, {"hint", hint});
}

static enum err message(struct fault *f, const char *text)
{
    return FAULT(f, ERR_SOURCE_OPTION, {"message", text});
}

static bool is_true(struct str v)
{
    return str_eq_nocase(str_trim(v), STR("true"));
}

/* ProducerConfig.postProcessAndValidateIdempotenceConfigs: on by default, off without a word where another option is in its way. */
static enum err idempotence(const struct java_options *j, struct foreign_config *c, struct arena *a, struct fault *f)
{
    struct str given = java_option(j, "enable.idempotence"), acks = str_trim(java_option(j, "acks"));
    int64_t retries = INT32_MAX, flying = 5;
    enum err e = read_number(j->options, j->n, "kafka.retries", 0, &retries, f);
    if (!e)
        e = read_number(j->options, j->n, "kafka.max.in.flight.requests.per.connection", 1, &flying, f);
    if (e)
        return e;
    bool all = !acks.p || str_eqz(acks, "all") || str_eqz(acks, "-1"), must = is_true(given),
         is_idempotent = given.p ? must : true;
    if (is_idempotent && must && !retries)
        return message(f, "org.apache.kafka.common.config.ConfigException: Must set retries to non-zero when using the "
                          "idempotent producer.");
    if (is_idempotent && must && !all)
        return message(f, "org.apache.kafka.common.config.ConfigException: Must set acks to all in order to use the "
                          "idempotent producer. Otherwise we cannot guarantee idempotence.");
    if (is_idempotent && flying > 5 && must)
        return message(f, "org.apache.kafka.common.config.ConfigException: Must set "
                          "max.in.flight.requests.per.connection to at most 5 to use the idempotent producer.");
    is_idempotent = is_idempotent && retries && all && flying <= 5;
    foreign_property_set(c, a, "enable.idempotence", is_idempotent ? STR("true") : STR("false"));
    foreign_property_set(c, a, "acks", all ? STR("all") : acks);
    set_number(c, a, "retries", retries);
    set_number(c, a, "max.in.flight", flying > 1000000 ? 1000000 : flying);
    return ERR_OK;
}

static enum err partitioner(const struct java_options *j, struct foreign_config *c, struct arena *a, struct fault *f)
{
    struct str class = str_trim(java_option(j, "partitioner.class"));
    if (class.n) {
        char feature[400];
        snprintf(feature, sizeof feature, "the Java class %.*s (kafka.partitioner.class)",
                 class.n < 300 ? (int)class.n : 300, class.p);
        return refuse(f, feature, "Compute the partition in the query: the column named partition.");
    }
    foreign_property_set(c, a, "partitioner",
                         is_true(java_option(j, "partitioner.ignore.keys")) ? STR("random") : STR("murmur2_random"));
    return ERR_OK;
}

static enum err compression_level(const struct java_options *j, struct foreign_config *c, struct arena *a,
                                  struct fault *f)
{
    const char *type = foreign_property(c, "compression.type");
    char key[64];
    int64_t level = INT64_MIN;
    snprintf(key, sizeof key, "kafka.compression.%s.level", type ? type : "none");
    enum err e = read_number(j->options, j->n, key, -131072, &level, f);
    if (!e && level > INT64_MIN) /* librdkafka knows -1 (the codec's default) to 12 */
        set_number(c, a, "compression.level", level < -1 ? -1 : level > 12 ? 12 : level);
    return e;
}

static enum err sink_numbers(const struct java_options *j, struct foreign_config *c, struct arena *a, struct fault *f)
{
    const struct option *o = j->options;
    enum err e = read_number(o, j->n, "kafka.max.block.ms", 0, &c->block_ms, f);
    if (!e)
        e = read_number(o, j->n, "kafka.delivery.timeout.ms", 0, &c->delivery_ms, f);
    if (!e)
        e = read_number(o, j->n, "kafka.buffer.memory", 0, &c->buffer_bytes, f);
    if (!e)
        e = read_number(o, j->n, "kafka.transaction.timeout.ms", 1, &c->transaction_ms, f);
    if (!e && java_option(j, "transactional.id").p)
        e = refuse(f, "kafka.transactional.id", "The sink's transactions are its own.");
    if (!e)
        e = idempotence(j, c, a, f);
    if (!e)
        e = partitioner(j, c, a, f);
    if (!e)
        e = compression_level(j, c, a, f);
    int64_t bytes = c->buffer_bytes < LIMIT_FOREIGN_UNSENT_BYTES ? c->buffer_bytes : LIMIT_FOREIGN_UNSENT_BYTES;
    set_number(c, a, "queue.buffering.max.kbytes", bytes < 1 << 20 ? 1 << 10 : bytes >> 10);
    set_number(c, a, "queue.buffering.max.messages", 1000000);
    set_number(c, a, "delivery.timeout.ms", c->delivery_ms < 1 ? 1 : c->delivery_ms);
    if (!foreign_property(c, "linger.ms"))
        set_number(c, a, "linger.ms", 5);
    return e;
}

/* -- all of it -------------------------------------------------------------------------------------------------------------------- */

static const struct row *find(struct str name, int role)
{
    for (int i = 0; i < NROWS; i++)
        if ((ROWS[i].role & role) && str_eq_nocase(name, str_of(ROWS[i].name)))
            return &ROWS[i];
    return NULL;
}

/* Is it Spark's own, decided about before (forbidden, or always set)? */
static bool is_sparks(struct str name)
{
    static const char *const names[] = {
        "key.serializer",    "value.serializer",   "key.deserializer",    "value.deserializer",
        "auto.offset.reset", "enable.auto.commit", "interceptor.classes", "internal.leave.group.on.close"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq_nocase(name, str_of(names[i])))
            return true;
    return false;
}

static enum err properties(const struct java_options *j, int role, struct foreign_config *c, struct arena *a,
                           struct fault *f)
{
    for (int i = 0; i < j->n; i++) {
        struct str key = j->options[i].key;
        if (key.n < 6 || !str_eq_nocase(str_sub(key, 0, 6), STR("kafka.")))
            continue;
        struct str name = str_sub(key, 6, key.n);
        const struct row *r = find(name, role);
        enum err e = r ? put(r, j->options[i].value, c, a, f) : ERR_OK;
        if (e)
            return e;
        if (!r && !is_sparks(name))
            os_log(OS_WARN, "foreign", "%.*s: the option kafka.%.*s was supplied but is not used%s",
                   STR_ARG(c->bootstrap), STR_ARG(name),
                   find(name, BOTH) ? " (it is one of the other side's)"
                                    : ": Kafka's Java client has no such property");
    }
    return ERR_OK;
}

enum err foreign_config(const struct option *options, int noptions, enum foreign_role role, struct arena *a,
                        const struct foreign_config **out, struct fault *f)
{
    struct foreign_config *c = ARENA_NEW(a, struct foreign_config);
    struct java_options j = {options, noptions};
    *c = (struct foreign_config){.role = role,
                                 .poll_ms = 120000,
                                 .api_ms = 60000,
                                 .tries = 3,
                                 .pause_ms = 10,
                                 .block_ms = 60000,
                                 .transaction_ms = 900000,
                                 .delivery_ms = 120000,
                                 .fetch_bytes = 1 << 20,
                                 .buffer_bytes = 32 << 20};
    c->bootstrap = arena_str(a, str_trim(java_option(&j, "bootstrap.servers")));
    if (!c->bootstrap.n)
        return java_invalid(f, "bootstrap.servers", STR(""), "No resolvable bootstrap urls given in bootstrap.servers");
    foreign_property_set(c, a, "bootstrap.servers", c->bootstrap);
    set_number(c, a, "reconnect.backoff.ms", 50); /* Java's defaults; librdkafka waits up to 10 s */
    set_number(c, a, "reconnect.backoff.max.ms", 1000);
    enum err e = properties(&j, role == FOREIGN_SOURCE ? SOURCE : SINK, c, a, f);
    if (!e)
        e = foreign_security(&j, c, a, f);
    if (!e)
        e = role == FOREIGN_SOURCE ? source_numbers(options, noptions, c, a, f) : sink_numbers(&j, c, a, f);
    *out = c;
    return e;
}
