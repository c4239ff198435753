#include "base/origin.h"
#include "base/buf.h"

/* Byte range of code points start..stop (inclusive). */
static struct str cut(struct str s, int32_t start, int32_t stop)
{
    size_t from = s.n, to = s.n;
    int32_t at = -1;
    for (size_t i = 0; i < s.n; i++) {
        if (((unsigned char)s.p[i] & 0xC0) == 0x80)
            continue;
        at++;
        if (at == start)
            from = i;
        if (at == stop + 1) {
            to = i;
            break;
        }
    }
    return str_sub(s, from, to > from ? to - from : 0);
}

void fault_context(struct fault *f, const struct origin *o)
{
    if (!f)
        return;
    struct buf b = {.limit = sizeof f->context - 1};
    if (o->sql.n && o->start >= 0) {
        buf_fmt(&b, "{\"contextType\":\"SQL\",\"objectType\":\"\",\"objectName\":\"\",\"startIndex\":%d,\"stopIndex\":%d,", o->start,
                o->stop);
        buf_z(&b, "\"fragment\":");
        buf_json_str(&b, cut(o->sql, o->start, o->stop));
        buf_z(&b, "}");
    } else if (o->fragment.n) {
        buf_z(&b, "{\"contextType\":\"DATAFRAME\",\"fragment\":");
        buf_json_str(&b, o->fragment);
        buf_z(&b, ",\"callSite\":");
        buf_json_str(&b, o->call_site);
        buf_z(&b, "}");
    }
    if (!b.bad && b.n < sizeof f->context) {
        if (b.n)
            memcpy(f->context, b.p, b.n);
        f->context[b.n] = 0;
    }
    buf_free(&b);
}
