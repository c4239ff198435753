/*
 * server: the whole server (loops, Kafka and Spark Connect listeners, broker, committer, workers, queries) and its clients, in
 * one simulated machine, from one seed.
 *
 *   seed ─▶ stage: start ─▶ clients work, weather changes ─▶ power cut, kill, or the server stops itself ─▶ image
 *              ▲                                                                                             │
 *              └──────────────────────────── a process of its own ◀──────────────────────────────────────────┘
 *   last stage ─▶ the sky clears ─▶ everything is brought to its end within bounded time ─▶ everything is read
 *
 * Weather is the network (late, in pieces, cut, half-open, no descriptors), the disk (slow, EIO, full), the wall clock (set
 * back and forth) and memory (malloc says no). What must hold is in world.h, and is checked at every answer.
 */
#include "actors.h"
#include "mutants.h"

#include "base/map.h"
#include "base/random.h"
#include "cli/server.h"
#include "os/alloc_fault.h"
#include "os/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STAGES_MAX = 3, CHILD_SECONDS = 120, PATIENCE_S = 1200 };
static bool aloud;
static uint64_t the_seed;

static struct weather {
    struct sim_network net;
    struct sim_disk disk;
    uint32_t alloc_one_in;
    bool clock_jumps, full;
} weather;

/* -- the end of a process ------------------------------------------------------------------------------------------------ */

static void keep_totals(void)
{
    struct sim_net_stats n = sim_net_stats();
    W->failures += sim_disk_failures();
    W->alloc_failures += alloc_fault_failed();
    W->connections += n.connections;
    W->hash = (W->hash ^ sim_trace_hash()) * 0x9e3779b97f4a7c15u;
}

static void keep_image(void *arg, const char *image, size_t n)
{
    (void)arg;
    if (n > W_IMAGE_MAX)
        world_wrong("the image has %zu bytes", n);
    memcpy(W->image, image, n);
    W->image_n = n;
    W->cuts++;
    keep_totals();
}

/* A server may stop itself when the disk or malloc failed; then it said so. */
static bool may_die(void *arg, const char *message)
{
    (void)arg;
    bool reason = sim_disk_failures() || alloc_fault_failed() || weather.full;
    if (aloud)
        world_say("  the server stops itself: %s", message);
    W->deaths += reason;
    return reason;
}

/* -- the server -------------------------------------------------------------------------------------------------------------- */

static struct config config;
static struct server *server;

static void configure(void)
{
    static struct arena *a;
    a = arena_new(0);
    config_init(&config, a);
    config.v[CFG_DATA].text = "/var/penstock";
    config.v[CFG_SEGMENT_BYTES].number = 64 << 10; /* below the least that is allowed: to meet its ends often */
    config.v[CFG_JOURNAL_BYTES].number = 192 << 10;
    config.v[CFG_AUTO_CREATE].number = 0;
    config.v[CFG_REBALANCE_DELAY_MS].number = 500;
}

/* Under faults a start may fail, with a reason; then it is tried again by another process. */
static void start(void)
{
    struct fault f;
    enum err e = server_start(&server, &config, &f);
    W->starts++;
    if (!e)
        return;
    if (aloud)
        world_say("  no start: %s", fault_message(&f));
    bool reason = sim_disk_failures() || alloc_fault_failed() || weather.full;
    if (W->rotten) {
        W->rots_named++;
        keep_totals();
        _exit(0);
    }
    if (!reason)
        world_wrong("the server does not start: %s", fault_message(&f));
    W->refused_starts++;
    sim_kill_instead(true);
    sim_cut_now();
}

/* -- weather -------------------------------------------------------------------------------------------------------------------- */

static uint32_t maybe(uint32_t one_in, uint32_t value)
{
    return sim_random(one_in) ? 0 : value;
}

static void choose_weather(bool last)
{
    bool bad_disk = !last && sim_random(3) == 0;
    weather = (struct weather){
        .net = {.delay_ns = 20000 + (int64_t)sim_random(2000000),
                .jitter_ns = (int64_t)sim_random(1000000),
                .bytes_per_s = maybe(3, 50000 + (uint32_t)sim_random(1000000)),
                .window_bytes = sim_random(3) ? 0 : 2000 + sim_random(60000),
                .stall_one_in = maybe(2, 20 + (uint32_t)sim_random(300)),
                .stall_ns = 1000000000 + (int64_t)sim_random(8000000000),
                .cut_one_in = maybe(2, 30 + (uint32_t)sim_random(500)),
                .silence_one_in = maybe(3, 60 + (uint32_t)sim_random(500)),
                .no_descriptor_one_in = maybe(4, 3),
                .interrupt_one_in = maybe(2, 20),
                .pieces = sim_random(2)},
        .disk = {.slow_one_in = maybe(2, 5 + (uint32_t)sim_random(300)),
                 .slow_ns = 1000000 + (int64_t)sim_random(3000000000)},
        .clock_jumps = sim_random(2),
    };
    if (bad_disk) {
        uint32_t one_in = 100u << sim_random(6);
        weather.disk.read_one_in = maybe(2, one_in);
        weather.disk.write_one_in = maybe(2, one_in);
        weather.disk.sync_one_in = maybe(2, one_in);
        weather.disk.space_one_in = maybe(2, one_in);
    }
    if (!last && sim_random(4) == 0)
        weather.alloc_one_in = 300u << sim_random(8);
    RUN.disk_fails = bad_disk;
    RUN.clock_jumps = weather.clock_jumps;
    RUN.memory_fails = weather.alloc_one_in != 0;
}

static void let_it_rain(void)
{
    sim_network(&weather.net);
    sim_disk(&weather.disk);
}

static void clear_the_sky(void)
{
    sim_network(&(struct sim_network){.delay_ns = 100000});
    sim_disk(&(struct sim_disk){0});
    alloc_fault_off();
}

/* -- a stage -------------------------------------------------------------------------------------------------------------------- */

static void (*const ROLES[])(void *) = {
    producer_run, producer_run, producer_run, reader_run, member_run,
    member_run,   member_run,   admin_run,    spark_run}; /* the last one in half of the seeds */
enum { ROLE_COUNT = sizeof ROLES / sizeof *ROLES };
static struct actor actors[ROLE_COUNT];
static int nactors = ROLE_COUNT;
static struct os_thread *threads[ROLE_COUNT];

static void actor_body(void *arg)
{
    struct actor *me = arg;
    alloc_fault_pause(); /* the clients' memory is not what is tried */
    ROLES[me - actors](me);
    client_free(&me->client);
}

static void start_actors(void)
{
    for (int i = 0; i < nactors; i++) {
        actors[i].number = i;
        client_init(&actors[i].client, 15000 + (int)sim_random(15000));
        if (os_thread_start(&threads[i], "actor", actor_body, &actors[i], NULL))
            abort();
    }
}

/* Before anybody is there: nothing is under way, so the group's offsets are what they are. */
static void settle_offsets(void)
{
    struct client c;
    struct w_topic *t = actor_topic("s");
    client_init(&c, 30000);
    for (int i = 0; t && i < W_PARTS; i++) {
        int64_t offset;
        if (member_offset(&c, t, i, &offset))
            world_told_committed(t, i, offset, true);
    }
    client_free(&c);
}

/* One event of the outside world. */
static void happen(void)
{
    switch (sim_random(10)) {
    case 0:
        sim_net_break(1 + (uint32_t)sim_random(4), false);
        break;
    case 1:
        sim_net_break(1 + (uint32_t)sim_random(4), true);
        break;
    case 2:
        if (weather.clock_jumps) { /* to somewhere within three hours of the truth */
            static int64_t off_ms;
            int64_t to_ms = (int64_t)sim_random(6 * 3600000) - 3 * 3600000;
            sim_set_clock(to_ms - off_ms);
            off_ms = to_ms;
        }
        break;
    case 3:
        let_it_rain();
        break;
    case 4:
        sim_network(&(struct sim_network){.delay_ns = 100000});
        break;
    case 5: /* a clean stop, and up again */
        if (sim_random(4) == 0) {
            alloc_fault_resume();
            server_stop(server);
            start();
            alloc_fault_pause();
        }
        break;
    default:
        break;
    }
}

/*
 * Where the stage ends at the latest: after some number of disk operations, or just before a sync of some call site, so that
 * rare ones are met as well as the journal's.
 */
static void choose_end(void)
{
    uint64_t sites = 0;
    while (sim_site(sites))
        sites++;
    sim_kill_instead(sim_random(3) == 0);
    if (sim_random(3) == 0)
        sim_cut_at_site(sim_site(sim_random(sites)), 1 + sim_random((uint64_t)1 << sim_random(6)));
    if (sim_random(3) == 0)
        sim_cut_in(1 + sim_random((uint64_t)1 << (4 + sim_random(9))));
}

static void work(int64_t most_ms)
{
    int64_t until_ns = os_mono_ns() + (200 + (int64_t)sim_random((uint64_t)most_ms)) * 1000000;
    while (os_mono_ns() < until_ns) {
        os_sleep_ms(20 + (int64_t)sim_random(1500));
        happen();
    }
}

/* -- the last stage -------------------------------------------------------------------------------------------------------------- */

static bool producers_done(void)
{
    for (int i = 0; i < W_PRODUCERS; i++)
        if (W->producers[i].count)
            return false;
    for (int i = 0; i < W->ntopics; i++)
        if (W->topics[i].state == W_CREATING || W->topics[i].state == W_DELETING)
            return false;
    return true;
}

static bool queries_done(void)
{
    static struct client c;
    if (!c.timeout_ms)
        client_init(&c, 30000);
    bool done = spark_caught_up(&c);
    if (done)
        client_free(&c);
    return done;
}

static void demand(const char *what, bool (*fn)(void))
{
    int64_t until_ns = os_mono_ns() + (int64_t)PATIENCE_S * 1000000000;
    while (!fn()) {
        if (os_mono_ns() > until_ns)
            world_wrong("the sky is clear, and after %d s %s", PATIENCE_S, what);
        os_sleep_ms(200);
    }
}

static void read_everything(void)
{
    struct client c;
    client_init(&c, 30000);
    for (int i = 0; i < W->ntopics; i++) {
        struct w_topic *t = &W->topics[i];
        for (int part = 0; t->state == W_LIVE && t->name[0] != 'q' && part < t->parts; part++) {
            int64_t at = 0, next;
            while (at < t->part[part].hw) {
                next = reader_fetch(&c, t, part, at, 0);
                if (next == at && !W->rotten)
                    world_wrong("%s-%d cannot be read on at %lld of %lld", t->name, part, (long long)at,
                                (long long)t->part[part].hw);
                if (next == at)
                    break;
                at = next;
            }
            world_all_there(t, part);
        }
    }
    client_free(&c);
}

static void finish(void)
{
    clear_the_sky();
    if (!W->rotten) {
        RUN.phase = DRAIN;
        demand("a client has no answer yet", producers_done);
        demand("the group has not read what is there", member_caught_up);
        if (nactors == ROLE_COUNT)
            demand("the queries have not put out what is there", queries_done);
    }
    RUN.phase = QUIT;
    for (int i = 0; i < nactors; i++)
        os_thread_join(threads[i]);
    read_everything();
    server_stop(server);
    struct sim_net_stats n = sim_net_stats();
    if (n.open)
        world_wrong("after the stop %llu descriptors are open", (unsigned long long)n.open);
    keep_totals();
    _exit(0);
}

static void damage_something(void)
{
    for (uint64_t n = 1 + sim_random(3); n; n--) {
        const char *what = sim_rot();
        if (!what)
            continue;
        W->rotten = true;
        W->rots++;
        if (aloud)
            world_say("  damaged: %s", what);
    }
}

static void stage(uint64_t seed, int number, bool last)
{
    struct sim_options o = {
        .seed = seed * 16 + (uint64_t)number,
        .image = W->image_n ? W->image : NULL,
        .image_n = W->image_n,
        .on_cut = keep_image,
        .may_die = may_die,
        .drop_site = mutant_drop_site(),
    };
    os_log_level(OS_INFO); /* aloud or not: the same run */
    alarm(CHILD_SECONDS);
    map_salt = seed * 0x9e3779b97f4a7c15u; /* the order of maps is a matter of the seed, too */
    the_seed = seed;
    sim_start(&o);
    W->stages++;
    choose_weather(last);
    configure();
    if (last && number && seed % 12 == 5)
        damage_something();
    if (!last)
        choose_end();
    if (weather.alloc_one_in)
        alloc_fault_random(seed + (uint64_t)number, weather.alloc_one_in);
    if (sim_random(2) && !last)
        sim_disk(&weather.disk);
    start();
    alloc_fault_pause(); /* what follows on this thread is the test's own; but for the server's stops and starts */
    if (!W->rotten)
        settle_offsets();
    nactors = seed % 2 ? ROLE_COUNT : ROLE_COUNT - 1;
    start_actors();
    let_it_rain();
    work(last ? 6000 : 12000);
    if (last)
        finish();
    sim_cut_now();
}

/* -- the command ---------------------------------------------------------------------------------------------------------------- */

/* True when the seed passes. */
static bool run_seed(uint64_t seed)
{
    int stages = 1 + (int)(seed % STAGES_MAX);
    world_reset();
    for (int i = 0; i <= stages; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child)
            stage(seed, i, i == stages);
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child)
            return false;
        if (!WIFEXITED(status) || WEXITSTATUS(status)) {
            world_say("  seed %llu stage %d: %s %d", (unsigned long long)seed, i, WIFEXITED(status) ? "exit" : "signal",
                      WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
            return false;
        }
    }
    return true;
}

static void failed_seed(uint64_t seed, const char *why)
{
    world_say("FAIL seed %llu%s (make test-sim SEED=%llu)", (unsigned long long)seed, why, (unsigned long long)seed);
}

/* Every 20th seed runs twice: a run must be a function of its seed, or a failure would not come again. */
static bool replays(uint64_t seed)
{
    uint64_t first = W->hash;
    if (!run_seed(seed) || W->hash != first) {
        failed_seed(seed, " does not replay");
        return false;
    }
    return true;
}

static void print_totals(void)
{
    const struct {
        const char *what;
        uint64_t n;
    } rows[] = {{"stages", W->stages},
                {"crashes", W->cuts},
                {"of them the server's own", W->deaths},
                {"starts", W->starts},
                {"starts refused", W->refused_starts},
                {"connections", W->connections},
                {"disk errors", W->failures},
                {"allocations refused", W->alloc_failures},
                {"errors answered", W->errors_seen},
                {"rebalances", W->rebalances},
                {"acknowledgements", W->acks},
                {"records checked", W->records_checked},
                {"commits checked", W->commits_checked},
                {"starts of queries", W->query_starts},
                {"failed queries", W->query_failures},
                {"rows of queries", W->query_rows},
                {"damages at rest", W->rots},
                {"starts refused for damage", W->rots_named},
                {"damages seen by readers", W->rots_seen}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        printf("%s%llu %s", i ? ", " : "sim: ", (unsigned long long)rows[i].n, rows[i].what);
    printf("\n");
}

static int all_pass(uint64_t from, uint64_t to)
{
    uint64_t failed = 0, twice = 0, seed = from;
    time_t start_s = time(NULL);
    for (; seed <= to && failed < 10; seed++) {
        if (!run_seed(seed)) {
            failed_seed(seed, "");
            failed++;
        } else if (seed % 20 == 0 || aloud) {
            twice++;
            failed += !replays(seed);
        }
    }
    world_reset();
    print_totals();
    printf("sim: seeds %llu to %llu, %llu of them twice, in %lld s\n", (unsigned long long)from,
           (unsigned long long)(seed - 1), (unsigned long long)twice, (long long)(time(NULL) - start_s));
    printf("sim: %llu passed, %llu failed, 0 skipped\n", (unsigned long long)(seed - from - failed),
           (unsigned long long)failed);
    return failed != 0;
}

/* Each bug on purpose, and the first seed that finds it. */
static int all_mutants(uint64_t seeds)
{
    int undetected = 0, n = 0;
    W->quiet = true;
    for (const struct mutant *m; (m = mutant_row(n)); n++) {
        uint64_t seed = 1;
        W->mutant = n + 1;
        while (seed <= seeds && run_seed(seed))
            seed++;
        undetected += seed > seeds;
        printf("%-10s %-70s ", m->name, m->what);
        printf(seed > seeds ? "none of %llu\n" : "seed %llu\n", (unsigned long long)(seed > seeds ? seeds : seed));
        fflush(stdout);
    }
    printf("sim-mutants: %d passed, %d failed, 0 skipped\n", n - undetected, undetected);
    return undetected != 0;
}

int main(int argc, char **argv)
{
    uint64_t from = 1, seeds = 1000, seed = 0;
    bool mutants = false;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--seeds"))
            seeds = strtoull(next, NULL, 10), i++;
        else if (!strcmp(argv[i], "--from"))
            from = strtoull(next, NULL, 10), i++;
        else if (!strcmp(argv[i], "--seed"))
            seed = strtoull(next, NULL, 10), i++;
        else if (!strcmp(argv[i], "--mutants"))
            mutants = true;
        else
            return fprintf(stderr, "usage: server [--from N] [--seeds N] | --seed N | --mutants [--seeds N]\n"), 2;
    }
    /* Addresses are a matter of chance: the same ones in every run. */
    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) && personality(ADDR_NO_RANDOMIZE) >= 0)
        execv("/proc/self/exe", argv);
    W = mmap(NULL, sizeof *W, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (W == MAP_FAILED)
        return perror("mmap"), 1;
    aloud = seed != 0;
    W->out = dup(STDERR_FILENO);
    if (!aloud && !freopen("/dev/null", "w", stderr))
        return perror("/dev/null"), 1;
    if (mutants)
        return all_mutants(seeds);
    return seed ? all_pass(seed, seed) : all_pass(from, from + seeds - 1);
}
