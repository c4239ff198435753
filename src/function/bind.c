/* Binding calls: find the row, check the number of arguments, coerce them, give type, nullability and name. */
#include "function/function_int.h"

#include <stdio.h>

const char *const ORDINALS[] = {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"};
#define DOCROOT "https://spark.apache.org/docs/latest"

const char *quoted_type(struct arena *a, const struct type *t)
{
    return arena_fmt(a, "\"%.*s\"", STR_ARG(type_sql(a, t))).p;
}

const char *quoted_expr(struct arena *a, const struct expr *e)
{
    return arena_fmt(a, "\"%.*s\"", STR_ARG(e->sql)).p;
}

const char *quoted_name(struct arena *a, struct str name)
{
    return arena_fmt(a, "`%.*s`", STR_ARG(name)).p;
}

const char *type_list(struct arena *a, struct expr **args, int n, const char *open, const char *sep, const char *close)
{
    struct buf b = {0};
    buf_z(&b, open);
    for (int i = 0; i < n; i++) {
        buf_z(&b, i ? sep : "");
        buf_z(&b, quoted_type(a, args[i]->type));
    }
    buf_z(&b, close);
    const char *out = arena_z(a, buf_view(&b));
    buf_free(&b);
    return out;
}

enum err expr_fault(const struct expr *e, struct fault *f, int n, enum err id, const struct fault_param *params)
{
    fault_set(f, id, n > 0 && !params[0].name[0] ? 0 : n, params); /* {"", ""}: no parameters */
    fault_context(f, &e->origin);
    return id;
}

enum err bind_fault(struct bind_call *bc, enum err id, int n, const struct fault_param *params)
{
    struct str sql = bc->e->sql.n ? bc->e->sql : bind_sql(bc); /* a binder may have printed the call its own way */
    struct fault_param with[FAULT_PARAMS] = {{"sqlExpr", arena_fmt(bc->b->arena, "\"%.*s\"", STR_ARG(sql)).p}};
    int m = 1;
    for (int i = 0; i < n && m < FAULT_PARAMS; i++)
        with[m++] = params[i];
    fault_set(bc->f, id, m, with);
    fault_context(bc->f, &bc->b->origin);
    return id;
}

enum err bind_fault_plain(struct bind_call *bc, enum err id, int n, const struct fault_param *params)
{
    fault_set(bc->f, id, n, params);
    fault_context(bc->f, &bc->b->origin);
    return id;
}

/* -- names -------------------------------------------------------------------------------------------------------------- */
static void put_args(struct buf *out, const struct expr *e, int from)
{
    for (int i = from; i < e->nargs; i++) {
        buf_z(out, i > from ? ", " : "");
        buf_str(out, e->args[i]->sql);
    }
}

/* "$0 LIKE $1", "$@": all arguments, "$n": the shown name. */
static void put_format(struct buf *out, struct bind_call *bc, const char *format)
{
    for (; *format; format++) {
        if (*format != '$') {
            buf_u8(out, (uint8_t)*format);
            continue;
        }
        format++;
        if (*format == '@')
            put_args(out, bc->e, 0);
        else if (*format == '+')
            put_args(out, bc->e, 1);
        else if (*format == 'n')
            buf_str(out, bc->shown);
        else if (*format >= '0' && *format <= '9' && *format - '0' < bc->e->nargs)
            buf_str(out, bc->e->args[*format - '0']->sql);
    }
}

struct str bind_sql(struct bind_call *bc)
{
    struct buf b = {0};
    if (bc->fn->sql) {
        put_format(&b, bc, bc->fn->sql);
    } else {
        buf_str(&b, bc->shown);
        buf_u8(&b, '(');
        if (bc->e->distinct)
            buf_z(&b, "DISTINCT ");
        put_args(&b, bc->e, 0);
        buf_u8(&b, ')');
    }
    struct str s = arena_str(bc->b->arena, buf_view(&b));
    buf_free(&b);
    return s;
}

/* -- arguments ------------------------------------------------------------------------------------------------------------ */
enum err coerce_to(struct bind *b, struct expr **e, const struct type *t, struct fault *f)
{
    if (type_eq((*e)->type, t))
        return ERR_OK;
    enum cast_mode mode = b->ansi ? CAST_ANSI : CAST_LEGACY;
    return expr_cast(b, *e, t, mode, false, e, f);
}

static const char *letter_name(char letter)
{
    static const char *const NAME[128] = {
        ['S'] = "STRING",
        ['s'] = "STRING",
        ['X'] = "BINARY",
        ['B'] = "BOOLEAN",
        ['I'] = "INT",
        ['L'] = "BIGINT",
        ['D'] = "DOUBLE",
        ['N'] = "NUMERIC",
        ['C'] = "DECIMAL",
        ['d'] = "DATE",
        ['t'] = "TIMESTAMP",
        ['A'] = "ARRAY",
        ['M'] = "MAP",
        ['n'] = "TIMESTAMP_NTZ",
        ['Y'] = "TINYINT",
        ['F'] = "FLOAT",
        ['H'] = "SMALLINT",
        ['V'] = "INTERVAL DAY TO SECOND",
        ['W'] = "INTERVAL YEAR TO MONTH",
    };
    const char *n = NAME[letter & 127];
    return n ? n : "ANY";
}

static const char *required_text(struct arena *a, const char *letters, size_t n)
{
    struct buf b = {0};
    buf_z(&b, n > 1 ? "(" : "");
    for (size_t i = 0; i < n; i++)
        buf_fmt(&b, "%s\"%s\"", i ? " or " : "", letter_name(letters[i]));
    buf_z(&b, n > 1 ? ")" : "");
    const char *out = arena_z(a, buf_view(&b));
    buf_free(&b);
    return out;
}

static enum err unexpected_input(struct bind_call *bc, int i, const char *letters, size_t n)
{
    struct arena *a = bc->b->arena;
    const struct expr *arg = bc->e->args[i];
    return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE,
                      {"paramIndex", i < 9 ? ORDINALS[i] : arena_fmt(a, "%dth", i + 1).p},
                      {"requiredType", required_text(a, letters, n)}, {"inputSql", quoted_expr(a, arg)},
                      {"inputType", quoted_type(a, arg->type)});
}

/* One argument to one of the letters: as it is, or the first that an implicit cast reaches. */
static enum err bind_arg(struct bind_call *bc, int i, const char *letters, size_t n)
{
    const struct type *to = NULL, *from = bc->e->args[i]->type;
    if (letters[0] == '*')
        return ERR_OK;
    for (size_t k = 0; k < n; k++)
        if (type_implicit(bc->b, from, letters[k], &to) && type_eq(to, from))
            return ERR_OK;
    for (size_t k = 0; k < n; k++)
        if (type_implicit(bc->b, from, letters[k], &to))
            return coerce_to(bc->b, &bc->e->args[i], to, bc->f);
    return unexpected_input(bc, i, letters, n);
}

enum err bind_args(struct bind_call *bc, const char *in)
{
    const char *spec = in;
    for (int i = 0; i < bc->e->nargs; i++) {
        size_t n = strcspn(spec, ",.");
        if (n == 0)
            return ERR_OK;
        enum err err = bind_arg(bc, i, spec, n);
        if (err)
            return err;
        if (spec[n] == ',')
            spec += n + 1;
        else if (spec[n] != '.')
            return ERR_OK;
    }
    return ERR_OK;
}

bool expr_args_nullable(const struct expr *e)
{
    for (int i = 0; i < e->nargs; i++)
        if (e->args[i]->nullable)
            return true;
    return false;
}

static const struct type *result_type(struct bind_call *bc, const char *r)
{
    struct arena *a = bc->b->arena;
    const struct expr *e = bc->e;
    if (r[0] == 'a' && r[1]) {
        bool of_arg = r[1] >= '0' && r[1] <= '9';
        return type_array(a, result_type(bc, r + 1), of_arg && e->args[r[1] - '0']->nullable);
    }
    if (r[0] == 'e')
        return e->args[r[1] - '0']->type->fields[0].type;
    if (r[0] >= '0' && r[0] <= '9')
        return e->args[r[0] - '0']->type;
    const struct type *t = NULL;
    return type_implicit(bc->b, type_simple(TYPE_NULL), r[0], &t) ? t : type_simple(TYPE_NULL);
}

enum err bind_standard(struct bind_call *bc)
{
    enum err err = bind_args(bc, bc->fn->in);
    if (err)
        return err;
    bc->e->type = result_type(bc, bc->fn->result);
    bc->e->nullable = bc->fn->flags & FN_NOT_NULL ? false : bc->fn->flags & FN_NULLABLE || expr_args_nullable(bc->e);
    return ERR_OK;
}

/* -- calls ----------------------------------------------------------------------------------------------------------------- */
static enum err wrong_number(struct bind *b, const struct function *fn, struct str shown, int n, struct fault *f)
{
    struct arena *a = b->arena;
    struct str expected;
    if (fn->max_args < 0)
        expected = arena_fmt(a, "> %d", fn->min_args - 1);
    else if (fn->max_args == fn->min_args)
        expected = arena_fmt(a, "%d", fn->min_args);
    else {
        expected = arena_fmt(a, "[%d", fn->min_args);
        for (int i = fn->min_args + 1; i <= fn->max_args; i++)
            expected = arena_fmt(a, "%.*s, %d", STR_ARG(expected), i);
        expected = arena_fmt(a, "%.*s]", STR_ARG(expected));
    }
    FAULT(f, ERR_WRONG_NUM_ARGS_TVF, {"functionName", quoted_name(a, shown)}, {"expectedNum", expected.p},
          {"actualNum", arena_fmt(a, "%d", n).p}, {"docroot", DOCROOT});
    fault_context(f, &b->origin);
    return ERR_WRONG_NUM_ARGS_TVF;
}

static struct str lower(struct arena *a, struct str s)
{
    char *p = arena_z(a, s);
    for (size_t i = 0; i < s.n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] + 32);
    return str_make(p, s.n);
}

static enum err unresolved(struct bind *b, struct str name, struct fault *f)
{
    FAULT(f, ERR_UNRESOLVED_ROUTINE, {"routineName", quoted_name(b->arena, name)},
          {"searchPath", "[`system`.`builtin`, `system`.`session`, `spark_catalog`.`default`]"});
    fault_context(f, &b->origin);
    return ERR_UNRESOLVED_ROUTINE;
}

static enum err bind_found(struct bind *b, const struct function *fn, struct str shown, struct str called,
                           struct expr **args, int nargs, bool distinct, struct expr **out, struct fault *f)
{
    if (nargs < fn->min_args || (fn->max_args >= 0 && nargs > fn->max_args))
        return wrong_number(b, fn, lower(b->arena, called), nargs, f);
    struct expr *e = expr_new(b, fn->flags & FN_AGG ? EXPR_AGG : EXPR_CALL, nargs);
    e->fn = fn;
    e->distinct = distinct;
    for (int i = 0; i < nargs; i++)
        e->args[i] = args[i];
    struct bind_call bc = {.b = b, .fn = fn, .e = e, .shown = shown, .f = f};
    enum err err = fn->bind ? fn->bind(&bc) : bind_standard(&bc);
    if (err)
        return err;
    e = bc.e;
    if (!e->sql.n)
        e->sql = bind_sql(&bc);
    if (e->fn == fn) { /* a binder may have put another expression in its place */
        e->deterministic = !(fn->flags & FN_NONDET);
        e->foldable = !(fn->flags & (FN_NONDET | FN_NOFOLD | FN_AGG));
        for (int i = 0; i < e->nargs; i++) {
            e->deterministic &= e->args[i]->deterministic;
            e->foldable &= e->args[i]->foldable;
        }
    }
    *out = e;
    return ERR_OK;
}

enum err expr_call(struct bind *b, struct str name, struct expr **args, int nargs, bool distinct, struct expr **out,
                   struct fault *f)
{
    struct str shown;
    const struct function *fn = function_find(name, &shown);
    if (!fn || fn->flags & FN_HIDDEN)
        return unresolved(b, name, f);
    return bind_found(b, fn, shown, name, args, nargs, distinct, out, f);
}

enum err bind_call_name(struct bind *b, const char *name, struct expr **args, int nargs, struct expr **out,
                        struct fault *f)
{
    struct str shown;
    const struct function *fn = function_find(str_of(name), &shown);
    if (!fn)
        return fault_internal(f, "no function %s", name);
    return bind_found(b, fn, shown, str_of(name), args, nargs, false, out, f);
}

/* -- constants ---------------------------------------------------------------------------------------------------------------- */
bool expr_constant(struct bind *b, const struct expr *e, struct column *out)
{
    if (e->kind == EXPR_LITERAL)
        return *out = e->literal, true;
    if (!e->foldable)
        return false;
    static const struct type empty = {.id = TYPE_STRUCT};
    struct batch_cols one = {.schema = &empty, .n = 1};
    struct fault f = {0};
    struct eval ev = {.arena = b->arena, .in = &one, .zone = b->zone, .fault = &f};
    if (expr_eval(e, &ev, out))
        return false;
    column_const(out, out, 0, 1, b->arena);
    return true;
}

bool expr_constant_str(struct bind *b, const struct expr *e, struct str *out, bool *is_null)
{
    struct column c;
    if (!expr_constant(b, e, &c) || (e->type->id != TYPE_STRING && e->type->id != TYPE_NULL))
        return false;
    *is_null = !col_valid(&c, 0) || e->type->id == TYPE_NULL;
    *out = *is_null ? STR("") : c.data.str[0];
    return true;
}

bool expr_constant_i64(struct bind *b, const struct expr *e, int64_t *out, bool *is_null)
{
    struct column c;
    if (!expr_constant(b, e, &c) || (!type_is_integral(e->type) && e->type->id != TYPE_NULL))
        return false;
    *is_null = !col_valid(&c, 0) || e->type->id == TYPE_NULL;
    size_t w = type_width(e->type);
    *out = *is_null ? 0 : w == 1 ? c.data.i8[0] : w == 2 ? c.data.i16[0] : w == 4 ? c.data.i32[0] : c.data.i64[0];
    return true;
}
