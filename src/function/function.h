/*
 * function: bound expressions, the table of SQL functions, and the vectorized evaluator.
 *
 * A bound expression (struct expr) has a type, a nullability and its pretty SQL text; it reads columns of its input by
 * ordinal. plan/ builds them bottom-up through expr_* constructors, which look functions up, coerce arguments as Spark's
 * ANSI type coercion does, and refuse with Spark's error classes. After that an expression is read-only and may be
 * evaluated by many threads, each with its own struct eval.
 *
 *    tree (sql/) ──plan──▶ expr_column, expr_call("+", …), expr_cast … ──▶ struct expr ──expr_eval(batch)──▶ column
 *
 * The table is spec/functions/AREA.def, one row per function: names, arity, type rule, null rule, determinism, kernel,
 * one-line doc, example. Aggregates have rows too. A new area is a .def file listed in all.def and kernels named fn_….
 *
 * Kernels never see time, threads or files: struct eval carries the batch timestamp, session zone and configuration.
 * Errors under ANSI (overflow, division by zero, bad cast) are raised only for rows that are `active`: a CASE branch or the
 * right side of AND evaluates with a narrower mask, so that guarded expressions do not fail.
 */
#ifndef PENSTOCK_FUNCTION_FUNCTION_H
#define PENSTOCK_FUNCTION_FUNCTION_H

#include "base/origin.h"
#include "column/column.h"

struct function; /* a row of the table */
struct zone;     /* a time zone, from the system's TZif files; cached for the life of the process */

enum expr_kind {
    EXPR_LITERAL,
    EXPR_COLUMN,
    EXPR_CALL,
    EXPR_CAST,
    EXPR_FIELD,
    EXPR_CASE,
    EXPR_LAMBDA,
    EXPR_LAMBDA_VAR,
    EXPR_AGG
};

struct expr {
    enum expr_kind kind;
    const struct type *type;
    bool nullable;
    bool deterministic;
    bool foldable;  /* no column below: may be evaluated at plan time */
    struct str sql; /* toPrettySQL: "(a + 1)", "avg(rating)"; the name of an unaliased column */
    struct origin origin;
    int nargs;
    struct expr **args;        /* CASE: cond, value, cond, value … [else] */
    int ordinal;               /* COLUMN, FIELD, LAMBDA_VAR */
    struct column literal;     /* LITERAL: a constant column (n = 1) */
    const struct function *fn; /* CALL, AGG */
    const void *bound;         /* what the binder made for the kernel: compiled pattern, JSON reader … */
    struct str bound_text; /* what the binder moved out of the arguments into `bound`, as text: it tells calls apart */
    bool ansi, try_;       /* CAST and arithmetic: fail / NULL on error */
    bool user_specified;   /* CAST that the user wrote: it shows in names */
    bool distinct;         /* AGG */
    struct expr *filter;   /* AGG … FILTER (WHERE filter) */
};

/* What binding may know. */
struct bind {
    struct arena *arena; /* the plan's */
    bool ansi;           /* spark.sql.ansi.enabled */
    bool case_sensitive;
    const struct zone *zone; /* spark.sql.session.timeZone */
    struct str zone_name;
    struct origin origin;                            /* of the node being bound */
    const char *(*conf)(void *arg, const char *key); /* other session confs; NULL: default */
    void *conf_arg;
    int32_t lambda_base;
};

/* -- binding ------------------------------------------------------------------------------------------------------ */
struct expr *expr_column(struct bind *b, int ordinal, struct str name, const struct type *t, bool nullable);
struct expr *expr_literal(struct bind *b, const struct column *value, bool value_is_null);
struct expr *expr_lit_i32(struct bind *b, int32_t v);
struct expr *expr_lit_str(struct bind *b, struct str v);
struct expr *expr_lit_bool(struct bind *b, bool v);
struct expr *expr_null(struct bind *b, const struct type *t);
/* A call by name (case-insensitive; operators by symbol: "+", "=", "and", "<=>", "!", "negative"). Errors: UNRESOLVED_ROUTINE,
 * WRONG_NUM_ARGS, DATATYPE_MISMATCH.*, … Aggregates come back as EXPR_AGG. window(…) comes back as a struct-valued call. */
CHECK enum err expr_call(struct bind *b, struct str name, struct expr **args, int nargs, bool distinct,
                         struct expr **out, struct fault *f);
bool function_exists(struct str name);
bool function_is_aggregate(struct str name);
enum cast_mode { CAST_ANSI, CAST_TRY, CAST_LEGACY };
CHECK enum err expr_cast(struct bind *b, struct expr *e, const struct type *to, enum cast_mode mode,
                         bool user_specified, struct expr **out, struct fault *f);
CHECK enum err expr_field(struct bind *b, struct expr *e, struct str name, struct expr **out, struct fault *f);
CHECK enum err expr_case(struct bind *b, struct expr **args, int nargs, struct expr **out, struct fault *f);
/* The common type of set operations and CASE branches; false: none. */
bool type_widen(struct arena *a, const struct type *x, const struct type *y, const struct type **out);
/*
 * A window(time, duration[, slide[, start]]) call: its facts and its time argument; false when e is none. Evaluated as it
 * stands it gives the tumbling window of each row (struct<start,end>); sliding ones and the dropping of rows without a
 * time are the planner's.
 */
struct window_spec {
    int64_t duration_us, slide_us, start_us;
};
bool expr_window(const struct expr *e, struct window_spec *spec, struct expr **time);
/* Replace constant subtrees by literals (errors stay for run time). */
CHECK enum err expr_fold(struct bind *b, struct expr **e, struct fault *f);
/* Call fn on e and everything below, parents first; stop at true. */
bool expr_walk(struct expr *e, bool (*fn)(struct expr *e, void *arg), void *arg);
/* A from_json call that extracts only the fields with used[i] (the type stays; other fields are NULL); `call` itself when it
 * is none, or when its options look at every field. */
struct expr *json_prune(struct bind *b, struct expr *call, const bool *used);
/* Structural equality (same columns, functions, literals): finds GROUP BY expressions in the select list. */
bool expr_eq(const struct expr *a, const struct expr *b);

/* -- evaluation --------------------------------------------------------------------------------------------------- */
struct eval {
    struct arena *arena; /* results and scratch; reset by the caller between batches */
    const struct batch_cols *in;
    const uint8_t *active; /* per row: 1 if errors count; NULL: all */
    int64_t now_us;        /* current_timestamp of the batch */
    const struct zone *zone;
    const struct column *lambda_vars; /* by ordinal */
    uint64_t random_state;
    struct fault *fault;
};
/* One value per row of ev->in; the result may alias an input column or be constant. */
CHECK enum err expr_eval(const struct expr *e, struct eval *ev, struct column *out);
/* Evaluate a boolean expression into the row numbers that are true; returns how many through *n. */
CHECK enum err expr_select(const struct expr *e, struct eval *ev, uint32_t *rows, uint32_t *n);

/* -- aggregates ---------------------------------------------------------------------------------------------------- */
/*
 * An aggregate keeps `state_size(agg)` bytes per group, zero-initialised, 16-aligned; what is longer than that (strings, lists) lives in
 * the state arena. Merge is associative up to floating-point rounding. save/load are the form of checkpoints and exchanges.
 */
struct agg_state_env {
    struct arena *arena; /* lives as long as the groups */
    struct fault *fault;
};
size_t agg_state_size(const struct expr *agg);
bool agg_state_is_plain(const struct expr *agg); /* it is all in those bytes */
/* states[i] belongs to row i of args (argument columns already evaluated, in order); rows whose filter is false are left out by the caller. */
CHECK enum err agg_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                          struct agg_state_env *env);
CHECK enum err agg_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env);
/* One result row per state into out (allocated from a). Overflow under ANSI is raised here or in update, as in Spark. */
CHECK enum err agg_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out, struct arena *a,
                          struct fault *f);
void agg_save(const struct expr *agg, const void *state, struct buf *out);
bool agg_load(const struct expr *agg, void *state, struct rd *r, struct agg_state_env *env); /* false: malformed */

/* -- text, time --------------------------------------------------------------------------------------------------- */
/* CAST(value AS STRING) of one value, as Spark prints it (nested too). Display = as show() prints it (binary as hex [..]). */
void value_text(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone);
void value_display(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone);
/* As to_json / toJSON writes it. */
void value_json(struct buf *out, const struct column *c, uint32_t i, const struct zone *zone);
/* Java's Double.toString / Float.toString. */
void double_text(struct buf *out, double v);
void float_text(struct buf *out, float v);
/* "Europe/Paris", "UTC", "+02:00", "GMT+2": NULL and INVALID_TIMEZONE when unknown. */
const struct zone *zone_find(struct str name, struct fault *f);
int32_t zone_offset_s(const struct zone *z, int64_t utc_us);          /* seconds east of UTC at that instant */
int64_t zone_local_to_utc_us(const struct zone *z, int64_t local_us); /* gaps and overlaps as java.time resolves them */
/* Interval texts: "10 seconds", "interval 1 hour 30 minutes" → months, days, micros. */
bool interval_parse(struct str text, struct calendar_interval *out);
/* A window of `window(ts, duration, slide, start)`: see struct window_spec in plan.h for how plans use it. */

/* Iterate the table: documentation, SHOW FUNCTIONS, did-you-mean. NULL at the end. */
const struct function *function_next(const struct function *f);
const char *function_name(const struct function *f);
const char *function_doc(const struct function *f);
const char *function_example(const struct function *f); /* SQL whose golden real Spark recorded */

#endif
