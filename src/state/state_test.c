/* The commit log: what survives, what is cut, what is refused; and the keyed table. */
#include "base/test.h"
#include "os/os.h"
#include "state/state.h"

#include <sys/stat.h>
#include <unistd.h>

static const struct str SIGNATURE = {"source 0 kafka\naggregate content:string avg(double)\n", 53};

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

static void spoil(const char *path, long at_from_end, const char *with)
{
    FILE *file = fopen(path, "r+");
    fseek(file, -at_from_end, SEEK_END);
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
    struct stat st;
    REQUIRE(stat(file_of(dir, "_penstock/log"), &st) == 0);
    REQUIRE(truncate(file_of(dir, "_penstock/log"), st.st_size - 5) == 0); /* into commit 2 */
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
