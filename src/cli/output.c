#include "cli/output.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/vec.h"

#include <stdio.h>

struct output {
    enum output_format format;
    const struct output_column *columns;
    int n;
    struct arena *arena;
    VEC(struct str) cells; /* tables only */
};

bool output_format(const char *text, enum output_format *out)
{
    static const char *const NAMES[] = {"table", "json", "csv"};
    *out = OUTPUT_TABLE;
    for (int i = 0; text && i < 3; i++)
        if (strcmp(text, NAMES[i]) == 0) {
            *out = (enum output_format)i;
            return true;
        }
    return !text;
}

static void csv_cell(struct str s)
{
    bool quote = false;
    for (size_t i = 0; i < s.n; i++)
        quote |= s.p[i] == ',' || s.p[i] == '"' || s.p[i] == '\n' || s.p[i] == '\r';
    if (!quote) {
        fwrite(s.p, 1, s.n, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            putchar('"');
        putchar(s.p[i]);
    }
    putchar('"');
}

static void csv_row(const struct str *cells, int n)
{
    for (int i = 0; i < n; i++) {
        if (i)
            putchar(',');
        csv_cell(cells[i]);
    }
    putchar('\n');
}

static void json_row(const struct output *o, const struct str *cells)
{
    struct buf line = {0};
    for (int i = 0; i < o->n; i++) {
        buf_z(&line, i ? ", " : "{");
        buf_json_str(&line, str_of(o->columns[i].name));
        buf_z(&line, ": ");
        if (!cells[i].p)
            buf_z(&line, "null");
        else if (o->columns[i].number)
            buf_str(&line, cells[i]);
        else
            buf_json_str(&line, cells[i]);
    }
    buf_z(&line, "}\n");
    if (!line.bad)
        fwrite(line.p, 1, line.n, stdout);
    buf_free(&line);
}

struct output *output_new(enum output_format format, const struct output_column *columns, int n)
{
    struct arena *a = arena_new(0);
    struct output *o = ARENA_NEW(a, struct output);
    *o = (struct output){.format = format, .columns = columns, .n = n, .arena = a};
    if (format == OUTPUT_CSV) {
        struct str *names = ARENA_ARRAY(a, (size_t)n, struct str);
        for (int i = 0; i < n; i++)
            names[i] = str_of(columns[i].name);
        csv_row(names, n);
    }
    return o;
}

void output_row(struct output *o, const struct str *cells)
{
    if (o->format == OUTPUT_CSV)
        csv_row(cells, o->n);
    else if (o->format == OUTPUT_JSON)
        json_row(o, cells);
    else
        for (int i = 0; i < o->n; i++)
            vec_push(&o->cells, cells[i].p ? arena_str(o->arena, cells[i]) : STR("NULL"));
}

/* Columns of the terminal that s takes: code points, which is right for most of what is printed. */
static int width(struct str s)
{
    int n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static void table_cell(struct str s, int wide, bool right, bool last)
{
    int pad = wide - width(s);
    if (right)
        printf("%*s%.*s", pad, "", STR_ARG(s));
    else
        printf("%.*s%*s", STR_ARG(s), last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

static void print_table(const struct output *o)
{
    int *wide = ARENA_ARRAY(o->arena, (size_t)o->n, int);
    for (int i = 0; i < o->n; i++)
        wide[i] = width(str_of(o->columns[i].name));
    for (size_t k = 0; k < o->cells.n; k++) {
        int w = width(o->cells.p[k]), *col = &wide[k % (size_t)o->n];
        *col = w > *col ? w : *col;
    }
    for (int i = 0; i < o->n; i++)
        table_cell(str_of(o->columns[i].name), wide[i], o->columns[i].number, i + 1 == o->n);
    for (size_t k = 0; k < o->cells.n; k++) {
        int i = (int)(k % (size_t)o->n);
        table_cell(o->cells.p[k], wide[i], o->columns[i].number, i + 1 == o->n);
    }
}

bool output_end(struct output *o)
{
    if (o->format == OUTPUT_TABLE)
        print_table(o);
    vec_free(&o->cells);
    arena_free(o->arena);
    return fflush(stdout) == 0 && !ferror(stdout);
}
