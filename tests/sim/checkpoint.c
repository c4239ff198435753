/*
 * checkpoint: power cuts under a query's commit log (src/state), on the simulated disk.
 *
 *   seed ─▶ [ open, check ─▶ plan N ─▶ commit N {state, plan N+1} ─▶ snapshots, clean stops … ─▶ cut ]×4 ─▶ open, check
 *                          ╰▶ prepare N {plan, state} ─▶ the transaction ends, or not ─▶ decide N ─▶ (settle) ╯
 *
 * The transaction log is elsewhere and never cut (`output`); it forgets a batch once the checkpoint has settled it.
 * What was acknowledged must be found, with its exact text; what was found once must stay (an effect may have followed);
 * state must be what the found commits make of it; a clean stop must be recognised. Every stage is a process of its own.
 */
#include "os/os.h"
#include "os/sim.h"
#include "state/checkpoint_int.h" /* to die between a write and its sync */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STAGES = 4, BATCHES = 400, KEYS = 7, IMAGE_BYTES = 16 << 20, CHILD_SECONDS = 30 };
static const char DIR_[] = "/var/lib/queries/one";
static const struct str SIGNATURE = {"source 0 kafka\n", 15};

static struct truth {           /* shared by the stages */
    int64_t planned, committed; /* acknowledged, or found */
    int64_t output, settled;    /* the last batch whose transaction ended; the last that is decided for good */
    uint32_t plans[BATCHES];    /* the nonce in the text that counts */
    uint32_t commits[BATCHES];
    char id[37];
    bool quiet;
    uint64_t cuts, opens, in_doubt;
    size_t image_n;
    char image[IMAGE_BYTES];
} * T;
static const char *drop_site;
static bool drop_all;

static _Noreturn void wrong(const char *what, int64_t got, int64_t want)
{
    if (!T->quiet)
        fprintf(stderr, "  %s: %" PRId64 ", expected %" PRId64 "\n", what, got, want);
    _exit(1);
}

static _Noreturn void failed(const char *what, const struct fault *f)
{
    if (!T->quiet)
        fprintf(stderr, "  %s: %s\n", what, fault_message(f));
    _exit(1);
}

static struct str text(char out[64], const char *kind, int64_t batch, uint32_t nonce)
{
    return str_make(out, (size_t)snprintf(out, 64, "v1\n{\"%s\":%" PRId64 ",\"nonce\":%u}", kind, batch, nonce));
}

static uint32_t nonce_of(struct str t)
{
    ptrdiff_t at = str_find(t, STR("nonce\":"), 0);
    return at < 0 ? 0 : (uint32_t)strtoul(t.p + at + 7, NULL, 10);
}

/* -- state: batch N writes N under two keys and removes a third ------------------------------------------------------- */

static void changes_of(int64_t batch, struct buf *out)
{
    char key[2][8], value[24];
    for (int i = 0; i < 2; i++) {
        int k = (int)((batch * (i ? 3 : 1) + i) % KEYS);
        snprintf(key[i], sizeof key[i], "k%d", k);
        snprintf(value, sizeof value, "%" PRId64, batch);
        state_change_put(out, 1, str_of(key[i]), str_of(value));
    }
    snprintf(key[0], sizeof key[0], "k%d", (int)(batch * 5 % KEYS));
    state_change_remove(out, 1, str_of(key[0]));
}

static enum err load(void *arg, uint32_t store, struct str key, struct str value, struct fault *f)
{
    (void)store, (void)f;
    state_load(arg, key, value);
    return ERR_OK;
}

static struct state_store *expected_state(int64_t committed)
{
    struct state_store *s = state_new(1);
    for (int64_t n = 0; n <= committed; n++) {
        struct buf b = {0};
        changes_of(n, &b);
        /* store, key bytes, value bytes (~0: removed), key, value */
        for (size_t at = 0; at < b.n;) {
            uint32_t head[3];
            memcpy(head, b.p + at, sizeof head);
            struct str key = str_make(b.p + at + 12, head[1]);
            struct str value = head[2] == UINT32_MAX ? (struct str){0} : str_make(key.p + key.n, head[2]);
            state_load(s, key, value);
            at += 12 + key.n + value.n;
        }
        buf_free(&b);
    }
    return s;
}

static void check_state(struct checkpoint *c, int64_t committed)
{
    struct state_store *got = state_new(1), *want = expected_state(committed);
    struct fault f;
    if (checkpoint_replay(c, load, got, &f))
        failed("replay", &f);
    if (state_keys(got) != state_keys(want))
        wrong("keys of state", (int64_t)state_keys(got), (int64_t)state_keys(want));
    size_t at = 0;
    struct str key, value;
    while (state_next(want, &at, &key, &value))
        if (!str_eq(state_get(got, key), value))
            wrong("a value of state", nonce_of(value), committed);
    state_free(got);
    state_free(want);
}

/* -- the workload -------------------------------------------------------------------------------------------------------- */

static void settle(struct checkpoint *c)
{
    struct fault f;
    if (checkpoint_settle(c, &f))
        failed("settle", &f);
    T->settled = T->committed;
}

/* What a query does first with a batch that it finds prepared. */
static void resolve(struct checkpoint *c, struct checkpoint_info *info)
{
    struct fault f;
    bool committed = T->output == info->last_planned;
    if (info->last_planned <= T->settled)
        wrong("a batch is in doubt that was decided for good", info->last_planned, T->settled);
    if (!committed && T->output != info->prepared_after)
        wrong("what the transaction log said before", info->prepared_after, T->output);
    if (!str_eqz(info->where, "the topic"))
        wrong("where the transaction log is", (int64_t)info->where.n, 9);
    if (checkpoint_decide(c, info->last_planned, committed, &f))
        failed("decide", &f);
    T->in_doubt++;
    checkpoint_look(c, info);
}

static struct checkpoint *open_and_check(struct checkpoint_info *info)
{
    struct checkpoint *c;
    struct fault f;
    if (checkpoint_open(&c, DIR_, SIGNATURE, info, &f))
        failed("open", &f);
    T->opens++;
    if (info->prepared)
        resolve(c, info);
    if (info->last_planned < T->planned)
        wrong("last planned", info->last_planned, T->planned);
    if (info->last_committed < T->committed)
        wrong("last committed", info->last_committed, T->committed);
    if (info->last_planned == T->planned && T->planned >= 0 && nonce_of(info->plan) != T->plans[T->planned])
        wrong("the plan's nonce", nonce_of(info->plan), T->plans[T->planned]);
    if (info->last_committed == T->committed && T->committed >= 0 && nonce_of(info->commit) != T->commits[T->committed])
        wrong("the commit's nonce", nonce_of(info->commit), T->commits[T->committed]);
    if (T->planned >= 0 && strcmp(T->id, info->query_id))
        wrong("the query's id differs", 0, 0);
    if (info->last_planned >= 0 && !str_eqz(checkpoint_fact(c, 0), "v1\nstart"))
        wrong("the source's start", (int64_t)checkpoint_fact(c, 0).n, 8);
    check_state(c, info->last_committed);
    /* what was found is acted upon: it may not go away any more */
    memcpy(T->id, info->query_id, sizeof T->id);
    T->planned = info->last_planned;
    T->committed = info->last_committed;
    if (T->planned >= 0)
        T->plans[T->planned] = nonce_of(info->plan);
    if (T->committed >= 0)
        T->commits[T->committed] = nonce_of(info->commit);
    if (sim_random(2))
        settle(c);
    return c;
}

struct fill {
    struct state_store *s;
    size_t at;
};

static enum err fill_some(void *arg, struct buf *chunk, bool *more, struct fault *f)
{
    struct fill *fill = arg;
    struct str key, value;
    (void)f;
    for (int i = 0; i < 3; i++)
        if (!(*more = state_next(fill->s, &fill->at, &key, &value)))
            break;
        else
            state_change_put(chunk, 1, key, value);
    return ERR_OK;
}

static void snapshot_sometimes(struct checkpoint *c)
{
    struct fault f;
    if (sim_random(5))
        return;
    struct fill fill = {expected_state(T->committed), 0};
    if (checkpoint_snapshot(c, fill_some, &fill, &f))
        failed("snapshot", &f);
    state_free(fill.s);
}

static void commit_one(struct checkpoint *c)
{
    char commit[64], next[64];
    struct fault f;
    struct buf changes = {0};
    int64_t n = T->planned;
    bool ahead = sim_random(2) && n + 1 < BATCHES;
    uint32_t a = 1 + (uint32_t)sim_random(1u << 30), b = 1 + (uint32_t)sim_random(1u << 30);
    changes_of(n, &changes);
    if (checkpoint_commit(c, n, text(commit, "commit", n, a), ahead ? text(next, "plan", n + 1, b) : (struct str){0},
                          (struct str[]){buf_view(&changes)}, 1, &f))
        failed("commit", &f);
    buf_free(&changes);
    T->commits[n] = a;
    T->committed = n;
    if (ahead) {
        T->plans[n + 1] = b;
        T->planned = n + 1;
    }
    snapshot_sometimes(c);
}

/* A batch whose output is a transaction, or (one in four) that puts nothing out. */
static void batch_one(struct checkpoint *c)
{
    char commit[64], plan[64];
    struct fault f;
    struct buf changes = {0};
    bool planned = T->planned > T->committed, goes_out = sim_random(4);
    int64_t n = planned ? T->planned : T->planned + 1;
    uint32_t a = 1 + (uint32_t)sim_random(1u << 30), b = 1 + (uint32_t)sim_random(1u << 30);
    struct checkpoint_output output = {STR("the topic"), T->output};
    changes_of(n, &changes);
    checkpoint_fact_set(c, 0, STR("v1\nstart"));
    if (checkpoint_prepare(c, n, planned ? (struct str){0} : text(plan, "plan", n, b), text(commit, "commit", n, a),
                           goes_out ? &output : NULL, (struct str[]){buf_view(&changes)}, 1, &f))
        failed("prepare", &f);
    buf_free(&changes);
    if (!planned)
        T->plans[T->planned = n] = b;
    if (goes_out) {
        bool committed = sim_random(5);
        if (committed) /* from now on it may be asked for at any time */
            T->output = n;
        if (checkpoint_decide(c, n, committed, &f))
            failed("decide", &f);
        if (!committed)
            return;
    }
    T->commits[n] = a;
    T->committed = n;
    if (sim_random(4) == 0)
        settle(c);
    snapshot_sometimes(c);
}

static void work(struct checkpoint *c)
{
    for (uint64_t left = 1 + sim_random(12); left && T->planned + 1 < BATCHES; left--) {
        char plan[64];
        struct fault f;
        if (sim_random(2)) {
            batch_one(c);
            continue;
        }
        if (T->planned > T->committed) {
            commit_one(c);
            continue;
        }
        uint32_t nonce = 1 + (uint32_t)sim_random(1u << 30);
        checkpoint_fact_set(c, 0, STR("v1\nstart"));
        if (checkpoint_plan(c, T->planned + 1, text(plan, "plan", T->planned + 1, nonce), &f))
            failed("plan", &f);
        T->plans[++T->planned] = nonce;
    }
}

/* The process is killed after it wrote a plan and before it synced it: the next one finds the plan in the page cache. */
static void killed(struct checkpoint *c)
{
    char plan[64];
    struct fault f;
    struct buf front = {0};
    buf_u64le(&front, (uint64_t)T->planned + 1);
    buf_u32le(&front, 0);
    struct str t = text(plan, "plan", T->planned + 1, 1 + (uint32_t)sim_random(1u << 30));
    if (frame_write(c->log, &c->at, FRAME_PLAN, c->sequence, (struct str[]){buf_view(&front), t}, 2, &f))
        failed("write", &f);
    buf_free(&front);
    os_close(c->log);
    os_close(c->lock);
}

static void keep_image(void *arg, const char *image, size_t n)
{
    (void)arg;
    if (n > IMAGE_BYTES)
        _exit(3);
    memcpy(T->image, image, n);
    T->image_n = n;
    T->cuts++;
}

static void stage(uint64_t seed, int number)
{
    struct sim_options o = {
        .seed = seed * 16 + (uint64_t)number,
        .drop_site = drop_site,
        .drop_all = drop_all,
        .image = T->image_n ? T->image : NULL,
        .image_n = T->image_n,
        .on_cut = keep_image,
    };
    struct checkpoint_info info;
    os_log_level(OS_ERROR + 1);
    alarm(CHILD_SECONDS);
    sim_start(&o);
    if (number == STAGES) {
        checkpoint_close(open_and_check(&info));
        _exit(0);
    }
    if (sim_random(3) == 0)
        sim_cut_in_dir_syncs(1 + sim_random(40));
    else
        sim_cut_in(1 + sim_random((uint64_t)4 << sim_random(8)));
    for (;;) {
        struct checkpoint *c = open_and_check(&info);
        work(c);
        if (T->planned >= 0 && T->planned == T->committed && sim_random(2))
            killed(c);
        else
            checkpoint_close(c);
        if (T->planned + 1 >= BATCHES)
            _exit(0);
    }
}

static bool run_seed(uint64_t seed)
{
    T->image_n = 0;
    T->planned = T->committed = T->output = T->settled = -1;
    for (int i = 0; i <= STAGES; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child)
            stage(seed, i);
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
            return false;
    }
    return true;
}

static uint64_t first_failure(uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= seeds; seed++)
        if (!run_seed(seed))
            return seed;
    return 0;
}

/* Each of this log's sites taken away alone: some seed must notice. */
static int all_sites(uint64_t seeds)
{
    int undetected = 0;
    T->quiet = true;
    for (size_t i = 0; (drop_site = sim_site(i)); i++) {
        if (strncmp(drop_site, "checkpoint.", 11))
            continue;
        uint64_t seed = first_failure(seeds);
        undetected += seed == 0;
        printf("%-28s %s %" PRIu64 "\n", drop_site, seed ? "fails at seed" : "none of", seed ? seed : seeds);
        fflush(stdout);
    }
    printf("checkpoint-sites: %d undetected\n", undetected);
    return undetected != 0;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1000, seed = 0, bad = 0;
    bool sites = false;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--nosync"))
            drop_all = true;
        else if (!strcmp(argv[i], "--sites"))
            sites = true;
        else if (!strcmp(argv[i], "--seeds"))
            seeds = strtoull(next, NULL, 10), i++;
        else if (!strcmp(argv[i], "--seed"))
            seed = strtoull(next, NULL, 10), i++;
        else
            return fprintf(stderr, "usage: checkpoint [--seeds N | --seed N] [--nosync | --sites]\n"), 2;
    }
    /* Addresses salt hash tables: the same ones in every run, or a seed would not replay. */
    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) && personality(ADDR_NO_RANDOMIZE) >= 0)
        execv("/proc/self/exe", argv);
    T = mmap(NULL, sizeof *T, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (T == MAP_FAILED)
        return perror("mmap"), 1;
    if (sites)
        return all_sites(seeds);
    if (drop_all) {
        T->quiet = true;
        uint64_t first = first_failure(seeds);
        printf("checkpoint: with every sync a no-op seed %" PRIu64 " fails%s\n", first,
               first ? ", as it must" : ": none");
        return first == 0;
    }
    for (uint64_t s = seed ? seed : 1; s <= (seed ? seed : seeds); s++)
        if (!run_seed(s) && ++bad <= 10)
            fprintf(stderr, "FAIL seed %" PRIu64 " (make test-powercut-checkpoint SEED=%" PRIu64 ")\n", s, s);
    printf("checkpoint: %" PRIu64 " seeds, %" PRIu64 " cuts, %" PRIu64 " openings, %" PRIu64 " batches in doubt\n",
           seed ? 1 : seeds, T->cuts, T->opens, T->in_doubt);
    printf("checkpoint: %" PRIu64 " passed, %" PRIu64 " failed, 0 skipped\n", (seed ? 1 : seeds) - bad, bad);
    return bad != 0;
}
