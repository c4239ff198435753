/*
 * http: the head of an HTTP/1 request, parsed in place (RFC 9112).
 *
 * Only what a console needs: a request line and the two or three headers that decide about the connection. The caller
 * hands over what has arrived so far; nothing is copied, all strings point into its bytes.
 *
 *   "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"   ──▶   method GET, path /metrics, query x=1, keep_alive
 *
 * Bounds: a head is at most LIMIT_HTTP_HEAD_BYTES. A body is not read here: content_length says how long it would be.
 */
#ifndef PENSTOCK_WIRE_HTTP_H
#define PENSTOCK_WIRE_HTTP_H

#include "base/limit.h"
#include "base/str.h"

struct http_request {
    struct str method, path, query;
    bool keep_alive;
    uint64_t content_length;
    bool chunked; /* Transfer-Encoding present */
};

/* Bytes of the head when it is whole, 0 when more are needed, or minus an HTTP status (400, 431, 505) when it is wrong. */
int http_parse(struct http_request *r, const char *in, size_t n);
/* The value of `name` in "a=1&b=2" (not percent-decoded); p NULL when it is not there. */
struct str http_query(struct str query, struct str name);

#endif
