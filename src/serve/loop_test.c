/* The loop against real sockets on loopback: framing, push-back, posts, timers, ends of connections, limits. */
#include "base/budget.h"
#include "base/test.h"
#include "os/net.h"
#include "os/os.h"
#include "serve/loop.h"

#include <stdatomic.h>

static struct {
    atomic_int opened, closed, drained, released;
    atomic_uint_fast64_t last_id;
} seen;

struct echo {
    struct conn *c;
};

static void *echo_open(struct conn *c, void *arg)
{
    struct echo *e = calloc(1, sizeof *e);

    (void)arg;
    e->c = c;
    atomic_store(&seen.last_id, conn_id(c));
    atomic_fetch_add(&seen.opened, 1);
    return e;
}

static void echo_drained(struct conn *c, void *state)
{
    (void)c, (void)state;
    atomic_fetch_add(&seen.drained, 1);
}

static void count_release(void *arg)
{
    free(arg);
    atomic_fetch_add(&seen.released, 1);
}

/* A message is one length byte and that many bytes; it is echoed. Length 0 closes, 255 aborts, 254 asks for 4 MiB. */
static size_t echo_data(struct conn *c, void *state, const char *in, size_t n)
{
    size_t len = (unsigned char)in[0];

    EXPECT(((struct echo *)state)->c == c);
    if (len == 0) {
        conn_write(c, "bye", 3);
        conn_close(c);
        return 1;
    }
    if (len == 255) {
        conn_abort(c);
        return 1;
    }
    if (len == 254) {
        char *big = malloc(4 << 20);

        memset(big, 'x', 4 << 20);
        conn_write_ref(c, big, 4 << 20, count_release, big);
        return 1;
    }
    if (n < len + 1)
        return 0;
    conn_write(c, in, len + 1);
    return len + 1;
}

static void echo_close(struct conn *c, void *state)
{
    (void)c;
    free(state);
    atomic_fetch_add(&seen.closed, 1);
}

static const struct loop_protocol ECHO = {"echo", 1000, 100000, 0, echo_open, echo_data, echo_drained, echo_close};

static struct loop *loops[2];
static uint16_t port;

static void start(const struct loop_protocol *p, int n)
{
    struct fault f = {0};

    memset(&seen, 0, sizeof seen);
    for (int i = 0; i < n; i++)
        if (loop_start(&loops[i], "test", &f))
            abort();
    port = 0;
    if (loop_listen(loops, n, "127.0.0.1", &port, p, NULL, &f)) {
        fprintf(stderr, "%s\n", fault_message(&f));
        abort();
    }
}

static void stop(int n)
{
    for (int i = 0; i < n; i++)
        loop_stop(loops[i]);
}

static int dial(void)
{
    int fd = -1;

    if (net_connect("127.0.0.1", port, 5000, &fd, NULL))
        abort();
    return fd;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n) {
        struct str part = str_make(p, n);
        size_t sent;

        if (net_writev(fd, &part, 1, &sent, NULL))
            return;
        p += sent;
        n -= sent;
    }
}

/* Reads until n bytes or the end; returns how many. */
static size_t recv_all(int fd, char *p, size_t n)
{
    size_t have = 0, got;

    while (have < n && !net_read(fd, p + have, n - have, &got, NULL) && got)
        have += got;
    return have;
}

static void wait_until(atomic_int *what, int least)
{
    while (atomic_load(what) < least)
        os_sleep_ms(1);
}

TEST(echo_in_pieces_and_pipelined)
{
    char in[16];
    int fd;

    start(&ECHO, 2);
    fd = dial();
    send_all(fd, "\3ab", 3);
    os_sleep_ms(5);
    send_all(fd, "c\1d\2ef", 6);
    EXPECT_INT(recv_all(fd, in, 9), 9);
    EXPECT(memcmp(in, "\3abc\1d\2ef", 9) == 0);
    send_all(fd, "\0", 1);
    EXPECT_INT(recv_all(fd, in, 16), 3); /* then the end */
    EXPECT(memcmp(in, "bye", 3) == 0);
    net_close(fd);
    wait_until(&seen.closed, 1);
    wait_until(&seen.drained, 1);
    stop(2);
    EXPECT_INT(seen.opened, 1);
}

TEST(connections_are_spread_and_closed_by_stop)
{
    int fds[6];
    char c;

    start(&ECHO, 2);
    for (int i = 0; i < 6; i++)
        fds[i] = dial();
    wait_until(&seen.opened, 6);
    stop(2);
    EXPECT_INT(seen.closed, 6);
    for (int i = 0; i < 6; i++) {
        EXPECT_INT(recv_all(fds[i], &c, 1), 0);
        net_close(fds[i]);
    }
}

TEST(abort_releases_what_was_queued)
{
    int fd;
    char c[4096];

    start(&ECHO, 1);
    fd = dial();
    send_all(fd, "\376\376\377", 3); /* 4 MiB (then choked), 4 MiB, abort: only the first is taken until it drains */
    while (recv_all(fd, c, sizeof c) == sizeof c)
        ;
    net_close(fd);
    wait_until(&seen.closed, 1);
    stop(1);
    EXPECT_INT(seen.released, 2);
}

TEST(a_reader_that_stops_chokes_only_itself)
{
    int slow, quick;
    char *all = malloc(8 << 20), in[4];

    start(&ECHO, 1);
    slow = dial();
    for (int i = 0; i < 2; i++)
        send_all(slow, "\376", 1);
    quick = dial();
    send_all(quick, "\3abc", 4);
    EXPECT_INT(recv_all(quick, in, 4), 4);
    EXPECT_INT(recv_all(slow, all, 8 << 20), 8 << 20);
    wait_until(&seen.released, 2);
    free(all);
    net_close(slow);
    net_close(quick);
    stop(1);
}

TEST(a_message_over_the_input_limit_closes)
{
    static const struct loop_protocol never = {"never", 1000, 1000, 0, echo_open, NULL, NULL, echo_close};
    struct loop_protocol p = never;
    char big[2000] = {0}, c;
    int fd;

    /* a protocol that waits for more than it may have */
    p.on_data = echo_data;
    p.max_input_bytes = 100;
    memset(big, 120, sizeof big);
    start(&p, 1);
    fd = dial();
    send_all(fd, big, 100); /* 121 bytes would make the message whole */
    EXPECT_INT(recv_all(fd, &c, 1), 0);
    wait_until(&seen.closed, 1);
    net_close(fd);
    stop(1);
}

struct posted {
    struct loop *l;
    atomic_int n, order_bad, fired, cancelled;
    uint64_t timer;
};

static struct posted box;

struct numbered {
    int i;
};

static void take_post(void *arg)
{
    struct numbered *x = arg;

    if (x->i != atomic_load(&box.n))
        atomic_fetch_add(&box.order_bad, 1);
    atomic_fetch_add(&box.n, 1);
    free(x);
}

static void poster(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        struct numbered *x = malloc(sizeof *x);
        x->i = i;
        loop_post(box.l, take_post, x);
    }
}

TEST(posts_keep_their_order)
{
    struct os_thread *t;
    struct fault f;

    start(&ECHO, 1);
    memset(&box, 0, sizeof box);
    box.l = loops[0];
    REQUIRE(!os_thread_start(&t, "poster", poster, NULL, &f));
    os_thread_join(t);
    stop(1); /* runs what was posted */
    EXPECT_INT(box.n, 1000);
    EXPECT_INT(box.order_bad, 0);
}

static void fire(void *arg)
{
    int *slot = arg;

    *slot = atomic_fetch_add(&box.fired, 1);
}

static void must_not_fire(void *arg)
{
    (void)arg;
    atomic_fetch_add(&box.cancelled, 1);
}

static int fired_as[3];

static void set_timers(void *arg)
{
    uint64_t t;

    (void)arg;
    loop_timer(loops[0], 30, fire, &fired_as[2]);
    loop_timer(loops[0], 10, fire, &fired_as[0]);
    t = loop_timer(loops[0], 15, must_not_fire, NULL);
    loop_timer(loops[0], 20, fire, &fired_as[1]);
    loop_cancel(loops[0], t);
    loop_cancel(loops[0], t);
    loop_cancel(loops[0], 12345);
}

TEST(timers_fire_in_order_and_not_when_cancelled)
{
    start(&ECHO, 1);
    memset(&box, 0, sizeof box);
    loop_post(loops[0], set_timers, NULL);
    wait_until(&box.fired, 3);
    stop(1);
    for (int i = 0; i < 3; i++)
        EXPECT_INT(fired_as[i], i);
    EXPECT_INT(box.cancelled, 0);
}

/* A protocol that stops after each byte and answers from a post. */
static void resume(void *arg)
{
    uint64_t *id = arg;
    struct conn *c = loop_conn(loops[0], *id);

    free(id);
    if (!c)
        return;
    conn_write(c, "!", 1);
    conn_pause(c, false);
}

static size_t pausing_data(struct conn *c, void *state, const char *in, size_t n)
{
    uint64_t *id = malloc(sizeof *id);

    (void)state, (void)in, (void)n;
    *id = conn_id(c);
    conn_pause(c, true);
    loop_post(conn_loop(c), resume, id);
    return 1;
}

TEST(a_paused_protocol_sees_kept_bytes_again_and_answers_after_the_peers_end)
{
    struct loop_protocol p = ECHO;
    char in[8];
    int fd;

    p.on_data = pausing_data;
    start(&p, 1);
    fd = dial();
    send_all(fd, "abcd", 4);
    net_shutdown_write(fd);
    EXPECT_INT(recv_all(fd, in, 8), 4);
    wait_until(&seen.closed, 1);
    net_close(fd);
    stop(1);
}

TEST(limits_and_idleness)
{
    struct loop_protocol p = ECHO;
    int a, b;
    char c;

    loop_limit_connections(1);
    p.idle_ms = 50;
    start(&p, 1);
    a = dial();
    wait_until(&seen.opened, 1);
    b = dial();
    EXPECT_INT(recv_all(b, &c, 1), 0); /* one too many */
    EXPECT_INT(recv_all(a, &c, 1), 0); /* idle */
    net_close(a);
    net_close(b);
    stop(1);
    EXPECT_INT(seen.opened, 1);
    loop_limit_connections(12000);
}

TEST(a_port_in_use_is_named)
{
    struct fault f = {0};
    uint16_t same;

    start(&ECHO, 1);
    same = port;
    EXPECT_INT(loop_listen(loops, 1, "127.0.0.1", &same, &ECHO, NULL, &f), ERR_BUSY);
    EXPECT(strstr(fault_message(&f), "127.0.0.1:"));
    stop(1);
}

TEST(addresses_are_parsed)
{
    struct fault f;
    char host[256];
    uint16_t p;

    EXPECT_INT(net_parse(STR("localhost:9092"), host, &p, &f), ERR_OK);
    EXPECT_STR(str_of(host), "localhost");
    EXPECT_INT(p, 9092);
    EXPECT_INT(net_parse(STR("[::1]:1"), host, &p, &f), ERR_OK);
    EXPECT_STR(str_of(host), "::1");
    EXPECT_INT(net_parse(STR(":0"), host, &p, &f), ERR_OK);
    EXPECT_STR(str_of(host), "");
    EXPECT_INT(net_parse(STR("::1:1"), host, &p, &f), ERR_INVALID);
    EXPECT_INT(net_parse(STR("h:65536"), host, &p, &f), ERR_INVALID);
    EXPECT_INT(net_parse(STR("h"), host, &p, &f), ERR_INVALID);
    EXPECT_INT(net_parse(STR("h:x"), host, &p, &f), ERR_INVALID);
}

TEST(nobody_there_is_unreachable)
{
    struct fault f = {0};
    int fd;

    EXPECT_INT(net_connect("127.0.0.1", 1, 1000, &fd, &f), ERR_UNREACHABLE);
}

/* -- memory ------------------------------------------------------------------------------------------------------ */
/* A message is four bytes of length, big-endian, and so many bytes; its length is the answer. */
static size_t sum_data(struct conn *c, void *state, const char *in, size_t n)
{
    const unsigned char *u = (const unsigned char *)in;
    size_t len = n < 4 ? 0 : (size_t)u[0] << 24 | (size_t)u[1] << 16 | (size_t)u[2] << 8 | u[3];

    (void)state;
    if (n < 4 || n - 4 < len)
        return 0;
    conn_write(c, in, 4);
    return len + 4;
}
static const struct loop_protocol SUM = {"sum", 64 << 20, 100000, 0, echo_open, sum_data, NULL, echo_close};

static bool push(int fd, const char *p, size_t n)
{
    for (size_t sent; n; p += sent, n -= sent) {
        struct str part = str_make(p, n);

        if (net_writev(fd, &part, 1, &sent, NULL))
            return false;
    }
    return true;
}

static bool answered(int fd)
{
    char out[4];
    size_t got = 0, n;

    while (got < 4 && net_read(fd, out + got, 4 - got, &n, NULL) == ERR_OK && n)
        got += n;
    return got == 4;
}

/* Requests that never end hold what there is; one that does end gets its turn, and they go. */
TEST(when_memory_is_short_the_slow_go_and_the_honest_are_served)
{
    enum { SLOW = 20, PART = 1 << 20, WHOLE = 4 << 20 };
    char *bytes = calloc(1, WHOLE + 4);
    int slow[SLOW], honest;

    budget_start(64 << 20); /* 16 MiB of requests, 12 for large ones */
    start(&SUM, 2);
    memcpy(bytes, "\0\x20\0\0", 4); /* 2 MiB, of which half comes */
    for (int i = 0; i < SLOW; i++) {
        slow[i] = dial();
        push(slow[i], bytes, PART);
    }
    memcpy(bytes, "\0\x40\0\0", 4);
    for (int served = 0;
         served < 3;) { /* at first it is as young as the others, and may go with them: it comes again */
        honest = dial();
        served += push(honest, bytes, WHOLE + 4) && answered(honest);
        net_close(honest);
    }
    EXPECT(atomic_load(&seen.closed) > 3);
    for (int i = 0; i < SLOW; i++)
        net_close(slow[i]);
    stop(2);
    EXPECT_INT(budget_left(BUDGET_INPUT), 16 << 20);
    budget_start(SIZE_MAX);
    free(bytes);
}

/* Answers that nobody reads: their connections go, what they held comes back. */
TEST(when_memory_is_short_those_who_do_not_read_go)
{
    enum { SLOW = 12 };
    int slow[SLOW];

    budget_start(64 << 20);
    start(&ECHO, 2);
    for (int i = 0; i < SLOW; i++) {
        slow[i] = dial();
        EXPECT(push(slow[i], "\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe", 8)); /* 4 MiB each; the sockets take some */
    }
    while (atomic_load(&seen.opened) < SLOW || atomic_load(&seen.closed) == 0)
        os_sleep_ms(10);
    while (budget_short(BUDGET_OUTPUT))
        os_sleep_ms(10);
    for (int i = 0; i < SLOW; i++)
        net_close(slow[i]);
    stop(2);
    EXPECT_INT(budget_left(BUDGET_OUTPUT), 16 << 20);
    budget_start(SIZE_MAX);
}

TEST_MAIN()
