/* The commit log: what survives, what is cut, what is refused; and the keyed table. */
#include "base/test.h"
#include "os/os.h"
#include "state/state.h"

#include <sys/stat.h>
#include <unistd.h>

static const struct str SIGNATURE = {"source 0 kafka\naggregate content:string avg(double)\n", 53};

/*
 * _penstock/log as penstock 0.1.0 of November 2026 (format version 1) left it when it was killed: id made then, the SIGNATURE
 * above, source 0's start, batches 0 to 4 with the state of run() below, plans riding in the commits, batch 5 planned.
 */
static const unsigned char VERSION_1[] = {
    /* clang-format off */
    0x50, 0x4e, 0x53, 0x54, 0x4b, 0x43, 0x4b, 0x50, 0x01, 0x00, 0x00, 0x00, 0xb7, 0xa2, 0x81, 0x18,
    0x50, 0x43, 0x4b, 0x46, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x61, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x38, 0x82, 0xf7, 0x1d, 0xa1, 0x7a, 0xe3,
    0x61, 0x63, 0x62, 0x35, 0x61, 0x31, 0x65, 0x36, 0x2d, 0x66, 0x33, 0x61, 0x30, 0x2d, 0x34, 0x61,
    0x61, 0x66, 0x2d, 0x38, 0x36, 0x33, 0x37, 0x2d, 0x64, 0x33, 0x64, 0x39, 0x65, 0x61, 0x66, 0x32,
    0x36, 0x63, 0x30, 0x36, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x73, 0x6f, 0x75, 0x72,
    0x63, 0x65, 0x20, 0x30, 0x20, 0x6b, 0x61, 0x66, 0x6b, 0x61, 0x0a, 0x61, 0x67, 0x67, 0x72, 0x65,
    0x67, 0x61, 0x74, 0x65, 0x20, 0x63, 0x6f, 0x6e, 0x74, 0x65, 0x6e, 0x74, 0x3a, 0x73, 0x74, 0x72,
    0x69, 0x6e, 0x67, 0x20, 0x61, 0x76, 0x67, 0x28, 0x64, 0x6f, 0x75, 0x62, 0x6c, 0x65, 0x29, 0x0a,
    0x00, 0x50, 0x43, 0x4b, 0x46, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x31, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd1, 0x65, 0x19, 0xd4, 0xc1, 0x99, 0xda,
    0xfa, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x10, 0x00, 0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x74, 0x22, 0x3a, 0x7b, 0x22, 0x30,
    0x22, 0x3a, 0x30, 0x7d, 0x7d, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x70, 0x6c, 0x61, 0x6e, 0x22, 0x3a,
    0x30, 0x7d, 0x50, 0x43, 0x4b, 0x46, 0x03, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x4c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9f, 0x6d, 0xc5, 0xdb, 0xfa, 0x5b,
    0x32, 0x3b, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0f, 0x00,
    0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x63, 0x6f, 0x6d, 0x6d, 0x69, 0x74, 0x22, 0x3a, 0x30,
    0x7d, 0x0d, 0x00, 0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x70, 0x6c, 0x61, 0x6e, 0x22, 0x3a,
    0x31, 0x7d, 0x07, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x0e, 0x00, 0x00, 0x00, 0x6b, 0x30,
    0x76, 0x31, 0x0a, 0x7b, 0x22, 0x73, 0x74, 0x61, 0x74, 0x65, 0x22, 0x3a, 0x30, 0x7d, 0x50, 0x43,
    0x4b, 0x46, 0x03, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4c, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x96, 0xf2, 0xa4, 0xb3, 0xa0, 0x43, 0x75, 0xe8, 0x01, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x76, 0x31,
    0x0a, 0x7b, 0x22, 0x63, 0x6f, 0x6d, 0x6d, 0x69, 0x74, 0x22, 0x3a, 0x31, 0x7d, 0x0d, 0x00, 0x00,
    0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x70, 0x6c, 0x61, 0x6e, 0x22, 0x3a, 0x32, 0x7d, 0x07, 0x00,
    0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x0e, 0x00, 0x00, 0x00, 0x6b, 0x31, 0x76, 0x31, 0x0a, 0x7b,
    0x22, 0x73, 0x74, 0x61, 0x74, 0x65, 0x22, 0x3a, 0x31, 0x7d, 0x50, 0x43, 0x4b, 0x46, 0x03, 0x00,
    0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4c, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0xa9, 0x57, 0xeb, 0x5d, 0xfe, 0x9a, 0x61, 0xbb, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x63,
    0x6f, 0x6d, 0x6d, 0x69, 0x74, 0x22, 0x3a, 0x32, 0x7d, 0x0d, 0x00, 0x00, 0x00, 0x76, 0x31, 0x0a,
    0x7b, 0x22, 0x70, 0x6c, 0x61, 0x6e, 0x22, 0x3a, 0x33, 0x7d, 0x07, 0x00, 0x00, 0x00, 0x02, 0x00,
    0x00, 0x00, 0x0e, 0x00, 0x00, 0x00, 0x6b, 0x32, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x73, 0x74, 0x61,
    0x74, 0x65, 0x22, 0x3a, 0x32, 0x7d, 0x50, 0x43, 0x4b, 0x46, 0x03, 0x00, 0x00, 0x00, 0x05, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x87, 0xcb,
    0xf4, 0xcb, 0xc9, 0x78, 0xb9, 0x58, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x63, 0x6f, 0x6d, 0x6d, 0x69,
    0x74, 0x22, 0x3a, 0x33, 0x7d, 0x0d, 0x00, 0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x70, 0x6c,
    0x61, 0x6e, 0x22, 0x3a, 0x34, 0x7d, 0x07, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x0e, 0x00,
    0x00, 0x00, 0x6b, 0x30, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x73, 0x74, 0x61, 0x74, 0x65, 0x22, 0x3a,
    0x33, 0x7d, 0x50, 0x43, 0x4b, 0x46, 0x03, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x5a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa3, 0xc5, 0x59, 0xc3, 0x30, 0xd6,
    0x3a, 0x34, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0f, 0x00,
    0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x63, 0x6f, 0x6d, 0x6d, 0x69, 0x74, 0x22, 0x3a, 0x34,
    0x7d, 0x0d, 0x00, 0x00, 0x00, 0x76, 0x31, 0x0a, 0x7b, 0x22, 0x70, 0x6c, 0x61, 0x6e, 0x22, 0x3a,
    0x35, 0x7d, 0x07, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x0e, 0x00, 0x00, 0x00, 0x6b, 0x31,
    0x76, 0x31, 0x0a, 0x7b, 0x22, 0x73, 0x74, 0x61, 0x74, 0x65, 0x22, 0x3a, 0x34, 0x7d, 0x07, 0x00,
    0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x6b, 0x31,
    /* clang-format on */
};

static char *fresh_dir(void)
{
    static char root[64], dir[96];
    snprintf(root, sizeof root, "/tmp/penstock-state-XXXXXX");
    if (!mkdtemp(root))
        abort();
    snprintf(dir, sizeof dir, "%s/a/checkpoint", root);
    return dir;
}

static void remove_dir(char *dir)
{
    struct fault f;
    dir[strlen("/tmp/penstock-state-XXXXXX")] = 0;
    EXPECT(os_remove_tree(dir, &f) == ERR_OK);
}

static char *file_of(const char *dir, const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static struct str text(const char *what, int n)
{
    static char t[8][64];
    static int at;
    at = (at + 1) % 8;
    snprintf(t[at], sizeof t[at], "v1\n{\"%s\":%d}", what, n);
    return str_of(t[at]);
}

/* Whatever a checkpoint is handed at the end of a test process that "crashed": its files are left as they are. */
static void crash(struct checkpoint *c, const char *dir)
{
    char cmd[8192];
    snprintf(cmd, sizeof cmd, "cp -r %s %s.crashed", dir, dir);
    EXPECT(system(cmd) == 0);
    checkpoint_close(c);
    snprintf(cmd, sizeof cmd, "rm -r %s && mv %s.crashed %s", dir, dir, dir);
    EXPECT(system(cmd) == 0);
}

static void run(struct checkpoint *c, int from, int to)
{
    struct fault f;
    for (int n = from; n < to; n++) {
        struct buf b = {0};
        char key[16];
        snprintf(key, sizeof key, "k%d", n % 3);
        state_change_put(&b, 7, str_of(key), text("state", n));
        if (n % 5 == 4)
            state_change_remove(&b, 7, STR("k1"));
        EXPECT(checkpoint_plan(c, n, text("plan", n), &f) == ERR_OK);
        EXPECT(checkpoint_commit(c, n, text("commit", n), (struct str){0}, (struct str[]){buf_view(&b)}, 1, &f) ==
               ERR_OK);
        buf_free(&b);
    }
}

static enum err load(void *arg, uint32_t store, struct str key, struct str value, struct fault *f)
{
    (void)f;
    EXPECT_INT(store, 7);
    state_load(arg, key, value);
    return ERR_OK;
}

static void expect_state(struct checkpoint *c, const char *key, const char *want)
{
    struct fault f;
    struct state_store *s = state_new(7);
    EXPECT(checkpoint_replay(c, load, s, &f) == ERR_OK);
    struct str got = state_get(s, str_of(key));
    EXPECT_STR(got, want);
    state_free(s);
}

TEST(resumes_where_it_was)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    char id[37];
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(info.last_planned, -1);
    EXPECT_INT(info.last_committed, -1);
    memcpy(id, info.query_id, sizeof id);
    checkpoint_fact_set(c, 0, STR("v1\n{\"t\":{\"0\":0}}"));
    run(c, 0, 4);
    EXPECT(checkpoint_plan(c, 4, text("plan", 4), &f) == ERR_OK);
    crash(c, dir);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(!strcmp(id, info.query_id));
    EXPECT_INT(info.last_planned, 4);
    EXPECT_INT(info.last_committed, 3);
    EXPECT_STR(info.plan, "v1\n{\"plan\":4}");
    EXPECT_STR(info.previous_plan, "v1\n{\"plan\":3}");
    EXPECT_STR(info.commit, "v1\n{\"commit\":3}");
    EXPECT_STR(checkpoint_fact(c, 0), "v1\n{\"t\":{\"0\":0}}");
    expect_state(c, "k0", "v1\n{\"state\":3}");
    /* plan 5 rides in commit 4 */
    EXPECT(checkpoint_commit(c, 4, text("commit", 4), text("plan", 5), NULL, 0, &f) == ERR_OK);
    checkpoint_close(c);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(info.last_planned, 5);
    EXPECT_INT(info.last_committed, 4);
    EXPECT(access(file_of(dir, "offsets/5"), R_OK) == 0);
    EXPECT(access(file_of(dir, "offsets/4"), R_OK) == 0);
    EXPECT(access(file_of(dir, "offsets/3"), R_OK) != 0);
    EXPECT(access(file_of(dir, "commits/4"), R_OK) == 0);
    EXPECT(access(file_of(dir, "sources/0/0"), R_OK) == 0);
    checkpoint_close(c);
    remove_dir(dir);
}

TEST(order_is_kept)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(checkpoint_plan(c, 1, text("plan", 1), &f) == ERR_INTERNAL);
    EXPECT(checkpoint_commit(c, 0, text("commit", 0), (struct str){0}, NULL, 0, &f) == ERR_INTERNAL);
    EXPECT(checkpoint_plan(c, 0, text("plan", 0), &f) == ERR_OK);
    EXPECT(checkpoint_plan(c, 1, text("plan", 1), &f) == ERR_INTERNAL);
    EXPECT(checkpoint_commit(c, 1, text("commit", 1), (struct str){0}, NULL, 0, &f) == ERR_INTERNAL);
    checkpoint_close(c);
    remove_dir(dir);
}

/* The file without the zeros that were written ahead. */
static off_t end_of(const char *path)
{
    char *p;
    size_t n;
    struct fault f;
    if (os_read_file(path, 64 << 20, &p, &n, &f))
        abort();
    while (n && !p[n - 1])
        n--;
    free(p);
    return (off_t)n;
}

static void spoil(const char *path, long at_from_end, const char *with)
{
    off_t end = end_of(path);
    FILE *file = fopen(path, "r+");
    fseek(file, end - at_from_end, SEEK_SET);
    fputs(with, file);
    fclose(file);
}

TEST(a_torn_end_is_cut)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    run(c, 0, 3);
    crash(c, dir);
    char *log = file_of(dir, "_penstock/log");
    REQUIRE(truncate(log, end_of(log) - 5) == 0); /* into commit 2 */
    char cmd[4200];
    snprintf(cmd, sizeof cmd, "rm -rf %s/commits", dir);
    REQUIRE(system(cmd) == 0);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(info.last_planned, 2);
    EXPECT_INT(info.last_committed, 1);
    EXPECT(checkpoint_commit(c, 2, text("again", 2), (struct str){0}, NULL, 0, &f) == ERR_OK);
    crash(c, dir);
    spoil(file_of(dir, "_penstock/log"), 3, "#");
    EXPECT(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_CHECKPOINT_FOREIGN); /* the exports knew commit 2 */
    EXPECT(strstr(fault_message(&f), "commits/2 is newer"));
    REQUIRE(system(cmd) == 0);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(info.last_committed, 1);
    checkpoint_close(c);
    remove_dir(dir);
}

TEST(damage_is_refused)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    run(c, 0, 3);
    checkpoint_close(c);
    spoil(file_of(dir, "_penstock/log"), 200, "####");
    EXPECT(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_CORRUPT);
    EXPECT(strstr(fault_message(&f), "_penstock/log is damaged"));
    REQUIRE(truncate(file_of(dir, "_penstock/log"), 7) == 0);
    EXPECT(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_CORRUPT);
    remove_dir(dir);
}

TEST(another_plan_is_refused_with_the_difference)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    checkpoint_close(c);
    struct str other = STR("source 0 kafka\naggregate content:string count(long)\n");
    EXPECT(checkpoint_open(&c, dir, other, &info, &f) == ERR_CHECKPOINT_INCOMPATIBLE);
    EXPECT(strstr(fault_message(&f),
                  "it was [aggregate content:string avg(double)], it is [aggregate content:string count(long)]"));
    remove_dir(dir);
}

TEST(in_use_is_refused)
{
    char *dir = fresh_dir();
    struct checkpoint *c, *second;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(checkpoint_open(&second, dir, SIGNATURE, &info, &f) == ERR_BUSY);
    EXPECT(strstr(fault_message(&f), dir));
    checkpoint_close(c);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    checkpoint_close(c);
    remove_dir(dir);
}

TEST(an_unwritable_place_is_named)
{
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    EXPECT(checkpoint_open(&c, "/dev/null/checkpoint", SIGNATURE, &info, &f) == ERR_IO);
    EXPECT(strstr(fault_message(&f), "/dev/null"));
    EXPECT(checkpoint_open(&c, "/proc/checkpoint", SIGNATURE, &info, &f) != ERR_OK);
    EXPECT(strstr(fault_message(&f), "/proc/checkpoint"));
}

static void overwrite(const char *path, const char *with)
{
    FILE *file = fopen(path, "w");
    if (!file)
        abort();
    fputs(with, file);
    fclose(file);
}

TEST(files_changed_by_others_are_refused)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    run(c, 0, 3);
    crash(c, dir);
    overwrite(file_of(dir, "offsets/3"), "v1\n{}"); /* Spark went on where we stopped */
    EXPECT(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_CHECKPOINT_FOREIGN);
    EXPECT(strstr(fault_message(&f), "offsets/3 is newer"));
    unlink(file_of(dir, "offsets/3"));
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    run(c, 3, 4);
    checkpoint_close(c);
    overwrite(file_of(dir, "commits/3"), "v1\n{}");
    EXPECT(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_CHECKPOINT_FOREIGN);
    EXPECT(strstr(fault_message(&f), "commits/3 was changed"));
    unlink(file_of(dir, "commits/3"));
    EXPECT(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_CHECKPOINT_FOREIGN);
    EXPECT(strstr(fault_message(&f), "commits/3 was removed"));
    unlink(file_of(dir, "_penstock/log")); /* what is left is as Spark would leave it */
    EXPECT(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_CHECKPOINT_FOREIGN);
    EXPECT(strstr(fault_message(&f), "no log of penstock's"));
    remove_dir(dir);
}

struct fill {
    struct state_store *s;
    size_t at;
};

static enum err fill_one(void *arg, struct buf *chunk, bool *more, struct fault *f)
{
    struct fill *fill = arg;
    struct str key, value;
    (void)f;
    if ((*more = state_next(fill->s, &fill->at, &key, &value)))
        state_change_put(chunk, 7, key, value);
    return ERR_OK;
}

TEST(snapshots_replace_changes)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    run(c, 0, 6);
    struct fill fill = {state_new(7), 0};
    EXPECT(checkpoint_replay(c, load, fill.s, &f) == ERR_OK);
    EXPECT(checkpoint_changes_bytes(c) > 0);
    EXPECT(checkpoint_snapshot(c, fill_one, &fill, &f) == ERR_OK);
    EXPECT_INT(checkpoint_changes_bytes(c), 0);
    state_free(fill.s);
    run(c, 6, 7);
    crash(c, dir);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(info.last_committed, 6);
    EXPECT_STR(info.previous_plan, "v1\n{\"plan\":5}");
    expect_state(c, "k0", "v1\n{\"state\":6}");
    expect_state(c, "k2", "v1\n{\"state\":5}");
    checkpoint_close(c);
    spoil(file_of(dir, "_penstock/snapshot-5"), 40, "###");
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    struct state_store *s = state_new(7);
    EXPECT(checkpoint_replay(c, load, s, &f) == ERR_CORRUPT);
    state_free(s);
    checkpoint_close(c);
    unlink(file_of(dir, "_penstock/snapshot-5"));
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    s = state_new(7);
    EXPECT(checkpoint_replay(c, load, s, &f) == ERR_CORRUPT);
    state_free(s);
    checkpoint_close(c);
    remove_dir(dir);
}

TEST(a_log_without_state_stays_small)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    struct buf big = {0};
    buf_fill(&big, 'x', 1 << 20);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    for (int n = 0; n < 12; n++) {
        EXPECT(checkpoint_plan(c, n, buf_view(&big), &f) == ERR_OK);
        EXPECT(checkpoint_commit(c, n, text("commit", n), (struct str){0}, NULL, 0, &f) == ERR_OK);
    }
    struct stat st;
    EXPECT(stat(file_of(dir, "_penstock/log"), &st) == 0 && st.st_size < 7 << 20);
    crash(c, dir);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(info.last_committed, 11);
    checkpoint_close(c);
    buf_free(&big);
    remove_dir(dir);
}

/* -- batches whose output is a transaction ---------------------------------------------------------------------------- */

static enum err prepare(struct checkpoint *c, int n, bool with_plan, int64_t after, struct fault *f)
{
    struct buf b = {0};
    char key[16];
    snprintf(key, sizeof key, "k%d", n % 3);
    state_change_put(&b, 7, str_of(key), text("state", n));
    struct checkpoint_output out = {STR("the topic"), after};
    enum err e = checkpoint_prepare(c, n, with_plan ? text("plan", n) : (struct str){0}, text("commit", n), &out,
                                    (struct str[]){buf_view(&b)}, 1, f);
    buf_free(&b);
    return e;
}

TEST(a_prepared_batch_waits_for_its_fate)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(prepare(c, 0, true, -1, &f) == ERR_OK);
    EXPECT(checkpoint_decide(c, 0, true, &f) == ERR_OK);
    EXPECT(!checkpoint_is_settled(c));
    EXPECT(prepare(c, 1, true, 0, &f) == ERR_OK); /* says that 0 was committed */
    EXPECT(checkpoint_is_settled(c));
    EXPECT(prepare(c, 2, true, 1, &f) == ERR_INTERNAL); /* 1 is not decided */
    EXPECT(checkpoint_plan(c, 2, text("plan", 2), &f) == ERR_INTERNAL);
    EXPECT(checkpoint_commit(c, 1, text("commit", 1), (struct str){0}, NULL, 0, &f) == ERR_INTERNAL);
    crash(c, dir);
    for (int fate = 0; fate < 2; fate++) {
        REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
        EXPECT_INT(info.last_planned, 1);
        EXPECT_INT(info.last_committed, 0);
        EXPECT(info.prepared);
        EXPECT_INT(info.prepared_after, 0);
        EXPECT_STR(info.where, "the topic");
        struct state_store *s = state_new(7);
        EXPECT(checkpoint_replay(c, load, s, &f) == ERR_INTERNAL); /* whose state would it be? */
        state_free(s);
        EXPECT(checkpoint_decide(c, 1, fate == 1, &f) == ERR_OK);
        checkpoint_look(c, &info);
        EXPECT(!info.prepared);
        EXPECT_INT(info.last_committed, fate);
        EXPECT_STR(info.plan, "v1\n{\"plan\":1}");
        expect_state(c, "k0", "v1\n{\"state\":0}");
        expect_state(c, "k1", fate ? "v1\n{\"state\":1}" : "");
        if (!fate) /* it runs again, from the plan that it has */
            EXPECT(prepare(c, 1, false, 0, &f) == ERR_OK);
        crash(c, dir);
    }
    remove_dir(dir);
}

TEST(a_decision_is_kept_by_settle_and_by_close)
{
    char *dir = fresh_dir();
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(prepare(c, 0, true, -1, &f) == ERR_OK);
    EXPECT(checkpoint_decide(c, 0, true, &f) == ERR_OK);
    EXPECT(checkpoint_settle(c, &f) == ERR_OK);
    crash(c, dir);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(!info.prepared);
    EXPECT_INT(info.last_committed, 0);
    EXPECT(prepare(c, 1, true, 0, &f) == ERR_OK);
    EXPECT(checkpoint_decide(c, 1, true, &f) == ERR_OK);
    checkpoint_close(c);
    EXPECT(access(file_of(dir, "commits/1"), R_OK) == 0);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(!info.prepared);
    EXPECT_INT(info.last_committed, 1);
    expect_state(c, "k1", "v1\n{\"state\":1}");
    EXPECT(checkpoint_prepare(c, 2, text("plan", 2), text("commit", 2), NULL, NULL, 0, &f) == ERR_OK); /* no output */
    EXPECT(prepare(c, 3, true, 1, &f) == ERR_OK);
    checkpoint_close(c); /* its sink failed: nobody knows */
    EXPECT(access(file_of(dir, "offsets/3"), R_OK) == 0);
    EXPECT(access(file_of(dir, "commits/3"), R_OK) != 0);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(info.prepared);
    EXPECT_INT(info.prepared_after, 1);
    EXPECT_INT(info.last_committed, 2);
    EXPECT(checkpoint_decide(c, 3, true, &f) == ERR_OK);
    struct fill fill = {state_new(7), 0};
    EXPECT(checkpoint_replay(c, load, fill.s, &f) == ERR_OK);
    EXPECT(checkpoint_snapshot(c, fill_one, &fill, &f) == ERR_OK);
    state_free(fill.s);
    crash(c, dir);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT(!info.prepared);
    EXPECT_INT(info.last_committed, 3);
    EXPECT_STR(info.where, "the topic");
    expect_state(c, "k0", "v1\n{\"state\":3}");
    checkpoint_close(c);
    remove_dir(dir);
}

static uint32_t version_of(const char *path)
{
    uint32_t head[3] = {0};
    FILE *file = fopen(path, "r");
    if (!file || fread(head, sizeof head, 1, file) != 1)
        abort();
    fclose(file);
    return head[2];
}

TEST(version_1_is_read_and_becomes_version_2)
{
    char *dir = fresh_dir(), cmd[4200];
    struct checkpoint *c;
    struct checkpoint_info info;
    struct fault f;
    snprintf(cmd, sizeof cmd, "mkdir -p %s/_penstock", dir);
    REQUIRE(system(cmd) == 0);
    char *log = file_of(dir, "_penstock/log");
    FILE *file = fopen(log, "w");
    REQUIRE(file && fwrite(VERSION_1, sizeof VERSION_1, 1, file) == 1 && fclose(file) == 0);
    EXPECT(checkpoint_open(&c, dir, STR("another\n"), &info, &f) == ERR_CHECKPOINT_INCOMPATIBLE);
    EXPECT_INT(version_of(log), 1); /* who is refused writes nothing */
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(version_of(file_of(dir, "_penstock/log")), 2);
    EXPECT_INT(info.last_planned, 5);
    EXPECT_INT(info.last_committed, 4);
    EXPECT(!info.prepared && !info.where.n);
    EXPECT_STR(info.plan, "v1\n{\"plan\":5}");
    EXPECT_STR(checkpoint_fact(c, 0), "v1\n{\"t\":{\"0\":0}}");
    expect_state(c, "k0", "v1\n{\"state\":3}");
    expect_state(c, "k1", "");
    EXPECT(prepare(c, 5, false, -1, &f) == ERR_OK);
    EXPECT(checkpoint_decide(c, 5, true, &f) == ERR_OK);
    checkpoint_close(c);
    REQUIRE(checkpoint_open(&c, dir, SIGNATURE, &info, &f) == ERR_OK);
    EXPECT_INT(info.last_committed, 5);
    expect_state(c, "k2", "v1\n{\"state\":5}");
    checkpoint_close(c);
    remove_dir(dir);
}

TEST(the_table_keeps_and_forgets)
{
    struct state_store *s = state_new(1);
    char key[32], value[64];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 5000; i++) {
            snprintf(key, sizeof key, "key-%d", i);
            snprintf(value, sizeof value, "value-%d-%d", i, round * 1000);
            state_put(s, str_of(key), str_of(value));
            if (i % 3 == round)
                state_remove(s, str_of(key));
        }
    EXPECT_INT(state_keys(s), 5000 - 1666);
    EXPECT_STR(state_get(s, STR("key-9")), "value-9-2000");
    EXPECT(!state_get(s, STR("key-2")).p);
    struct str k, v;
    size_t at = 0, n = 0;
    while (state_next(s, &at, &k, &v)) {
        n++;
        state_remove(s, k);
    }
    EXPECT_INT(n, 5000 - 1666);
    EXPECT_INT(state_keys(s), 0);
    EXPECT(state_changes(s)->n > 0);
    state_free(s);
}

TEST_MAIN()
