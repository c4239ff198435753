/*
 * The kafka sink: rows to records. Columns key, value, topic, headers, partition, checked as Spark's KafkaWriter checks them;
 * where the records go is a struct kafka_output: the embedded log, or another cluster.
 *
 *   rows ─▶ record {topic, partition?, key, value, headers} ─▶ kafka_output ─▶ log or cluster
 *
 * Exactly-once, where the query has a checkpoint of its own: a batch's records and a note with the batch's id are one
 * transaction. The note is the committed offset of the group penstock-<query id> on partition 0 of a topic that the batch
 * writes to (any other partition of the cluster may be gone). Whoever starts the query again reads there whether the last
 * batch was committed. The transactional id and the group bear the query's id: no two queries share them, and a second
 * start of one fences the first.
 */
#include "base/limit.h"
#include "foreign/foreign.h"
#include "sink/kafka_output.h"
#include "sink/sink_int.h"
#include "wire/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOPIC_NAME_BYTES = 249 }; /* Kafka's */
struct topic_name {
    char p[TOPIC_NAME_BYTES];
    size_t n;
};
struct kafka {
    struct sink base;
    struct kafka_output *output;
    struct str topic_option, id;               /* id: of the transactions and of the group; n 0 before sink_recover */
    int key, value, topic, headers, partition; /* columns, -1: none */
    bool transactional;
    struct topic_name first, noted; /* of this batch: its first topic; where the last note is */
    int64_t note;                   /* what that says; -1: nothing */
    int64_t now_ms;
};

/* -- columns ---------------------------------------------------------------------------------------------------------- */

static bool is_headers(const struct type *t)
{
    const struct type *s = t->id == TYPE_ARRAY ? t->fields[0].type : NULL;
    return s && s->id == TYPE_STRUCT && s->nfields == 2 && s->fields[0].type->id == TYPE_STRING &&
           s->fields[1].type->id == TYPE_BINARY;
}

static bool is_bytes(const struct type *t)
{
    return t->id == TYPE_STRING || t->id == TYPE_BINARY;
}

static bool is_string(const struct type *t)
{
    return t->id == TYPE_STRING;
}

static bool is_int(const struct type *t)
{
    return t->id == TYPE_INT;
}

static enum err column(struct kafka *s, const char *name, bool (*fits)(const struct type *), const char *types,
                       int *out, struct fault *f)
{
    const struct type *schema = s->base.schema;
    *out = -1;
    for (int i = 0; i < schema->nfields; i++)
        if (str_eq_nocase(schema->fields[i].name, str_of(name)))
            *out = i;
    if (*out < 0 || fits(schema->fields[*out].type))
        return ERR_OK;
    struct str is = type_simple_string(s->base.arena, schema->fields[*out].type);
    return sink_message(f, ERR_SINK_COLUMN, "%s attribute unsupported type %.*s. %s must be a(n) %s", name, STR_ARG(is),
                        name, types);
}

static enum err columns(struct kafka *s, struct fault *f)
{
    enum err e = s->topic_option.p ? ERR_OK : column(s, "topic", is_string, "string", &s->topic, f);
    if (!e && !s->topic_option.p && s->topic < 0)
        e = sink_message(
            f, ERR_SINK_COLUMN,
            "topic option required when no 'topic' attribute is present. Use the topic option for setting a "
            "topic.");
    if (!e)
        e = column(s, "key", is_bytes, "string or binary", &s->key, f);
    if (!e)
        e = column(s, "value", is_bytes, "string or binary", &s->value, f);
    if (!e && s->value < 0)
        e = sink_message(f, ERR_SINK_COLUMN, "Required attribute 'value' not found");
    if (!e)
        e = column(s, "headers", is_headers, "array<struct<key:string,value:binary>>", &s->headers, f);
    return e ? e : column(s, "partition", is_int, "int", &s->partition, f);
}

/* -- options ------------------------------------------------------------------------------------------------------------ */

/* penstock.delivery: exactly-once where it is possible, unless the script asks for less. */
static enum err delivery(struct kafka *s, bool has_checkpoint, struct fault *f)
{
    struct str v = option_get(s->base.options, s->base.noptions, "penstock.delivery");
    bool less = v.p && str_eq_nocase(v, STR("at-least-once"));
    if (v.p && !less && !str_eq_nocase(v, STR("exactly-once")))
        return sink_message(f, ERR_SOURCE_OPTION,
                            "Invalid value '%.*s' of option 'penstock.delivery': it is exactly-once or at-least-once.",
                            STR_ARG(str_sub(v, 0, 100)));
    s->transactional = has_checkpoint && !less && s->output->class->fence;
    return ERR_OK;
}

static enum err options_check(struct kafka *s, struct fault *f)
{
    static const char *const FIXED[][2] = {{"key", "keys are"}, {"value", "value are"}};
    for (size_t i = 0; i < 2; i++) {
        char option[64];
        snprintf(option, sizeof option, "kafka.%s.serializer", FIXED[i][0]);
        if (option_get(s->base.options, s->base.noptions, option).p)
            return sink_message(
                f, ERR_SOURCE_OPTION,
                "Kafka option '%s.serializer' is not supported as %s serialized with ByteArraySerializer.", FIXED[i][0],
                FIXED[i][1]);
    }
    if (!option_get(s->base.options, s->base.noptions, "kafka.bootstrap.servers").p)
        return sink_message(f, ERR_SOURCE_OPTION,
                            "Missing required configuration \"bootstrap.servers\" which has no default value.");
    return ERR_OK;
}

static enum err choose_output(struct kafka *s, const struct kafka_output_class **out, struct fault *f)
{
    const struct source_env *env = &s->base.source;
    bool ours = true;
    *out = env->kafka_output;
    if (*out)
        return ERR_OK;
    enum err e = source_cluster_is_ours(env, FOREIGN_SINK, s->base.options, s->base.noptions, &ours, f);
    *out = ours ? &KAFKA_LOCAL : &KAFKA_ELSEWHERE;
    return e;
}

static enum err open_(struct sink *base, struct fault *f)
{
    struct kafka *s = (struct kafka *)base;
    const struct kafka_output_class *class = NULL;
    s->topic = -1;
    s->note = -1;
    s->topic_option = option_get(base->options, base->noptions, "topic");
    enum err e = options_check(s, f);
    if (!e)
        e = choose_output(s, &class, f);
    if (!e)
        e = columns(s, f);
    if (e)
        return e;
    struct kafka_output *o = calloc(1, class->size);
    if (!o)
        return FAULT(f, ERR_NOMEM, {"what", "the kafka sink"});
    *o = (struct kafka_output){class, base};
    s->output = o;
    e = delivery(s, base->has_checkpoint, f);
    return e || !class->open ? e : class->open(o, f);
}

static void close_(struct sink *base)
{
    struct kafka *s = (struct kafka *)base;
    if (s->output && s->output->class->close)
        s->output->class->close(s->output);
    free(s->output);
}

enum err kafka_write_failed(struct str topic, const char *detail, struct fault *f)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
    return FAULT(f, ERR_KAFKA_WRITE, {"topic", name}, {"detail", detail});
}

/* -- rows ------------------------------------------------------------------------------------------------------------------ */

static struct str bytes_at(const struct batch_cols *b, int col, uint32_t i)
{
    if (col < 0 || !col_valid(&b->cols[col], i))
        return (struct str){0};
    struct str v = b->cols[col].data.str[COL_AT(&b->cols[col], i)];
    return v.p ? v : STR("");
}

static enum err headers_at(struct kafka *s, const struct batch_cols *b, uint32_t i, struct str *out, int *n,
                           struct fault *f)
{
    *n = 0;
    const struct column *c = s->headers < 0 ? NULL : &b->cols[s->headers];
    if (!c || !col_valid(c, i))
        return ERR_OK;
    uint32_t from = c->data.offsets[COL_AT(c, i)], to = c->data.offsets[COL_AT(c, i) + 1];
    if (to - from > LIMIT_SINK_HEADERS)
        return LIMIT_FAULT(f, SINK_HEADERS);
    const struct column *row = &c->children[0], *key = &row->children[0], *value = &row->children[1];
    for (uint32_t k = from; k < to; k++) {
        if (!col_valid(row, k) || !col_valid(key, k))
            return kafka_write_failed(STR("the topic"), "a header has no key", f);
        out[(*n)++] = key->data.str[COL_AT(key, k)];
        out[(*n)++] = col_valid(value, k) ? value->data.str[COL_AT(value, k)] : (struct str){0};
    }
    *n /= 2;
    return ERR_OK;
}

static void name_set(struct topic_name *t, struct str name)
{
    t->n = name.n < sizeof t->p ? name.n : sizeof t->p; /* a longer one is refused by the output */
    memcpy(t->p, name.p, t->n);
}

static struct str name_of(const struct topic_name *t)
{
    return str_make(t->p, t->n);
}

static enum err write_row(struct kafka *s, const struct batch_cols *b, uint32_t i, struct fault *f)
{
    struct str headers[2 * LIMIT_SINK_HEADERS];
    struct kafka_record r = {
        .topic = s->topic_option.p ? s->topic_option : bytes_at(b, s->topic, i),
        .partition = -1,
        .key = bytes_at(b, s->key, i),
        .value = bytes_at(b, s->value, i),
        .headers = headers,
        .timestamp_ms = s->now_ms,
    };
    if (!r.topic.p)
        return FAULT(f, ERR_KAFKA_NULL_TOPIC);
    if (s->partition >= 0 && col_valid(&b->cols[s->partition], i)) {
        r.partition = b->cols[s->partition].data.i32[COL_AT(&b->cols[s->partition], i)];
        if (r.partition < 0) {
            char detail[96];
            snprintf(detail, sizeof detail,
                     "Invalid partition: %d. Partition number should always be non-negative or null.", r.partition);
            return kafka_write_failed(r.topic, detail, f);
        }
    }
    if (!s->first.n)
        name_set(&s->first, r.topic);
    enum err e = headers_at(s, b, i, headers, &r.nheaders, f);
    return e ? e : s->output->class->write(s->output, &r, f);
}

static enum err write_(struct sink *base, const struct batch_cols *rows, struct fault *f)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < rows->n; i++)
        e = write_row((struct kafka *)base, rows, i, f);
    return e;
}

/* -- batches ---------------------------------------------------------------------------------------------------------------- */

static enum err begin(struct sink *base, int64_t batch_id, struct fault *f)
{
    struct kafka *s = (struct kafka *)base;
    (void)batch_id, (void)f;
    s->now_ms = os_now_ms();
    s->first.n = 0;
    return ERR_OK;
}

static void abort_(struct sink *base)
{
    struct kafka *s = (struct kafka *)base;
    s->output->class->abort(s->output);
}

/* {"batchId":7} */
static bool note_parse(struct str text, struct arena *a, int64_t *batch)
{
    struct json j = json_of(text, false);
    struct str name;
    bool found = false;
    json_object(&j);
    while (json_more(&j, '}')) {
        if (!json_key(&j, a, &name))
            break;
        if (str_eqz(name, "batchId"))
            found = json_i64(&j, batch);
        else
            json_skip(&j, NULL);
    }
    return found && !j.bad;
}

static enum err read_note(struct kafka *s, struct str topic, int64_t *batch, struct fault *f)
{
    struct arena *a = arena_new(0);
    struct kafka_note n = {.group = s->id, .topic = topic, .offset = -1};
    enum err e = s->output->class->noted(s->output, a, &n, f);
    *batch = -1;
    if (!e && n.offset >= 0 && (!note_parse(n.metadata, a, batch) || *batch != n.offset)) {
        char said[200], name[256];
        snprintf(said, sizeof said, "offset %" PRId64 " with the metadata [%.*s], which no batch of the query wrote",
                 n.offset, STR_ARG(str_sub(n.metadata, 0, 100)));
        snprintf(name, sizeof name, "%.*s", STR_ARG(topic));
        e = FAULT(f, ERR_OUTPUT_NOTE, {"group", s->id.p}, {"topic", name}, {"said", said});
    }
    arena_free(a);
    if (e)
        return e;
    name_set(&s->noted, topic);
    s->note = *batch;
    return ERR_OK;
}

static enum err recover(struct sink *base, struct str query_id, struct str where, int64_t *last, struct fault *f)
{
    struct kafka *s = (struct kafka *)base;
    s->id = arena_fmt(base->arena, "penstock-%.*s", STR_ARG(query_id));
    *last = -1;
    enum err e = s->output->class->fence(s->output, s->id, f);
    if (!where.n)
        where = s->topic_option;
    return e || !where.n ? e : read_note(s, where, last, f);
}

static enum err output(struct sink *base, bool *any, struct str *where, int64_t *after, struct fault *f)
{
    struct kafka *s = (struct kafka *)base;
    *any = s->first.n > 0;
    *where = name_of(&s->first);
    *after = s->note;
    if (!*any || str_eq(*where, name_of(&s->noted)))
        return ERR_OK;
    return read_note(s, *where, after, f);
}

static enum err commit(struct sink *base, struct fault *f)
{
    struct kafka *s = (struct kafka *)base;
    if (!s->transactional)
        return s->output->class->flush(s->output, f);
    char text[64];
    int n = snprintf(text, sizeof text, "{\"batchId\":%" PRId64 "}", base->batch_id);
    struct kafka_note note = {s->id, name_of(&s->first), base->batch_id, str_make(text, (size_t)n)};
    enum err e = s->output->class->end(s->output, &note, f);
    if (!e) {
        s->noted = s->first;
        s->note = base->batch_id;
    }
    return e;
}

static bool is_transactional(const struct sink *base)
{
    return ((const struct kafka *)base)->transactional;
}

const struct sink_class KAFKA_SINK = {
    .name = "kafka",
    .class_name = "org.apache.spark.sql.kafka010.KafkaSourceProvider$KafkaTable",
    .any_order = true,
    .open = open_,
    .begin = begin,
    .write = write_,
    .commit = commit,
    .abort = abort_,
    .close = close_,
    .is_transactional = is_transactional,
    .recover = recover,
    .output = output,
    .size = sizeof(struct kafka),
};
