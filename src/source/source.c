/* The registry of sources: a format's name to its class. */
#include "source/source_int.h"

#include <stdarg.h>
#include <stdio.h>

static const struct source_class *const CLASSES[] = {&KAFKA_SOURCE, &RATE_SOURCE};
/* Spark knows these; penstock says so instead of pretending that they do not exist. */
static const char *const REFUSED[] = {"avro", "binaryfile", "csv", "delta",   "iceberg",          "image",
                                      "jdbc", "json",       "orc", "parquet", "rate-micro-batch", "socket",
                                      "text", "xml"};

enum err source_option_fault(struct fault *f, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return FAULT(f, ERR_SOURCE_OPTION, {"message", text});
}

static enum err find(struct str format, const struct source_class **out, struct fault *f)
{
    char name[128];
    for (size_t i = 0; i < sizeof CLASSES / sizeof *CLASSES; i++)
        if (str_eq_nocase(format, str_of(CLASSES[i]->name))) {
            *out = CLASSES[i];
            return ERR_OK;
        }
    snprintf(name, sizeof name, "the data source %.*s", STR_ARG(format));
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        if (str_eq_nocase(format, str_of(REFUSED[i])))
            return FAULT(f, ERR_UNSUPPORTED, {"feature", name}, {"hint", "Sources are kafka and rate."});
    snprintf(name, sizeof name, "%.*s", STR_ARG(format));
    return FAULT(f, ERR_DATA_SOURCE_NOT_FOUND, {"provider", name});
}

enum err source_schema(struct str format, const struct option *options, int noptions, const struct type *user_schema,
                       bool is_streaming, struct arena *a, const struct type **schema, struct fault *f)
{
    const struct source_class *class;
    enum err e = find(format, &class, f);
    if (e)
        return e;
    if (user_schema)
        return FAULT(f, ERR_SOURCE_SCHEMA, {"provider", class->provider});
    return class->schema(options, noptions, is_streaming, a, schema, f);
}

enum err source_open(const struct source_env *env, const struct plan_node *scan, bool is_streaming, struct source **out,
                     struct fault *f)
{
    const struct source_class *class;
    enum err e = find(scan->format, &class, f);
    return e ? e : class->open(env, scan, is_streaming, out, f);
}

void source_close(struct source *s)
{
    if (!s)
        return;
    struct arena *a = s->arena;
    s->class->close(s);
    arena_free(a);
}

enum err source_initial(struct source *s, int64_t now_ms, struct arena *a, struct str *offset, struct fault *f)
{
    return s->class->initial(s, now_ms, a, offset, f);
}

enum err source_latest(struct source *s, struct str start, struct str cap, int64_t now_ms, bool no_limit,
                       struct arena *a, struct str *end, struct str *latest, struct fault *f)
{
    return s->class->latest(s, start, cap, now_ms, no_limit, a, end, latest, f);
}

enum err source_read(struct source *s, struct str start, struct str end, const struct source_part *part,
                     const struct op_env *env, struct op **out, struct fault *f)
{
    return s->class->read(s, start, end, part, env, out, f);
}

int source_parts(struct source *s, struct str start, struct str end, int most, bool whole)
{
    return s->class->parts(s, start, end, most, whole);
}

int64_t source_watch(struct source *s, void (*wake)(void *arg), void *arg)
{
    return s->class->watch(s, wake, arg);
}

struct str source_description(struct source *s, struct arena *a)
{
    return s->class->description(s, a);
}

void source_metrics(struct source *s, struct str end, struct str latest, struct buf *json)
{
    if (s->class->metrics)
        s->class->metrics(s, end, latest, json);
}

void source_start_text(struct source *s, struct str initial, struct buf *out)
{
    s->class->start_text(s, initial, out);
}

struct str source_restore(struct source *s, struct str text)
{
    const char *line = text.n ? memchr(text.p, '\n', text.n) : NULL;
    return s->class->restore(s, line ? str_sub(text, (size_t)(line - text.p) + 1, text.n) : text);
}
