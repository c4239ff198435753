/*
 * Central moments, updated and merged as Spark's CentralMomentAgg does it: n, mean and the sums of the 2nd to 4th powers of
 * the deviations, which merge without the cancellation that sums of squares suffer from.
 */
#include "function/agg_int.h"
#include "function/statistics_int.h"

#include <math.h>

struct moments {
    double n, mean, m2, m3, m4;
};

static void moments_add(struct moments *s, double x)
{
    double n = s->n + 1, delta = x - s->mean, dn = delta / n, dn2 = dn * dn;
    double mean = s->mean + dn, m2 = s->m2 + delta * (delta - dn);
    double m3 = s->m3 - 3 * dn * m2 + delta * (delta * delta - dn2);
    s->m4 = s->m4 - 4 * dn * m3 - 6 * dn2 * m2 + delta * (delta * delta * delta - dn * dn2);
    *s = (struct moments){n, mean, m2, m3, s->m4};
}

static enum err moments_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                               struct agg_state_env *env)
{
    (void)agg, (void)env;
    for (uint32_t i = 0; i < n; i++)
        if (col_valid(args, i))
            moments_add(states[i], args->data.f64[COL_AT(args, i)]);
    return ERR_OK;
}

static enum err moments_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    (void)agg, (void)env;
    struct moments *a = into;
    const struct moments *b = from;
    double n = a->n + b->n, delta = b->mean - a->mean, dn = n == 0 ? 0 : delta / n;
    struct moments r = {.n = n, .mean = a->mean + dn * b->n, .m2 = a->m2 + b->m2 + delta * dn * a->n * b->n};
    r.m3 = a->m3 + b->m3 + dn * dn * delta * a->n * b->n * (a->n - b->n) + 3 * dn * (a->n * b->m2 - b->n * a->m2);
    r.m4 = a->m4 + b->m4 + dn * dn * dn * delta * a->n * b->n * (a->n * a->n - a->n * b->n + b->n * b->n) +
           6 * dn * dn * (a->n * a->n * b->m2 + b->n * b->n * a->m2) + 4 * dn * (a->n * b->m3 - b->n * a->m3);
    *a = r;
    return ERR_OK;
}

/* False: NULL (nothing, or one value where two are needed, or no spread). */
static bool moments_value(const struct moments *s, int op, double *out)
{
    double d = op & STAT_POP ? s->n : s->n - 1;
    if (s->n == 0)
        return false;
    switch (op & STAT_MASK) {
    case STAT_STDDEV:
        *out = sqrt(s->m2 / d);
        return d > 0;
    case STAT_VARIANCE:
        *out = s->m2 / d;
        return d > 0;
    case STAT_SKEWNESS:
        *out = sqrt(s->n) * s->m3 / sqrt(s->m2 * s->m2 * s->m2);
        return s->m2 != 0;
    default:
        *out = s->n * s->m4 / (s->m2 * s->m2) - 3;
        return s->m2 != 0;
    }
}

static enum err moments_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                               struct arena *a, struct fault *f)
{
    (void)f;
    column_alloc(out, agg->type, n, a);
    uint8_t *valid = column_valid_alloc(out, n, a);
    for (uint32_t i = 0; i < n; i++)
        valid[i] = moments_value(states[i], agg->fn->op, &out->data.f64[i]);
    return ERR_OK;
}

enum err bind_moments(struct bind_call *bc)
{
    static const struct agg_kernel kernel = {sizeof(struct moments), moments_update, moments_merge,
                                             moments_result,         NULL,           NULL};
    enum err e = bind_args(bc, "D");
    bc->e->type = type_simple(TYPE_DOUBLE);
    bc->e->nullable = true;
    bc->e->bound = &kernel;
    return e;
}
