#include "wire/http.h"

static bool is_token(char c)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(extra, c));
}

static bool all_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token(s.p[i]))
            return false;
    return s.n > 0;
}

/* Take the line up to "\n" (a "\r" before it dropped) off *rest. False: no whole line. */
static bool take_line(struct str *rest, struct str *line)
{
    ptrdiff_t nl = str_find(*rest, STR("\n"), 0);
    if (nl < 0)
        return false;
    *line = str_make(rest->p, (size_t)nl);
    if (line->n && line->p[line->n - 1] == '\r')
        line->n--;
    *rest = str_make(rest->p + nl + 1, rest->n - (size_t)nl - 1);
    return true;
}

/* "METHOD SP target SP HTTP/1.x"; 0 or minus a status. */
static int request_line(struct http_request *r, struct str line)
{
    ptrdiff_t a = str_find(line, STR(" "), 0);
    ptrdiff_t b = a < 0 ? -1 : str_find(line, STR(" "), (size_t)a + 1);
    if (b < 0)
        return -400;
    r->method = str_make(line.p, (size_t)a);
    struct str target = str_make(line.p + a + 1, (size_t)(b - a - 1));
    struct str version = str_make(line.p + b + 1, line.n - (size_t)b - 1);
    if (!all_token(r->method) || !target.n || target.p[0] != '/' || !str_starts(version, STR("HTTP/")))
        return -400;
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || (unsigned char)target.p[i] >= 0x7f)
            return -400;
    bool v11 = str_eqz(version, "HTTP/1.1");
    if (!v11 && !str_eqz(version, "HTTP/1.0"))
        return -505;
    r->keep_alive = v11;
    ptrdiff_t q = str_find(target, STR("?"), 0);
    r->path = str_sub(target, 0, q < 0 ? target.n : (size_t)q);
    r->query = q < 0 ? str_make(NULL, 0) : str_sub(target, (size_t)q + 1, target.n);
    return 0;
}

static int header_line(struct http_request *r, struct str line)
{
    ptrdiff_t colon = str_find(line, STR(":"), 0);
    struct str name = colon < 0 ? str_make(NULL, 0) : str_sub(line, 0, (size_t)colon);
    if (!all_token(name))
        return -400;
    struct str value = str_trim(str_sub(line, (size_t)colon + 1, line.n));
    if (str_eq_nocase(name, STR("Connection"))) {
        if (str_eq_nocase(value, STR("close")))
            r->keep_alive = false;
        else if (str_eq_nocase(value, STR("keep-alive")))
            r->keep_alive = true;
    } else if (str_eq_nocase(name, STR("Content-Length"))) {
        int64_t length;
        if (!str_to_i64(value, &length) || length < 0)
            return -400;
        r->content_length = (uint64_t)length;
    } else if (str_eq_nocase(name, STR("Transfer-Encoding"))) {
        r->chunked = true;
    }
    return 0;
}

int http_parse(struct http_request *r, const char *in, size_t n)
{
    *r = (struct http_request){.keep_alive = false};
    struct str rest = str_make(in, n < LIMIT_HTTP_HEAD_BYTES ? n : LIMIT_HTTP_HEAD_BYTES), line;
    bool first = true;
    while (take_line(&rest, &line)) {
        if (first && !line.n)
            continue; /* an empty line before the request line is let pass (RFC 9112, 2.2) */
        if (!line.n)
            return (int)(rest.p - in);
        int rc = first ? request_line(r, line) : header_line(r, line);
        if (rc)
            return rc;
        first = false;
    }
    return n >= LIMIT_HTTP_HEAD_BYTES ? -431 : 0;
}

struct str http_query(struct str query, struct str name)
{
    while (query.n) {
        ptrdiff_t amp = str_find(query, STR("&"), 0);
        struct str pair = str_sub(query, 0, amp < 0 ? query.n : (size_t)amp);
        ptrdiff_t eq = str_find(pair, STR("="), 0);
        if (eq >= 0 && str_eq(str_sub(pair, 0, (size_t)eq), name))
            return str_sub(pair, (size_t)eq + 1, pair.n);
        query = amp < 0 ? str_make(NULL, 0) : str_sub(query, (size_t)amp + 1, query.n);
    }
    return str_make(NULL, 0);
}
