#include "os/os_int.h"

#include "base/memory.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void os_random(void *p, size_t n)
{
    if (os_twin) {
        os_twin->random(p, n);
        return;
    }
    for (char *at = p; n;) {
        ssize_t r = getrandom(at, n, 0);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            os_die("getrandom: %s", strerror(errno));
        at += r;
        n -= (size_t)r;
    }
}

struct os_uuid os_uuid_random(void)
{
    struct os_uuid u;
    os_random(&u, sizeof u);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

void os_uuid_text(struct os_uuid u, char out[37])
{
    static const char hex[] = "0123456789abcdef";
    char *at = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = hex[u.b[i] >> 4];
        *at++ = hex[u.b[i] & 15];
    }
    *at = 0;
}

const char *os_env(const char *name)
{
    return getenv(name);
}

uint64_t os_rss_bytes(void)
{
    char text[128];
    unsigned long long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (!fgets(text, sizeof text, f) || sscanf(text, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The number in a file of one line; UINT64_MAX for "max" and where there is none. */
static uint64_t number_in(const char *path)
{
    unsigned long long v = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return UINT64_MAX;
    if (fscanf(f, "%llu", &v) != 1)
        v = UINT64_MAX;
    fclose(f);
    return v;
}

/* A container sees its own cgroup at the root of the mount, under version 2 or 1. */
uint64_t os_memory_bytes(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t v2 = number_in("/sys/fs/cgroup/memory.max");
    uint64_t v1 = number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    uint64_t least = v2 < v1 ? v2 : v1;
    if (os_twin)
        return (uint64_t)8 << 30;
    return least < machine ? least : machine;
}

/* glibc keeps freed blocks of up to 32 MiB, in as many arenas as there are threads: fast, and more than a small machine has. */
void os_memory_plan(uint64_t bytes)
{
    if (bytes >= (uint64_t)1 << 30)
        return;
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    mallopt(M_ARENA_MAX, 2);
}

static enum os_level least_level = OS_INFO;

void os_log_level(enum os_level least)
{
    __atomic_store_n(&least_level, least, __ATOMIC_RELAXED);
}

/* One write(2) per line, so that lines of several threads do not mix. */
static void emit(enum os_level level, const char *area, const char *message)
{
    static const char *const NAMES[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    char line[2048];
    int64_t now_ms = os_now_ms();
    time_t s = (time_t)(now_ms / 1000);
    struct tm t;
    gmtime_r(&s, &t);
    int n =
        snprintf(line, sizeof line - 1, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %s: %s", t.tm_year + 1900, t.tm_mon + 1,
                 t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec, (int)(now_ms % 1000), NAMES[level], area, message);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = ' '; /* a client's text must not forge a second line */
    line[len++] = '\n';
    ssize_t w = write(STDERR_FILENO, line, len);
    (void)w; /* there is nowhere left to complain */
}

void os_log(enum os_level level, const char *area, const char *fmt, ...)
{
    char message[1800];
    va_list ap;
    if (level < __atomic_load_n(&least_level, __ATOMIC_RELAXED))
        return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    emit(level, area, message);
}

void os_die(const char *fmt, ...)
{
    char message[1800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (os_twin)
        os_twin->die(message);
    emit(OS_ERROR, "os", message);
    _exit(1);
}

static void out_of_memory(const char *what)
{
    os_die("out of memory for %s", what);
}

__attribute__((constructor)) static void stop_through_us(void)
{
    memory_stop = out_of_memory;
}
