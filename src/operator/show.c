/* showString and htmlString: the first rows of the child as one text in one row. */
#include "operator/operator_int.h"

static void put_html(struct buf *out, struct str s)
{
    static const char from[] = "&<>\"'";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < s.n; i++) {
        const char *hit = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (hit)
            buf_z(out, to[hit - from]);
        else
            buf_u8(out, (uint8_t)s.p[i]);
    }
}

static void html_cell(struct buf *out, const char *tag, struct str text)
{
    buf_fmt(out, "<%s>", tag);
    put_html(out, text);
    buf_fmt(out, "</%s>", tag);
}

/* Dataset.htmlString */
static void html_text(struct buf *out, const struct batch_cols *rows, uint32_t limit, int truncate,
                      const struct zone *zone)
{
    struct buf cell = {0};
    uint32_t n = rows->n < limit ? rows->n : limit;
    buf_z(out, "<table border='1'>\n<tr>");
    for (int c = 0; c < rows->schema->nfields; c++)
        html_cell(out, "th", rows->schema->fields[c].name);
    buf_z(out, "</tr>\n");
    for (uint32_t r = 0; r < n; r++) {
        buf_z(out, "<tr>");
        for (int c = 0; c < rows->schema->nfields; c++) {
            buf_clear(&cell);
            value_display(&cell, &rows->cols[c], r, zone);
            struct str text = buf_view(&cell);
            if (truncate > 0 && text.n > (size_t)truncate) {
                text.n = truncate < 4 ? (size_t)truncate : (size_t)truncate - 3;
                while (text.n && ((uint8_t)text.p[text.n] & 0xc0) == 0x80)
                    text.n--;
                cell.n = text.n;
                buf_z(&cell, truncate < 4 ? "" : "...");
                text = buf_view(&cell);
            }
            html_cell(out, "td", text);
        }
        buf_z(out, "</tr>\n");
    }
    buf_z(out, "</table>\n");
    if (rows->n > limit)
        buf_fmt(out, "only showing top %u %s\n", limit, limit == 1 ? "row" : "rows");
    buf_free(&cell);
}

static enum err show_next(struct op *op, struct batch_cols **out, struct fault *f)
{
    if (op->rows)
        return ERR_OK;
    struct batch_cols in;
    enum err e = op_collect(op->child, op->arena, &in, f);
    if (e)
        return e;
    uint32_t limit = op->node->show_rows > 0 ? (uint32_t)op->node->show_rows : 0;
    struct buf text = {.limit = BUF_ASKED};
    if (op->node->html)
        html_text(&text, &in, limit, op->node->truncate, op->env->zone);
    else
        show_text(&text, &in, limit, op->node->truncate, op->node->vertical, op->env->zone);
    struct batch_cols *b = op_batch(op, 1);
    column_alloc(&b->cols[0], type_simple(TYPE_STRING), 1, op->arena);
    b->cols[0].data.str[0] = arena_str(op->arena, buf_view(&text));
    e = text.bad ? FAULT(f, ERR_LIMIT, {"what", "the text of show()"}, {"limit", "1 GiB"}) : ERR_OK;
    buf_free(&text);
    *out = e ? NULL : b;
    return e;
}

/* The planner puts a limit of show_rows + 1 below, so that "only showing top" can be said. */
OP_BUILDER(op_show)
{
    static const struct op_class class = {"Show", show_next, NULL};
    (void)f;
    *out = op_new(sizeof(struct op), &class, node, env, child);
    return ERR_OK;
}
