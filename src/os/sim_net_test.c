/* The simulated network by itself: order, pieces, ends, resets, silence, readiness, and that a seed replays. Each case is a
 * process of its own, since the simulator is switched on once per process. */
#include "base/test.h"
#include "os/net.h"
#include "os/os.h"
#include "os/sim.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t *shared_hash;

/* Run fn in a simulated process; true when it ended well. */
static bool in_sim(uint64_t seed, const struct sim_network *net, void (*fn)(void))
{
    pid_t child = fork();
    if (!child) {
        sim_start(&(struct sim_options){.seed = seed});
        if (net)
            sim_network(net);
        test_failures_ = 0;
        fn();
        if (shared_hash)
            *shared_hash = sim_trace_hash();
        _exit(test_failures_ != 0);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

enum { BYTES = 300000, PORT = 9092 };
static int listener = -1, poller = -1;

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 13);
}

static void listen_here(void)
{
    EXPECT(net_listen("127.0.0.1", PORT, &listener, NULL) == ERR_OK);
    poller = net_poller();
    (void)!net_poll_set(poller, listener, NET_READ, &listener, true);
}

static int accept_one(void)
{
    struct net_event e;
    int fd = -1;
    while (net_poll_wait(poller, &e, 1, -1) == 0 || net_accept(listener, &fd, NULL) != ERR_OK)
        os_sleep_ms(1);
    return fd;
}

/* Writes BYTES and then the end of stream; the connection is blocking. */
static void write_all(void *arg)
{
    static unsigned char out[BYTES];
    size_t done = 0, n;
    int fd;
    (void)arg;
    if (net_connect("127.0.0.1", PORT, 5000, &fd, NULL) != ERR_OK) {
        EXPECT(false);
        return;
    }
    for (size_t i = 0; i < BYTES; i++)
        out[i] = byte_at(i);
    while (done < BYTES) {
        struct str parts[3] = {str_make(out + done, (BYTES - done) / 2), {"", 0}, {NULL, 0}};
        parts[2] = str_make(out + done + parts[0].n, BYTES - done - parts[0].n);
        if (net_writev(fd, parts, 3, &n, NULL) != ERR_OK)
            break;
        done += n;
    }
    EXPECT_INT(done, BYTES);
    net_shutdown_write(fd);
    char byte;
    EXPECT(net_read(fd, &byte, 1, &n, NULL) == ERR_OK && n == 0);
    net_close(fd);
}

static void stream(void)
{
    struct os_thread *t;
    struct net_event e;
    size_t got = 0, n;
    char in[5000];
    listen_here();
    EXPECT(os_thread_start(&t, "writer", write_all, NULL, NULL) == ERR_OK);
    int fd = accept_one();
    (void)!net_poll_set(poller, fd, NET_READ, &fd, true);
    for (enum err x = ERR_OK;;) {
        while (net_poll_wait(poller, &e, 1, -1) == 0)
            ;
        x = net_read(fd, in, sizeof in, &n, NULL);
        if (x == ERR_AGAIN)
            continue;
        EXPECT(x == ERR_OK);
        if (x || n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)in[i] != byte_at(got + i)) {
                EXPECT(!"the bytes in order");
                break;
            }
        got += n;
    }
    EXPECT_INT(got, BYTES);
    net_close(fd);
    os_thread_join(t);
    net_close(listener);
    net_close(poller);
}

static const struct sim_network SLOW = {.delay_ns = 2000000,
                                        .jitter_ns = 500000,
                                        .bytes_per_s = 1000000,
                                        .window_bytes = 3000,
                                        .stall_one_in = 20,
                                        .stall_ns = 200000000,
                                        .no_descriptor_one_in = 3,
                                        .interrupt_one_in = 5,
                                        .pieces = true};

TEST(bytes_arrive_whole_and_in_order)
{
    EXPECT(in_sim(1, NULL, stream));
    for (uint64_t seed = 1; seed < 8; seed++)
        EXPECT(in_sim(seed, &SLOW, stream));
}

TEST(a_seed_replays)
{
    uint64_t first, other;
    shared_hash = mmap(NULL, sizeof *shared_hash, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared_hash != MAP_FAILED);
    EXPECT(in_sim(7, &SLOW, stream));
    first = *shared_hash;
    EXPECT(in_sim(8, &SLOW, stream));
    other = *shared_hash;
    EXPECT(in_sim(7, &SLOW, stream));
    EXPECT(*shared_hash == first && first != other);
    shared_hash = NULL;
}

static int dial(void)
{
    int fd = -1;
    EXPECT(net_connect("127.0.0.1", PORT, 5000, &fd, NULL) == ERR_OK);
    return fd;
}

static enum err say(int fd, const char *text)
{
    struct str part = str_of(text);
    size_t n = 0;
    enum err e = net_writev(fd, &part, 1, &n, NULL);
    EXPECT(e || n == part.n);
    return e;
}

static void ends(void)
{
    char in[10];
    size_t n = 9;
    int fd;
    EXPECT(net_connect("127.0.0.1", PORT, 5000, &fd, NULL) == ERR_UNREACHABLE); /* nobody listens */
    listen_here();
    int other;
    EXPECT(net_listen("", PORT, &other, NULL) == ERR_BUSY);
    int a = dial(), b = accept_one();
    char host[64];
    uint16_t near, far;
    net_local(a, host, &near);
    net_peer(b, host, &far);
    EXPECT(near == far && near && !strcmp(host, "127.0.0.1"));
    EXPECT(net_read(b, in, 10, &n, NULL) == ERR_AGAIN);
    EXPECT(say(a, "hello") == ERR_OK);
    EXPECT(net_read(b, in, 3, &n, NULL) == ERR_OK && n == 3);
    net_close(b); /* two bytes nobody read: the peer gets a reset, not an end */
    EXPECT(net_read(a, in, 10, &n, NULL) == ERR_IO);
    EXPECT(say(a, "x") == ERR_IO);
    net_close(a);
    a = dial(), b = accept_one();
    net_close(b);
    EXPECT(net_read(a, in, 10, &n, NULL) == ERR_OK && n == 0);
    EXPECT(say(a, "into the void") == ERR_OK); /* the first write is taken; its reset comes back */
    EXPECT(say(a, "x") == ERR_IO);
    net_close(a);
    a = dial(), b = accept_one();
    sim_net_break(1, false);
    EXPECT(net_read(a, in, 10, &n, NULL) == ERR_IO && net_read(b, in, 10, &n, NULL) == ERR_IO);
    net_close(a);
    a = dial();
    net_close(listener); /* in the queue, never accepted */
    EXPECT(net_read(a, in, 10, &n, NULL) == ERR_IO);
}

TEST(streams_end_and_connections_are_reset)
{
    EXPECT(in_sim(1, NULL, ends));
}

/* A connection that went silent: whoever waits hears nothing, whoever writes gives up after 15 minutes. */
static void half_open(void)
{
    struct net_event e;
    int64_t start = os_mono_ns();
    listen_here();
    int a = dial(), b = accept_one();
    int mine = net_poller();
    (void)!net_poll_set(mine, a, NET_READ, &a, true);
    EXPECT(net_poll_wait(mine, &e, 1, 2500) == 0 && os_mono_ns() - start == 2500000000);
    sim_net_break(1, true);
    EXPECT(say(b, "lost") == ERR_OK);
    (void)!net_poll_set(poller, b, NET_READ, &b, true);
    net_close(a);
    EXPECT(net_poll_wait(poller, &e, 1, 600000) == 0);
    EXPECT(net_poll_wait(poller, &e, 1, 600000) == 1 && e.arg == &b && e.ready == (NET_READ | NET_WRITE));
    EXPECT_INT((os_mono_ns() - start) / 1000000000, 902);
    size_t n;
    char byte;
    EXPECT(net_read(b, &byte, 1, &n, NULL) == ERR_IO);
}

TEST(a_silent_connection_tells_nobody)
{
    EXPECT(in_sim(1, NULL, half_open));
}

static void wake_up(void *arg)
{
    os_sleep_ms(7);
    net_wakeup_signal(*(int *)arg);
}

static void readiness(void)
{
    struct os_thread *t;
    struct net_event e[4];
    listen_here();
    int wake = net_wakeup();
    (void)!net_poll_set(poller, wake, NET_READ, &wake, true);
    EXPECT(os_thread_start(&t, "waker", wake_up, &wake, NULL) == ERR_OK);
    EXPECT(net_poll_wait(poller, e, 4, -1) == 1 && e[0].arg == &wake && os_mono_ns() % 1000000000 == 7000000);
    EXPECT(net_poll_wait(poller, e, 4, -1) == 1); /* level-triggered: until it is cleared */
    net_wakeup_clear(wake);
    EXPECT(net_poll_wait(poller, e, 4, 0) == 0);
    os_thread_join(t);
    int a = dial(), b = accept_one();
    (void)!net_poll_set(poller, b, NET_READ | NET_WRITE, &b, true);
    EXPECT(net_poll_wait(poller, e, 4, -1) == 1 && e[0].ready == NET_WRITE);
    (void)!net_poll_set(poller, b, 0, &b, false);
    EXPECT(say(a, "x") == ERR_OK);
    EXPECT(net_poll_wait(poller, e, 4, 100) == 0); /* nobody asked */
    net_shutdown_write(b);
    net_shutdown_write(a);
    (void)!net_poll_set(poller, b, NET_READ, &b, false);
    EXPECT(net_poll_wait(poller, e, 4, 100) == 1 && (e[0].ready & NET_READ));
    net_close(b); /* leaves its poller by itself */
    EXPECT(net_poll_wait(poller, e, 4, 100) == 0);
}

TEST(readiness_is_the_kernels)
{
    EXPECT(in_sim(1, NULL, readiness));
}

TEST_MAIN()
