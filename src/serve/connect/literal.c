#include "serve/connect/connect_int.h"
#include "wire/json.h"

#include <stdio.h>

typedef Spark__Connect__Expression__Literal Literal;
#define KIND(name) SPARK__CONNECT__EXPRESSION__LITERAL__LITERAL_TYPE_##name

struct str str_of_binary(ProtobufCBinaryData b)
{
    return str_make(b.data ? (const char *)b.data : "", b.len);
}

/* A value in row `row` of a column that was made for its type. */
static enum err put_value(struct planning *p, struct column *c, uint32_t row, const Literal *x, int depth,
                          struct fault *f);

static enum err invalid(struct fault *f, const char *detail)
{
    return FAULT(f, ERR_CONNECT_PLAN, {"detail", detail});
}

/* -- types of literals ---------------------------------------------------------------------------------------------- */
static enum err literal_type(struct planning *p, const Literal *x, int depth, const struct type **out, struct fault *f);

/* Digits and point of a decimal's text: "-1.50" is (3, 2). */
static bool decimal_shape(const char *text, int *precision, int *scale)
{
    int digits = 0, after = -1;
    if (*text == '-' || *text == '+')
        text++;
    for (bool leading = true; *text; text++) {
        if (*text == '.' && after < 0) {
            after = 0;
            continue;
        }
        if (*text < '0' || *text > '9')
            return false;
        if (after >= 0)
            after++;
        leading = leading && *text == '0' && after < 0;
        digits += !leading;
    }
    *scale = after > 0 ? after : 0;
    *precision = digits > *scale ? digits : *scale;
    if (*precision == 0)
        *precision = 1;
    return *precision <= 38;
}

static enum err decimal_type(struct planning *p, const Spark__Connect__Expression__Literal__Decimal *d,
                             const struct type **out, struct fault *f)
{
    int precision, scale;
    if (!decimal_shape(d->value, &precision, &scale))
        return invalid(f, "A decimal literal that is no decimal number of at most 38 digits.");
    /* The client's own type is a guess (10, 0): the value widens it, as in Spark. */
    int least_precision = OPTIONAL(d, precision, 0), least_scale = OPTIONAL(d, scale, 0);
    scale = scale > least_scale ? scale : least_scale;
    precision = precision > least_precision ? precision : least_precision;
    precision = precision > scale ? precision : scale;
    if (precision < 1 || precision > 38 || scale < 0 || scale > precision)
        return invalid(f, "A decimal literal of impossible precision or scale.");
    *out = type_decimal(p->arena, precision, scale);
    return ERR_OK;
}

/* The element type as given, else that of the first element. */
static enum err element_type(struct planning *p, const Spark__Connect__DataType *given, Literal *const *elements,
                             size_t n, int depth, const struct type **out, struct fault *f)
{
    if (given && given->kind_case)
        return convert_type(p->arena, given, 0, out, f);
    if (n == 0)
        return invalid(f, "An empty collection literal without a type.");
    return literal_type(p, elements[0], depth + 1, out, f);
}

static enum err struct_type(struct planning *p, const Spark__Connect__Expression__Literal__Struct *s, int depth,
                            const struct type **out, struct fault *f)
{
    if (s->struct_type && s->struct_type->kind_case)
        return convert_type(p->arena, s->struct_type, 0, out, f);
    struct field *fields = ARENA_ARRAY(p->arena, s->n_elements + 1, struct field);
    for (size_t i = 0; i < s->n_elements; i++) {
        fields[i].name = arena_fmt(p->arena, "col%zu", i + 1);
        fields[i].nullable = true;
        enum err e = literal_type(p, s->elements[i], depth + 1, &fields[i].type, f);
        if (e)
            return e;
    }
    *out = type_struct(p->arena, fields, (int)s->n_elements);
    return ERR_OK;
}

static enum err specialized_type(struct planning *p, const Spark__Connect__Expression__Literal__SpecializedArray *s,
                                 const struct type **out, struct fault *f)
{
    static const enum type_id ids[] = {TYPE_NULL,  TYPE_BOOLEAN, TYPE_INT,   TYPE_LONG,
                                       TYPE_FLOAT, TYPE_DOUBLE,  TYPE_STRING};
    if (s->value_type_case < 1 || s->value_type_case > 6)
        return invalid(f, "A specialized array literal without values.");
    *out = type_array(p->arena, type_simple(ids[s->value_type_case]), false);
    return ERR_OK;
}

static enum type_id plain_type(const Literal *x)
{
    switch (x->literal_type_case) {
    case KIND(BINARY):
        return TYPE_BINARY;
    case KIND(BOOLEAN):
        return TYPE_BOOLEAN;
    case KIND(BYTE):
        return TYPE_BYTE;
    case KIND(SHORT):
        return TYPE_SHORT;
    case KIND(INTEGER):
        return TYPE_INT;
    case KIND(LONG):
        return TYPE_LONG;
    case KIND(FLOAT):
        return TYPE_FLOAT;
    case KIND(DOUBLE):
        return TYPE_DOUBLE;
    case KIND(STRING):
        return TYPE_STRING;
    case KIND(DATE):
        return TYPE_DATE;
    case KIND(TIMESTAMP):
        return TYPE_TIMESTAMP;
    case KIND(TIMESTAMP_NTZ):
        return TYPE_TIMESTAMP_NTZ;
    case KIND(CALENDAR_INTERVAL):
        return TYPE_CALENDAR;
    case KIND(YEAR_MONTH_INTERVAL):
        return TYPE_YEAR_MONTH;
    case KIND(DAY_TIME_INTERVAL):
        return TYPE_DAY_TIME;
    default:
        return TYPE_ID_COUNT;
    }
}

static enum err literal_type(struct planning *p, const Literal *x, int depth, const struct type **out, struct fault *f)
{
    const struct type *key, *value;
    enum err e;
    if (depth > LIMIT_TYPE_DEPTH)
        return LIMIT_FAULT(f, TYPE_DEPTH);
    if (plain_type(x) != TYPE_ID_COUNT) {
        *out = type_simple(plain_type(x));
        return ERR_OK;
    }
    switch (x->literal_type_case) {
    case SPARK__CONNECT__EXPRESSION__LITERAL__LITERAL_TYPE_NULL:
        return convert_type(p->arena, x->null, 0, out, f);
    case KIND(DECIMAL):
        return decimal_type(p, x->decimal, out, f);
    case KIND(ARRAY):
        if (x->data_type && x->data_type->kind_case)
            return convert_type(p->arena, x->data_type, 0, out, f);
        e = element_type(p, x->array->element_type, x->array->elements, x->array->n_elements, depth, &value, f);
        if (!e)
            *out = type_array(p->arena, value, true);
        return e;
    case KIND(MAP):
        if (x->data_type && x->data_type->kind_case)
            return convert_type(p->arena, x->data_type, 0, out, f);
        e = element_type(p, x->map->key_type, x->map->keys, x->map->n_keys, depth, &key, f);
        if (!e)
            e = element_type(p, x->map->value_type, x->map->values, x->map->n_values, depth, &value, f);
        if (!e)
            *out = type_map(p->arena, key, value, true);
        return e;
    case KIND(STRUCT):
        if (x->data_type && x->data_type->kind_case)
            return convert_type(p->arena, x->data_type, 0, out, f);
        return struct_type(p, x->struct_, depth, out, f);
    case KIND(SPECIALIZED_ARRAY):
        return specialized_type(p, x->specialized_array, out, f);
    case KIND(TIME):
        return refuse(f, "literal", "time");
    default:
        return invalid(f, "A literal without a value.");
    }
}

/* -- values --------------------------------------------------------------------------------------------------------- */
/* The unscaled value at `scale`; the text was looked at by decimal_shape. Digits beyond the scale must be zeros. */
static bool parse_decimal(const char *text, int precision, int scale, __int128 *out)
{
    bool negative = *text == '-';
    unsigned __int128 v = 0;
    int after = -1, digits = 0;
    for (text += *text == '-' || *text == '+'; *text; text++) {
        if (*text == '.') {
            after = 0;
            continue;
        }
        if (after >= 0 && ++after > scale) {
            if (*text != '0')
                return false;
            continue;
        }
        if ((v || *text != '0') && ++digits > 38)
            return false;
        v = v * 10 + (unsigned)(*text - '0');
    }
    for (int have = after < 0 ? 0 : after > scale ? scale : after; have < scale; have++) {
        if (v && ++digits > 38)
            return false;
        v *= 10;
    }
    *out = negative ? -(__int128)v : (__int128)v;
    return digits <= precision;
}

static enum err put_elements(struct planning *p, struct column *child, uint32_t row, Literal *const *elements, size_t n,
                             int depth, struct fault *f)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && !e; i++)
        e = put_value(p, child, row + (uint32_t)i, elements[i], depth + 1, f);
    return e;
}

/* A list's rows begin where the last one ended; children grow by n. */
static uint32_t list_room(struct planning *p, struct column *c, uint32_t row, size_t n, int nchildren)
{
    uint32_t used = c->children[0].n;
    c->data.offsets[row] = used; /* lists below null structs were passed over */
    for (int k = 0; k < nchildren; k++)
        column_grow(&c->children[k], used + (uint32_t)n, p->arena);
    c->data.offsets[row + 1] = used + (uint32_t)n;
    return used;
}

static enum err put_specialized(struct planning *p, struct column *c, uint32_t row,
                                const Spark__Connect__Expression__Literal__SpecializedArray *s)
{
#define EACH(CASE, member, field)                                                                                      \
    case SPARK__CONNECT__EXPRESSION__LITERAL__SPECIALIZED_ARRAY__VALUE_TYPE_##CASE:                                    \
        at = list_room(p, c, row, s->member->n_values, 1);                                                             \
        for (size_t i = 0; i < s->member->n_values; i++)                                                               \
            c->children[0].data.field[at + i] = s->member->values[i];                                                  \
        break
    uint32_t at;
    switch (s->value_type_case) {
        EACH(BOOLS, bools, boolean);
        EACH(INTS, ints, i32);
        EACH(LONGS, longs, i64);
        EACH(FLOATS, floats, f32);
        EACH(DOUBLES, doubles, f64);
    default:
        at = list_room(p, c, row, s->strings->n_values, 1);
        for (size_t i = 0; i < s->strings->n_values; i++)
            c->children[0].data.str[at + i] = arena_str(p->arena, str_of_binary(s->strings->values[i]));
    }
#undef EACH
    return ERR_OK;
}

/* Values of one fixed width; false: not one of them. */
static bool put_plain(struct column *c, uint32_t row, const Literal *x)
{
    switch (x->literal_type_case) {
    case KIND(BOOLEAN):
        c->data.boolean[row] = x->boolean != 0;
        return true;
    case KIND(BYTE):
        c->data.i8[row] = (int8_t)x->byte;
        return true;
    case KIND(SHORT):
        c->data.i16[row] = (int16_t)x->short_;
        return true;
    case KIND(INTEGER):
        c->data.i32[row] = x->integer;
        return true;
    case KIND(DATE):
        c->data.i32[row] = x->date;
        return true;
    case KIND(YEAR_MONTH_INTERVAL):
        c->data.i32[row] = x->year_month_interval;
        return true;
    case KIND(LONG):
        c->data.i64[row] = x->long_;
        return true;
    case KIND(TIMESTAMP):
        c->data.i64[row] = x->timestamp;
        return true;
    case KIND(TIMESTAMP_NTZ):
        c->data.i64[row] = x->timestamp_ntz;
        return true;
    case KIND(DAY_TIME_INTERVAL):
        c->data.i64[row] = x->day_time_interval;
        return true;
    case KIND(FLOAT):
        c->data.f32[row] = x->float_;
        return true;
    case KIND(DOUBLE):
        c->data.f64[row] = x->double_;
        return true;
    case KIND(CALENDAR_INTERVAL):
        c->data.interval[row] = (struct calendar_interval){x->calendar_interval->months, x->calendar_interval->days,
                                                           x->calendar_interval->microseconds};
        return true;
    default:
        return false;
    }
}

/* Which type ids a literal's own kind may be put into: its own (a byte literal says 300: refused where it is put). */
static bool fits(struct planning *p, const struct type *t, const Literal *x, struct fault *f)
{
    const struct type *own;
    return plain_type(x) == TYPE_ID_COUNT ? literal_type(p, x, 0, &own, f) == ERR_OK && own->id == t->id
                                          : plain_type(x) == t->id;
}

static enum err put_list(struct planning *p, struct column *c, uint32_t row, const Literal *x, int depth,
                         struct fault *f)
{
    uint32_t at;
    enum err e;
    if (x->literal_type_case == KIND(ARRAY)) {
        at = list_room(p, c, row, x->array->n_elements, 1);
        return put_elements(p, &c->children[0], at, x->array->elements, x->array->n_elements, depth, f);
    }
    if (x->map->n_keys != x->map->n_values)
        return invalid(f, "A map literal with more keys than values, or fewer.");
    at = list_room(p, c, row, x->map->n_keys, 2);
    e = put_elements(p, &c->children[0], at, x->map->keys, x->map->n_keys, depth, f);
    return e ? e : put_elements(p, &c->children[1], at, x->map->values, x->map->n_values, depth, f);
}

static enum err put_value(struct planning *p, struct column *c, uint32_t row, const Literal *x, int depth,
                          struct fault *f)
{
    if (x->literal_type_case == SPARK__CONNECT__EXPRESSION__LITERAL__LITERAL_TYPE_NULL) {
        uint8_t *valid = c->valid ? (uint8_t *)c->valid : column_valid_alloc(c, c->n, p->arena);
        valid[row] = 0;
        if (c->type->id == TYPE_ARRAY || c->type->id == TYPE_MAP)
            c->data.offsets[row + 1] = c->data.offsets[row];
        return ERR_OK;
    }
    if (!fits(p, c->type, x, f))
        return invalid(f, "A literal holds a value of another type than its own.");
    if ((x->literal_type_case == KIND(BYTE) && x->byte != (int8_t)x->byte) ||
        (x->literal_type_case == KIND(SHORT) && x->short_ != (int16_t)x->short_))
        return invalid(f, "An integer literal that its type cannot hold.");
    if (put_plain(c, row, x))
        return ERR_OK;
    switch (x->literal_type_case) {
    case KIND(STRING):
        if (!utf8_valid(str_of_binary(x->string)))
            return invalid(f, "A string literal that is not UTF-8.");
        c->data.str[row] = arena_str(p->arena, str_of_binary(x->string));
        return ERR_OK;
    case KIND(BINARY):
        c->data.str[row] = arena_str(p->arena, str_of_binary(x->binary));
        return ERR_OK;
    case KIND(DECIMAL):
        return parse_decimal(x->decimal->value, c->type->precision, c->type->scale, &c->data.i128[row])
                   ? ERR_OK
                   : invalid(f, "A decimal literal that its type cannot hold.");
    case KIND(ARRAY):
    case KIND(MAP):
        return put_list(p, c, row, x, depth, f);
    case KIND(SPECIALIZED_ARRAY):
        return put_specialized(p, c, row, x->specialized_array);
    case KIND(STRUCT):
        if (x->struct_->n_elements != (size_t)c->type->nfields)
            return invalid(f, "A struct literal with more or fewer values than fields.");
        for (size_t i = 0; i < x->struct_->n_elements; i++) {
            enum err e = put_value(p, &c->children[i], row, x->struct_->elements[i], depth + 1, f);
            if (e)
                return e;
        }
        return ERR_OK;
    default:
        return invalid(f, "A literal without a value.");
    }
}

enum err convert_literal(struct planning *p, const Literal *x, struct node **out, struct fault *f)
{
    const struct type *t;
    enum err e = literal_type(p, x, 0, &t, f);
    if (e)
        return e;
    struct node *n = node_new(p->arena, NODE_LITERAL, 0);
    *out = n;
    if (x->literal_type_case == SPARK__CONNECT__EXPRESSION__LITERAL__LITERAL_TYPE_NULL) {
        n->literal_null = true;
        column_null(&n->literal, t, 1, p->arena);
        return ERR_OK;
    }
    column_alloc(&n->literal, t, 0, p->arena);
    column_grow(&n->literal, 1, p->arena);
    e = put_value(p, &n->literal, 0, x, 0, f);
    n->literal.mask = 0; /* one row that stands for all */
    return e;
}
