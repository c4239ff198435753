/*
 * sql_run: statements through parser, plan and operators, without a server.
 *
 *   sql_run -c "SELECT 1"            prints schema and rows as the goldens write them
 *   sql_run [-v] [-g GAPS] FILE.golden ...   runs what real Spark recorded and compares; -v shows every difference
 *
 * GAPS is tests/sql/known-gaps.txt: a difference that it lists is not counted as a failure.
 * tests/sql/README.md describes the files. `show:` blocks need the server's formatting and are left to tests/run_sql.py.
 * The last line counts: N passed, N failed, N skipped; the exit status is 1 when something failed.
 */
#include "base/map.h"
#include "operator/operator.h"
#include "wire/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONFS = 16 };
static struct {
    char key[128], value[128];
} confs[CONFS];
static int nconfs;

static const char *conf_get(void *arg, const char *key)
{
    (void)arg;
    for (int i = 0; i < nconfs; i++)
        if (!strcmp(confs[i].key, key))
            return confs[i].value;
    if (!strcmp(key, "spark.sql.session.timeZone"))
        return "UTC";
    return !strcmp(key, "spark.sql.ansi.enabled") ? "true" : NULL;
}

static const struct rel *no_view(void *arg, const struct str *parts, int n)
{
    (void)arg;
    (void)parts;
    (void)n;
    return NULL;
}

/* -- values as the goldens write them ------------------------------------------------------------------------------- */
/* The shortest text that reads back as v, in Python's style: 0.1, 1e+16, nan. */
static void put_float(struct buf *out, double v, bool single)
{
    char t[64];
    if (v != v || v - v != 0) {
        buf_z(out, v != v ? "\"nan\"" : v > 0 ? "\"inf\"" : "\"-inf\"");
        return;
    }
    int digits = 1;
    for (; digits <= 17; digits++) {
        snprintf(t, sizeof t, "%.*e", digits - 1, v);
        if (single ? strtof(t, NULL) == (float)v : strtod(t, NULL) == v)
            break;
    }
    int exponent = atoi(strchr(t, 'e') + 1);
    if (exponent < -4 || exponent >= (single ? 7 : 16)) { /* numpy's rule for float32 */
        buf_fmt(out, "\"%s\"", t);
        return;
    }
    int decimals = digits - 1 - exponent;
    buf_fmt(out, "\"%.*f\"", decimals > 0 ? decimals : 1, v);
}

static void put_hex(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_fmt(out, "%02x", (unsigned char)s.p[i]);
}

static bool is_utf8(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t n = c < 0x80 ? 1 : c >= 0xF0 && c < 0xF5 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 && c < 0xE0 ? 2 : 0;
        if (!n || i + n > s.n || c >= 0xF5)
            return false;
        for (size_t k = 1; k < n; k++)
            if (((unsigned char)s.p[i + k] & 0xC0) != 0x80)
                return false;
        i += n;
    }
    return true;
}

/* Times as numpy prints them: ISO, the fraction in six digits or not at all. */
static void put_date(struct buf *out, int64_t days)
{
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, y = yoe + era * 400;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153, d = doy - (153 * mp + 2) / 5 + 1;
    int64_t m = mp < 10 ? mp + 3 : mp - 9;
    buf_fmt(out, "%04lld-%02lld-%02lld", (long long)(y + (m <= 2)), (long long)m, (long long)d);
}

static void put_time(struct buf *out, int64_t us, const char *tail)
{
    int64_t days = us / 86400000000LL - (us % 86400000000LL < 0), rest = us - days * 86400000000LL;
    buf_z(out, "\"");
    put_date(out, days);
    buf_fmt(out, "T%02lld:%02lld:%02lld", (long long)(rest / 3600000000LL), (long long)(rest / 60000000 % 60),
            (long long)(rest / 1000000 % 60));
    if (rest % 1000000)
        buf_fmt(out, ".%06lld", (long long)(rest % 1000000));
    buf_fmt(out, "%s\"", tail);
}

static void put_decimal(struct buf *out, __int128 v, int scale)
{
    char t[64];
    int n = 0;
    unsigned __int128 u = v < 0 ? -(unsigned __int128)v : (unsigned __int128)v;
    while (u || n <= scale + (scale > 0)) {
        t[n++] = (char)('0' + (int)(u % 10));
        u /= 10;
        if (n == scale)
            t[n++] = '.';
    }
    buf_z(out, v < 0 ? "\"-" : "\"");
    while (n)
        buf_u8(out, (uint8_t)t[--n]);
    buf_z(out, "\"");
}

static void put_value(struct buf *out, const struct column *c, uint32_t i);

static void put_list(struct buf *out, const struct column *c, uint32_t row)
{
    uint32_t from = c->data.offsets[row], to = c->data.offsets[row + 1];
    buf_z(out, "[");
    for (uint32_t k = from; k < to; k++) {
        buf_z(out, k > from ? ", " : "");
        if (c->type->id == TYPE_MAP)
            buf_z(out, "[");
        put_value(out, &c->children[0], k);
        if (c->type->id == TYPE_MAP) {
            buf_z(out, ", ");
            put_value(out, &c->children[1], k);
            buf_z(out, "]");
        }
    }
    buf_z(out, "]");
}

static void put_string(struct buf *out, struct str s)
{
    if (is_utf8(s)) {
        buf_json_str(out, s);
        return;
    }
    buf_z(out, "{\"bytes\": \"");
    put_hex(out, s);
    buf_z(out, "\"}");
}

static void put_value(struct buf *out, const struct column *c, uint32_t i)
{
    uint32_t r = COL_AT(c, i);
    if (!col_valid(c, i) || c->type->id == TYPE_NULL) {
        buf_z(out, "null");
        return;
    }
    switch (c->type->id) {
    case TYPE_BOOLEAN:
        buf_z(out, c->data.boolean[r] ? "true" : "false");
        break;
    case TYPE_BYTE:
        buf_fmt(out, "%d", c->data.i8[r]);
        break;
    case TYPE_SHORT:
        buf_fmt(out, "%d", c->data.i16[r]);
        break;
    case TYPE_INT:
    case TYPE_YEAR_MONTH:
        buf_fmt(out, "%d", c->data.i32[r]);
        break;
    case TYPE_LONG:
    case TYPE_DAY_TIME:
        buf_fmt(out, "%lld", (long long)c->data.i64[r]);
        break;
    case TYPE_FLOAT:
        put_float(out, (double)c->data.f32[r], true);
        break;
    case TYPE_DOUBLE:
        put_float(out, c->data.f64[r], false);
        break;
    case TYPE_DECIMAL:
        put_decimal(out, c->data.i128[r], c->type->scale);
        break;
    case TYPE_STRING:
        put_string(out, c->data.str[r]);
        break;
    case TYPE_BINARY:
        buf_z(out, "\"");
        put_hex(out, c->data.str[r]);
        buf_z(out, "\"");
        break;
    case TYPE_DATE:
        buf_z(out, "\"");
        put_date(out, c->data.i32[r]);
        buf_z(out, "\"");
        break;
    case TYPE_TIMESTAMP:
        put_time(out, c->data.i64[r], "Z");
        break;
    case TYPE_TIMESTAMP_NTZ:
        put_time(out, c->data.i64[r], "");
        break;
    case TYPE_ARRAY:
    case TYPE_MAP:
        put_list(out, c, r);
        break;
    case TYPE_STRUCT:
        buf_z(out, "[");
        for (int k = 0; k < c->type->nfields; k++) {
            buf_z(out, k ? ", " : "");
            put_value(out, &c->children[k], r);
        }
        buf_z(out, "]");
        break;
    default:
        buf_z(out, "\"?\"");
    }
}

/* -- running -------------------------------------------------------------------------------------------------------- */
struct lines {
    struct str *p;
    size_t n, cap;
};

static void add_line(struct lines *l, struct arena *a, const struct buf *b)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->p = realloc(l->p, l->cap * sizeof *l->p);
        if (!l->p)
            abort();
    }
    l->p[l->n++] = arena_str(a, buf_view(b));
}

static void put_schema(struct buf *b, struct arena *a, const struct type *t)
{
    buf_z(b, "schema: [");
    for (int i = 0; i < t->nfields; i++) {
        buf_z(b, i ? ", [" : "[");
        buf_json_str(b, t->fields[i].name);
        buf_z(b, ", ");
        buf_json_str(b, type_simple_string(a, t->fields[i].type));
        buf_z(b, t->fields[i].nullable ? ", true]" : ", false]");
    }
    buf_z(b, "]");
}

static enum err run_plan(struct plan *p, struct arena *a, struct lines *out, struct fault *f)
{
    struct op_env env = {.now_us = 1700000000000000, .zone = p->bind.zone};
    struct op *op;
    struct batch_cols *in;
    struct buf b = {0};
    put_schema(&b, a, p->schema);
    add_line(out, a, &b);
    enum err e = op_build(p->root, &env, &op, f);
    if (!e) {
        while (!(e = op_next(op, &in, f)) && in)
            for (uint32_t i = 0; i < in->n; i++) {
                buf_clear(&b);
                buf_z(&b, "row: [");
                for (int c = 0; c < p->schema->nfields; c++) {
                    buf_z(&b, c ? ", " : "");
                    put_value(&b, &in->cols[c], i);
                }
                buf_z(&b, "]");
                add_line(out, a, &b);
            }
        op_close(op);
    }
    buf_free(&b);
    return e;
}

static const char *const EXCEPTIONS[] = {
    [FAULT_PLAIN] = "SparkException",
    [FAULT_ANALYSIS] = "AnalysisException",
    [FAULT_PARSE] = "ParseException",
    [FAULT_ARITHMETIC] = "ArithmeticException",
    [FAULT_NUMBER] = "NumberFormatException",
    [FAULT_ILLEGAL] = "IllegalArgumentException",
    [FAULT_UNSUPPORTED] = "UnsupportedOperationException",
    [FAULT_ARRAY_INDEX] = "ArrayIndexOutOfBoundsException",
    [FAULT_DATETIME] = "DateTimeException",
    [FAULT_RUNTIME] = "SparkRuntimeException",
    [FAULT_QUERY] = "StreamingQueryException",
    [FAULT_UPGRADE] = "SparkUpgradeException",
    [FAULT_NO_SESSION] = "SparkException",
    [FAULT_NO_ELEMENT] = "SparkNoSuchElementException",
};

static void put_fault(struct buf *b, const struct fault *f)
{
    int order[FAULT_PARAMS];
    for (int i = 0; i < f->nparams; i++) {
        int k = i;
        for (; k > 0 && strcmp(fault_param_name(f, order[k - 1]), fault_param_name(f, i)) > 0; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    const char *state = err_sqlstate(f->err);
    buf_fmt(b, "error: %s %s {", err_class(f->err), *state ? state : "None");
    for (int i = 0; i < f->nparams; i++) {
        buf_z(b, i ? ", " : "");
        buf_json_str(b, str_of(fault_param_name(f, order[i])));
        buf_z(b, ": ");
        buf_json_str(b, str_of(fault_param_value(f, order[i])));
    }
    buf_z(b, "}");
}

static void run_statement(struct str sql, struct arena *a, struct lines *out)
{
    struct plan_env env = {.view = no_view, .conf = conf_get};
    struct statement s;
    struct plan *p = NULL;
    static struct fault f;
    f = (struct fault){0};
    enum err e = sql_parse(sql, a, &s, &f);
    if (!e && s.kind != STATEMENT_QUERY)
        e = FAULT(&f, ERR_UNSUPPORTED, {"feature", "statements"}, {"hint", ""});
    if (!e)
        e = plan_analyze(s.rel, &env, &p, &f);
    if (!e)
        e = run_plan(p, a, out, &f);
    plan_free(p);
    if (!e)
        return;
    struct buf b = {0};
    out->n = 0;
    put_fault(&b, &f);
    add_line(out, a, &b);
    buf_clear(&b);
    buf_fmt(&b, "class: %s", EXCEPTIONS[err_kind(f.err)]);
    add_line(out, a, &b);
    buf_clear(&b);
    buf_fmt(&b, "message: %s", fault_message(&f));
    add_line(out, a, &b);
    buf_free(&b);
}

/* -- goldens -------------------------------------------------------------------------------------------------------- */
static int passed, failed, skipped, known;
static struct map gaps;
static const char *golden; /* the file at hand, without its directory */

/* "query.golden: sql \"SELECT 1\" key=value": as tests/sql/goldens.py names a difference. */
static bool is_known(struct str sql)
{
    struct buf b = {0};
    buf_fmt(&b, "%s: sql ", golden);
    buf_json_str(&b, sql);
    for (int i = 0; i < nconfs; i++)
        buf_fmt(&b, " %s=%s", confs[i].key, confs[i].value);
    bool hit = map_get(&gaps, buf_view(&b)) != NULL;
    buf_free(&b);
    return hit;
}

static int line_cmp(const void *x, const void *y)
{
    return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

static bool word_in(struct str s, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n; i++)
        if (str_eq_nocase(str_sub(s, i, n), str_of(word)))
            return true;
    return false;
}

static size_t without_message(struct lines *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!str_starts(l->p[i], STR("message: ")))
            l->p[n++] = l->p[i];
    return n;
}

static bool same_lines(struct lines *want, struct lines *have, bool ordered)
{
    size_t n = without_message(want);
    if (n != without_message(have))
        return false;
    if (!ordered) {
        qsort(want->p, n, sizeof *want->p, line_cmp);
        qsort(have->p, n, sizeof *have->p, line_cmp);
    }
    for (size_t i = 0; i < n; i++)
        if (!str_eq(want->p[i], have->p[i]))
            return false;
    return true;
}

static void check_block(struct str sql, struct lines *want, bool verbose)
{
    struct arena *a = arena_new(0);
    struct lines have = {0};
    run_statement(sql, a, &have);
    if (same_lines(want, &have, word_in(sql, "order by"))) {
        passed++;
    } else if (is_known(sql)) {
        known++;
    } else {
        failed++;
        if (verbose) {
            printf("sql: %.*s\n", STR_ARG(sql));
            for (size_t i = 0; i < want->n; i++)
                printf("  - %.*s\n", STR_ARG(want->p[i]));
            for (size_t i = 0; i < have.n; i++)
                printf("  + %.*s\n", STR_ARG(have.p[i]));
        }
    }
    free(have.p);
    arena_free(a);
}

static struct str unquote(struct str s, struct arena *a)
{
    if (!s.n || s.p[0] != '"')
        return s;
    struct json j = json_of(s, false);
    struct str out;
    return json_string(&j, a, &out) ? out : s;
}

static void set_conf(struct str s)
{
    ptrdiff_t eq = str_find(s, STR("="), 0);
    if (eq < 0 || nconfs == CONFS)
        return;
    snprintf(confs[nconfs].key, sizeof confs[0].key, "%.*s", (int)eq, s.p);
    snprintf(confs[nconfs].value, sizeof confs[0].value, "%.*s", (int)(s.n - (size_t)eq - 1), s.p + eq + 1);
    nconfs++;
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(2);
    }
    struct buf b = {0};
    char part[65536];
    size_t got;
    while ((got = fread(part, 1, sizeof part, f)) > 0)
        buf_put(&b, part, got);
    fclose(f);
    return buf_take(&b, n);
}

static void read_gaps(const char *path)
{
    static int listed;
    size_t n, at = 0;
    char *text = read_file(path, &n);
    while (at < n) {
        ptrdiff_t nl = str_find(str_make(text, n), STR("\n"), at);
        size_t end = nl < 0 ? n : (size_t)nl;
        if (end > at && text[at] != '#')
            map_put(&gaps, str_make(text + at, end - at), &listed);
        at = end + 1;
    }
    free(text);
}

static void check_file(const char *path, bool verbose)
{
    golden = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t n, at = 0;
    char *text = read_file(path, &n);
    struct arena *a = arena_new(0);
    struct lines want = {0};
    struct str sql = {0};
    nconfs = 0;
    for (bool end = false; !end;) {
        ptrdiff_t nl = str_find(str_make(text, n), STR("\n"), at);
        end = nl < 0;
        struct str line = str_sub(str_make(text, n), at, (end ? n : (size_t)nl) - at);
        at = (size_t)nl + 1;
        struct buf b = {0};
        if (line.n == 0) {
            if (sql.n)
                check_block(sql, &want, verbose);
            want.n = 0;
            sql.n = 0;
            nconfs = 0;
        } else if (str_starts(line, STR("conf: "))) {
            set_conf(str_sub(line, 6, line.n));
        } else if (str_starts(line, STR("sql: ")) && !sql.n) {
            sql = unquote(str_sub(line, 5, line.n), a);
        } else if (str_starts(line, STR("show: ")) || str_starts(line, STR("tree: "))) {
            skipped++;
        } else if (sql.n) {
            buf_str(&b, line);
            add_line(&want, a, &b);
        }
        buf_free(&b);
    }
    free(want.p);
    free(text);
    arena_free(a);
}

int main(int argc, char **argv)
{
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-v")) {
            verbose = true;
        } else if (!strcmp(argv[i], "-g") && i + 1 < argc) {
            read_gaps(argv[++i]);
        } else if (!strcmp(argv[i], "-c") && i + 1 < argc) {
            struct arena *a = arena_new(0);
            struct lines out = {0};
            run_statement(str_of(argv[++i]), a, &out);
            for (size_t k = 0; k < out.n; k++)
                printf("%.*s\n", STR_ARG(out.p[k]));
            free(out.p);
            arena_free(a);
        } else {
            int p = passed, f = failed;
            check_file(argv[i], verbose);
            printf("%s: %d passed, %d failed\n", argv[i], passed - p, failed - f);
        }
    }
    if (passed + failed + known + skipped)
        printf("sql_run: %d known differences\n%d passed, %d failed, %d skipped\n", known, passed, failed, skipped);
    map_free(&gaps);
    return failed > 0;
}
