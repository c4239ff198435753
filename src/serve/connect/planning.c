#include "serve/connect/connect_int.h"
#include "source/source.h"

#include <stdio.h>

/* -- what analysis asks of the session ----------------------------------------------------------------------------- */
/* "a.b.c" of name parts, as views are keyed. */
struct str join_parts(struct arena *a, const struct str *parts, int n)
{
    struct buf b = {0};
    for (int i = 0; i < n; i++) {
        if (i)
            buf_z(&b, ".");
        buf_str(&b, parts[i]);
    }
    struct str s = arena_str(a, buf_view(&b));
    buf_free(&b);
    return s;
}

static const struct rel *find_view(void *arg, const struct str *parts, int nparts)
{
    struct planning *p = arg;
    struct str name = join_parts(p->arena, parts, nparts);
    struct view *v = session_view(p->session, name);
    if (v) {
        vec_push(&p->views, v); /* held until the request is done */
        return v->rel;
    }
    return nparts == 1 ? memory_table(p->session->tables, parts[0], p->arena) : NULL;
}

static const char *find_conf(void *arg, const char *key)
{
    struct planning *p = arg;
    return session_conf(p->session, key);
}

static enum err find_source_schema(void *arg, struct str format, const struct option *options, int noptions,
                                   const struct type *user_schema, bool is_streaming, struct arena *a,
                                   const struct type **schema, struct fault *f)
{
    (void)arg;
    return source_schema(format, options, noptions, user_schema, is_streaming, a, schema, f);
}

void planning_init(struct planning *p, struct session *s)
{
    *p = (struct planning){.session = s, .arena = arena_new(0)};
    p->env = (struct plan_env){p, find_view, find_conf, find_source_schema};
}

void planning_free(struct planning *p)
{
    for (size_t i = 0; i < p->views.n; i++)
        view_release(p->views.p[i]);
    vec_free(&p->views);
    arena_free(p->arena);
}

/* -- running a batch plan ------------------------------------------------------------------------------------------ */
struct run {
    struct planning *p;
    struct op_env env;
    VEC(struct source *) sources;
};

static enum err open_scan(void *arg, const struct plan_node *scan, struct op **out, struct fault *f)
{
    struct run *r = arg;
    struct source *s;
    struct source_env env = *r->p->session->server->o.source;
    env.cancelled = r->env.cancelled;
    enum err e = source_open(&env, scan, false, &s, f);
    if (e)
        return e;
    vec_push(&r->sources, s);
    return source_read(s, (struct str){0}, (struct str){0}, &(struct source_part){.n = 1}, &r->env, out, f);
}

static enum err open_stateful(void *arg, const struct plan_node *node, struct op *child, struct op **out,
                              struct fault *f)
{
    (void)arg, (void)node, (void)child, (void)f;
    *out = NULL; /* as in any batch */
    return ERR_OK;
}

static enum err pull(struct op *op, const bool *cancelled, const char *id,
                     enum err (*rows)(void *arg, const struct batch_cols *b, struct fault *f), void *arg,
                     struct fault *f)
{
    for (;;) {
        struct batch_cols *b;
        if (__atomic_load_n(cancelled, __ATOMIC_ACQUIRE))
            return FAULT(f, ERR_CANCELLED, {"operationId", id});
        enum err e = op_next(op, &b, f);
        if (e || !b)
            return e;
        e = rows(arg, b, f);
        if (e)
            return e;
    }
}

enum err run_rel(struct planning *p, const struct rel *rel, const bool *cancelled,
                 enum err (*start)(void *arg, const struct plan *plan, struct fault *f),
                 enum err (*rows)(void *arg, const struct batch_cols *b, struct fault *f), void *arg, struct fault *f)
{
    struct plan *plan = NULL;
    struct op *op = NULL;
    struct op_memory memory = {p->session->server->o.memory_bytes, 0};
    struct run r = {.p = p};
    enum err e = plan_analyze(rel, &p->env, &plan, f);
    if (e)
        return e;
    r.env = (struct op_env){.now_us = os_now_us(),
                            .zone = plan->bind.zone,
                            .memory = &memory,
                            .cancelled = cancelled,
                            .arg = &r,
                            .open_scan = open_scan,
                            .open_stateful = open_stateful};
    e = plan_check_batch(plan, f);
    if (!e)
        e = start(arg, plan, f);
    if (!e)
        e = op_build(plan->root, &r.env, &op, f);
    if (!e)
        e = pull(op, cancelled, p->session->id, rows, arg, f);
    op_close(op);
    for (size_t i = 0; i < r.sources.n; i++)
        source_close(r.sources.p[i]);
    vec_free(&r.sources);
    plan_free(plan);
    return e;
}
