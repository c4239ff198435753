/*
 * What a stream cannot do, and what a checkpoint must keep. The rules and texts are those of Spark's
 * UnsupportedOperationChecker, for the operators that plans are made of here.
 */
#include "plan_int.h"

#include <stdio.h>

#define MANY(what) what " are not supported on streaming DataFrames/Datasets"

static enum err refuse(struct fault *f, const char *message)
{
    return FAULT(f, ERR_STREAMING_UNSUPPORTED, {"msg", message});
}

static enum err refuse_mode(struct fault *f, enum output_mode mode, const char *operation)
{
    static const char *const MODES[] = {
        [OUTPUT_APPEND] = "append", [OUTPUT_UPDATE] = "update", [OUTPUT_COMPLETE] = "complete"};
    return FAULT(f, ERR_OUTPUT_MODE_UNSUPPORTED, {"outputMode", MODES[mode]}, {"operation", operation});
}

/* What is found on the way down from the sink. */
struct walk {
    enum output_mode mode;
    const struct plan_node *aggregate; /* the one nearest to the sink */
    int stateful, aggregates;
    struct fault *f;
};

static const struct plan_node *aggregate_below(const struct plan_node *n)
{
    if (n->kind == PLAN_AGGREGATE && n->is_streaming)
        return n;
    for (int i = 0; i < n->nchildren; i++) {
        const struct plan_node *found = aggregate_below(n->children[i]);
        if (found)
            return found;
    }
    return NULL;
}

static enum err check_aggregate(struct walk *w, const struct plan_node *n)
{
    w->aggregates++;
    w->stateful++;
    for (int i = 0; i < n->naggs; i++)
        if (n->aggs[i]->distinct)
            return refuse(w->f,
                          "Distinct aggregations are not supported on streaming DataFrames/Datasets. Consider using "
                          "approx_count_distinct() instead.");
    if (w->aggregates > 1)
        return FAULT(w->f, ERR_UNSUPPORTED, {"feature", "more than one aggregation in a streaming query"},
                     {"hint", "Write the first to a topic and aggregate that."});
    return ERR_OK;
}

static enum err check_node(struct walk *w, const struct plan_node *n)
{
    if (!n->is_streaming)
        return ERR_OK;
    switch (n->kind) {
    case PLAN_AGGREGATE:
        return check_aggregate(w, n);
    case PLAN_DEDUP:
        w->stateful++;
        if (aggregate_below(n->children[0]))
            return refuse(w->f, "dropDuplicates is not supported after aggregation on a streaming DataFrame/Dataset");
        return ERR_OK;
    case PLAN_SORT:
        if (w->mode == OUTPUT_COMPLETE && aggregate_below(n->children[0]))
            return ERR_OK;
        return refuse(w->f, "Sorting is not supported on streaming DataFrames/Datasets, unless it is on aggregated "
                            "DataFrame/Dataset in Complete output mode");
    case PLAN_LIMIT:
        if (n->offset)
            return FAULT(w->f, ERR_UNSUPPORTED, {"feature", "OFFSET on a stream"}, {"hint", ""});
        if (n->tail)
            return refuse(w->f, MANY("Tails"));
        if (w->mode == OUTPUT_UPDATE)
            return refuse(w->f, "Limits are not supported on streaming DataFrames/Datasets in Update output mode");
        return ERR_OK;
    case PLAN_JOIN:
        return FAULT(w->f, ERR_UNSUPPORTED, {"feature", "a join with a stream"}, {"hint", ""});
    case PLAN_SAMPLE:
        return refuse(w->f, "Sampling is not supported on streaming DataFrames/Datasets");
    case PLAN_UNION:
        for (int i = 0; i < n->nchildren; i++)
            if (!n->children[i]->is_streaming)
                return refuse(w->f, "Union between streaming and batch DataFrames/Datasets is not supported");
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static enum err check_tree(struct walk *w, const struct plan_node *n)
{
    enum err err = check_node(w, n);
    for (int i = 0; !err && i < n->nchildren; i++)
        err = check_tree(w, n->children[i]);
    return err;
}

enum err plan_check_streaming(const struct plan *p, enum output_mode mode, struct fault *f)
{
    struct walk w = {.mode = mode, .f = f};
    if (!p->is_streaming)
        return FAULT(f, ERR_WRITE_STREAM_OF_BATCH, {"methodName", "writeStream"});
    const struct plan_node *agg = aggregate_below(p->root);
    if (mode == OUTPUT_APPEND && agg && agg->watermark_column < 0)
        return refuse_mode(f, mode, "streaming aggregations without watermark");
    if (mode == OUTPUT_COMPLETE && !agg)
        return refuse_mode(f, mode, "no streaming aggregations");
    return check_tree(&w, p->root);
}

enum err plan_check_batch(const struct plan *p, struct fault *f)
{
    if (!p->is_streaming)
        return ERR_OK;
    return refuse(
        f, "Queries with streaming sources must be executed with writeStream.start(), or from a streaming table or "
           "flow definition within a Spark Declarative Pipeline.");
}

/* -- what a checkpoint must keep ---------------------------------------------------------------------------------------- */
static void put_expr(struct buf *out, const struct plan *p, const struct expr *e)
{
    buf_fmt(out, "%.*s %.*s", STR_ARG(e->sql), STR_ARG(type_simple_string(p->arena, e->type)));
}

static void put_list(struct buf *out, const struct plan *p, struct expr *const *e, int n)
{
    for (int i = 0; i < n; i++) {
        buf_z(out, i ? ", " : "");
        if (e[i]->distinct)
            buf_z(out, "distinct ");
        put_expr(out, p, e[i]);
    }
}

static void signature(const struct plan *p, const struct plan_node *n, struct buf *out)
{
    for (int i = 0; i < n->nchildren; i++)
        signature(p, n->children[i], out);
    if (!n->is_streaming)
        return;
    if (n->kind == PLAN_AGGREGATE || n->kind == PLAN_DEDUP) {
        buf_z(out, n->kind == PLAN_AGGREGATE ? "aggregate by (" : "deduplicate by (");
        put_list(out, p, n->group, n->ngroup);
        buf_z(out, ") of (");
        put_list(out, p, n->aggs, n->naggs);
        buf_fmt(out, ")%s; ", n->watermark_column >= 0 ? " with watermark" : "");
    } else if (n->kind == PLAN_LIMIT) {
        buf_fmt(out, "limit %lld; ", (long long)n->limit);
    } else if (n->kind == PLAN_SCAN) {
        buf_fmt(out, "source %d %.*s; ", n->scan_id, STR_ARG(n->format));
    }
}

void plan_state_signature(const struct plan *p, struct buf *out)
{
    signature(p, p->root, out);
}
