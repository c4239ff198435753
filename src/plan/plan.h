/*
 * plan: unresolved tree → bound, optimized plan; read-only once built.
 *
 *   struct rel ──resolve names, stars, views──▶ bound nodes ──check (aggregates, streaming)──▶ prune, fold ──▶ struct plan
 *
 * A plan node is physical enough for operator/ to build an operator from it, one file per node kind. Expressions of a node
 * read the columns of its child by ordinal. Column pruning reaches scans and from_json (only the fields that are used are
 * extracted), projections collapse, and count/distinct rewrites are done here.
 * A plan owns its arena; everything it points at lives there. Many threads may run one plan.
 * Errors are Spark's: UNRESOLVED_COLUMN.WITH_SUGGESTION, TABLE_OR_VIEW_NOT_FOUND, MISSING_AGGREGATION, …
 */
#ifndef PENSTOCK_PLAN_PLAN_H
#define PENSTOCK_PLAN_PLAN_H

#include "function/function.h"
#include "sql/sql.h"

enum plan_kind {
    PLAN_ONE_ROW,
    PLAN_LOCAL, /* batches */
    PLAN_RANGE, /* start, end, step */
    PLAN_SCAN, /* a source: format, options, source schema; `wanted` = ordinals of the source's columns that are read */
    PLAN_PROJECT,   /* exprs */
    PLAN_FILTER,    /* exprs[0] */
    PLAN_AGGREGATE, /* group[] + aggs[] (EXPR_AGG): output = group columns then one column per aggregate */
    PLAN_SORT,      /* exprs + descending[] + nulls_last[] */
    PLAN_LIMIT,     /* offset, limit (-1: none); tail */
    PLAN_UNION,     /* children, same types */
    PLAN_WATERMARK, /* column, delay_us: rows pass; the column's maximum moves the query's watermark */
    PLAN_EXPAND_WINDOW, /* sliding window(): each row becomes one row per window that holds it; column `window` replaced/appended */
    PLAN_EXPLODE, /* exprs[0] an array or map; outer; with_position */
    PLAN_DEDUP,   /* streaming dropDuplicates: keys in group[]; batch distinct becomes PLAN_AGGREGATE */
    PLAN_JOIN, /* children left, right; keys and condition below; the left columns, then the right ones (semi, anti: left only) */
    PLAN_SHOW, /* showString: one row, one column show_string */
    PLAN_SAMPLE,
};

enum join_kind { JOIN_INNER, JOIN_LEFT, JOIN_RIGHT, JOIN_FULL, JOIN_SEMI, JOIN_ANTI };

struct plan_node {
    enum plan_kind kind;
    const struct type *schema; /* STRUCT: the columns this node puts out */
    struct plan_node **children;
    int nchildren;
    struct expr **exprs;
    int nexprs;
    bool *descending, *nulls_last;
    struct expr **group, **aggs;
    int ngroup, naggs;
    struct batch_cols *batches; /* LOCAL */
    int nbatches;
    int64_t start, end, step; /* RANGE */
    int64_t offset, limit;
    bool tail;
    /* SCAN */
    struct str format;
    struct option *options;
    int noptions;
    const struct type *source_schema;
    int *wanted; /* schema->fields[i] is source column wanted[i] */
    bool is_streaming;
    int scan_id; /* 0, 1, … in plan order: a streaming query's source number */
    /* WATERMARK, AGGREGATE, DEDUP */
    int watermark_column;     /* WATERMARK: ordinal. AGGREGATE, DEDUP: which group[] carries the event time, or -1 */
    bool watermark_is_window; /* that key is a window struct: expiry looks at window.end */
    int64_t delay_us;
    struct window_spec window;
    int window_column;
    bool outer, with_position;
    /* SHOW */
    int show_rows, truncate;
    bool vertical, html;
    double fraction_from, fraction; /* SAMPLE: rows whose draw is in [from, from + fraction) */
    int64_t seed;
    /* JOIN: left_keys[i] over the left's columns equals right_keys[i] over the right's (never for nulls), and `condition`, if
     * any, holds over both sides' columns one behind the other. */
    enum join_kind join;
    struct expr **left_keys, **right_keys;
    int nkeys;
    struct expr *condition;
    int id; /* unique in the plan: names state stores and metrics */
};

struct plan {
    struct arena *arena;
    struct plan_node *root;
    const struct type *schema;
    bool is_streaming;
    int nscans;
    struct bind bind; /* zone, ansi, … as bound */
};

/* What analysis may ask of its surroundings (the session). */
struct plan_env {
    void *arg;
    /* A temp view's tree by name parts, or NULL. */
    const struct rel *(*view)(void *arg, const struct str *parts, int nparts);
    /* The relation behind an earlier plan_id/cached id is part of the tree itself; nothing to ask. */
    const char *(*conf)(void *arg, const char *key); /* session conf or its default; NULL: unknown */
    /* Columns of a source, and validation of its options. Errors as Spark's (DATA_SOURCE_NOT_FOUND, missing subscribe …). */
    enum err (*source_schema)(void *arg, struct str format, const struct option *options, int noptions,
                              const struct type *user_schema, bool is_streaming, struct arena *a,
                              const struct type **schema, struct fault *f);
};

/* Resolve, check, optimize. On success the caller owns *out (plan_free). */
CHECK enum err plan_analyze(const struct rel *rel, const struct plan_env *env, struct plan **out, struct fault *f);
void plan_free(struct plan *p);

enum output_mode { OUTPUT_APPEND, OUTPUT_UPDATE, OUTPUT_COMPLETE };
/* Spark's UnsupportedOperationChecker for a streaming plan (complete without aggregation, append aggregation without watermark, sorts …). */
CHECK enum err plan_check_streaming(const struct plan *p, enum output_mode mode, struct fault *f);
/* A streaming plan run as a batch, or the reverse, is refused as Spark does. */
CHECK enum err plan_check_batch(const struct plan *p, struct fault *f);
/* explain(): our tree, one node a line. extended: with expressions and types. */
void plan_text(const struct plan *p, bool extended, struct buf *out);
/* The shape that a checkpoint must keep (operators, keys, aggregates and types, in order): two plans are compatible when it is equal. */
void plan_state_signature(const struct plan *p, struct buf *out);

#endif
