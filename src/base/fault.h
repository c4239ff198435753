/*
 * fault: what went wrong, said once, at the place that knows why.
 *
 * A function that can fail returns a must-check `enum err` (0 = ERR_OK). Where it fails it also fills the caller's
 * `struct fault`, if one was passed: which row of spec/errors.def, its parameters, and the finished message. Callers
 * between just return the code. The row carries the error to every protocol: Spark's class, SQLSTATE and Python
 * exception; Kafka's error code.
 *
 *   return FAULT(f, ERR_UNRESOLVED_COLUMN, {"objectName", "`x`"}, {"proposal", "`y`, `z`"});
 *
 * Bounds: at most FAULT_PARAMS parameters, text in fixed storage; longer texts are cut at a UTF-8 boundary with "...".
 * A fault is plain memory without pointers to elsewhere: copy it by assignment, across threads too.
 */
#ifndef PENSTOCK_BASE_FAULT_H
#define PENSTOCK_BASE_FAULT_H

#include "base/str.h"

enum err {
    ERR_OK = 0,
#define X(id, class, sqlstate, kind, kafka, message) id,
#include "errors.def"
#undef X
    ERR_COUNT
};
#define CHECK __attribute__((warn_unused_result))

/* The Python exception that pyspark raises for the row. */
enum fault_kind {
    FAULT_PLAIN,       /* SparkException */
    FAULT_ANALYSIS,    /* AnalysisException */
    FAULT_PARSE,       /* ParseException */
    FAULT_ARITHMETIC,  /* ArithmeticException */
    FAULT_NUMBER,      /* NumberFormatException */
    FAULT_ILLEGAL,     /* IllegalArgumentException */
    FAULT_UNSUPPORTED, /* UnsupportedOperationException (SparkUnsupportedOperationException) */
    FAULT_ARRAY_INDEX, /* ArrayIndexOutOfBoundsException */
    FAULT_DATETIME,    /* DateTimeException */
    FAULT_RUNTIME,     /* SparkRuntimeException */
    FAULT_QUERY,       /* StreamingQueryException */
    FAULT_UPGRADE,     /* SparkUpgradeException */
    FAULT_NO_SESSION,  /* SparkSQLException with INVALID_HANDLE… */
    FAULT_NO_ELEMENT,  /* SparkNoSuchElementException */
    FAULT_NO_CLASS,    /* SparkClassNotFoundException: pyspark knows no such class and raises UnknownException */
};

enum { FAULT_PARAMS = 12, FAULT_TEXT = 6144 };

struct fault_param {
    const char *name;
    const char *value; /* NUL-terminated; copied */
};

struct fault {
    enum err err; /* ERR_OK: no fault */
    int nparams;
    uint16_t name_at[FAULT_PARAMS], value_at[FAULT_PARAMS]; /* offsets into text */
    uint16_t message_at, used;
    char context[2048]; /* for parse errors and expression errors: Spark's query context as JSON, or "" */
    char text[FAULT_TEXT];
};

/* Fill f (NULL allowed) from row `e` and parameters; returns e. */
enum err fault_set(struct fault *f, enum err e, int n, const struct fault_param *params);
#define FAULT(f, e, ...)                                                                                               \
    fault_set((f), (e), (int)(sizeof((struct fault_param[]){__VA_ARGS__}) / sizeof(struct fault_param)),               \
              (struct fault_param[]){__VA_ARGS__})
/* An I/O error: ERR_NOSPACE for ENOSPC/EDQUOT, else ERR_IO; "what: strerror(errno_)". */
enum err fault_errno(struct fault *f, int errno_, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* printf into the single parameter `message` of ERR_INTERNAL. */
enum err fault_internal(struct fault *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline const char *fault_message(const struct fault *f)
{
    return f->err ? f->text + f->message_at : "";
}
static inline const char *fault_param_name(const struct fault *f, int i)
{
    return f->text + f->name_at[i];
}
static inline const char *fault_param_value(const struct fault *f, int i)
{
    return f->text + f->value_at[i];
}

const char *err_class(enum err e);    /* "DIVIDE_BY_ZERO" */
const char *err_sqlstate(enum err e); /* "22012" or "" */
enum fault_kind err_kind(enum err e);
int err_kafka(enum err e);        /* Kafka protocol error code */
const char *err_name(enum err e); /* "ERR_IO", for logs */

#endif
