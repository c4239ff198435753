/* Spark's show() text: Dataset.showString of Spark 4. Widths count UTF-16 units, full-width characters twice. */
#include "operator/operator.h"

#include "base/memory.h"

#include <stdlib.h>

enum { LEAST_WIDTH = 3 };
struct cell {
    size_t at, n; /* in the texts */
    uint32_t width;
};

/* One code point of UTF-8 from *p; malformed bytes count as one each. */
static uint32_t code_point(const char **p, const char *end)
{
    uint8_t lead = (uint8_t) * (*p)++;
    int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    uint32_t c = more ? lead & (0x3f >> more) : lead;
    for (; more && *p < end && ((uint8_t) * *p & 0xc0) == 0x80; more--)
        c = c << 6 | ((uint8_t) * (*p)++ & 0x3f);
    return c;
}

/* Utils.stringHalfWidth's full-width ranges. */
static bool is_wide(uint32_t c)
{
    static const uint32_t wide[][2] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff},
                                       {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (c >= wide[i][0] && c <= wide[i][1])
            return true;
    return false;
}

static uint32_t units(uint32_t c)
{
    return c > 0xffff ? 2 : 1;
}

static uint32_t width_of(struct str s)
{
    uint32_t width = 0;
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        uint32_t c = code_point(&p, end);
        width += units(c) + is_wide(c);
    }
    return width;
}

static uint32_t units_of(struct str s)
{
    uint32_t n = 0;
    for (const char *p = s.p, *end = s.p + s.n; p < end;)
        n += units(code_point(&p, end));
    return n;
}

/* SchemaUtils.escapeMetaCharacters */
static void escaped(struct buf *out, struct str s)
{
    static const char from[] = "\n\r\t\f\b\v\a", to[] = "nrtfbva";
    for (size_t i = 0; i < s.n; i++) {
        const char *meta = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (meta)
            buf_u8(out, '\\');
        buf_u8(out, (uint8_t)(meta ? to[meta - from] : s.p[i]));
    }
}

/* What was appended from `at` on, cut to `truncate` UTF-16 units: with an ellipsis when there is room for one. */
static void cut(struct buf *texts, size_t at, int truncate)
{
    struct str s = str_make(texts->p + at, texts->n - at);
    if (truncate <= 0 || units_of(s) <= (uint32_t)truncate)
        return;
    uint32_t keep = truncate < 4 ? (uint32_t)truncate : (uint32_t)truncate - 3, n = 0;
    const char *p = s.p;
    while (p < s.p + s.n) {
        const char *next = p;
        n += units(code_point(&next, s.p + s.n));
        if (n > keep)
            break;
        p = next;
    }
    texts->n = (size_t)(p - texts->p);
    if (truncate >= 4)
        buf_z(texts, "...");
}

static struct str text_of(const struct buf *texts, const struct cell *c)
{
    return str_make(texts->p + c->at, c->n);
}

static void cells_fill(struct buf *texts, struct cell *cells, const struct batch_cols *rows, uint32_t nrows,
                       int truncate, const struct zone *zone)
{
    int ncols = rows->schema->nfields;
    struct buf raw = {0};
    for (uint32_t i = 0; i <= nrows; i++) {
        for (int c = 0; c < ncols; c++, cells++) {
            buf_clear(&raw);
            cells->at = texts->n;
            if (i == 0)
                buf_str(&raw, rows->schema->fields[c].name);
            else if (!col_valid(&rows->cols[c], i - 1))
                buf_z(&raw, "NULL");
            else
                value_display(&raw, &rows->cols[c], i - 1, zone);
            escaped(texts, buf_view(&raw));
            cut(texts, cells->at, i ? truncate : 0); /* names stay whole */
            cells->n = texts->n - cells->at;
            cells->width = width_of(text_of(texts, cells));
        }
    }
    buf_free(&raw);
}

static void padded(struct buf *out, const struct buf *texts, const struct cell *c, uint32_t width, bool left)
{
    if (left)
        buf_fill(out, ' ', width - c->width);
    buf_str(out, text_of(texts, c));
    if (!left)
        buf_fill(out, ' ', width - c->width);
}

static void rule(struct buf *out, const uint32_t *widths, int ncols)
{
    for (int c = 0; c < ncols; c++) {
        buf_u8(out, '+');
        buf_fill(out, '-', widths[c]);
    }
    buf_z(out, ncols ? "+\n" : "++\n");
}

static void table(struct buf *out, const struct buf *texts, const struct cell *cells, uint32_t nrows, int ncols,
                  int truncate)
{
    uint32_t *widths = calloc((size_t)ncols + 1, sizeof *widths);
    if (!widths)
        memory_out("a table of text");
    for (int c = 0; c < ncols; c++) {
        widths[c] = LEAST_WIDTH;
        for (uint32_t i = 0; i <= nrows; i++)
            if (cells[i * (uint32_t)ncols + (uint32_t)c].width > widths[c])
                widths[c] = cells[i * (uint32_t)ncols + (uint32_t)c].width;
    }
    rule(out, widths, ncols);
    for (uint32_t i = 0; i <= nrows; i++) {
        for (int c = 0; c < ncols; c++) {
            buf_u8(out, '|');
            padded(out, texts, &cells[i * (uint32_t)ncols + (uint32_t)c], widths[c], truncate > 0);
        }
        buf_z(out, ncols ? "|\n" : "||\n");
        if (i == 0)
            rule(out, widths, ncols);
    }
    rule(out, widths, ncols);
    free(widths);
}

static void records(struct buf *out, const struct buf *texts, const struct cell *cells, uint32_t nrows, int ncols)
{
    uint32_t names = LEAST_WIDTH, data = LEAST_WIDTH, n = (uint32_t)ncols;
    for (uint32_t i = 0; i < n; i++)
        names = cells[i].width > names ? cells[i].width : names;
    for (uint32_t i = n; i < n * (nrows + 1); i++)
        data = cells[i].width > data ? cells[i].width : data;
    for (uint32_t i = 0; i < nrows; i++) {
        size_t at = out->n;
        buf_fmt(out, "-RECORD %u", i);
        if (out->n - at < names + data + 5)
            buf_fill(out, '-', names + data + 5 - (out->n - at));
        buf_u8(out, '\n');
        for (uint32_t c = 0; c < n; c++) {
            buf_u8(out, ' ');
            padded(out, texts, &cells[c], names, false);
            buf_z(out, " | ");
            padded(out, texts, &cells[(i + 1) * n + c], data, false);
            buf_z(out, " \n");
        }
    }
}

void show_text(struct buf *out, const struct batch_cols *rows, uint32_t limit, int truncate, bool vertical,
               const struct zone *zone)
{
    uint32_t nrows = rows->n < limit ? rows->n : limit;
    int ncols = rows->schema->nfields;
    struct buf texts = {0};
    struct cell *cells = calloc(((size_t)nrows + 1) * ((size_t)ncols + 1), sizeof *cells);
    if (!cells)
        memory_out("a table of text");
    cells_fill(&texts, cells, rows, nrows, truncate, zone);
    if (vertical)
        records(out, &texts, cells, nrows, ncols);
    else
        table(out, &texts, cells, nrows, ncols, truncate);
    if (vertical && !nrows)
        buf_z(out, "(0 rows)\n");
    else if (rows->n > limit)
        buf_fmt(out, "only showing top %u %s\n", limit, limit == 1 ? "row" : "rows");
    free(cells);
    buf_free(&texts);
}
