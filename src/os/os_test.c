#include "base/test.h"
#include "os/net.h"
#include "os/os.h"

#include <sys/wait.h>
#include <unistd.h>

static char dir[256];

static const char *at(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void fresh(void)
{
    struct fault f;
    const char *tmp = os_env("TMPDIR");
    struct os_uuid u = os_uuid_random();
    char text[37];
    os_uuid_text(u, text);
    snprintf(dir, sizeof dir, "%s/os-test-%s", tmp ? tmp : "/tmp", text);
    if (os_mkdirs(dir, &f))
        abort();
}

static void drop(void)
{
    EXPECT(os_remove_tree(dir, NULL) == ERR_OK);
}

TEST(files_read_what_was_written)
{
    struct os_file *file;
    struct fault f;
    char got_bytes[64];
    size_t got;
    uint64_t size;
    fresh();
    EXPECT(os_open(&file, at("a"), OS_RDWR, &f) == ERR_NOTFOUND);
    REQUIRE(os_open(&file, at("a"), OS_RDWR | OS_CREATE | OS_EXCL, &f) == ERR_OK);
    struct os_file *again;
    EXPECT(os_open(&again, at("a"), OS_RDWR | OS_CREATE | OS_EXCL, &f) == ERR_EXISTS);
    struct str parts[200];
    for (int i = 0; i < 200; i++)
        parts[i] = i % 3 ? STR("xy") : STR("");
    EXPECT(os_pwritev(file, parts, 200, 3, &f) == ERR_OK); /* more than one chunk, empty parts, a hole */
    EXPECT(os_size(file, &size, &f) == ERR_OK);
    EXPECT_INT(size, 3 + 133 * 2);
    EXPECT(os_pread(file, got_bytes, 64, size - 4, &got, &f) == ERR_OK);
    EXPECT_INT(got, 4);
    EXPECT(!memcmp(got_bytes, "xyxy", 4));
    EXPECT(os_pread_nowait(file, got_bytes, 4, 0, &got, &f) == ERR_OK && got == 4 && got_bytes[0] == 0);
    EXPECT(os_reserve(file, size, 1 << 16, &f) == ERR_OK);
    EXPECT(os_size(file, &size, &f) == ERR_OK && size == 269);
    EXPECT(os_sync(file, "test", &f) == ERR_OK);
    EXPECT(os_truncate(file, 5, &f) == ERR_OK);
    EXPECT(os_size(file, &size, &f) == ERR_OK && size == 5);
    os_close(file);
    os_close(NULL);
    drop();
}

TEST(paths)
{
    struct fault f;
    struct os_stat s;
    char *bytes;
    size_t n;
    fresh();
    EXPECT(os_mkdirs(at("x/y/z"), &f) == ERR_OK);
    EXPECT(os_mkdirs(at("x/y/z"), &f) == ERR_OK);
    EXPECT(os_mkdir(at("x"), &f) == ERR_EXISTS);
    EXPECT(os_write_file_atomic(at("x/file"), STR("one"), "t.file", "t.dir", &f) == ERR_OK);
    EXPECT(os_write_file_atomic(at("x/file"), STR("two!"), "t.file", "t.dir", &f) == ERR_OK);
    EXPECT(os_mkdirs(at("x/file"), &f) == ERR_EXISTS);
    EXPECT(os_read_file(at("x/file"), 3, &bytes, &n, &f) == ERR_LIMIT);
    REQUIRE(os_read_file(at("x/file"), 4, &bytes, &n, &f) == ERR_OK);
    EXPECT_STR(str_make(bytes, n), "two!");
    free(bytes);
    EXPECT(os_stat(at("x/file"), &s, &f) == ERR_OK && s.size == 4 && !s.is_dir && s.mtime_ms > 0);
    EXPECT(os_stat(at("x"), &s, &f) == ERR_OK && s.is_dir);
    EXPECT(os_stat(at("none"), &s, &f) == ERR_NOTFOUND);
    EXPECT(os_rmdir(at("x"), &f) == ERR_IO);
    EXPECT(os_rename(at("x/file"), at("y"), &f) == ERR_OK);
    EXPECT(os_unlink(at("x/file"), &f) == ERR_NOTFOUND);
    EXPECT(os_sync_dir(dir, "t", &f) == ERR_OK);
    EXPECT(os_free_space(dir, &(uint64_t){0}, &f) == ERR_OK);
    EXPECT(os_remove_tree(at("x"), &f) == ERR_OK);
    EXPECT(os_remove_tree(at("x"), &f) == ERR_OK);
    EXPECT(os_stat(at("x"), &s, &f) == ERR_NOTFOUND);
    drop();
}

TEST(a_lock_excludes_file_and_process)
{
    struct os_file *a, *b;
    struct fault f;
    fresh();
    REQUIRE(os_lock(&a, at("LOCK"), &f) == ERR_OK);
    EXPECT(os_lock(&b, at("LOCK"), &f) == ERR_BUSY);
    EXPECT(strstr(fault_message(&f), "in use") != NULL);
    pid_t child = fork();
    if (!child)
        _exit(os_lock(&b, at("LOCK"), NULL) == ERR_BUSY ? 0 : 1);
    int status;
    EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    os_close(a);
    REQUIRE(os_lock(&b, at("LOCK"), &f) == ERR_OK);
    os_close(b);
    drop();
}

struct shared {
    struct os_mutex *m;
    struct os_cond *c;
    int n;
};

static void add(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 1000; i++) {
        os_mutex_lock(s->m);
        s->n++;
        os_cond_signal(s->c);
        os_mutex_unlock(s->m);
    }
}

TEST(threads_wait_for_each_other)
{
    struct shared s = {os_mutex_new(), os_cond_new(), 0};
    struct os_thread *t[2];
    for (int i = 0; i < 2; i++)
        REQUIRE(os_thread_start(&t[i], "adder", add, &s, NULL) == ERR_OK);
    os_mutex_lock(s.m);
    while (s.n < 2000)
        os_cond_wait(s.c, s.m);
    EXPECT(!os_cond_wait_until(s.c, s.m, os_mono_ns()) || s.n == 2000);
    os_mutex_unlock(s.m);
    for (int i = 0; i < 2; i++)
        os_thread_join(t[i]);
    EXPECT_INT(s.n, 2000);
    os_cond_free(s.c);
    os_mutex_free(s.m);
}

TEST(the_clock_and_the_rest)
{
    int64_t mono = os_mono_ns();
    os_sleep_ms(2);
    EXPECT(os_mono_ns() - mono >= 2000000);
    EXPECT(os_now_ms() > 1700000000000);
    EXPECT(os_cpu_ns() > 0 && os_cpus() >= 1 && os_rss_bytes() > 0);
    char a[37], b[37];
    os_uuid_text(os_uuid_random(), a);
    os_uuid_text(os_uuid_random(), b);
    EXPECT(strlen(a) == 36 && a[14] == '4' && strcmp(a, b));
}

TEST(a_log_line_is_one_line)
{
    int fd[2], saved = dup(STDERR_FILENO);
    char line[512];
    REQUIRE(pipe(fd) == 0);
    dup2(fd[1], STDERR_FILENO);
    os_log(OS_DEBUG, "test", "hidden");
    os_log(OS_WARN, "test", "client says %s", "a\nb");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fd[1]);
    ssize_t n = read(fd[0], line, sizeof line);
    close(fd[0]);
    REQUIRE(n > 25);
    EXPECT(line[10] == 'T' && line[23] == 'Z');
    EXPECT_STR(str_make(line + 24, (size_t)n - 24), " WARN test: client says a b\n");
}

TEST(names_of_this_machine)
{
    char name[256];
    REQUIRE(!gethostname(name, sizeof name));
    EXPECT(net_means_us("127.0.0.1", "") && net_means_us("localhost", "127.0.0.1") &&
           net_means_us("127.0.0.1", "0.0.0.0"));
    EXPECT(net_means_us(name, "") || !net_means_us(name, name)); /* where the machine knows its own name */
    EXPECT(!net_means_us("192.0.2.1", "") && !net_means_us("127.0.0.1", "192.0.2.1"));
    EXPECT(!net_means_us("no-such-host.invalid", "") && !net_means_us("", ""));
}

TEST_MAIN()
