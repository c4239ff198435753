#include "os/alloc_fault.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/test.h"

#include <sys/wait.h>
#include <unistd.h>

static void count_some(void)
{
    for (int i = 0; i < 10; i++) {
        struct buf b = {.limit = BUF_ASKED};
        buf_z(&b, "text");
        buf_free(&b);
    }
}

TEST(the_nth_fails_once)
{
    alloc_fault_nth(0);
    count_some();
    EXPECT_INT(alloc_fault_seen(), 10);
    EXPECT_INT(alloc_fault_failed(), 0);
    alloc_fault_nth(3);
    int bad = 0, which = 0;
    for (int i = 1; i <= 10; i++) {
        struct buf b = {.limit = BUF_ASKED};
        buf_z(&b, "text");
        bad += b.bad;
        which = b.bad ? i : which;
        buf_free(&b);
    }
    alloc_fault_off();
    EXPECT_INT(bad, 1);
    EXPECT_INT(which, 3);
    void *at[8];
    EXPECT(alloc_fault_where(at, 8) > 2);
}

/* Also what the C library allocates for us. */
TEST(strings_take_part)
{
    char *p = NULL;
    alloc_fault_nth(1);
    EXPECT(strdup("x") == NULL);
    alloc_fault_nth(1);
    EXPECT_INT(asprintf(&p, "%d", 1), -1);
    alloc_fault_off();
    EXPECT(p == NULL);
}

static uint64_t pattern(uint64_t seed)
{
    uint64_t bits = 0;
    alloc_fault_random(seed, 4);
    for (int i = 0; i < 64; i++) {
        void *p = malloc(8);
        bits = bits << 1 | !p;
        free(p);
    }
    alloc_fault_off();
    return bits;
}

TEST(a_seed_fails_the_same_ones)
{
    EXPECT(pattern(1) == pattern(1));
    EXPECT(pattern(1) != pattern(2));
    EXPECT(pattern(1) != 0);
}

TEST(a_pause_neither_counts_nor_fails)
{
    alloc_fault_nth(1);
    alloc_fault_pause();
    void *p = malloc(8);
    alloc_fault_resume();
    EXPECT(p != NULL);
    EXPECT_INT(alloc_fault_seen(), 0);
    alloc_fault_off();
    free(p);
}

/* Where nothing can be answered the process says so and exits with 1: no signal. */
static void stops(void (*fn)(void), const char *message)
{
    int fds[2], status = 0;
    char text[512] = "";
    REQUIRE(pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        alloc_fault_nth(1);
        fn();
        _exit(0);
    }
    close(fds[1]);
    size_t n = 0;
    for (ssize_t r; n < sizeof text - 1 && (r = read(fds[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)r;
    close(fds[0]);
    waitpid(pid, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    EXPECT(strstr(text, message) != NULL);
}

static void an_arena(void)
{
    arena_free(arena_new(0));
}
static void a_buffer_that_nobody_asks(void)
{
    struct buf b = {0};
    buf_z(&b, "text");
}
static void a_map(void)
{
    struct map m = {0};
    map_put(&m, STR("k"), &m);
}

TEST(without_an_answer_the_process_stops_by_name)
{
    stops(an_arena, "out of memory for an arena");
    stops(a_map, "out of memory for a map");
    stops(a_buffer_that_nobody_asks, "out of memory for a buffer");
}

TEST_MAIN()
