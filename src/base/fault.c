#include "base/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct row {
    const char *id, *class, *sqlstate, *message;
    enum fault_kind kind;
    int kafka;
};

static const struct row ROWS[ERR_COUNT] = {
    [ERR_OK] = {"ERR_OK", "", "", "", FAULT_PLAIN, 0},
#define X(id, class, sqlstate, kind, kafka, message) [id] = {#id, class, sqlstate, message, FAULT_##kind, kafka},
#include "errors.def"
#undef X
};

/* Append n bytes at f->used, cut to what fits before `room_end`; returns the offset of the copy, NUL-terminated. */
static uint16_t put(struct fault *f, const char *p, size_t n, size_t room_end)
{
    uint16_t at = f->used;
    size_t room = room_end > f->used + (size_t)1 ? room_end - f->used - 1 : 0;
    if (n > room) {
        n = room;
        while (n && ((unsigned char)p[n] & 0xC0) == 0x80)
            n--; /* cut before a whole UTF-8 character */
    }
    memcpy(f->text + at, p, n);
    f->text[at + n] = 0;
    f->used = (uint16_t)(at + n + 1);
    return at;
}

static const char *param(const struct fault *f, const char *name, size_t n)
{
    for (int i = 0; i < f->nparams; i++)
        if (strlen(fault_param_name(f, i)) == n && !memcmp(fault_param_name(f, i), name, n))
            return fault_param_value(f, i);
    return NULL;
}

/* Expand <name> in the row's text; the message takes what room is left. */
static void expand(struct fault *f, const char *t)
{
    char out[FAULT_TEXT];
    size_t n = 0;
    while (*t && n < sizeof out - 1) {
        const char *end = *t == '<' ? strchr(t, '>') : NULL;
        const char *value = end ? param(f, t + 1, (size_t)(end - t - 1)) : NULL;
        if (value) {
            size_t len = strnlen(value, sizeof out - 1 - n);
            memcpy(out + n, value, len);
            n += len;
            t = end + 1;
        } else {
            out[n++] = *t++;
        }
    }
    f->message_at = put(f, out, n, sizeof f->text);
}

enum err fault_set(struct fault *f, enum err e, int n, const struct fault_param *params)
{
    if (!f)
        return e;
    f->err = e;
    f->used = 0;
    f->nparams = n < FAULT_PARAMS ? n : FAULT_PARAMS;
    f->context[0] = 0;
    for (int i = 0; i < f->nparams; i++) {
        const char *value = params[i].value ? params[i].value : "";
        f->name_at[i] = put(f, params[i].name, strlen(params[i].name), FAULT_TEXT / 2);
        f->value_at[i] = put(f, value, strlen(value), FAULT_TEXT / 2);
    }
    expand(f, ROWS[e].message);
    return e;
}

enum err fault_errno(struct fault *f, int errno_, const char *fmt, ...)
{
    enum err e = errno_ == ENOSPC || errno_ == EDQUOT ? ERR_NOSPACE : errno_ == ENOMEM ? ERR_NOMEM : ERR_IO;
    char what[512], detail[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return FAULT(f, e, {"what", what}, {"detail", strerror_r(errno_, detail, sizeof detail)});
}

enum err fault_internal(struct fault *f, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return FAULT(f, ERR_INTERNAL, {"message", text});
}

const char *err_class(enum err e)
{
    return ROWS[e].class;
}
const char *err_sqlstate(enum err e)
{
    return ROWS[e].sqlstate;
}
enum fault_kind err_kind(enum err e)
{
    return ROWS[e].kind;
}
int err_kafka(enum err e)
{
    return ROWS[e].kafka;
}
const char *err_name(enum err e)
{
    return ROWS[e].id;
}
