/* Functions about values and the session. */
#include "function/table_int.h"

enum err bind_typeof(struct bind_call *bc)
{
    bc->e->bound = bc->e->args[0]->type;
    bc->e->type = type_simple(TYPE_STRING);
    bc->e->nullable = false;
    return ERR_OK;
}

static enum err same_for_all(struct call *c, struct str s)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->out->data.str[i] = s;
    return ERR_OK;
}

enum err fn_typeof(struct call *c)
{
    return same_for_all(c, type_simple_string(c->ev->arena, c->e->bound));
}

enum err fn_version(struct call *c)
{
    return same_for_all(c, STR("4.2.0 penstock " PENSTOCK_VERSION));
}

enum err fn_session_name(struct call *c)
{
    return same_for_all(c, c->e->fn->op ? STR("default") : STR("spark_catalog"));
}

enum err bind_assert_true(struct bind_call *bc)
{
    struct expr *e = bc->e;
    enum err err = bind_args(bc, "B,S");
    e->type = type_simple(TYPE_NULL);
    e->nullable = true;
    return err;
}

enum err fn_assert_true(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct column *cond = &c->args[0];
        if (col_valid(cond, i) && cond->data.boolean[COL_AT(cond, i)])
            continue;
        struct str why = c->e->nargs > 1 ? CALL_STR(c, 1, i)
                                         : arena_fmt(c->ev->arena, "'%.*s' is not true!", STR_ARG(c->e->args[0]->sql));
        CALL_FAIL(c, i, ERR_USER_RAISED_EXCEPTION, {"errorMessage", arena_z(c->ev->arena, why)});
    }
    return ERR_OK;
}
