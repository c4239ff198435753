/*
 * powercut: 1,000 seeds of a workload whose power fails, and whose disk keeps what a disk may keep (os/sim.h).
 *
 *   seed ─▶ stage 0: empty disk ─▶ workload ─▶ cut ─▶ image ─▶ stage 1: recover, check, workload ─▶ cut ─▶ … ─▶ check
 *
 * Every stage is a process of its own. Idempotent producers repeat, after a cut, what was not answered. The cut falls
 * anywhere: in a start-up, in a recovery, in a clean stop.
 */
#include "truth.h"

#include "os/sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STAGES = 3, CHILD_SECONDS = 30 };
static struct truth *T;
static const char *drop_site;
static bool drop_all, aloud;

/* -- the workload ---------------------------------------------------------------------------------------------------------------- */

struct run {
    struct log *l;
    bool stop;
    struct os_mutex *lock; /* of the truth, for steps of more than one store */
};

static void pause_sometimes(void)
{
    if (sim_random(4) == 0)
        os_sleep_ms(1 + (int64_t)sim_random(20));
}

/* A live topic and partition, or false. */
static bool pick(int *topic, int *part)
{
    int live[TOPICS], n = 0;
    for (int i = 0; i < T->ntopics; i++)
        if (T->topics[i].state == LIVE)
            live[n++] = i;
    if (!n)
        return false;
    *topic = live[sim_random((uint64_t)n)];
    *part = (int)sim_random((uint64_t)T->topics[*topic].parts);
    return true;
}

static int new_attempt(int topic, int part, int producer)
{
    if (T->nattempts == ATTEMPTS)
        return -1;
    int number = T->nattempts;
    T->attempts[number] = (struct t_attempt){
        .topic = topic,
        .part = part,
        .count = 1 + (int)sim_random(6),
        .codec = sim_random(3) ? 0 : (int)sim_random(CODECS),
        .producer = producer,
        .seq = producer < 0 ? -1 : T->producers[producer].next_seq[topic][part],
        .ts = os_now_ms() - (int64_t)sim_random(50),
    };
    T->nattempts++;
    return number;
}

/* An answer that is no success is right only when the topic is going away. */
static bool refused(int topic, enum log_status status, const char *message)
{
    if (status == LOG_OK)
        return false;
    if (status == LOG_AGAIN || (status == LOG_UNKNOWN_TOPIC && T->topics[topic].state >= DELETING))
        return true;
    fprintf(stderr, "  an append is refused: %d %s\n", status, message);
    _exit(1);
}

/* Send attempt `number` and wait; false: not done. */
static bool produce(struct run *r, int number, bool again)
{
    struct t_attempt *a = &T->attempts[number];
    struct log_partition *p = log_partition(r->l, str_of(T->topics[a->topic].name), a->part);
    if (!p)
        return false;
    struct os_uuid id = log_partition_topic_id(p);
    bool mine = !memcmp(id.b, T->topics[a->topic].id.b, 16);
    struct log_append_result result = {.status = LOG_UNKNOWN_TOPIC};
    if (mine) {
        struct buf b = {0};
        truth_batch(a, number, a->producer < 0 ? -1 : T->producers[a->producer].id, &b);
        result = log_append_wait(p, b.p, b.n);
        buf_free(&b);
    }
    log_partition_release(p);
    if (!mine || refused(a->topic, result.status, result.message))
        return false;
    a->base = result.base_offset;
    a->acked = true;
    if (again && result.duplicate)
        T->retries_duplicate++;
    else if (again)
        T->retries_new++;
    return true;
}

static void need_producer_id(struct run *r, struct t_producer *p)
{
    int64_t id;
    if (p->id >= 0)
        return;
    if (log_producer_id(r->l, &id, NULL))
        _exit(1);
    if (id <= T->largest_producer_id) {
        fprintf(stderr, "  producer id %lld was given twice\n", (long long)id);
        _exit(1);
    }
    T->largest_producer_id = p->id = id;
}

struct actor {
    struct run *r;
    int number;
};

static void producer(void *arg)
{
    struct actor *me = arg;
    struct t_producer *p = &T->producers[me->number];
    os_mutex_lock(me->r->lock);
    need_producer_id(me->r, p);
    os_mutex_unlock(me->r->lock);
    while (!me->r->stop) {
        bool again = p->outstanding >= 0;
        int topic, part;
        if (!again && pick(&topic, &part))
            p->outstanding = new_attempt(topic, part, me->number);
        if (p->outstanding < 0) {
            os_sleep_ms(5);
            continue;
        }
        struct t_attempt *a = &T->attempts[p->outstanding];
        if (produce(me->r, p->outstanding, again))
            p->next_seq[a->topic][a->part] = a->seq + a->count;
        else if (T->topics[a->topic].state == LIVE || T->topics[a->topic].state == DELETING) {
            os_sleep_ms(3); /* busy, or on its way out: the same batch again */
            continue;
        }
        p->outstanding = -1;
        pause_sometimes();
    }
}

static void hose_done(void *arg, const struct log_append_result *r)
{
    struct t_attempt *a = arg;
    a->base = r->base_offset;
    a->acked = true;
}

/* Appends without waiting, so that groups have many batches. */
static void hose(void *arg)
{
    struct actor *me = arg;
    while (!me->r->stop) {
        int topic, part, burst = 1 + (int)sim_random(12);
        if (!pick(&topic, &part)) {
            os_sleep_ms(5);
            continue;
        }
        struct log_partition *p = log_partition(me->r->l, str_of(T->topics[topic].name), part);
        struct os_uuid id = {{0}};
        if (p)
            id = log_partition_topic_id(p);
        for (; p && burst-- && !memcmp(id.b, T->topics[topic].id.b, 16);) {
            int number = new_attempt(topic, part, -1);
            if (number < 0)
                break;
            struct buf b = {0};
            struct log_append_result result;
            truth_batch(&T->attempts[number], number, -1, &b);
            if (log_append(p, b.p, b.n, hose_done, &T->attempts[number], &result))
                (void)refused(topic, result.status, result.message);
            buf_free(&b);
        }
        log_partition_release(p);
        os_sleep_ms(1 + (int64_t)sim_random(10));
    }
}

/* Reads what is below the high watermark: from then on it must never be missing. */
static void consumer(void *arg)
{
    struct actor *me = arg;
    while (!me->r->stop) {
        int topic, part;
        struct log_slice *s = NULL;
        if (pick(&topic, &part)) {
            struct t_topic *x = &T->topics[topic];
            struct log_partition *p = log_partition(me->r->l, str_of(x->name), part);
            struct os_uuid id = {{0}};
            if (p)
                id = log_partition_topic_id(p);
            if (p && !memcmp(id.b, x->id.b, 16) &&
                !log_read(p, x->seen[part], 1 + sim_random(9000), true, sim_random(2), &s) && s) {
                struct batch b;
                for (struct str rest = log_slice_bytes(s); rest.n && !batch_parse(rest, &b, NULL);
                     rest = str_sub(rest, b.all.n, rest.n))
                    x->seen[part] = b.base_offset + b.last_offset_delta + 1;
                log_slice_release(s);
            }
            log_partition_release(p);
        }
        os_sleep_ms(1 + (int64_t)sim_random(15));
    }
}

static void create_one(struct run *r)
{
    if (T->ntopics == TOPICS)
        return;
    struct t_topic *x = &T->topics[T->ntopics];
    *x = (struct t_topic){.state = CREATING, .parts_tried = 1 + (int)sim_random(2)};
    snprintf(x->name, sizeof x->name, "t%d", (int)sim_random(5));
    for (int i = 0; i < T->ntopics; i++)
        if (T->topics[i].state != DELETED && !strcmp(T->topics[i].name, x->name))
            return;
    T->ntopics++;
    static const struct log_config small[] = {{{"segment.bytes", 13}, {"9000", 4}}};
    struct fault f;
    struct os_uuid id;
    if (log_topic_create(r->l, str_of(x->name), x->parts_tried, small, sim_random(2), &id, &f)) {
        fprintf(stderr, "  create: %s\n", fault_message(&f));
        _exit(1);
    }
    x->id = id;
    x->parts = x->parts_tried;
    x->state = LIVE;
}

static void change_one(struct run *r)
{
    int topic, part;
    struct fault f;
    if (!pick(&topic, &part))
        return;
    struct t_topic *x = &T->topics[topic];
    enum err e = ERR_OK;
    if (sim_random(2) && x->parts < PARTS) {
        x->parts_tried = x->parts + 1;
        if (!(e = log_topic_grow(r->l, str_of(x->name), x->parts_tried, &f)))
            x->parts = x->parts_tried;
    } else if (sim_random(3) == 0) {
        x->state = DELETING;
        if (!(e = log_topic_delete(r->l, str_of(x->name), &f)))
            x->state = DELETED;
    }
    if (e) {
        fprintf(stderr, "  change: %s\n", fault_message(&f));
        _exit(1);
    }
}

static void tell_fact(struct run *r)
{
    int i = (int)sim_random(FACTS);
    char key[16], value[16];
    snprintf(key, sizeof key, "fact-%d", i);
    snprintf(value, sizeof value, "%d", ++T->facts_tried[i]);
    if (log_fact_put(r->l, str_of(key), str_of(value), NULL))
        _exit(1);
    T->facts_acked[i] = T->facts_tried[i];
}

static void admin(void *arg)
{
    struct actor *me = arg;
    while (!me->r->stop) {
        uint64_t dice = sim_random(6);
        if (dice < 2)
            create_one(me->r);
        else if (dice < 4)
            change_one(me->r);
        else
            tell_fact(me->r);
        os_sleep_ms(5 + (int64_t)sim_random(60));
    }
}

static void work(struct log *l)
{
    static void (*const ROLES[])(void *) = {producer, producer, producer, hose, consumer, admin};
    enum { ROLE_COUNT = sizeof ROLES / sizeof *ROLES };
    struct run r = {l, false, os_mutex_new()};
    struct actor actors[ROLE_COUNT];
    struct os_thread *threads[ROLE_COUNT];
    for (int i = 0; i < ROLE_COUNT; i++) {
        actors[i] = (struct actor){&r, i};
        if (os_thread_start(&threads[i], "actor", ROLES[i], &actors[i], NULL))
            _exit(1);
    }
    os_sleep_ms(20 + (int64_t)sim_random(1500));
    r.stop = true;
    for (int i = 0; i < ROLE_COUNT; i++)
        os_thread_join(threads[i]);
    os_mutex_free(r.lock);
}

/* -- one process ------------------------------------------------------------------------------------------------------------------- */

static void keep_image(void *arg, const char *image, size_t n)
{
    (void)arg;
    if (n > IMAGE_MAX)
        abort();
    memcpy(T->image, image, n);
    T->image_n = n;
    T->cuts++;
}

static struct log *open_and_check(void)
{
    struct log_options o = {.dir = "/var/penstock", .segment_bytes = 16 << 10, .journal_file_bytes = 48 << 10};
    struct log *l;
    struct fault f;
    enum err e = log_open(&l, &o, &f);
    if (e) {
        if (!T->quiet)
            fprintf(stderr, "  open: %s\n", fault_message(&f));
        _exit(1);
    }
    T->opens++;
    if (truth_check(T, l))
        _exit(1);
    return l;
}

/* The last stage only looks. The others work until the power fails, through clean stops now and then. */
static void stage(uint64_t seed, int number)
{
    uint64_t spread = 1 + (seed * 7919 + (uint64_t)number * 104729) % 9; /* early cuts and late ones */
    struct sim_options o = {
        .seed = seed * 16 + (uint64_t)number,
        .drop_site = drop_site,
        .drop_all = drop_all,
        .image = T->image_n ? T->image : NULL,
        .image_n = T->image_n,
        .on_cut = keep_image,
    };
    os_log_level(aloud ? OS_INFO : OS_ERROR + 1);
    alarm(CHILD_SECONDS);
    sim_start(&o);
    if (number == STAGES) {
        log_close(open_and_check());
        _exit(0);
    }
    if (sim_random(3) == 0)
        sim_cut_in_dir_syncs(1 + sim_random(100));
    else
        sim_cut_in(1 + sim_random((uint64_t)1 << (2 + spread)) + (sim_random(2) ? sim_random(1500) : 0));
    for (;;) {
        struct log *l = open_and_check();
        work(l);
        log_close(l);
    }
}

/* True when the seed passes. */
static bool run_seed(uint64_t seed)
{
    T->image_n = 0;
    T->ntopics = T->nattempts = 0;
    memset(T->facts_tried, 0, sizeof T->facts_tried);
    memset(T->facts_acked, 0, sizeof T->facts_acked);
    memset(T->producers, 0, sizeof T->producers);
    T->largest_producer_id = -1;
    for (int i = 0; i < PRODUCERS; i++) {
        T->producers[i].id = -1;
        T->producers[i].outstanding = -1;
    }
    for (int i = 0; i <= STAGES; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child)
            stage(seed, i);
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child)
            return false;
        if (!WIFEXITED(status) || WEXITSTATUS(status)) {
            if (!T->quiet)
                fprintf(stderr, "  seed %llu stage %d: %s %d\n", (unsigned long long)seed, i,
                        WIFEXITED(status) ? "exit" : "signal",
                        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
            return false;
        }
    }
    return true;
}

/* -- the command ----------------------------------------------------------------------------------------------------------------------- */

static uint64_t first_failure(uint64_t seeds)
{
    for (uint64_t seed = 1; seed <= seeds; seed++)
        if (!run_seed(seed))
            return seed;
    return 0;
}

static int all_sites(uint64_t seeds)
{
    int undetected = 0;
    T->quiet = true;
    printf("%-28s first failing seed without it\n", "sync call site");
    for (size_t i = 0; sim_site(i); i++) {
        drop_site = sim_site(i);
        uint64_t seed = first_failure(seeds);
        undetected += seed == 0;
        if (seed)
            printf("%-28s %llu\n", drop_site, (unsigned long long)seed);
        else
            printf("%-28s none of %llu\n", drop_site, (unsigned long long)seeds);
        fflush(stdout);
    }
    printf("powercut-sites: %d undetected\n", undetected);
    return undetected != 0;
}

static int some_fail(uint64_t seeds)
{
    T->quiet = true;
    uint64_t seed = first_failure(seeds);
    if (seed)
        printf("powercut: with %s a no-op, seed %llu fails, as it must\n", drop_all ? "every sync" : drop_site,
               (unsigned long long)seed);
    else
        printf("powercut: with %s a no-op no seed of %llu fails\n", drop_all ? "every sync" : drop_site,
               (unsigned long long)seeds);
    return seed == 0;
}

static int all_pass(uint64_t from, uint64_t to)
{
    uint64_t failed = 0;
    time_t start = time(NULL);
    for (uint64_t seed = from; seed <= to && failed < 10; seed++)
        if (!run_seed(seed)) {
            fprintf(stderr, "FAIL seed %llu (make test-powercut SEED=%llu)\n", (unsigned long long)seed,
                    (unsigned long long)seed);
            failed++;
        }
    printf("powercut: %llu seeds, %llu cuts, %llu recoveries, %llu records read back, %llu acknowledgements held, "
           "retries %llu duplicate %llu new, %lld s\n",
           (unsigned long long)(to - from + 1), (unsigned long long)T->cuts, (unsigned long long)T->opens,
           (unsigned long long)T->recovered_records, (unsigned long long)T->checked_acks,
           (unsigned long long)T->retries_duplicate, (unsigned long long)T->retries_new,
           (long long)(time(NULL) - start));
    printf("powercut: %llu passed, %llu failed, 0 skipped\n", (unsigned long long)(to - from + 1 - failed),
           (unsigned long long)failed);
    return failed != 0;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1000, seed = 0;
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
        else if (!strcmp(argv[i], "--drop"))
            drop_site = next, i++;
        else
            return fprintf(stderr, "usage: powercut [--seeds N | --seed N] [--nosync | --drop SITE | --sites]\n"), 2;
    }
    /* Addresses salt hash tables: the same ones in every run, or a seed would not replay. */
    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) && personality(ADDR_NO_RANDOMIZE) >= 0)
        execv("/proc/self/exe", argv);
    T = mmap(NULL, sizeof *T, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (T == MAP_FAILED)
        return perror("mmap"), 1;
    aloud = seed != 0;
    if (sites)
        return all_sites(seeds);
    if ((drop_all || drop_site) && !seed)
        return some_fail(seeds);
    return seed ? all_pass(seed, seed) : all_pass(1, seeds);
}
