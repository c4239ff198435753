/*
 * powercut: 1,000 seeds of a workload whose power fails, and whose disk keeps what a disk may keep (os/sim.h).
 *
 *   seed ─▶ stage 0: empty disk ─▶ workload ─▶ cut ─▶ image ─▶ stage 1: recover, check, workload ─▶ cut ─▶ … ─▶ check
 *
 * Every stage is a process of its own; some are killed, and the power fails later: what a process reads is not what is on
 * the platter. Idempotent producers repeat, after a cut, what was not answered. The cut falls
 * anywhere: in a start-up, in a recovery, in a clean stop.
 */
#include "keeper.h"
#include "live.h"
#include "shorten.h"
#include "teller.h"
#include "truth.h"

#include "base/map.h"
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
    struct broker *b;
    struct live *live;
    bool stop;
    int in_flight;         /* atomic */
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

/* An answer that is no success is right only when the topic is going away, or for a moment. */
static bool refused(int topic, int16_t code, struct str message)
{
    if (code == KAFKA_E_NONE)
        return false;
    bool gone = code == KAFKA_E_UNKNOWN_TOPIC_ID || code == KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
    if (code == KAFKA_E_REQUEST_TIMED_OUT || (gone && T->topics[topic].state >= DELETING))
        return true;
    fprintf(stderr, "  refused: %s %.*s\n", kafka_code_name(code), STR_ARG(message));
    _exit(1);
}

/* The Produce request of one attempt. */
static struct kafka_produce_request *produce_request(int number, struct arena *a, struct buf *records)
{
    struct t_attempt *x = &T->attempts[number];
    struct kafka_produce_request *q = KAFKA_NEW(a, produce_request);
    truth_batch(x, number, x->producer < 0 ? -1 : T->producers[x->producer].id, records);
    q->acks = -1;
    q->timeout_ms = 3600000;
    q->topic_data.p = KAFKA_ARRAY(a, produce_topic, 1);
    q->topic_data.n = 1;
    q->topic_data.p->topic_id = T->topics[x->topic].id;
    q->topic_data.p->partition_data.p = KAFKA_ARRAY(a, produce_partition, 1);
    q->topic_data.p->partition_data.n = 1;
    q->topic_data.p->partition_data.p->index = x->part;
    q->topic_data.p->partition_data.p->records = buf_view(records);
    return q;
}

/* Believe the answer to an attempt; false: not done. */
static bool believe(struct t_attempt *x, const struct kafka_produce_response *r)
{
    if (r->responses.n != 1 || r->responses.p->partition_responses.n != 1) {
        fprintf(stderr, "  an answer about something else\n");
        _exit(1);
    }
    const struct kafka_produce_partition_response *p = r->responses.p->partition_responses.p;
    if (refused(x->topic, p->error_code, p->error_message))
        return false;
    int64_t before = x->acked ? x->base : x->found - 1;
    if (before >= 0 && p->base_offset != before) {
        fprintf(stderr, "  appended twice: at %lld and %lld\n", (long long)before, (long long)p->base_offset);
        _exit(1);
    }
    x->base = p->base_offset;
    x->acked = true;
    return true;
}

/* Send attempt `number` and wait; false: not done. */
static bool produce(struct port *port, int number, bool again)
{
    struct t_attempt *x = &T->attempts[number];
    struct arena *a = arena_new(0);
    struct buf records = {0};
    struct kafka_produce_response r;
    port_call(port, KAFKA_produce, 13, produce_request(number, a, &records), a, &r);
    bool done = believe(x, &r);
    buf_free(&records);
    arena_free(a);
    T->retries += done && again;
    return done;
}

static void need_producer_id(struct port *port, struct t_producer *p)
{
    if (p->id >= 0)
        return;
    struct arena *a = arena_new(0);
    struct kafka_init_producer_id_request *q = KAFKA_NEW(a, init_producer_id_request);
    struct kafka_init_producer_id_response r;
    q->transactional_id = (struct str){NULL, 0};
    q->transaction_timeout_ms = 60000;
    port_call(port, KAFKA_init_producer_id, 4, q, a, &r);
    arena_free(a);
    if (r.error_code || r.producer_id <= T->largest_producer_id) {
        fprintf(stderr, "  producer id %lld (error %d) after %lld\n", (long long)r.producer_id, r.error_code,
                (long long)T->largest_producer_id);
        _exit(1);
    }
    T->largest_producer_id = p->id = r.producer_id;
}

struct actor {
    struct run *r;
    int number;
    struct port port;
};

/* Send once more what was acknowledged last, as a client does that missed the answer: it is known, deleted or not. */
static void repeat(struct actor *me, struct t_producer *p)
{
    int topic, part;
    if (pick(&topic, &part) && p->last[topic][part])
        (void)produce(&me->port, p->last[topic][part] - 1, true);
}

static void producer(void *arg)
{
    struct actor *me = arg;
    struct t_producer *p = &T->producers[me->number];
    os_mutex_lock(me->r->lock);
    need_producer_id(&me->port, p);
    os_mutex_unlock(me->r->lock);
    for (int i = 0; i < 3; i++)
        repeat(me, p);
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
        if (produce(&me->port, p->outstanding, again)) {
            p->next_seq[a->topic][a->part] = a->seq + a->count;
            p->last[a->topic][a->part] = p->outstanding + 1;
        } else if (T->topics[a->topic].state == LIVE || T->topics[a->topic].state == DELETING) {
            os_sleep_ms(3); /* busy, or on its way out: the same batch again */
            continue;
        }
        p->outstanding = -1;
        pause_sometimes();
    }
}

struct flight {
    struct actor *me;
    struct t_attempt *attempt;
};

static void hose_done(void *arg, const void *response)
{
    struct flight *x = arg;
    (void)believe(x->attempt, response);
    __atomic_sub_fetch(&x->me->r->in_flight, 1, __ATOMIC_RELAXED);
    free(x);
}

/* Produces without waiting, so that groups have many batches. */
static void hose(void *arg)
{
    struct actor *me = arg;
    while (!me->r->stop) {
        int topic, part, burst = 1 + (int)sim_random(12);
        for (bool live = pick(&topic, &part); live && burst--;) {
            int number = new_attempt(topic, part, -1);
            struct flight *x = number < 0 ? NULL : malloc(sizeof *x);
            if (!x)
                break;
            *x = (struct flight){me, &T->attempts[number]};
            __atomic_add_fetch(&me->r->in_flight, 1, __ATOMIC_RELAXED);
            struct arena *a = arena_new(0);
            struct buf records = {0};
            port_send(&me->port, KAFKA_produce, 13, produce_request(number, a, &records), hose_done, x);
            buf_free(&records);
            arena_free(a);
        }
        os_sleep_ms(1 + (int64_t)sim_random(10));
    }
    while (__atomic_load_n(&me->r->in_flight, __ATOMIC_RELAXED))
        os_sleep_ms(1);
}

/* Fetches from where it stands; what it got must never be missing. */
static void fetch(struct port *port, int topic, int part)
{
    struct t_topic *x = &T->topics[topic];
    struct arena *a = arena_new(0);
    struct kafka_fetch_request *q = KAFKA_NEW(a, fetch_request);
    struct kafka_fetch_response r;
    q->max_wait_ms = (int32_t)sim_random(30);
    q->min_bytes = 1;
    q->max_bytes = 1 << 20;
    q->topics.p = KAFKA_ARRAY(a, fetch_topic, 1);
    q->topics.n = 1;
    q->topics.p->topic_id = x->id;
    q->topics.p->partitions.p = KAFKA_ARRAY(a, fetch_partition, 1);
    q->topics.p->partitions.n = 1;
    q->topics.p->partitions.p->partition = part;
    q->topics.p->partitions.p->fetch_offset = x->seen[part];
    q->topics.p->partitions.p->partition_max_bytes = 1 + (int32_t)sim_random(9000);
    port_call(port, KAFKA_fetch, 16, q, a, &r);
    if (r.responses.n == 1 && r.responses.p->partitions.n == 1) {
        const struct kafka_fetch_partition_response *p = r.responses.p->partitions.p;
        struct batch b;
        if (p->error_code == KAFKA_E_OFFSET_OUT_OF_RANGE) {
            int64_t start = shorten_earliest(T, port, topic, part);
            x->seen[part] = start > x->seen[part] ? start : x->seen[part];
        } else if (!refused(topic, p->error_code, STR("a fetch")))
            for (struct str rest = p->records; rest.n && !batch_parse(rest, &b, NULL);
                 rest = str_sub(rest, b.all.n, rest.n))
                x->seen[part] = b.base_offset + b.last_offset_delta + 1;
    }
    arena_free(a);
}

/* Commits where the reader stands. */
static void commit(struct port *port, int topic, int part)
{
    struct t_topic *x = &T->topics[topic];
    struct arena *a = arena_new(0);
    struct kafka_offset_commit_request *q = KAFKA_NEW(a, offset_commit_request);
    struct kafka_offset_commit_response r;
    q->group_id = TRUTH_GROUP;
    q->topics.p = KAFKA_ARRAY(a, offset_commit_topic, 1);
    q->topics.n = 1;
    q->topics.p->topic_id = x->id;
    q->topics.p->partitions.p = KAFKA_ARRAY(a, offset_commit_partition, 1);
    q->topics.p->partitions.n = 1;
    q->topics.p->partitions.p->partition_index = part;
    q->topics.p->partitions.p->committed_offset = x->commit_tried[part] = x->seen[part];
    q->topics.p->partitions.p->committed_metadata = STR("m");
    port_call(port, KAFKA_offset_commit, 10, q, a, &r);
    if (r.topics.n != 1 || r.topics.p->partitions.n != 1)
        _exit(1);
    if (!refused(topic, r.topics.p->partitions.p->error_code, STR("a commit")))
        x->commit_acked[part] = x->commit_tried[part];
    arena_free(a);
}

static void consumer(void *arg)
{
    struct actor *me = arg;
    while (!me->r->stop) {
        int topic, part;
        if (pick(&topic, &part)) {
            if (sim_random(3))
                fetch(&me->port, topic, part);
            else
                commit(&me->port, topic, part);
        }
        os_sleep_ms(1 + (int64_t)sim_random(15));
    }
}

static void must(const char *what, int16_t code, struct str message)
{
    if (code == KAFKA_E_NONE)
        return;
    fprintf(stderr, "  %s: %s %.*s\n", what, kafka_code_name(code), STR_ARG(message));
    _exit(1);
}

static void create_one(struct port *port, const char *name)
{
    if (T->ntopics == TOPICS)
        return;
    struct t_topic *x = &T->topics[T->ntopics];
    *x = (struct t_topic){.state = CREATING, .parts_tried = 1 + (int)sim_random(2)};
    for (int i = 0; i < PARTS; i++)
        x->commit_tried[i] = x->commit_acked[i] = -1;
    snprintf(x->name, sizeof x->name, "%s", name);
    for (int i = 0; i < T->ntopics; i++)
        if (T->topics[i].state != DELETED && !strcmp(T->topics[i].name, x->name))
            return;
    T->ntopics++;
    struct arena *a = arena_new(0);
    struct kafka_create_topics_request *q = KAFKA_NEW(a, create_topics_request);
    struct kafka_create_topics_response r;
    q->topics.p = KAFKA_ARRAY(a, create_topics_topic, 1);
    q->topics.n = 1;
    q->topics.p->name = str_of(x->name);
    q->topics.p->num_partitions = x->parts_tried;
    q->topics.p->configs.p = KAFKA_ARRAY(a, create_topics_config, 1);
    q->topics.p->configs.n = name[0] == 's' ? 0 : shorten_settings(x, q->topics.p->configs.p);
    q->topics.p->replication_factor = 1;
    port_call(port, KAFKA_create_topics, 7, q, a, &r);
    if (r.topics.n != 1)
        _exit(1);
    must("create", r.topics.p->error_code, r.topics.p->error_message);
    x->id = r.topics.p->topic_id;
    x->parts = x->parts_tried;
    x->state = LIVE;
    arena_free(a);
}

static void grow_one(struct port *port, struct t_topic *x)
{
    struct arena *a = arena_new(0);
    struct kafka_create_partitions_request *q = KAFKA_NEW(a, create_partitions_request);
    struct kafka_create_partitions_response r;
    x->parts_tried = x->parts + 1;
    q->topics.p = KAFKA_ARRAY(a, create_partitions_topic, 1);
    q->topics.n = 1;
    q->topics.p->name = str_of(x->name);
    q->topics.p->count = x->parts_tried;
    q->topics.p->assignments.n = -1;
    port_call(port, KAFKA_create_partitions, 3, q, a, &r);
    if (r.results.n != 1)
        _exit(1);
    must("grow", r.results.p->error_code, r.results.p->error_message);
    x->parts = x->parts_tried;
    arena_free(a);
}

static void delete_one(struct port *port, struct t_topic *x)
{
    struct arena *a = arena_new(0);
    struct kafka_delete_topics_request *q = KAFKA_NEW(a, delete_topics_request);
    struct kafka_delete_topics_response r;
    x->state = DELETING;
    q->topics.p = KAFKA_ARRAY(a, delete_topics_topic, 1);
    q->topics.n = 1;
    q->topics.p->topic_id = x->id;
    q->topics.p->name = (struct str){NULL, 0};
    port_call(port, KAFKA_delete_topics, 6, q, a, &r);
    if (r.responses.n != 1)
        _exit(1);
    must("delete", r.responses.p->error_code, r.responses.p->error_message);
    x->state = DELETED;
    arena_free(a);
}

static void change_one(struct port *port)
{
    int topic, part;
    if (!pick(&topic, &part))
        return;
    struct t_topic *x = &T->topics[topic];
    if (x->name[0] == 's')
        return; /* the query's: it stays */
    if (sim_random(2)) {
        if (!shorten(T, port, topic, part))
            _exit(1);
    } else if (sim_random(2) && x->parts < PARTS)
        grow_one(port, x);
    else if (sim_random(3) == 0)
        delete_one(port, x);
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
    static const char *const NAMES[] = {"t0", "t1", "t2", "t3", "t4"};
    struct actor *me = arg;
    while (!me->r->stop) {
        uint64_t dice = sim_random(6);
        if (dice < 2)
            create_one(&me->port, NAMES[sim_random(5)]);
        else if (dice < 4)
            change_one(&me->port);
        else
            for (uint64_t i = sim_random(30); i && !me->r->stop; i--)
                tell_fact(me->r);
        os_sleep_ms(5 + (int64_t)sim_random(60));
    }
}

static void watch_query(void *arg)
{
    struct actor *me = arg;
    while (!me->r->stop) {
        live_look(me->r->live);
        os_sleep_ms(1 + (int64_t)sim_random(30));
    }
}

static void keeper(void *arg)
{
    struct actor *me = arg;
    keeper_run(T, me->r->l, &me->r->stop);
}

static void teller(void *arg)
{
    struct actor *me = arg;
    teller_run(T, me->r->l, me->number % TELLERS, me->r->lock, &me->r->stop);
}

static bool has_source(void)
{
    for (int i = 0; i < T->ntopics; i++)
        if (T->topics[i].name[0] == 's' && T->topics[i].state == LIVE)
            return true;
    return false;
}

static void work(struct log *l, struct broker *b)
{
    static void (*const ROLES[])(void *) = {producer, producer, producer, hose,   consumer,
                                            admin,    teller,   teller,   keeper, watch_query};
    enum { ROLE_COUNT = sizeof ROLES / sizeof *ROLES };
    struct run r = {.l = l, .b = b, .lock = os_mutex_new()};
    struct port port;
    port_open(&port, b);
    if (!has_source())
        create_one(&port, "s");
    port_close(&port);
    keeper_start(T, l);
    r.live = live_start(T, l);
    struct actor actors[ROLE_COUNT];
    struct os_thread *threads[ROLE_COUNT];
    for (int i = 0; i < ROLE_COUNT; i++) {
        actors[i] = (struct actor){.r = &r, .number = i};
        port_open(&actors[i].port, b);
        if (os_thread_start(&threads[i], "actor", ROLES[i], &actors[i], NULL))
            _exit(1);
    }
    os_sleep_ms(20 + (int64_t)sim_random(1500));
    r.stop = true;
    for (int i = 0; i < ROLE_COUNT; i++)
        os_thread_join(threads[i]);
    live_stop(r.live);
    for (int i = 0; i < ROLE_COUNT; i++)
        port_close(&actors[i].port);
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

static struct log *open_and_check(struct broker **b)
{
    struct log_options o = {.dir = "/var/penstock",
                            .segment_bytes = 16 << 10,
                            .journal_file_bytes = 48 << 10,
                            .retention_check_ms = 40,
                            .rewrite_bytes = sim_random(4) ? 1 : 0,
                            .mark_bytes = sim_random(2) ? 2 << 10 : 0,
                            .open_files = sim_random(2) ? 4 : 0}; /* 4: nearly each use opens and closes one */
    struct log *l;
    struct fault f;
    enum err e = log_open(&l, &o, &f);
    if (!e && truth_check(T, l) + keeper_check(T, l))
        _exit(1);
    struct log_stats stats = {0};
    if (!e)
        log_stats(l, &stats);
    for (int i = 0; !e && i < TELLERS; i++)
        teller_finish(T, l, i);
    if (stats.lost_marks) { /* nothing is lost, but it was read again from the beginning */
        if (!T->quiet)
            fprintf(stderr, "  %llu marks did not hold\n", (unsigned long long)stats.lost_marks);
        _exit(1);
    }
    struct broker_options bo = {.log = e ? NULL : l, .no_auto_create = true};
    if (!e)
        e = broker_start(b, &bo, &f);
    if (e) {
        if (!T->quiet)
            fprintf(stderr, "  start: %s\n", fault_message(&f));
        _exit(1);
    }
    T->opens++;
    struct port port;
    port_open(&port, *b);
    if (truth_check_offsets(T, &port))
        _exit(1);
    port_close(&port);
    return l;
}

/*
 * Where this stage ends: after some number of disk operations, or just before a sync of some call site, so that rare ones are
 * met as often as the journal's. A stage may end by a kill instead of a power cut; the power fails soon afterwards then.
 */
static void choose_end(int number, uint64_t spread)
{
    bool kill = number < STAGES - 1 && sim_random(4) == 0, soon = T->killed && sim_random(2);
    uint64_t sites = 0;
    while (sim_site(sites) && strncmp(sim_site(sites), "checkpoint.", 11))
        sites++;
    T->killed = kill;
    sim_kill_instead(kill);
    if (soon && sim_random(2)) { /* before the checkpoint that a start after a kill leaves for later */
        sim_cut_at_site("recovery-points.file", 1);
        sim_cut_in(1 + sim_random(6000));
    } else if (soon) {
        sim_cut_in(1 + sim_random(300));
    } else if (kill && sim_random(2)) { /* with a frame that is written and not synced */
        sim_cut_at_site("journal.append", 1 + sim_random((uint64_t)1 << sim_random(9)));
    } else if (kill || sim_random(2)) {
        sim_cut_at_site(sim_site(sim_random(sites)), 1 + sim_random((uint64_t)1 << sim_random(7)));
        sim_cut_in(1 + sim_random(6000));
    } else {
        sim_cut_in(1 + sim_random((uint64_t)1 << (2 + spread)) + (sim_random(2) ? sim_random(1500) : 0));
    }
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
    map_salt = seed * 0x9e3779b97f4a7c15u; /* the order of maps is a matter of the seed, too */
    sim_start(&o);
    struct broker *b;
    if (number == STAGES) {
        struct log *l = open_and_check(&b);
        if (truth_check(T, l)) /* once more: every transaction has ended */
            _exit(1);
        broker_stop(b);
        log_close(l);
        _exit(0);
    }
    choose_end(number, spread);
    for (;;) {
        struct log *l = open_and_check(&b);
        work(l, b);
        broker_stop(b);
        log_close(l);
    }
}

/* True when the seed passes. */
static bool run_seed(uint64_t seed)
{
    T->image_n = 0;
    T->killed = false;
    T->query_printed = T->query_done = -1;
    T->ntopics = T->nattempts = T->ntxns = 0;
    memset(T->tellers, 0, sizeof T->tellers);
    for (int i = 0; i < TELLERS; i++)
        T->tellers[i].id = -1;
    T->table_made = false;
    memset(T->table_next, 0, sizeof T->table_next);
    memset(T->table_tried, 0, sizeof T->table_tried);
    memset(T->table_acked, 0, sizeof T->table_acked);
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
        if (!strncmp(drop_site, "checkpoint.", 11)) /* a query's: tests/sim/checkpoint.c looks at those */
            continue;
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
    printf("powercut: %llu seeds, %llu cuts, %llu recoveries, %llu records read back, %llu acknowledgements and "
           "%llu commits held, %llu deletions (%llu attempts gone), %llu records compacted away, %llu retries, records "
           "of transactions: %llu committed, %llu aborted (%llu finished after a "
           "start), %llu rows of a query, %llu batches again, %lld s\n",
           (unsigned long long)(to - from + 1), (unsigned long long)T->cuts, (unsigned long long)T->opens,
           (unsigned long long)T->recovered_records, (unsigned long long)T->checked_acks,
           (unsigned long long)T->checked_commits, (unsigned long long)T->deletions, (unsigned long long)T->deleted,
           (unsigned long long)T->table_gaps, (unsigned long long)T->retries,
           (unsigned long long)T->checked_commits_of_txns, (unsigned long long)T->checked_aborts_of_txns,
           (unsigned long long)T->txns_recovered, (unsigned long long)T->query_rows, (unsigned long long)T->query_again,
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
