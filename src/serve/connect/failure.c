#include "serve/connect/connect_int.h"
#include "base/memory.h"
#include "wire/json.h"

#include <stdio.h>

/* The exception of each kind and what it derives from, as real Spark names them in ErrorInfo.metadata["classes"]: the
 * client raises the Python exception of the first one that it knows. */
#define BASE         "java.lang.Exception", "java.lang.Throwable", "java.lang.Object"
#define RUNTIME_BASE "java.lang.RuntimeException", BASE
enum { CLASSES_MAX = 9 };
static const char *const CLASSES[][CLASSES_MAX] = {
    [FAULT_PLAIN] = {"org.apache.spark.SparkException", BASE},
    [FAULT_ANALYSIS] = {"org.apache.spark.sql.AnalysisException", BASE},
    [FAULT_PARSE] = {"org.apache.spark.sql.catalyst.parser.ParseException", "org.apache.spark.sql.AnalysisException",
                     BASE},
    [FAULT_ARITHMETIC] = {"org.apache.spark.SparkArithmeticException", "java.lang.ArithmeticException", RUNTIME_BASE},
    [FAULT_NUMBER] = {"org.apache.spark.SparkNumberFormatException", "java.lang.NumberFormatException",
                      "java.lang.IllegalArgumentException", RUNTIME_BASE},
    [FAULT_ILLEGAL] = {"org.apache.spark.SparkIllegalArgumentException", "java.lang.IllegalArgumentException",
                       RUNTIME_BASE},
    [FAULT_UNSUPPORTED] = {"org.apache.spark.SparkUnsupportedOperationException",
                           "java.lang.UnsupportedOperationException", RUNTIME_BASE},
    [FAULT_ARRAY_INDEX] = {"org.apache.spark.SparkArrayIndexOutOfBoundsException",
                           "java.lang.ArrayIndexOutOfBoundsException", "java.lang.IndexOutOfBoundsException",
                           RUNTIME_BASE},
    [FAULT_DATETIME] = {"org.apache.spark.SparkDateTimeException", "java.time.DateTimeException", RUNTIME_BASE},
    [FAULT_RUNTIME] = {"org.apache.spark.SparkRuntimeException", RUNTIME_BASE},
    [FAULT_QUERY] = {"org.apache.spark.sql.streaming.StreamingQueryException", BASE},
    [FAULT_UPGRADE] = {"org.apache.spark.SparkUpgradeException", RUNTIME_BASE},
    [FAULT_NO_SESSION] = {"org.apache.spark.SparkSQLException", "java.sql.SQLException", BASE},
    [FAULT_NO_ELEMENT] = {"org.apache.spark.SparkNoSuchElementException", "java.util.NoSuchElementException",
                          RUNTIME_BASE},
    [FAULT_NO_CLASS] = {"org.apache.spark.SparkClassNotFoundException", "java.lang.ClassNotFoundException",
                        "java.lang.ReflectiveOperationException", BASE},
};

/* Spark's bounds: a message of 2,048 characters, parameters only while they fit into 1,024 (the rest is what
 * FetchErrorDetails is for). Trailers stay below 8 KiB then; the message a little shorter for what percent-encoding adds. */
enum { MESSAGE_MAX = 1600, PARAMETERS_MAX = 1024 };

/* -- text --------------------------------------------------------------------------------------------------------- */
struct context { /* the JSON that fault_context writes */
    bool is_there, is_sql;
    int64_t start, stop, line, position;
    struct str fragment, call_site, summary, object_type, object_name;
};

static struct context read_context(const struct fault *f, struct arena *a)
{
    struct context c = {.start = -1, .stop = -1, .line = -1};
    struct json j = json_of(str_of(f->context), false);
    struct str key, text;
    if (!*f->context || !json_object(&j))
        return c;
    while (json_more(&j, '}') && json_key(&j, a, &key)) {
        bool ok = json_peek(&j) == '"'         ? json_string(&j, a, &text)
                  : str_eqz(key, "startIndex") ? json_i64(&j, &c.start)
                  : str_eqz(key, "stopIndex")  ? json_i64(&j, &c.stop)
                  : str_eqz(key, "line")       ? json_i64(&j, &c.line)
                  : str_eqz(key, "position")   ? json_i64(&j, &c.position)
                                               : json_skip(&j, NULL);
        if (!ok)
            break;
        if (str_eqz(key, "contextType"))
            c.is_sql = str_eqz(text, "SQL");
        else if (str_eqz(key, "fragment"))
            c.fragment = text;
        else if (str_eqz(key, "callSite"))
            c.call_site = text;
        else if (str_eqz(key, "summary"))
            c.summary = text;
        else if (str_eqz(key, "objectType"))
            c.object_type = text;
        else if (str_eqz(key, "objectName"))
            c.object_name = text;
    }
    c.is_there = !j.bad;
    return c;
}

/* Classes that Spark gives to old messages without a name of their own print neither class nor state. */
static bool is_nameless(const char *class)
{
    return !*class || strncmp(class, "_LEGACY_ERROR_TEMP", 18) == 0;
}

static void put_summary(struct buf *out, const struct context *c)
{
    if (c->is_sql) {
        buf_str(out, c->summary);
    } else if (c->is_there) {
        buf_z(out, "\n== DataFrame ==\n\"");
        buf_str(out, c->fragment);
        buf_z(out, "\" was called from\n");
        buf_str(out, c->call_site);
        buf_z(out, "\n");
    }
}

void fault_text(const struct fault *f, struct buf *out)
{
    struct arena *a = arena_new(0);
    struct context c = read_context(f, a);
    enum fault_kind kind = err_kind(f->err);
    const char *class = err_class(f->err), *state = err_sqlstate(f->err);
    if (kind == FAULT_PARSE)
        buf_z(out, "\n");
    if (!is_nameless(class))
        buf_fmt(out, "[%s] ", class);
    buf_z(out, fault_message(f));
    while (out->n && out->p[out->n - 1] == ' ') /* a row that ends with an empty parameter */
        out->n--;
    if (*state && !is_nameless(class))
        buf_fmt(out, " SQLSTATE: %s", state);
    if (kind == FAULT_ANALYSIS && c.is_sql && c.line > 0)
        buf_fmt(out, "; line %lld pos %lld", (long long)c.line, (long long)c.position);
    else
        put_summary(out, &c);
    arena_free(a);
}

static void put_parameters(struct buf *out, const struct fault *f)
{
    buf_z(out, "{");
    for (int i = 0; i < f->nparams; i++) {
        if (i)
            buf_z(out, ",");
        buf_json_str(out, str_of(fault_param_name(f, i)));
        buf_z(out, ":");
        buf_json_str(out, str_of(fault_param_value(f, i)));
    }
    buf_z(out, "}");
}

static void put_classes(struct buf *out, enum fault_kind kind)
{
    buf_z(out, "[");
    for (int i = 0; i < CLASSES_MAX && CLASSES[kind][i]; i++)
        buf_fmt(out, "%s\"%s\"", i ? "," : "", CLASSES[kind][i]);
    buf_z(out, "]");
}

/* -- failures ----------------------------------------------------------------------------------------------------- */
/* At most n bytes, whole characters, three dots for what is left out. */
static struct str abbreviate(struct arena *a, struct str s, size_t n)
{
    if (s.n <= n)
        return s;
    n -= 3;
    while (n > 0 && ((uint8_t)s.p[n] & 0xc0) == 0x80)
        n--;
    return arena_fmt(a, "%.*s...", (int)n, s.p);
}

static char *copy(struct str s, size_t *n)
{
    char *p = malloc(s.n + 1);
    if (!p)
        memory_out("a failure"); /* a few KiB; there is nothing left to answer with */
    memcpy(p, s.p, s.n);
    p[s.n] = 0;
    *n = s.n;
    return p;
}

/* Remember a fault under a new id for FetchErrorDetails; the oldest one is forgotten. */
static void keep_error(struct session *s, const struct fault *f, char id[37])
{
    struct fault *kept = malloc(sizeof *kept);
    if (!kept)
        return;
    *kept = *f;
    os_uuid_text(os_uuid_random(), id);
    os_mutex_lock(s->lock);
    struct kept_error *e = &s->errors[s->next_error++ % LIMIT_ERRORS_KEPT];
    free(e->fault);
    e->fault = kept;
    memcpy(e->id, id, sizeof e->id);
    os_mutex_unlock(s->lock);
}

void failure_of(struct failure *x, const struct fault *f, struct session *s)
{
    struct arena *a = arena_new(0);
    struct buf text = {0}, parameters = {0}, classes = {0};
    char id[37] = "";
    enum fault_kind kind = err_kind(f->err);
    fault_text(f, &text);
    put_parameters(&parameters, f);
    put_classes(&classes, kind);
    if (s)
        keep_error(s, f, id);
    struct grpc_error e = {.code = GRPC_INTERNAL,
                           .message = abbreviate(a, buf_view(&text), MESSAGE_MAX),
                           .reason = str_of(CLASSES[kind][0]),
                           .domain = STR("org.apache.spark")};
#define PAIR(key_, value_) (e.key[e.npairs] = STR(key_), e.value[e.npairs++] = (value_))
    PAIR("classes", buf_view(&classes));
    if (*err_class(f->err))
        PAIR("errorClass", str_of(err_class(f->err)));
    if (*err_sqlstate(f->err))
        PAIR("sqlState", str_of(err_sqlstate(f->err)));
    if (parameters.n <= PARAMETERS_MAX)
        PAIR("messageParameters", buf_view(&parameters));
    if (*id)
        PAIR("errorId", str_of(id));
#undef PAIR
    x->code = GRPC_INTERNAL;
    x->message = copy(e.message, &x->message_n);
    x->details = copy(grpc_error_encode(a, &e), &x->details_n);
    buf_free(&text);
    buf_free(&parameters);
    buf_free(&classes);
    arena_free(a);
}

void failure_free(struct failure *x)
{
    free(x->message);
    free(x->details);
    *x = (struct failure){0};
}

/* -- FetchErrorDetails -------------------------------------------------------------------------------------------- */
typedef Spark__Connect__FetchErrorDetailsResponse__Error Error;
typedef Spark__Connect__FetchErrorDetailsResponse__SparkThrowable Throwable;
typedef Spark__Connect__FetchErrorDetailsResponse__SparkThrowable__MessageParametersEntry Parameter;
typedef Spark__Connect__FetchErrorDetailsResponse__QueryContext Context;

static Context *context_message(const struct fault *f, struct arena *a)
{
    struct context c = read_context(f, a);
    if (!c.is_there)
        return NULL;
    Context *m = ARENA_NEW(a, Context);
    spark__connect__fetch_error_details_response__query_context__init(m);
    m->context_type = c.is_sql ? SPARK__CONNECT__FETCH_ERROR_DETAILS_RESPONSE__QUERY_CONTEXT__CONTEXT_TYPE__SQL
                               : SPARK__CONNECT__FETCH_ERROR_DETAILS_RESPONSE__QUERY_CONTEXT__CONTEXT_TYPE__DATAFRAME;
    struct buf summary = {0};
    put_summary(&summary, &c);
    m->object_type = arena_z(a, c.object_type);
    m->object_name = arena_z(a, c.object_name);
    m->start_index = (int32_t)c.start;
    m->stop_index = (int32_t)c.stop;
    m->fragment = arena_z(a, c.fragment);
    m->call_site = arena_z(a, c.call_site);
    m->summary = arena_z(a, buf_view(&summary));
    buf_free(&summary);
    return m;
}

static Throwable *throwable_message(const struct fault *f, struct arena *a)
{
    Throwable *m = ARENA_NEW(a, Throwable);
    spark__connect__fetch_error_details_response__spark_throwable__init(m);
    if (*err_class(f->err)) {
        m->opt_error_class_case =
            SPARK__CONNECT__FETCH_ERROR_DETAILS_RESPONSE__SPARK_THROWABLE__OPT_ERROR_CLASS_ERROR_CLASS;
        m->error_class = arena_z(a, str_of(err_class(f->err)));
    }
    if (*err_sqlstate(f->err)) {
        m->opt_sql_state_case = SPARK__CONNECT__FETCH_ERROR_DETAILS_RESPONSE__SPARK_THROWABLE__OPT_SQL_STATE_SQL_STATE;
        m->sql_state = arena_z(a, str_of(err_sqlstate(f->err)));
    }
    m->message_parameters = ARENA_ARRAY(a, (size_t)f->nparams + 1, Parameter *);
    for (int i = 0; i < f->nparams; i++) {
        Parameter *p = ARENA_NEW(a, Parameter);
        spark__connect__fetch_error_details_response__spark_throwable__message_parameters_entry__init(p);
        p->key = arena_z(a, str_of(fault_param_name(f, i)));
        p->value = arena_z(a, str_of(fault_param_value(f, i)));
        m->message_parameters[m->n_message_parameters++] = p;
    }
    Context *c = context_message(f, a);
    if (c) {
        m->query_contexts = ARENA_NEW(a, Context *);
        m->query_contexts[m->n_query_contexts++] = c;
    }
    return m;
}

static void error_message(const struct fault *f, struct arena *a, Spark__Connect__FetchErrorDetailsResponse *out)
{
    enum fault_kind kind = err_kind(f->err);
    Error *m = ARENA_NEW(a, Error);
    spark__connect__fetch_error_details_response__error__init(m);
    m->error_type_hierarchy = ARENA_ARRAY(a, CLASSES_MAX, char *);
    for (int i = 0; i < CLASSES_MAX && CLASSES[kind][i]; i++)
        m->error_type_hierarchy[m->n_error_type_hierarchy++] = arena_z(a, str_of(CLASSES[kind][i]));
    struct buf text = {0};
    fault_text(f, &text);
    m->message = arena_z(a, buf_view(&text));
    buf_free(&text);
    m->spark_throwable = throwable_message(f, a);
    out->opt_root_error_idx_case = SPARK__CONNECT__FETCH_ERROR_DETAILS_RESPONSE__OPT_ROOT_ERROR_IDX_ROOT_ERROR_IDX;
    out->root_error_idx = 0;
    out->errors = ARENA_NEW(a, Error *);
    out->errors[out->n_errors++] = m;
}

void failure_details(struct session *s, const char *id, struct arena *a, Spark__Connect__FetchErrorDetailsResponse *out)
{
    struct fault *found = NULL;
    os_mutex_lock(s->lock);
    for (int i = 0; i < LIMIT_ERRORS_KEPT && !found; i++) {
        if (s->errors[i].fault && strcmp(s->errors[i].id, id) == 0) {
            found = ARENA_NEW(a, struct fault);
            *found = *s->errors[i].fault;
        }
    }
    os_mutex_unlock(s->lock);
    if (found) /* an id that was forgotten: an answer without an error, as real Spark gives */
        error_message(found, a, out);
}
