#include "base/origin.h"
#include "base/buf.h"

/* Byte range of code points start..stop (inclusive). */
static struct str cut(struct str s, int32_t start, int32_t stop)
{
    size_t from = s.n, to = s.n;
    int32_t at = -1;
    for (size_t i = 0; i < s.n; i++) {
        if (((unsigned char)s.p[i] & 0xC0) == 0x80)
            continue;
        at++;
        if (at == start)
            from = i;
        if (at == stop + 1) {
            to = i;
            break;
        }
    }
    return str_sub(s, from, to > from ? to - from : 0);
}

/* The bytes of s from its start to code point n. */
static struct str head(struct str s, int32_t n)
{
    return n > 0 ? cut(s, 0, n - 1) : str_make(s.p, 0);
}

/*
 * The text that Spark shows under a message. A run-time or analysis error (SQLQueryContext.summary) marks the fragment on each
 * of its lines:
 *      == SQL (line 1, position 8) ==
 *      select 1/0
 *             ^^^
 * a syntax error (ParseException) only the place, with dashes, below the line that it is on.
 */
static void mark_fragment(struct buf *b, const struct origin *o)
{
    size_t from = head(o->sql, o->start).n, to = from + cut(o->sql, o->start, o->stop).n;
    while (from > 0 && o->sql.p[from - 1] != '\n')
        from--;
    size_t first = head(o->sql, o->start).n;
    buf_fmt(b, "\n== SQL (line %d, position %d) ==\n", o->line, o->column + 1);
    for (size_t line = from; line <= to && line < o->sql.n;) {
        ptrdiff_t nl = str_find(o->sql, STR("\n"), line);
        size_t end = nl < 0 ? o->sql.n : (size_t)nl;
        buf_put(b, o->sql.p + line, end - line);
        buf_u8(b, '\n');
        for (size_t i = line; i < end && i < to; i++)
            if (((unsigned char)o->sql.p[i] & 0xC0) != 0x80)
                buf_u8(b, i < first ? ' ' : '^');
        buf_u8(b, '\n');
        if (to <= end)
            break;
        line = end + 1;
    }
}

static void mark_place(struct buf *b, const struct origin *o)
{
    size_t at = 0;
    buf_fmt(b, " (line %d, pos %d)\n\n== SQL ==\n", o->line, o->column);
    for (int32_t line = 1; at <= o->sql.n; line++) {
        ptrdiff_t nl = str_find(o->sql, STR("\n"), at);
        size_t end = nl < 0 ? o->sql.n : (size_t)nl;
        buf_put(b, o->sql.p + at, end - at);
        buf_u8(b, '\n');
        if (line == o->line) {
            buf_fill(b, '-', (size_t)(o->column > 0 ? o->column : 0));
            buf_z(b, "^^^\n");
        }
        at = end + 1;
    }
}

static void put_summary(struct buf *b, const struct fault *f, const struct origin *o)
{
    struct buf text = {.limit = sizeof f->context};
    if (f->err == ERR_PARSE_SYNTAX || f->err == ERR_PARSE_EMPTY_STATEMENT) /* other parse errors mark what is wrong */
        mark_place(&text, o);
    else
        mark_fragment(&text, o);
    if (!text.bad) {
        size_t before = b->n;
        buf_z(b, ",\"summary\":");
        buf_json_str(b, buf_view(&text));
        if (b->bad || b->n + 2 > sizeof f->context) { /* a long query: the error goes without its text */
            b->n = before;
            b->bad = false;
        }
    }
    buf_free(&text);
}

void fault_context(struct fault *f, const struct origin *o)
{
    if (!f)
        return;
    struct buf b = {.limit = sizeof f->context - 1};
    if (o->sql.n && o->start >= 0) {
        buf_fmt(&b,
                "{\"contextType\":\"SQL\",\"objectType\":\"\",\"objectName\":\"\",\"startIndex\":%d,\"stopIndex\":%d,",
                o->start, o->stop);
        buf_z(&b, "\"fragment\":");
        buf_json_str(&b, cut(o->sql, o->start, o->stop));
        buf_fmt(&b, ",\"line\":%d,\"position\":%d", o->line, o->column);
        put_summary(&b, f, o);
        buf_z(&b, "}");
    } else if (o->fragment.n) {
        buf_z(&b, "{\"contextType\":\"DATAFRAME\",\"fragment\":");
        buf_json_str(&b, o->fragment);
        buf_z(&b, ",\"callSite\":");
        buf_json_str(&b, o->call_site);
        buf_z(&b, "}");
    }
    if (!b.bad && b.n < sizeof f->context) {
        if (b.n)
            memcpy(f->context, b.p, b.n);
        f->context[b.n] = 0;
    }
    buf_free(&b);
}
