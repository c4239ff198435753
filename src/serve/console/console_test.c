#include "base/buf.h"
#include "base/test.h"
#include "os/net.h"
#include "os/os.h"
#include "serve/console/console.h"

/* A session "s" whose text grows when the test says so. */
struct fake {
    struct os_mutex *lock;
    char text[64];
    size_t n;
    void (*wake)(void *arg);
    void *wake_arg;
    int waits, forgets;
    const char *not_ready;
};

static bool fake_read(void *arg, struct str session, uint64_t from, struct buf *out, uint64_t *next)
{
    struct fake *f = arg;
    if (!str_eqz(session, "s"))
        return false;
    os_mutex_lock(f->lock);
    from = from < f->n ? from : f->n;
    buf_put(out, f->text + from, f->n - from);
    *next = f->n;
    os_mutex_unlock(f->lock);
    return true;
}

static bool fake_wait(void *arg, struct str session, uint64_t from, void (*wake)(void *arg), void *wake_arg)
{
    struct fake *f = arg;
    if (!str_eqz(session, "s"))
        return false;
    os_mutex_lock(f->lock);
    f->waits++;
    if (from < f->n) {
        wake(wake_arg);
    } else {
        f->wake = wake;
        f->wake_arg = wake_arg;
    }
    os_mutex_unlock(f->lock);
    return true;
}

static void fake_forget(void *arg, void *wake_arg)
{
    struct fake *f = arg;
    os_mutex_lock(f->lock);
    f->forgets++;
    if (f->wake_arg == wake_arg)
        f->wake = NULL;
    os_mutex_unlock(f->lock);
}

static void fake_print(struct fake *f, const char *text)
{
    os_mutex_lock(f->lock);
    size_t n = strlen(text);
    memcpy(f->text + f->n, text, n);
    f->n += n;
    if (f->wake)
        f->wake(f->wake_arg);
    f->wake = NULL;
    os_mutex_unlock(f->lock);
}

static const char *fake_ready(void *arg)
{
    return ((struct fake *)arg)->not_ready;
}

static void fake_metrics(void *arg, struct console_metrics *out)
{
    (void)arg;
    out->v[METRIC_RECORDS] = 12;
}

struct fixture {
    struct fake fake;
    struct console_hooks hooks;
    struct loop *loop;
    uint16_t port;
};

static bool start(struct fixture *x)
{
    struct fault f;
    *x = (struct fixture){.fake = {.lock = os_mutex_new()}};
    x->hooks = (struct console_hooks){.arg = &x->fake,
                                      .not_ready = fake_ready,
                                      .metrics = fake_metrics,
                                      .console_read = fake_read,
                                      .console_wait = fake_wait,
                                      .console_forget = fake_forget};
    return !loop_start(&x->loop, "http", &f) && !console_listen(&x->loop, 1, "127.0.0.1", &x->port, &x->hooks, &f);
}

static void stop(struct fixture *x)
{
    loop_stop(x->loop);
    os_mutex_free(x->fake.lock);
}

static int open_request(struct fixture *x, const char *request)
{
    struct fault f;
    int fd = -1;
    size_t n;
    struct str bytes = str_of(request);
    if (net_connect("127.0.0.1", x->port, 5000, &fd, &f) || net_writev(fd, &bytes, 1, &n, &f))
        return -1;
    return fd;
}

/* All until the server closes. */
static void read_all(int fd, char *out, size_t cap)
{
    struct fault f;
    size_t have = 0, n = 1;
    while (n && have + 1 < cap && net_read(fd, out + have, cap - 1 - have, &n, &f) == ERR_OK)
        have += n;
    out[have] = 0;
    net_close(fd);
}

static void ask(struct fixture *x, const char *request, char *out, size_t cap)
{
    out[0] = 0;
    int fd = open_request(x, request);
    REQUIRE(fd >= 0);
    read_all(fd, out, cap);
}

TEST(health_and_metrics)
{
    struct fixture x;
    char out[8192];
    REQUIRE(start(&x));
    ask(&x, "GET /livez HTTP/1.0\r\n\r\n", out, sizeof out);
    EXPECT(str_starts(str_of(out), STR("HTTP/1.1 200 OK\r\n")) && str_ends(str_of(out), STR("\r\n\r\nok\n")));
    x.fake.not_ready = "recovering";
    ask(&x, "GET /readyz HTTP/1.0\r\n\r\n", out, sizeof out);
    EXPECT(str_starts(str_of(out), STR("HTTP/1.1 503 ")) && strstr(out, "recovering"));
    ask(&x, "GET /metrics HTTP/1.0\r\n\r\n", out, sizeof out);
    EXPECT(strstr(out, "# TYPE penstock_log_appended_records_total counter\npenstock_log_appended_records_total 12\n"));
    /* two requests in one packet; HEAD has no body */
    ask(&x, "HEAD /livez HTTP/1.1\r\n\r\nGET /nope HTTP/1.1\r\nConnection: close\r\n\r\n", out, sizeof out);
    EXPECT(strstr(out, "Content-Length: 3\r\n") && strstr(out, "\r\n\r\nHTTP/1.1 404 "));
    stop(&x);
}

TEST(what_is_wrong_is_refused)
{
    static const struct {
        const char *request, *status;
    } CASES[] = {
        {"POST /livez HTTP/1.0\r\n\r\n", " 405 "},
        {"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", " 413 "},
        {"\x16\x03\x01\x02\n\n", " 400 "},
        {"GET /livez HTTP/3.0\r\n\r\n", " 505 "},
        {"GET /console?session=other HTTP/1.0\r\n\r\n", " 404 "},
        {"GET /console?from=1 HTTP/1.0\r\n\r\n", " 400 "},
        {"GET /console?session=s&from=-1 HTTP/1.0\r\n\r\n", " 400 "},
    };
    struct fixture x;
    char out[2048];
    REQUIRE(start(&x));
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        ask(&x, CASES[i].request, out, sizeof out);
        EXPECT(strstr(out, CASES[i].status));
    }
    stop(&x);
}

TEST(console_text_that_is_there_and_that_comes_later)
{
    struct fixture x;
    char out[2048];
    REQUIRE(start(&x));
    fake_print(&x.fake, "Batch: 0\n");
    ask(&x, "GET /console?session=s&from=0 HTTP/1.0\r\n\r\n", out, sizeof out);
    EXPECT(strstr(out, "X-Console-Next: 9\r\n") && strstr(out, "\r\n\r\nBatch: 0\n"));
    int fd = open_request(&x, "GET /console?session=s&from=9 HTTP/1.0\r\n\r\n");
    REQUIRE(fd >= 0);
    for (int waits = 0; waits < 2; os_sleep_ms(1)) { /* until the request waits */
        os_mutex_lock(x.fake.lock);
        waits = x.fake.waits;
        os_mutex_unlock(x.fake.lock);
    }
    fake_print(&x.fake, "Batch: 1\n");
    read_all(fd, out, sizeof out);
    EXPECT(strstr(out, "X-Console-Next: 18\r\n") && strstr(out, "\r\n\r\nBatch: 1\n"));
    stop(&x);
}

TEST(a_reader_that_leaves_is_forgotten)
{
    struct fixture x;
    REQUIRE(start(&x));
    int fd = open_request(&x, "GET /console?session=s&from=0 HTTP/1.1\r\n\r\n");
    REQUIRE(fd >= 0);
    for (int waits = 0; waits < 1; os_sleep_ms(1)) {
        os_mutex_lock(x.fake.lock);
        waits = x.fake.waits;
        os_mutex_unlock(x.fake.lock);
    }
    net_close(fd);
    stop(&x); /* closes what is left */
    EXPECT_INT(x.fake.forgets, 1);
    EXPECT(!x.fake.wake);
}
TEST_MAIN()
