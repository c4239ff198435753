#include "serve/connect/connect_int.h"

typedef Spark__Connect__DataType DataType;
typedef Spark__Connect__DataType__StructField StructField;

/* -- from the client ----------------------------------------------------------------------------------------------- */
static enum err convert_struct(struct arena *a, const Spark__Connect__DataType__Struct *s, int depth,
                               const struct type **out, struct fault *f)
{
    struct field *fields = ARENA_ARRAY(a, s->n_fields + 1, struct field);
    for (size_t i = 0; i < s->n_fields; i++) {
        const StructField *x = s->fields[i];
        fields[i].name = arena_str(a, str_of(x->name));
        fields[i].nullable = x->nullable;
        fields[i].metadata = arena_str(a, str_of(OPTIONAL(x, metadata, "")));
        enum err e = convert_type(a, x->data_type, depth + 1, &fields[i].type, f);
        if (e)
            return e;
    }
    *out = type_struct(a, fields, (int)s->n_fields);
    return ERR_OK;
}

static enum err convert_map(struct arena *a, const Spark__Connect__DataType__Map *m, int depth, const struct type **out,
                            struct fault *f)
{
    const struct type *key, *value;
    enum err e = convert_type(a, m->key_type, depth + 1, &key, f);
    if (!e)
        e = convert_type(a, m->value_type, depth + 1, &value, f);
    if (!e)
        *out = type_map(a, key, value, m->value_contains_null);
    return e;
}

static enum err convert_decimal(struct arena *a, const Spark__Connect__DataType__Decimal *d, const struct type **out,
                                struct fault *f)
{
    int precision = OPTIONAL(d, precision, 10), scale = OPTIONAL(d, scale, 0);
    if (precision < 1 || precision > 38 || scale < 0 || scale > precision)
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A decimal type of impossible precision or scale."});
    *out = type_decimal(a, precision, scale);
    return ERR_OK;
}

/* An interval type between two of its fields: 0 day … 3 second, 0 year 1 month. */
static enum err convert_interval(struct arena *a, enum type_id id, int first, int last, const struct type **out,
                                 struct fault *f)
{
    int most = id == TYPE_DAY_TIME ? 3 : 1;
    if (first < 0 || last > most || first > last)
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "An interval type of impossible fields."});
    struct type *t = ARENA_NEW(a, struct type);
    *t = (struct type){.id = id, .first = (uint8_t)first, .last = (uint8_t)last};
    *out = t;
    return ERR_OK;
}

/* Types without parameters: which of ours they are; TYPE_ID_COUNT: see convert_type. */
static enum type_id plain_type(Spark__Connect__DataType__KindCase kind)
{
#define KIND(name) SPARK__CONNECT__DATA_TYPE__KIND_##name
    switch (kind) {
    case SPARK__CONNECT__DATA_TYPE__KIND_NULL: /* the macro would expand NULL */
        return TYPE_NULL;
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
    case KIND(CHAR): /* outside tables, CHAR and VARCHAR are strings */
    case KIND(VAR_CHAR):
        return TYPE_STRING;
    case KIND(DATE):
        return TYPE_DATE;
    case KIND(TIMESTAMP):
        return TYPE_TIMESTAMP;
    case KIND(TIMESTAMP_NTZ):
        return TYPE_TIMESTAMP_NTZ;
    case KIND(CALENDAR_INTERVAL):
        return TYPE_CALENDAR;
    default:
        return TYPE_ID_COUNT;
    }
}

enum err convert_type(struct arena *a, const DataType *t, int depth, const struct type **out, struct fault *f)
{
    const struct type *element;
    enum err e;
    if (depth > LIMIT_TYPE_DEPTH)
        return LIMIT_FAULT(f, TYPE_DEPTH);
    if (!t || t->kind_case == SPARK__CONNECT__DATA_TYPE__KIND__NOT_SET)
        return FAULT(f, ERR_CONNECT_PLAN, {"detail", "A data type is missing."});
    enum type_id id = plain_type(t->kind_case);
    if (id != TYPE_ID_COUNT) {
        *out = type_simple(id);
        return ERR_OK;
    }
    switch (t->kind_case) {
    case KIND(STRING):
        if (*t->string->collation && strcmp(t->string->collation, "UTF8_BINARY") != 0)
            return refuse(f, "collation", t->string->collation);
        *out = type_simple(TYPE_STRING);
        return ERR_OK;
    case KIND(DECIMAL):
        return convert_decimal(a, t->decimal, out, f);
    case KIND(YEAR_MONTH_INTERVAL):
        return convert_interval(a, TYPE_YEAR_MONTH, OPTIONAL(t->year_month_interval, start_field, 0),
                                OPTIONAL(t->year_month_interval, end_field, 1), out, f);
    case KIND(DAY_TIME_INTERVAL):
        return convert_interval(a, TYPE_DAY_TIME, OPTIONAL(t->day_time_interval, start_field, 0),
                                OPTIONAL(t->day_time_interval, end_field, 3), out, f);
    case KIND(ARRAY):
        e = convert_type(a, t->array->element_type, depth + 1, &element, f);
        if (!e)
            *out = type_array(a, element, t->array->contains_null);
        return e;
    case KIND(STRUCT):
        return convert_struct(a, t->struct_, depth, out, f);
    case KIND(MAP):
        return convert_map(a, t->map, depth, out, f);
    case KIND(UNPARSED):
        return sql_parse_schema(str_of(t->unparsed->data_type_string), a, out, f);
    case KIND(UDT):
        return refuse(f, "data type", "udt");
    case KIND(VARIANT):
        return refuse(f, "data type", "variant");
    case KIND(TIME):
        return refuse(f, "data type", "time");
    case KIND(GEOMETRY):
        return refuse(f, "data type", "geometry");
    case KIND(GEOGRAPHY):
        return refuse(f, "data type", "geography");
    default:
        return refuse(f, "data type", "(unknown)");
    }
}

/* -- to the client -------------------------------------------------------------------------------------------------- */
static Spark__Connect__DataType__Struct *struct_message(struct arena *a, const struct type *t)
{
    Spark__Connect__DataType__Struct *s = ARENA_NEW(a, Spark__Connect__DataType__Struct);
    spark__connect__data_type__struct__init(s);
    s->fields = ARENA_ARRAY(a, (size_t)t->nfields + 1, StructField *);
    for (int i = 0; i < t->nfields; i++) {
        StructField *x = ARENA_NEW(a, StructField);
        spark__connect__data_type__struct_field__init(x);
        x->name = arena_z(a, t->fields[i].name);
        x->nullable = t->fields[i].nullable;
        x->data_type = type_message(a, t->fields[i].type);
        if (t->fields[i].metadata.n) {
            x->opt_metadata_case = SPARK__CONNECT__DATA_TYPE__STRUCT_FIELD__OPT_METADATA_METADATA;
            x->metadata = arena_z(a, t->fields[i].metadata);
        }
        s->fields[s->n_fields++] = x;
    }
    return s;
}

/* One empty submessage of type T as member `field`. */
#define PLAIN(CASE, field, T, init)                                                                                    \
    do {                                                                                                               \
        m->kind_case = KIND(CASE);                                                                                     \
        m->field = ARENA_NEW(a, Spark__Connect__DataType__##T);                                                        \
        spark__connect__data_type__##init##__init(m->field);                                                           \
    } while (0)

static void nested_message(struct arena *a, const struct type *t, DataType *m)
{
    if (t->id == TYPE_STRUCT) {
        m->kind_case = KIND(STRUCT);
        m->struct_ = struct_message(a, t);
    } else if (t->id == TYPE_ARRAY) {
        PLAIN(ARRAY, array, Array, array);
        m->array->element_type = type_message(a, t->fields[0].type);
        m->array->contains_null = t->fields[0].nullable;
    } else {
        PLAIN(MAP, map, Map, map);
        m->map->key_type = type_message(a, t->fields[0].type);
        m->map->value_type = type_message(a, t->fields[1].type);
        m->map->value_contains_null = t->fields[1].nullable;
    }
}

static void sized_message(struct arena *a, const struct type *t, DataType *m)
{
    if (t->id == TYPE_DECIMAL) {
        PLAIN(DECIMAL, decimal, Decimal, decimal);
        m->decimal->opt_precision_case = SPARK__CONNECT__DATA_TYPE__DECIMAL__OPT_PRECISION_PRECISION;
        m->decimal->precision = t->precision;
        m->decimal->opt_scale_case = SPARK__CONNECT__DATA_TYPE__DECIMAL__OPT_SCALE_SCALE;
        m->decimal->scale = t->scale;
    } else if (t->id == TYPE_DAY_TIME) {
        PLAIN(DAY_TIME_INTERVAL, day_time_interval, DayTimeInterval, day_time_interval);
        m->day_time_interval->opt_start_field_case =
            SPARK__CONNECT__DATA_TYPE__DAY_TIME_INTERVAL__OPT_START_FIELD_START_FIELD;
        m->day_time_interval->start_field = t->first;
        m->day_time_interval->opt_end_field_case =
            SPARK__CONNECT__DATA_TYPE__DAY_TIME_INTERVAL__OPT_END_FIELD_END_FIELD;
        m->day_time_interval->end_field = t->last;
    } else {
        PLAIN(YEAR_MONTH_INTERVAL, year_month_interval, YearMonthInterval, year_month_interval);
        m->year_month_interval->opt_start_field_case =
            SPARK__CONNECT__DATA_TYPE__YEAR_MONTH_INTERVAL__OPT_START_FIELD_START_FIELD;
        m->year_month_interval->start_field = t->first;
        m->year_month_interval->opt_end_field_case =
            SPARK__CONNECT__DATA_TYPE__YEAR_MONTH_INTERVAL__OPT_END_FIELD_END_FIELD;
        m->year_month_interval->end_field = t->last;
    }
}

DataType *type_message(struct arena *a, const struct type *t)
{
    DataType *m = ARENA_NEW(a, DataType);
    spark__connect__data_type__init(m);
    switch (t->id) {
    case TYPE_BOOLEAN:
        PLAIN(BOOLEAN, boolean, Boolean, boolean);
        break;
    case TYPE_BYTE:
        PLAIN(BYTE, byte, Byte, byte);
        break;
    case TYPE_SHORT:
        PLAIN(SHORT, short_, Short, short);
        break;
    case TYPE_INT:
        PLAIN(INTEGER, integer, Integer, integer);
        break;
    case TYPE_LONG:
        PLAIN(LONG, long_, Long, long);
        break;
    case TYPE_FLOAT:
        PLAIN(FLOAT, float_, Float, float);
        break;
    case TYPE_DOUBLE:
        PLAIN(DOUBLE, double_, Double, double);
        break;
    case TYPE_STRING:
        PLAIN(STRING, string, String, string);
        break;
    case TYPE_BINARY:
        PLAIN(BINARY, binary, Binary, binary);
        break;
    case TYPE_DATE:
        PLAIN(DATE, date, Date, date);
        break;
    case TYPE_TIMESTAMP:
        PLAIN(TIMESTAMP, timestamp, Timestamp, timestamp);
        break;
    case TYPE_TIMESTAMP_NTZ:
        PLAIN(TIMESTAMP_NTZ, timestamp_ntz, TimestampNTZ, timestamp_ntz);
        break;
    case TYPE_CALENDAR:
        PLAIN(CALENDAR_INTERVAL, calendar_interval, CalendarInterval, calendar_interval);
        break;
    case TYPE_DECIMAL:
    case TYPE_DAY_TIME:
    case TYPE_YEAR_MONTH:
        sized_message(a, t, m);
        break;
    case TYPE_STRUCT:
    case TYPE_ARRAY:
    case TYPE_MAP:
        nested_message(a, t, m);
        break;
    default:
        m->kind_case = SPARK__CONNECT__DATA_TYPE__KIND_NULL;
        m->null = ARENA_NEW(a, Spark__Connect__DataType__NULL);
        spark__connect__data_type__null__init(m->null);
    }
    return m;
}
