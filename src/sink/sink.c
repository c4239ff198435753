/* The registry of sinks, and what all of them do alike. */
#include "sink/sink_int.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct sink_class *const CLASSES[] = {&CONSOLE_SINK, &MEMORY_SINK, &NOOP_SINK, &KAFKA_SINK};
static const char *const REFUSED[] = {"avro", "csv", "delta",   "foreach", "foreachbatch", "iceberg", "jdbc",
                                      "json", "orc", "parquet", "socket",  "text",         "xml"};

enum err sink_message(struct fault *f, enum err e, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return FAULT(f, e, {"message", text});
}

static enum err find(struct str format, const struct sink_class **out, struct fault *f)
{
    char name[128];
    for (size_t i = 0; i < sizeof CLASSES / sizeof *CLASSES; i++)
        if (str_eq_nocase(format, str_of(CLASSES[i]->name))) {
            *out = CLASSES[i];
            return ERR_OK;
        }
    snprintf(name, sizeof name, "the streaming sink %.*s", STR_ARG(format));
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        if (str_eq_nocase(format, str_of(REFUSED[i])))
            return FAULT(f, ERR_UNSUPPORTED, {"feature", name}, {"hint", "Sinks are console, memory, noop and kafka."});
    snprintf(name, sizeof name, "%.*s", STR_ARG(format));
    return FAULT(f, ERR_DATA_SOURCE_NOT_FOUND, {"provider", name});
}

static void copy_options(struct sink *s, const struct option *options, int noptions)
{
    struct option *o = ARENA_ARRAY(s->arena, (size_t)noptions + 1, struct option);
    for (int i = 0; i < noptions; i++)
        o[i] = (struct option){arena_str(s->arena, options[i].key), arena_str(s->arena, options[i].value)};
    s->options = o;
    s->noptions = noptions;
}

enum err sink_open(const struct sink_env *env, struct str format, const struct option *options, int noptions,
                   const struct type *schema, enum output_mode mode, struct str query_name, const struct zone *zone,
                   bool has_checkpoint, struct sink **out, struct fault *f)
{
    const struct sink_class *class = NULL;
    enum err e = find(format, &class, f);
    if (e)
        return e;
    struct sink *s = calloc(1, class->size);
    if (!s)
        return FAULT(f, ERR_NOMEM, {"what", "a sink"});
    s->class = class;
    s->env = *env;
    if (env->source)
        s->source = *env->source;
    s->arena = arena_new(0);
    s->schema = type_copy(s->arena, schema);
    s->mode = mode;
    s->query_name = arena_str(s->arena, query_name);
    s->zone = zone;
    s->has_checkpoint = has_checkpoint;
    copy_options(s, options, noptions);
    if (class->open && (e = class->open(s, f))) {
        sink_close(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

bool sink_is_transactional(const struct sink *s)
{
    return s->class->is_transactional && s->class->is_transactional(s);
}

enum err sink_recover(struct sink *s, struct str query_id, struct str where, int64_t *last, struct fault *f)
{
    return s->class->recover(s, query_id, where, last, f);
}

enum err sink_output(struct sink *s, bool *any, struct str *where, int64_t *after, struct fault *f)
{
    return s->class->output(s, any, where, after, f);
}

enum err sink_begin(struct sink *s, int64_t batch_id, struct fault *f)
{
    s->batch_id = batch_id;
    s->rows = 0;
    return s->class->begin ? s->class->begin(s, batch_id, f) : ERR_OK;
}

enum err sink_write(struct sink *s, const struct batch_cols *rows, struct fault *f)
{
    s->rows += rows->n;
    return s->class->write ? s->class->write(s, rows, f) : ERR_OK;
}

enum err sink_commit(struct sink *s, int64_t *rows_out, struct fault *f)
{
    *rows_out = s->rows;
    return s->class->commit ? s->class->commit(s, f) : ERR_OK;
}

void sink_abort(struct sink *s)
{
    if (s->class->abort)
        s->class->abort(s);
}

void sink_close(struct sink *s)
{
    if (!s)
        return;
    if (s->class->close)
        s->class->close(s);
    arena_free(s->arena);
    free(s);
}

struct str sink_description(struct sink *s, struct arena *a)
{
    return arena_str(a, str_of(s->class->class_name));
}

bool sink_takes_any_order(const struct sink *s)
{
    return s->class->any_order;
}

bool sink_is_visible(const struct sink *s)
{
    return s->class->visible;
}

const struct sink_class NOOP_SINK = {
    .name = "noop",
    .class_name = "org.apache.spark.sql.execution.datasources.noop.NoopTable$",
    .any_order = true,
    .size = sizeof(struct sink),
};
