/* Aggregates, first part: the interface, count, sum, avg, min, max, first, last. */
#include "function/agg_int.h"

static const struct agg_kernel *kernel_of(const struct expr *agg)
{
    return agg->bound;
}

size_t agg_state_size(const struct expr *agg)
{
    return kernel_of(agg)->state_size;
}

bool agg_state_is_plain(const struct expr *agg)
{
    return !kernel_of(agg)->save;
}

enum err agg_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                    struct agg_state_env *env)
{
    return kernel_of(agg)->update(agg, states, args, n, env);
}

enum err agg_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    return kernel_of(agg)->merge(agg, into, from, env);
}

enum err agg_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out, struct arena *a,
                    struct fault *f)
{
    enum err err = kernel_of(agg)->result(agg, states, n, out, a, f);
    out->type = agg->type;
    return err;
}

/* Plain states are saved as their bytes. */
void agg_save(const struct expr *agg, const void *state, struct buf *out)
{
    const struct agg_kernel *k = kernel_of(agg);
    if (k->save)
        k->save(agg, state, out);
    else
        buf_put(out, state, k->state_size);
}

bool agg_load(const struct expr *agg, void *state, struct rd *r, struct agg_state_env *env)
{
    const struct agg_kernel *k = kernel_of(agg);
    if (k->load)
        return k->load(agg, state, r, env);
    struct str s = rd_bytes(r, k->state_size);
    if (!r->bad)
        memcpy(state, s.p, k->state_size);
    return !r->bad;
}

#define AGG_ROWS(col)                                                                                                  \
    for (uint32_t i = 0; i < n; i++)                                                                                   \
        if (col_valid((col), i))

/* -- count ---------------------------------------------------------------------------------------------------------------- */
static enum err count_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                             struct agg_state_env *env)
{
    (void)env;
    bool all = true;
    for (int k = 0; k < agg->nargs; k++)
        all &= !args[k].valid && args[k].type->id != TYPE_NULL;
    if (all) {
        for (uint32_t i = 0; i < n; i++)
            ++*(int64_t *)states[i];
        return ERR_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool counts = true;
        for (int k = 0; k < agg->nargs; k++)
            counts &= col_valid(&args[k], i) && args[k].type->id != TYPE_NULL;
        *(int64_t *)states[i] += counts;
    }
    return ERR_OK;
}

static enum err count_if_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                                struct agg_state_env *env)
{
    (void)agg, (void)env;
    AGG_ROWS(args)
    *(int64_t *)states[i] += args->data.boolean[COL_AT(args, i)] != 0;
    return ERR_OK;
}

static enum err count_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    (void)agg, (void)env;
    *(int64_t *)into += *(const int64_t *)from;
    return ERR_OK;
}

static enum err count_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                             struct arena *a, struct fault *f)
{
    (void)f;
    column_alloc(out, agg->type, n, a);
    for (uint32_t i = 0; i < n; i++)
        out->data.i64[i] = *(const int64_t *)states[i];
    return ERR_OK;
}

static const struct agg_kernel COUNT = {sizeof(int64_t), count_update, count_merge, count_result, NULL, NULL};
static const struct agg_kernel COUNT_IF = {sizeof(int64_t), count_if_update, count_merge, count_result, NULL, NULL};

enum err bind_count(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 0) {
        FAULT(bc->f, ERR_WRONG_NUM_ARGS_WITH_SUGGESTION, {"functionName", "`count`"}, {"expectedNum", " >= 1"},
              {"actualNum", "0"}, {"legacyNum", "0"}, {"legacyConfKey", "\"spark.sql.legacy.allowParameterlessCount\""},
              {"legacyConfValue", "\"true\""});
        fault_context(bc->f, &bc->b->origin);
        return ERR_WRONG_NUM_ARGS_WITH_SUGGESTION;
    }
    e->type = type_simple(TYPE_LONG);
    e->bound = bc->fn->op ? &COUNT_IF : &COUNT;
    return bc->fn->op ? bind_args(bc, "B") : ERR_OK;
}

/* -- sum and avg ------------------------------------------------------------------------------------------------------------ */
struct sum_long {
    int64_t sum;
    bool any, overflow;
};
struct sum_double {
    double sum;
    int64_t n;
};
struct sum_wide { /* decimals */
    i128 sum;
    int64_t n;
    bool overflow;
};

static enum err sum_overflow(const struct expr *agg, struct fault *f)
{
    static const struct fault_param PARAMS[] = {
        {"message", "overflow"},
        {"alternative", " Use 'try_add' to tolerate overflow and return NULL instead."},
        {"config", "\"spark.sql.ansi.enabled\""}};
    if (agg->type->id == TYPE_DAY_TIME || agg->type->id == TYPE_YEAR_MONTH) {
        FAULT(f, ERR_INTERVAL_ARITHMETIC_OVERFLOW_WITHOUT_SUGGESTION, {"functionName", ""});
        return ERR_INTERVAL_ARITHMETIC_OVERFLOW_WITHOUT_SUGGESTION;
    }
    return expr_fault(agg, f, 3, ERR_ARITHMETIC_OVERFLOW, PARAMS);
}

static enum err sum_long_one(const struct expr *agg, struct sum_long *s, int64_t v, struct fault *f)
{
    s->any = true;
    if (s->overflow || !__builtin_add_overflow(s->sum, v, &s->sum))
        return ERR_OK;
    bool narrow = agg->type->id != TYPE_LONG;
    if (agg->try_)
        s->overflow = true;
    else if (agg->ansi || narrow)
        return sum_overflow(agg, f);
    return ERR_OK;
}

#define SUM_LONG(T)                                                                                                    \
    AGG_ROWS(args)                                                                                                     \
    {                                                                                                                  \
        enum err err = sum_long_one(agg, states[i], ((const T *)args->data.any)[COL_AT(args, i)], env->fault);         \
        if (err)                                                                                                       \
            return err;                                                                                                \
    }                                                                                                                  \
    break

static enum err sum_long_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                                struct agg_state_env *env)
{
    switch (type_width(args->type)) {
    case 1:
        SUM_LONG(int8_t);
    case 2:
        SUM_LONG(int16_t);
    case 4:
        SUM_LONG(int32_t);
    default:
        SUM_LONG(int64_t);
    }
    return ERR_OK;
}

static enum err sum_long_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    const struct sum_long *y = from;
    struct sum_long *x = into;
    if (!y->any)
        return ERR_OK;
    x->overflow |= y->overflow;
    return sum_long_one(agg, x, y->sum, env->fault);
}

static enum err sum_long_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                                struct arena *a, struct fault *f)
{
    column_alloc(out, agg->type, n, a);
    uint8_t *valid = column_valid_alloc(out, n, a);
    for (uint32_t i = 0; i < n; i++) {
        const struct sum_long *s = states[i];
        valid[i] = s->any && !s->overflow;
        if (agg->type->id == TYPE_YEAR_MONTH) {
            if (s->sum > INT32_MAX || s->sum < INT32_MIN)
                return sum_overflow(agg, f);
            out->data.i32[i] = (int32_t)s->sum;
        } else {
            out->data.i64[i] = s->sum;
        }
    }
    return ERR_OK;
}

#define SUM_DOUBLE(T)                                                                                                  \
    do {                                                                                                               \
        const T *x = args->data.any;                                                                                   \
        if (!args->valid && args->mask) {                                                                              \
            for (uint32_t i = 0; i < n; i++) {                                                                         \
                struct sum_double *s = states[i];                                                                      \
                s->sum += (double)x[i];                                                                                \
                s->n++;                                                                                                \
            }                                                                                                          \
        } else {                                                                                                       \
            AGG_ROWS(args)                                                                                             \
            {                                                                                                          \
                struct sum_double *s = states[i];                                                                      \
                s->sum += (double)x[COL_AT(args, i)];                                                                  \
                s->n++;                                                                                                \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

static enum err sum_double_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                                  struct agg_state_env *env)
{
    (void)agg, (void)env;
    switch (args->type->id) {
    case TYPE_BYTE:
        SUM_DOUBLE(int8_t);
        break;
    case TYPE_SHORT:
        SUM_DOUBLE(int16_t);
        break;
    case TYPE_INT:
        SUM_DOUBLE(int32_t);
        break;
    case TYPE_LONG:
        SUM_DOUBLE(int64_t);
        break;
    case TYPE_FLOAT:
        SUM_DOUBLE(float);
        break;
    default:
        SUM_DOUBLE(double);
    }
    return ERR_OK;
}

static enum err sum_double_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    (void)agg, (void)env;
    struct sum_double *x = into;
    const struct sum_double *y = from;
    if (y->n)
        x->sum += y->sum;
    x->n += y->n;
    return ERR_OK;
}

static enum err sum_double_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                                  struct arena *a, struct fault *f)
{
    (void)f;
    bool mean = agg->fn->op & 1;
    column_alloc(out, agg->type, n, a);
    uint8_t *valid = column_valid_alloc(out, n, a);
    for (uint32_t i = 0; i < n; i++) {
        const struct sum_double *s = states[i];
        valid[i] = s->n > 0;
        out->data.f64[i] = mean && s->n ? s->sum / (double)s->n : s->sum;
    }
    return ERR_OK;
}

static void sum_wide_one(struct sum_wide *s, i128 v, int64_t n)
{
    s->n += n;
    s->overflow |= __builtin_add_overflow(s->sum, v, &s->sum);
}

static enum err sum_wide_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                                struct agg_state_env *env)
{
    (void)agg, (void)env;
    AGG_ROWS(args)
    {
        uint32_t r = COL_AT(args, i);
        size_t w = type_width(args->type);
        sum_wide_one(states[i], w == 16 ? args->data.i128[r] : w == 8 ? args->data.i64[r] : args->data.i32[r], 1);
    }
    return ERR_OK;
}

static enum err sum_wide_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    (void)agg, (void)env;
    const struct sum_wide *y = from;
    ((struct sum_wide *)into)->overflow |= y->overflow;
    sum_wide_one(into, y->sum, y->n);
    return ERR_OK;
}

static enum err wide_overflow(const struct expr *agg, const struct sum_wide *s, int scale, struct arena *a,
                              struct fault *f)
{
    struct buf b = {0};
    decimal_text(&b, s->sum, scale);
    const char *value = arena_z(a, buf_view(&b));
    buf_free(&b);
    struct fault_param p[] = {{"value", value},
                              {"precision", arena_fmt(a, "%d", agg->type->precision).p},
                              {"scale", arena_fmt(a, "%d", agg->type->scale).p},
                              {"config", "\"spark.sql.ansi.enabled\""}};
    return expr_fault(agg, f, 4, ERR_NUMERIC_VALUE_OUT_OF_RANGE_WITH_SUGGESTION, p);
}

static enum err sum_wide_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                                struct arena *a, struct fault *f)
{
    bool mean = agg->fn->op & 1, interval = agg->type->id != TYPE_DECIMAL;
    int from = agg->args[0]->type->scale, to = agg->type->scale;
    column_alloc(out, agg->type, n, a);
    uint8_t *valid = column_valid_alloc(out, n, a);
    for (uint32_t i = 0; i < n; i++) {
        const struct sum_wide *s = states[i];
        i128 v = s->sum;
        valid[i] = s->n > 0;
        if (!valid[i])
            continue;
        bool ok = !s->overflow;
        if (mean && ok)
            ok = interval ? decimal_div(v, 0, s->n, 0, 0, ROUND_HALF_UP, &v)
                          : decimal_div(v, from, s->n, 0, to, ROUND_HALF_UP, &v);
        if (interval) {
            if (agg->type->id == TYPE_DAY_TIME)
                out->data.i64[i] = (int64_t)v;
            else
                out->data.i32[i] = (int32_t)v;
            continue;
        }
        if (!ok || !decimal_fits(v, agg->type->precision)) {
            static const struct fault_param SUM[] = {
                {"message", "Overflow in sum of decimals"},
                {"alternative", " Use 'try_sum' to tolerate overflow and return NULL instead."},
                {"config", "\"spark.sql.ansi.enabled\""}};
            if (agg->ansi && !agg->try_)
                return mean ? wide_overflow(agg, s, from, a, f) : expr_fault(agg, f, 3, ERR_ARITHMETIC_OVERFLOW, SUM);
            valid[i] = 0;
        }
        out->data.i128[i] = v;
    }
    return ERR_OK;
}

static const struct agg_kernel SUM_LONG_K = {
    sizeof(struct sum_long), sum_long_update, sum_long_merge, sum_long_result, NULL, NULL};
static const struct agg_kernel SUM_DOUBLE_K = {
    sizeof(struct sum_double), sum_double_update, sum_double_merge, sum_double_result, NULL, NULL};
static const struct agg_kernel SUM_WIDE_K = {
    sizeof(struct sum_wide), sum_wide_update, sum_wide_merge, sum_wide_result, NULL, NULL};

enum { AGG_MEAN = 1, AGG_TRY = 2 };

static const struct type *bounded_decimal(struct arena *a, int p, int s)
{
    return type_decimal(a, p < DECIMAL_MAX ? p : DECIMAL_MAX, s < DECIMAL_MAX ? s : DECIMAL_MAX);
}

enum err bind_sum(struct bind_call *bc)
{
    struct expr *e = bc->e;
    bool mean = bc->fn->op & AGG_MEAN;
    const struct type *to, *t = e->args[0]->type;
    if (!type_implicit(bc->b, t, 'N', &to) && t->id != TYPE_DAY_TIME && t->id != TYPE_YEAR_MONTH)
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"},
                          {"requiredType", "\"NUMERIC\" or \"ANSI INTERVAL\""},
                          {"inputSql", quoted_expr(bc->b->arena, e->args[0])},
                          {"inputType", quoted_type(bc->b->arena, t)});
    enum err err = bind_args(bc, "NVW");
    if (err)
        return err;
    t = e->args[0]->type;
    e->nullable = true;
    e->try_ = bc->fn->op & AGG_TRY;
    if (t->id == TYPE_DECIMAL) {
        e->type = mean ? bounded_decimal(bc->b->arena, t->precision + 4, t->scale + 4)
                       : bounded_decimal(bc->b->arena, t->precision + 10, t->scale);
        e->bound = &SUM_WIDE_K;
    } else if (t->id == TYPE_DAY_TIME || t->id == TYPE_YEAR_MONTH) {
        e->type = mean ? type_simple(t->id) : t;
        e->bound = mean ? &SUM_WIDE_K : &SUM_LONG_K;
    } else if (mean || t->id == TYPE_FLOAT || t->id == TYPE_DOUBLE) {
        e->type = type_simple(TYPE_DOUBLE);
        e->bound = &SUM_DOUBLE_K;
    } else {
        e->type = type_simple(TYPE_LONG);
        e->bound = &SUM_LONG_K;
    }
    return ERR_OK;
}

/* -- min, max ------------------------------------------------------------------------------------------------------------------- */
/* Numbers without a call per row; the kept value's first bytes are the number. */
#define EXTREME(T, LESS)                                                                                               \
    AGG_ROWS(args)                                                                                                     \
    {                                                                                                                  \
        struct kept *k = states[i];                                                                                    \
        T v = ((const T *)args->data.any)[COL_AT(args, i)], was;                                                       \
        memcpy(&was, k->v.bytes, sizeof was);                                                                          \
        if (!k->set || (max ? LESS(was, v) : LESS(v, was))) {                                                          \
            k->set = k->valid = true;                                                                                  \
            memcpy(k->v.bytes, &v, sizeof v);                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    break
#define LESS_INT(a, b)   ((a) < (b))
#define LESS_FLOAT(a, b) ((a) < (b) || ((a) == (a) && (b) != (b)))

static enum err extreme_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                               struct agg_state_env *env)
{
    bool max = agg->fn->op > 0;
    switch (args->type->id) {
    case TYPE_INT:
    case TYPE_DATE:
    case TYPE_YEAR_MONTH:
        EXTREME(int32_t, LESS_INT);
    case TYPE_LONG:
    case TYPE_TIMESTAMP:
    case TYPE_TIMESTAMP_NTZ:
    case TYPE_DAY_TIME:
        EXTREME(int64_t, LESS_INT);
    case TYPE_DOUBLE:
        EXTREME(double, LESS_FLOAT);
    case TYPE_FLOAT:
        EXTREME(float, LESS_FLOAT);
    case TYPE_NULL:
        break;
    default:
        AGG_ROWS(args)
        {
            struct kept *k = states[i];
            if (!k->set || kept_cmp(k, args, i) * (max ? 1 : -1) < 0)
                kept_put(k, args, i, env->arena);
        }
    }
    return ERR_OK;
}

static enum err extreme_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    const struct kept *y = from;
    struct column one;
    if (!y->set)
        return ERR_OK;
    kept_view(y, agg->args[0]->type, &one);
    return extreme_update(agg, &into, &one, 1, env);
}

static enum err kept_results(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                             struct arena *a, struct fault *f)
{
    (void)f;
    kept_result((struct kept *const *)states, n, agg->type, out, a);
    return ERR_OK;
}

static void kept_saved(const struct expr *agg, const void *state, struct buf *out)
{
    kept_save(state, agg->type, out);
}

static bool kept_loaded(const struct expr *agg, void *state, struct rd *r, struct agg_state_env *env)
{
    return kept_load(state, agg->type, r, env->arena);
}

static const struct agg_kernel EXTREME_K = {sizeof(struct kept), extreme_update, extreme_merge,
                                            kept_results,        kept_saved,     kept_loaded};

enum err bind_min_max(struct bind_call *bc)
{
    struct expr *e = bc->e;
    e->type = e->args[0]->type;
    e->nullable = true;
    e->bound = &EXTREME_K;
    if (!type_orderable(e->type))
        return BIND_FAULT(bc, ERR_MISMATCH_INVALID_ORDERING_TYPE,
                          {"functionName", quoted_name(bc->b->arena, bc->shown)},
                          {"dataType", quoted_type(bc->b->arena, e->type)});
    return ERR_OK;
}

/* -- first, last ---------------------------------------------------------------------------------------------------------------- */
enum { PICK_LAST = 1, PICK_IGNORE_NULLS = 2 };

static int picks(const struct expr *agg)
{
    return agg->fn->op | (agg->try_ ? PICK_IGNORE_NULLS : 0);
}

static enum err pick_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                            struct agg_state_env *env)
{
    int how = picks(agg);
    for (uint32_t i = 0; i < n; i++) {
        struct kept *k = states[i];
        if ((k->set && !(how & PICK_LAST)) || ((how & PICK_IGNORE_NULLS) && !col_valid(args, i)))
            continue;
        kept_put(k, args, i, env->arena);
    }
    return ERR_OK;
}

static enum err pick_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    const struct kept *y = from;
    struct column one;
    if (!y->set)
        return ERR_OK;
    kept_view(y, agg->args[0]->type, &one);
    return pick_update(agg, &into, &one, 1, env);
}

static const struct agg_kernel PICK_K = {sizeof(struct kept), pick_update, pick_merge,
                                         kept_results,        kept_saved,  kept_loaded};

enum err bind_first_last(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 2) {
        struct column c;
        if (!expr_constant(bc->b, e->args[1], &c) || e->args[1]->type->id != TYPE_BOOLEAN)
            return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "second"},
                              {"requiredType", "\"BOOLEAN\""}, {"inputSql", quoted_expr(bc->b->arena, e->args[1])},
                              {"inputType", quoted_type(bc->b->arena, e->args[1]->type)});
        e->try_ = col_valid(&c, 0) && c.data.boolean[0]; /* IGNORE NULLS */
        e->nargs = 1;
    }
    e->type = e->args[0]->type;
    e->nullable = true;
    e->bound = &PICK_K;
    return ERR_OK;
}

/* -- bit_and, bit_or, bit_xor ------------------------------------------------------------------------------------------------- */
struct bits {
    int64_t v;
    bool any;
};
enum { BIT_AND, BIT_OR, BIT_XOR };

static void bits_one(struct bits *s, int op, int64_t v)
{
    s->v = !s->any ? v : op == BIT_AND ? s->v & v : op == BIT_OR ? s->v | v : s->v ^ v;
    s->any = true;
}

static enum err bits_update(const struct expr *agg, void **states, const struct column *args, uint32_t n,
                            struct agg_state_env *env)
{
    (void)env;
    size_t w = type_width(args->type);
    AGG_ROWS(args)
    {
        uint32_t r = COL_AT(args, i);
        bits_one(states[i], agg->fn->op,
                 w == 1   ? args->data.i8[r]
                 : w == 2 ? args->data.i16[r]
                 : w == 4 ? args->data.i32[r]
                          : args->data.i64[r]);
    }
    return ERR_OK;
}

static enum err bits_merge(const struct expr *agg, void *into, const void *from, struct agg_state_env *env)
{
    (void)env;
    const struct bits *y = from;
    if (y->any)
        bits_one(into, agg->fn->op, y->v);
    return ERR_OK;
}

static enum err bits_result(const struct expr *agg, void *const *states, uint32_t n, struct column *out,
                            struct arena *a, struct fault *f)
{
    (void)f;
    size_t w = type_width(agg->type);
    column_alloc(out, agg->type, n, a);
    uint8_t *valid = column_valid_alloc(out, n, a);
    for (uint32_t i = 0; i < n; i++) {
        const struct bits *s = states[i];
        valid[i] = s->any;
        memcpy((char *)out->data.any + i * w, &s->v, w); /* little endian: the low bytes */
    }
    return ERR_OK;
}

static const struct agg_kernel BITS_K = {sizeof(struct bits), bits_update, bits_merge, bits_result, NULL, NULL};

enum err bind_bits_agg(struct bind_call *bc)
{
    struct expr *e = bc->e;
    e->type = e->args[0]->type;
    e->nullable = true;
    e->bound = &BITS_K;
    if (!type_is_integral(e->type))
        return BIND_FAULT(bc, ERR_MISMATCH_UNEXPECTED_INPUT_TYPE, {"paramIndex", "first"},
                          {"requiredType", "\"INTEGRAL\""}, {"inputSql", quoted_expr(bc->b->arena, e->args[0])},
                          {"inputType", quoted_type(bc->b->arena, e->type)});
    return ERR_OK;
}

/* -- bool_and, bool_or: min and max of booleans --------------------------------------------------------------------------------- */
enum err bind_bool_agg(struct bind_call *bc)
{
    enum err err = bind_args(bc, "B");
    bc->e->type = type_simple(TYPE_BOOLEAN);
    bc->e->nullable = true;
    bc->e->bound = &EXTREME_K;
    if (!err && bc->e->args[0]->type->id != TYPE_BOOLEAN)
        err = ERR_INTERNAL;
    return err;
}
