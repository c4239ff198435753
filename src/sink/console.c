/* The console sink: Spark's ConsoleWrite. A batch's first rows as show() prints them, under its number. */
#include "sink/sink_int.h"

#include <inttypes.h>

struct console {
    struct sink base;
    int64_t limit;
    bool truncate;
    struct arena *rows; /* of the open batch */
    struct batch_cols *parts;
    size_t nparts, cap;
    uint32_t kept;
};

static enum err open_(struct sink *base, struct fault *f)
{
    struct console *s = (struct console *)base;
    struct str rows = option_get(base->options, base->noptions, "numRows");
    struct str truncate = option_get(base->options, base->noptions, "truncate");
    s->limit = 20;
    s->truncate = true;
    s->rows = arena_new(0);
    if (rows.p && (!str_to_i64(str_trim(rows), &s->limit) || s->limit > INT32_MAX || s->limit < INT32_MIN))
        return sink_message(f, ERR_SOURCE_OPTION, "For input string: \"%.*s\"", STR_ARG(rows));
    if (s->limit < 0)
        s->limit = 0;
    if (truncate.p) {
        s->truncate = str_eq_nocase(truncate, STR("true"));
        if (!s->truncate && !str_eq_nocase(truncate, STR("false")))
            return sink_message(f, ERR_SOURCE_OPTION, "%.*s is not a boolean string.", STR_ARG(truncate));
    }
    return ERR_OK;
}

static enum err begin(struct sink *base, int64_t batch_id, struct fault *f)
{
    struct console *s = (struct console *)base;
    (void)batch_id, (void)f;
    arena_reset(s->rows);
    s->parts = NULL;
    s->nparts = s->cap = s->kept = 0;
    return ERR_OK;
}

/* One row more than is shown is kept: it says that there are more. */
static enum err write_(struct sink *base, const struct batch_cols *rows, struct fault *f)
{
    struct console *s = (struct console *)base;
    int64_t room = s->limit + 1 - s->kept;
    uint32_t n = rows->n < room ? rows->n : (uint32_t)room;
    (void)f;
    if (!n)
        return ERR_OK;
    if (s->nparts == s->cap) {
        struct batch_cols *grown = ARENA_ARRAY(s->rows, s->cap * 2 + 4, struct batch_cols);
        if (s->nparts)
            memcpy(grown, s->parts, s->nparts * sizeof *grown);
        s->parts = grown;
        s->cap = s->cap * 2 + 4;
    }
    struct batch_cols *p = &s->parts[s->nparts++];
    *p = (struct batch_cols){base->schema, n, ARENA_ARRAY(s->rows, (size_t)base->schema->nfields + 1, struct column)};
    for (int c = 0; c < base->schema->nfields; c++) {
        struct column slice;
        column_slice(&slice, &rows->cols[c], 0, n, s->rows);
        column_copy(&p->cols[c], &slice, s->rows);
    }
    s->kept += n;
    return ERR_OK;
}

static void join(struct console *s, struct batch_cols *out)
{
    int ncols = s->base.schema->nfields;
    const struct column **cols = ARENA_ARRAY(s->rows, s->nparts + 1, const struct column *);
    *out = (struct batch_cols){s->base.schema, s->kept, ARENA_ARRAY(s->rows, (size_t)ncols + 1, struct column)};
    for (int c = 0; c < ncols; c++) {
        for (size_t p = 0; p < s->nparts; p++)
            cols[p] = &s->parts[p].cols[c];
        if (s->nparts)
            column_concat(&out->cols[c], cols, s->nparts, s->rows);
        else
            column_alloc(&out->cols[c], s->base.schema->fields[c].type, 0, s->rows);
    }
}

static enum err commit(struct sink *base, struct fault *f)
{
    static const char RULE[] = "-------------------------------------------\n";
    struct console *s = (struct console *)base;
    struct batch_cols all;
    struct buf text = {.limit = BUF_ASKED};
    join(s, &all);
    buf_fmt(&text, "%sBatch: %" PRId64 "\n%s", RULE, base->batch_id, RULE);
    show_text(&text, &all, (uint32_t)s->limit, s->truncate ? 20 : 0, false, base->zone);
    buf_u8(&text, '\n');
    if (text.bad) {
        buf_free(&text);
        return FAULT(f, ERR_NOMEM, {"what", "the console's text"});
    }
    if (base->env.console)
        base->env.console(base->env.arg, buf_whole(&text, "the console's text"));
    buf_free(&text);
    return ERR_OK;
}

static void close_(struct sink *base)
{
    arena_free(((struct console *)base)->rows);
}

const struct sink_class CONSOLE_SINK = {
    .name = "console",
    .class_name = "org.apache.spark.sql.execution.streaming.ConsoleTable$",
    .visible = true,
    .open = open_,
    .begin = begin,
    .write = write_,
    .commit = commit,
    .close = close_,
    .size = sizeof(struct console),
};
