/* Type coercion: which common type two operands get, and what a parameter takes (Spark's AnsiTypeCoercion, and
 * TypeCoercion where ANSI mode is off). */
#include "function/function_int.h"

static bool is_string(const struct type *t)
{
    return t->id == TYPE_STRING;
}

static bool is_ansi_interval(const struct type *t)
{
    return t->id == TYPE_DAY_TIME || t->id == TYPE_YEAR_MONTH;
}

static bool is_atomic(const struct type *t)
{
    return t->id != TYPE_NULL && t->id != TYPE_CALENDAR && !t->nfields && t->id != TYPE_STRUCT;
}

static bool is_datetime(const struct type *t)
{
    return t->id == TYPE_DATE || t->id == TYPE_TIMESTAMP || t->id == TYPE_TIMESTAMP_NTZ;
}

const struct type *type_decimal_for(struct arena *a, const struct type *t)
{
    static const uint8_t PRECISION[TYPE_ID_COUNT] = {
        [TYPE_BYTE] = 3, [TYPE_SHORT] = 5, [TYPE_INT] = 10, [TYPE_LONG] = 20};
    if (t->id == TYPE_DECIMAL)
        return t;
    if (t->id == TYPE_FLOAT)
        return type_decimal(a, 14, 7);
    if (t->id == TYPE_DOUBLE)
        return type_decimal(a, 30, 15);
    return PRECISION[t->id] ? type_decimal(a, PRECISION[t->id], 0) : type_decimal(a, 38, 18);
}

/* DecimalType.adjustPrecisionScale: fractional digits give way, down to six of them. */
const struct type *type_decimal_adjusted(struct arena *a, int precision, int scale)
{
    if (precision <= DECIMAL_MAX)
        return type_decimal(a, precision, scale);
    int whole = precision - scale, least = scale < 6 ? scale : 6, room = DECIMAL_MAX - whole;
    return type_decimal(a, DECIMAL_MAX, room > least ? room : least);
}

static const struct type *decimal_bounded(struct arena *a, int whole, int scale)
{
    int precision = whole + scale;
    return precision <= DECIMAL_MAX ? type_decimal(a, precision, scale) : type_decimal_adjusted(a, precision, scale);
}

/* The decimal that holds both (DecimalPrecision.widerDecimalType). */
static const struct type *decimal_wider(struct arena *a, const struct type *x, const struct type *y)
{
    int scale = x->scale > y->scale ? x->scale : y->scale;
    int wx = x->precision - x->scale, wy = y->precision - y->scale;
    return decimal_bounded(a, wx > wy ? wx : wy, scale);
}

static const struct type *numeric_wider(struct arena *a, const struct type *x, const struct type *y)
{
    if (x->id == TYPE_DECIMAL || y->id == TYPE_DECIMAL) {
        if (x->id == TYPE_DOUBLE || x->id == TYPE_FLOAT || y->id == TYPE_DOUBLE || y->id == TYPE_FLOAT)
            return type_simple(TYPE_DOUBLE);
        return decimal_wider(a, type_decimal_for(a, x), type_decimal_for(a, y));
    }
    const struct type *wide = x->id > y->id ? x : y;
    if (wide->id == TYPE_FLOAT && x->id != y->id)
        return type_simple(TYPE_DOUBLE); /* an integer does not fit a float's mantissa */
    return wide;
}

static const struct type *interval_wider(struct arena *a, const struct type *x, const struct type *y)
{
    struct type *t = ARENA_NEW(a, struct type);
    *t = *x;
    t->first = x->first < y->first ? x->first : y->first;
    t->last = x->last > y->last ? x->last : y->last;
    return t;
}

typedef bool common_fn(struct bind *b, const struct type *x, const struct type *y, const struct type **out);

/* Arrays, maps and structs, element by element. */
static bool complex_common(struct bind *b, const struct type *x, const struct type *y, common_fn *of,
                           const struct type **out)
{
    if (x->id != y->id || x->nfields != y->nfields || (!x->nfields && x->id != TYPE_STRUCT))
        return false;
    struct type *t = ARENA_NEW(b->arena, struct type);
    struct field *f = ARENA_ARRAY(b->arena, (size_t)x->nfields, struct field);
    *t = *x;
    t->fields = f;
    for (int i = 0; i < x->nfields; i++) {
        const struct field *fx = &x->fields[i], *fy = &y->fields[i];
        if (x->id == TYPE_STRUCT && !str_eq_nocase(fx->name, fy->name))
            return false;
        f[i] = *fx;
        if (!of(b, fx->type, fy->type, &f[i].type))
            return false;
        f[i].nullable =
            (x->id != TYPE_MAP || i) &&
            (fx->nullable || fy->nullable || cast_may_null(fx->type, f[i].type) || cast_may_null(fy->type, f[i].type));
    }
    *out = t;
    return true;
}

bool type_tightest(struct bind *b, const struct type *x, const struct type *y, const struct type **out)
{
    if (type_eq_exact(x, y))
        return *out = x, true;
    if (x->id == TYPE_NULL || y->id == TYPE_NULL)
        return *out = x->id == TYPE_NULL ? y : x, true;
    if (type_is_numeric(x) && type_is_numeric(y))
        return *out = numeric_wider(b->arena, x, y), true;
    if (is_datetime(x) && is_datetime(y)) {
        bool local = x->id == TYPE_TIMESTAMP || y->id == TYPE_TIMESTAMP;
        return *out = type_simple(x->id == y->id ? x->id : local ? TYPE_TIMESTAMP : TYPE_TIMESTAMP_NTZ), true;
    }
    if (x->id == y->id && is_ansi_interval(x))
        return *out = interval_wider(b->arena, x, y), true;
    if (x->id == y->id && !x->nfields && x->id != TYPE_STRUCT)
        return *out = x, true;
    return complex_common(b, x, y, type_tightest, out);
}

/* What a string becomes beside another type. */
static bool string_common(struct bind *b, const struct type *other, const struct type **out)
{
    if (!b->ansi) {
        if (!is_atomic(other) || other->id == TYPE_BINARY || other->id == TYPE_BOOLEAN)
            return false;
        return *out = type_simple(TYPE_STRING), true;
    }
    if (type_is_integral(other))
        return *out = type_simple(TYPE_LONG), true;
    if (type_is_numeric(other))
        return *out = type_simple(TYPE_DOUBLE), true;
    if (is_ansi_interval(other) || !is_atomic(other))
        return false;
    return *out = other, true;
}

bool type_common(struct bind *b, const struct type *x, const struct type *y, const struct type **out)
{
    if (type_tightest(b, x, y, out))
        return true;
    if (is_string(x) != is_string(y))
        return string_common(b, is_string(x) ? y : x, out);
    return complex_common(b, x, y, type_common, out);
}

bool type_widen(struct arena *a, const struct type *x, const struct type *y, const struct type **out)
{
    struct bind b = {.arena = a, .ansi = true};
    return type_common(&b, x, y, out);
}

bool type_common_of(struct bind *b, struct expr **args, int n, const struct type **out)
{
    const struct type *t = type_simple(TYPE_NULL);
    for (int i = 0; i < n; i++) /* strings last: with one among them the others decide first */
        if (!is_string(args[i]->type) && !type_common(b, t, args[i]->type, &t))
            return false;
    for (int i = 0; i < n; i++)
        if (is_string(args[i]->type) && !type_common(b, t, args[i]->type, &t))
            return false;
    *out = t;
    return true;
}

/* -- implicit casts of arguments ------------------------------------------------------------------------------------ */
static const struct type *letter_type(struct arena *a, char letter)
{
    static const uint8_t ID[128] = {
        ['S'] = TYPE_STRING,        ['X'] = TYPE_BINARY,   ['B'] = TYPE_BOOLEAN,    ['I'] = TYPE_INT,
        ['L'] = TYPE_LONG,          ['D'] = TYPE_DOUBLE,   ['d'] = TYPE_DATE,       ['t'] = TYPE_TIMESTAMP,
        ['n'] = TYPE_TIMESTAMP_NTZ, ['V'] = TYPE_DAY_TIME, ['W'] = TYPE_YEAR_MONTH, ['Y'] = TYPE_BYTE,
        ['N'] = TYPE_DOUBLE,        ['F'] = TYPE_FLOAT,    ['H'] = TYPE_SHORT};
    if (letter == 'C')
        return type_decimal(a, 38, 18);
    return ID[letter & 127] ? type_simple(ID[letter & 127]) : NULL;
}

static bool letter_accepts(char letter, const struct type *t)
{
    switch (letter) {
    case '*':
        return true;
    case 'N':
        return type_is_numeric(t);
    case 's':
        return t->id == TYPE_STRING;
    case 'C':
        return t->id == TYPE_DECIMAL;
    case 'A':
        return t->id == TYPE_ARRAY;
    case 'M':
        return t->id == TYPE_MAP;
    default: {
        const struct type *want = letter_type(NULL, letter);
        return want && want->id == t->id;
    }
    }
}

bool type_implicit(struct bind *b, const struct type *from, char letter, const struct type **to)
{
    if (letter_accepts(letter, from))
        return *to = from, true;
    if (letter == 's') /* no implicit cast but of NULL */
        return *to = type_simple(TYPE_STRING), from->id == TYPE_NULL;
    if (letter == 'A' || letter == 'M') {
        if (from->id != TYPE_NULL)
            return false;
        return *to = type_simple(letter == 'A' ? TYPE_ARRAY : TYPE_MAP), true;
    }
    const struct type *want = letter == 'C' && from->id != TYPE_STRING && from->id != TYPE_NULL
                                  ? type_decimal_for(b->arena, from)
                                  : letter_type(b->arena, letter);
    if (!want)
        return false;
    *to = want;
    if (from->id == TYPE_NULL || (is_string(from) && is_atomic(want)))
        return true;
    if (want->id == TYPE_STRING)
        return is_atomic(from);
    if (type_is_numeric(from) && type_is_numeric(want))
        return true;
    if (is_datetime(from) && is_datetime(want))
        return true;
    return from->id == want->id && is_ansi_interval(from);
}

/* -- what can be cast ------------------------------------------------------------------------------------------------- */
static bool atomic_can_cast(const struct type *from, const struct type *to, enum cast_mode mode)
{
    bool legacy = mode == CAST_LEGACY;
    switch (to->id) {
    case TYPE_STRING:
        return true;
    case TYPE_BINARY:
        return from->id == TYPE_STRING || (legacy && type_is_integral(from));
    case TYPE_BOOLEAN:
        return from->id == TYPE_STRING || type_is_numeric(from) ||
               (legacy && (from->id == TYPE_TIMESTAMP || from->id == TYPE_DATE));
    case TYPE_DATE:
        return from->id == TYPE_STRING || from->id == TYPE_TIMESTAMP || from->id == TYPE_TIMESTAMP_NTZ;
    case TYPE_TIMESTAMP:
        return from->id == TYPE_STRING || is_datetime(from) || type_is_numeric(from) ||
               (legacy && from->id == TYPE_BOOLEAN);
    case TYPE_TIMESTAMP_NTZ:
        return from->id == TYPE_STRING || is_datetime(from);
    case TYPE_DAY_TIME:
    case TYPE_YEAR_MONTH:
        return from->id == TYPE_STRING || from->id == to->id || type_is_integral(from) || from->id == TYPE_DECIMAL;
    case TYPE_CALENDAR:
        return from->id == TYPE_STRING;
    default:
        if (!type_is_numeric(to))
            return false;
        if (from->id == TYPE_DATE)
            return legacy;
        if (is_ansi_interval(from))
            return type_is_integral(to) || to->id == TYPE_DECIMAL;
        return from->id == TYPE_STRING || from->id == TYPE_BOOLEAN || type_is_numeric(from) ||
               from->id == TYPE_TIMESTAMP;
    }
}

bool type_can_cast(const struct type *from, const struct type *to, enum cast_mode mode)
{
    if (type_eq(from, to) || from->id == TYPE_NULL || to->id == TYPE_STRING)
        return true;
    if (from->nfields || to->nfields || from->id == TYPE_STRUCT || to->id == TYPE_STRUCT) {
        if (from->id != to->id || from->nfields != to->nfields)
            return false;
        for (int i = 0; i < from->nfields; i++) {
            const struct field *x = &from->fields[i], *y = &to->fields[i];
            bool may_null = x->nullable || (mode != CAST_ANSI && cast_may_null(x->type, y->type));
            if (!type_can_cast(x->type, y->type, mode) || (may_null && !y->nullable && from->id != TYPE_ARRAY))
                return false;
            if (from->id == TYPE_ARRAY && may_null && !y->nullable)
                return false;
        }
        return true;
    }
    return to->id != TYPE_NULL && atomic_can_cast(from, to, mode);
}

bool type_orderable(const struct type *t)
{
    if (t->id == TYPE_MAP || t->id == TYPE_CALENDAR)
        return false;
    for (int i = 0; i < t->nfields; i++)
        if (!type_orderable(t->fields[i].type))
            return false;
    return true;
}

/* Cast.forceNullable: the result may be NULL although the input is not. */
bool cast_may_null(const struct type *from, const struct type *to)
{
    if (from->id == TYPE_NULL || type_eq(from, to))
        return false;
    if (from->id == TYPE_STRING)
        return to->id != TYPE_BINARY;
    if (to->id == TYPE_TIMESTAMP && (from->id == TYPE_FLOAT || from->id == TYPE_DOUBLE))
        return true;
    if (from->id == TYPE_TIMESTAMP && to->id == TYPE_DATE)
        return false;
    if (to->id == TYPE_DATE)
        return true;
    if (from->id == TYPE_DATE)
        return to->id != TYPE_TIMESTAMP && to->id != TYPE_STRING;
    if (from->id == TYPE_TIMESTAMP && type_is_integral(to))
        return to->id != TYPE_LONG;
    if (to->id == TYPE_CALENDAR)
        return true;
    if (to->id == TYPE_DECIMAL) {
        int whole = to->precision - to->scale;
        if (from->id == TYPE_BOOLEAN)
            return whole < 1;
        if (from->id == TYPE_DECIMAL)
            return !(whole >= from->precision - from->scale && to->scale >= from->scale) &&
                   !(whole > from->precision - from->scale);
        static const uint8_t NEED[TYPE_ID_COUNT] = {
            [TYPE_BYTE] = 3, [TYPE_SHORT] = 5, [TYPE_INT] = 10, [TYPE_LONG] = 20};
        return !NEED[from->id] || whole < NEED[from->id];
    }
    bool fractional = from->id == TYPE_FLOAT || from->id == TYPE_DOUBLE || from->id == TYPE_DECIMAL;
    return fractional && type_is_integral(to);
}
