/*
 * function_int: what the files of function/ share. Not for other modules, except through function.h.
 *
 * A row of the table (struct function) is written in spec/functions/AREA.def; its kernel is fn_NAME(struct call *), its
 * optional binder bind_NAME. The standard binder coerces the arguments to the row's signature; the evaluator evaluates
 * arguments, finds the rows that are null because an argument is, and hands the kernel a struct call.
 *
 *   signature  one letter per accepted type, several letters a choice, "," between parameters, "..." repeats the last:
 *              S string  s string, no other cast to it  X binary  B boolean  Y tinyint  I int  L bigint  D double  N numeric  C decimal  d date
 *              t timestamp  n timestamp_ntz  A array  M map  V interval day-time  W interval year-month  * anything
 *   result     one of those letters; 0..9 the type of that argument; e0 its element, a0 an array of it
 */
#ifndef PENSTOCK_FUNCTION_FUNCTION_INT_H
#define PENSTOCK_FUNCTION_FUNCTION_INT_H

#include "function/function.h"
#include "function/time_int.h"

#include <math.h>

enum fn_flags {
    FN_NULLABLE = 1,   /* may be NULL even when no argument is */
    FN_NOT_NULL = 2,   /* never NULL */
    FN_SEES_NULLS = 4, /* the kernel handles null arguments itself */
    FN_NONDET = 8,     /* another value at each call */
    FN_NOFOLD = 16,    /* known only when the query runs (current_timestamp) */
    FN_LAZY = 32,      /* the kernel evaluates its arguments itself (and, if, coalesce) */
    FN_AGG = 64,
    FN_HIDDEN = 128, /* a rewrite's helper: not callable by users, not listed */
};

struct call {
    const struct expr *e;
    struct eval *ev;
    uint32_t n;            /* rows to compute: 1 when every argument is constant */
    struct column *args;   /* evaluated (not for FN_LAZY) */
    struct column *out;    /* allocated for n rows of e->type (not for FN_LAZY) */
    uint8_t *valid;        /* of out; NULL: no null so far */
    const uint8_t *active; /* rows whose errors count; NULL: all */
};
typedef enum err kernel_fn(struct call *c);

struct bind_call { /* what a binder gets: fills e->type, nullable, args */
    struct bind *b;
    const struct function *fn;
    struct expr *e;
    struct str shown; /* the name the caller used, as Spark prints it */
    struct fault *f;
};
typedef enum err bind_fn(struct bind_call *bc);

struct function {
    const char *names;      /* "pow power:POWER": the name, then aliases; :SHOWN where Spark prints another */
    int min_args, max_args; /* max -1: any number */
    const char *in, *result;
    unsigned flags;
    kernel_fn *kernel;
    bind_fn *bind;
    int op;          /* for kernels that several rows share */
    const char *sql; /* "($0 + $1)": how it prints when not as name(arguments) */
    const char *doc, *example;
};

/* -- the table ------------------------------------------------------------------------------------------------------ */
const struct function *function_find(struct str name, struct str *shown);

/* -- binding --------------------------------------------------------------------------------------------------------- */
struct expr *expr_new(struct bind *b, enum expr_kind kind, int nargs);
/* Coerce e->args to fn->in; type and nullability by the row. What a binder calls when the arguments are as usual. */
CHECK enum err bind_standard(struct bind_call *bc);
CHECK enum err bind_args(struct bind_call *bc, const char *in);
enum err bind_fault(struct bind_call *bc, enum err e, int n,
                    const struct fault_param *params); /* adds sqlExpr, context */
#define BIND_FAULT(bc, id, ...)                                                                                        \
    bind_fault((bc), (id), (int)(sizeof((struct fault_param[]){__VA_ARGS__}) / sizeof(struct fault_param)),            \
               (struct fault_param[]){__VA_ARGS__})
/* The same without sqlExpr, for the errors that do not have it. */
enum err bind_fault_plain(struct bind_call *bc, enum err e, int n, const struct fault_param *params);
#define BIND_FAULT_PLAIN(bc, id, ...)                                                                                  \
    bind_fault_plain((bc), (id), (int)(sizeof((struct fault_param[]){__VA_ARGS__}) / sizeof(struct fault_param)),      \
                     (struct fault_param[]){__VA_ARGS__})
struct str bind_sql(struct bind_call *bc); /* prints the call from row and arguments */
bool expr_args_nullable(const struct expr *e);
/* An implicit cast (none when the type is right already). */
CHECK enum err coerce_to(struct bind *b, struct expr **e, const struct type *t, struct fault *f);
CHECK enum err bind_call_name(struct bind *b, const char *name, struct expr **args, int nargs, struct expr **out,
                              struct fault *f);
const char *quoted_type(struct arena *a, const struct type *t); /* "\"INT\"" */
const char *quoted_expr(struct arena *a, const struct expr *e); /* "\"(a + 1)\"" */
const char *quoted_name(struct arena *a, struct str name);      /* "`upper`" */
const char *type_list(struct arena *a, struct expr **args, int n, const char *open, const char *sep, const char *close);
extern const char *const ORDINALS[]; /* "first", "second" … */
/* The literal value of a foldable expression: a constant column; false when it cannot be evaluated now. */
bool expr_constant(struct bind *b, const struct expr *e, struct column *out);
bool expr_constant_str(struct bind *b, const struct expr *e, struct str *out, bool *is_null);
bool expr_constant_i64(struct bind *b, const struct expr *e, int64_t *out, bool *is_null);

/* -- coercion (TypeCoercion / AnsiTypeCoercion) ------------------------------------------------------------------------ */
bool type_tightest(struct bind *b, const struct type *x, const struct type *y, const struct type **out);
bool type_common(struct bind *b, const struct type *x, const struct type *y,
                 const struct type **out); /* with strings */
bool type_common_of(struct bind *b, struct expr **args, int n, const struct type **out);
bool type_implicit(struct bind *b, const struct type *from, char letter, const struct type **to);
bool type_can_cast(const struct type *from, const struct type *to, enum cast_mode mode);
bool type_orderable(const struct type *t);
bool cast_may_null(const struct type *from, const struct type *to);
const struct type *type_decimal_for(struct arena *a, const struct type *t); /* DecimalType.forType */
const struct type *type_decimal_adjusted(struct arena *a, int precision, int scale);

/* -- evaluation -------------------------------------------------------------------------------------------------------- */
static inline bool call_live(const struct call *c, uint32_t i)
{
    return !c->valid || c->valid[i];
}
static inline bool call_active(const struct call *c, uint32_t i)
{
    return !c->active || c->active[i];
}
void call_set_null(struct call *c, uint32_t i);
/* An error of row i: only when the row is active; otherwise the row becomes null and the kernel goes on. */
#define CALL_FAIL(c, i, id, ...)                                                                                       \
    do {                                                                                                               \
        if (call_active((c), (i)))                                                                                     \
            return expr_fault((c)->e, (c)->ev->fault,                                                                  \
                              (int)(sizeof((struct fault_param[]){__VA_ARGS__}) / sizeof(struct fault_param)), (id),   \
                              (struct fault_param[]){__VA_ARGS__});                                                    \
        call_set_null((c), (i));                                                                                       \
    } while (0)
enum err expr_fault(const struct expr *e, struct fault *f, int n, enum err id, const struct fault_param *params);
/* Allocate out for n rows and find the rows that are null because an argument is. */
void call_start(struct call *c, int nargs, bool nulls_pass);
enum err cast_column(struct call *c, const struct column *in, const struct type *to, enum cast_mode mode,
                     struct column *out);
#define CALL_I32(c, k, i) ((c)->args[k].data.i32[COL_AT(&(c)->args[k], i)])
#define CALL_I64(c, k, i) ((c)->args[k].data.i64[COL_AT(&(c)->args[k], i)])
#define CALL_F64(c, k, i) ((c)->args[k].data.f64[COL_AT(&(c)->args[k], i)])
#define CALL_STR(c, k, i) ((c)->args[k].data.str[COL_AT(&(c)->args[k], i)])

/* -- decimals ------------------------------------------------------------------------------------------------------------ */
typedef __int128 i128;
typedef unsigned __int128 u128;
extern const u128 POW10[39];
enum { DECIMAL_MAX = 38 };
int i128_digits(i128 v);
/* v at scale `from` to scale `to`, half up (or half even / floor / ceiling); false: beyond 38 digits. */
enum round_mode { ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_FLOOR, ROUND_CEILING, ROUND_DOWN };
bool decimal_rescale(i128 v, int from, int to, enum round_mode mode, i128 *out);
static inline bool decimal_fits(i128 v, int precision)
{
    u128 m = v < 0 ? -(u128)v : (u128)v;
    return m < POW10[precision];
}
bool decimal_mul(i128 x, int sx, i128 y, int sy, int scale, i128 *out);
bool decimal_div(i128 x, int sx, i128 y, int sy, int scale, enum round_mode mode, i128 *out);
void decimal_text(struct buf *out, i128 v, int scale);      /* BigDecimal.toPlainString */
void decimal_java_text(struct buf *out, i128 v, int scale); /* BigDecimal.toString: E notation for tiny values */
double decimal_double(i128 v, int scale);
bool decimal_parse(struct str s, int scale, i128 *out, bool *overflow); /* trimmed; half up; exponent allowed */
bool decimal_of_double(double v, int scale, i128 *out);

/* -- numbers and texts ----------------------------------------------------------------------------------------------------- */
bool parse_double(struct str s, double *out); /* Spark's string → double: trimmed, Infinity, NaN, trailing d/f */
bool parse_int(struct str s, int64_t *out, bool whole); /* UTF8String.toLong(Exact): trimmed */
void i128_text(struct buf *out, i128 v);
struct str text_of(struct arena *a, const struct column *c, uint32_t i, const struct zone *zone);
/* The value as Literal.sql prints it: 'x', 1L, DATE '2020-01-01' (as messages have it). */
const char *literal_sql(struct arena *a, const struct column *c, uint32_t i, const struct zone *zone);

/* -- time -------------------------------------------------------------------------------------------------------------------- */
#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_HOUR   (60 * US_PER_MINUTE)
/* Base64, as Java's basic encoder and MIME decoder have it. */
void base64_put(struct buf *out, struct str bytes);
bool text_from_base64(struct str s, struct arena *a, struct str *out);

/* -- aggregates ---------------------------------------------------------------------------------------------------------------- */
struct agg_kernel {
    size_t state_size;
    enum err (*update)(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                       struct agg_state_env *env);
    enum err (*merge)(const struct expr *agg, void *into, const void *from, struct agg_state_env *env);
    enum err (*result)(const struct expr *agg, void *const *states, uint32_t n, struct column *out, struct arena *a,
                       struct fault *f);
    void (*save)(const struct expr *agg, const void *state, struct buf *out);
    bool (*load)(const struct expr *agg, void *state, struct rd *r, struct agg_state_env *env);
};

#endif
