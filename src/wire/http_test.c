#include "base/test.h"
#include "wire/http.h"

static int parse(struct http_request *r, const char *text)
{
    return http_parse(r, text, strlen(text));
}

TEST(request_head)
{
    struct http_request r;
    const char *text = "GET /console?session=abc&from=12 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nbody";
    EXPECT_INT(parse(&r, text), (int)strlen(text) - 4);
    EXPECT_STR(r.method, "GET");
    EXPECT_STR(r.path, "/console");
    EXPECT_STR(http_query(r.query, STR("session")), "abc");
    EXPECT_STR(http_query(r.query, STR("from")), "12");
    EXPECT(!http_query(r.query, STR("fro")).p);
    EXPECT(r.keep_alive);
    EXPECT_INT(r.content_length, 7);
}

TEST(connection_header)
{
    struct http_request r;
    EXPECT(parse(&r, "GET / HTTP/1.0\n\n") > 0 && !r.keep_alive);
    EXPECT(parse(&r, "GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n") > 0 && r.keep_alive);
    EXPECT(parse(&r, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n") > 0 && !r.keep_alive);
}

TEST(incomplete_then_whole)
{
    struct http_request r;
    const char *text = "\r\nHEAD /livez HTTP/1.1\r\nA: b\r\n\r\n";
    for (size_t n = 0; n < strlen(text); n++)
        EXPECT_INT(http_parse(&r, text, n), 0);
    EXPECT_INT(parse(&r, text), (int)strlen(text));
}

TEST(refusals)
{
    struct http_request r;
    EXPECT_INT(parse(&r, "GET\r\n\r\n"), -400);
    EXPECT_INT(parse(&r, "GET x HTTP/1.1\r\n\r\n"), -400);
    EXPECT_INT(parse(&r, "G@T / HTTP/1.1\r\n\r\n"), -400);
    EXPECT_INT(parse(&r, "GET / HTTP/2.0\r\n\r\n"), -505);
    EXPECT_INT(parse(&r, "GET / HTTP/1.1\r\nno colon\r\n\r\n"), -400);
    EXPECT_INT(parse(&r, "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), -400);
    char big[LIMIT_HTTP_HEAD_BYTES + 1];
    memset(big, 'a', sizeof big);
    EXPECT_INT(http_parse(&r, big, LIMIT_HTTP_HEAD_BYTES - 1), 0);
    EXPECT_INT(http_parse(&r, big, LIMIT_HTTP_HEAD_BYTES), -431);
}
TEST_MAIN()
