/*
 * What a real Kafka 4.3.1 broker was asked and answered (tests/wire/kafka/live, recorded frames), asked again of this
 * broker: the answers must be the same, field by field.
 *
 * Ids that each server makes up (topics, members, fetch sessions, producers) are learned from the answers and put into later
 * requests. Hosts, ports and times are not compared. Lists whose order says nothing are compared by name. Where penstock means to
 * differ there is a row in DIFFERENCES with the reason.
 */
#include "base/test.h"
#include "broker/replay_int.h"

#include "os/sim.h"

#define LIVE "tests/wire/kafka/live/"

static char dir[256];
static struct log *logs;
static struct broker *broker;
static struct broker_conn *conn;
static struct os_mutex *lock;
static struct os_cond *arrived;

static void start(void)
{
    struct fault f = {0};
    struct broker_peer peer = {.client_host = "127.0.0.1", .advertised_host = "127.0.0.1", .advertised_port = 9092};
    struct broker_options o = {0};
    static int number;

    if (number == 0)
        sim_start(&(struct sim_options){.seed = 7}); /* in the simulator: its clock may be that of the recording */
    snprintf(dir, sizeof dir, "/replay-%d", number++);
    os_log_level(OS_ERROR);
    if (log_open(&logs, &(struct log_options){.dir = dir, .journal_file_bytes = 1 << 20}, &f))
        abort();
    static const struct log_config kept = {{"log.retention.ms", 16}, {"-1", 2}}; /* as the recorded broker */
    o.settings = &kept;
    o.nsettings = 1;
    o.log = logs;
    if (broker_start(&broker, &o, &f)) {
        fprintf(stderr, "%s\n", fault_message(&f));
        abort();
    }
    conn = broker_conn_open(broker, &peer);
    lock = os_mutex_new();
    arrived = os_cond_new();
}

static void stop(void)
{
    broker_conn_close(conn);
    broker_stop(broker);
    log_close(logs);
    EXPECT(os_remove_tree(dir, NULL) == ERR_OK);
    os_mutex_free(lock);
    os_cond_free(arrived);
}

/* -- a request and its answer ------------------------------------------------------------------------------------ */
struct exchange {
    int16_t key, version;
    bool there, early; /* early: asked once, where Kafka had to be asked again */
    struct broker_reply reply;
};

static void respond(void *arg, struct broker_reply *r)
{
    struct exchange *x = arg;

    os_mutex_lock(lock);
    x->reply = *r;
    x->there = true;
    os_cond_broadcast(arrived);
    os_mutex_unlock(lock);
}

static bool wait_for(struct exchange *x)
{
    int64_t deadline = os_mono_ns() + 20000000000;
    bool there;

    os_mutex_lock(lock);
    while (!x->there && os_mono_ns() < deadline)
        os_cond_wait_until(arrived, lock, deadline);
    there = x->there;
    os_mutex_unlock(lock);
    return there;
}

static bool is_silent(struct exchange *x)
{
    bool silent;

    os_mutex_lock(lock);
    silent = x->there && x->reply.outcome == BROKER_SILENT;
    os_mutex_unlock(lock);
    return silent;
}

/* Where penstock answers otherwise, on purpose: file, lines there, why. */
static const struct {
    const char *file;
    int from, to;
    const char *why;
} DIFFERENCES[] = {
    {"topics", 66, 100, "a topic that Metadata makes is answered at once, not as unknown until it is there"},
    {"topics", 131, 131, "the same"},
    {"data", 242, 242, "whole batches only: a batch cut at max_bytes is of no use"},
    {"data", 246, 246, "partitions of one topic stand together"},
    {"groups", 13, 13, "the coordinator is there at once"},
    {"groups", 318, 318, "a group that nobody entered is not kept"},
    {"groups", 337, 337, "the same"},
    {"idempotence", 11, 23, "producer ids are there at once"},
    {"produce-errors", 43, 43, "an unknown compression is refused by name"},
    {"produce-errors", 86, 86, "records keep the compression that they came with, whatever compression.type says"},
    {"alter-configs", 186, 192,
     "all that was altered of the brokers' can be taken back at once: no replicas depend on it"},
    {"alter-configs", 200, 200, "a key that nobody knows is refused, not kept without an effect"},
    {"delete-records", 49, 55, "whole batches only: a batch cut at max_bytes is of no use"},
    {"delete-records", 80, 80, "a record that was deleted has no timestamp any more"},
    {"configs", 23, 23, "of the broker's 340 keys those that mean something here"},
    {"configs", 25, 25, "what cannot be altered says so"},
    {"configs", 27, 27, "says which broker was meant"},
    {"transactions-v2", 113, 113, "an open transaction is no reason to believe another transactional id"},
    {"transactions-admin", 68, 68, "a producer's last time is ours, not that of its records"},
    {"transactions-admin", 75, 75, "the same"},
    {"transactions-admin", 81, 81, "a negative epoch is refused by name"},
    {"topics", 120, 122, "__consumer_offsets is there from the start, not from the first group on"},
};

static bool meant(const char *file, int line)
{
    for (size_t i = 0; i < sizeof DIFFERENCES / sizeof DIFFERENCES[0]; i++)
        if (line >= DIFFERENCES[i].from && line <= DIFFERENCES[i].to && strcmp(DIFFERENCES[i].file, file) == 0)
            return true;
    return false;
}

static void compare(const char *file, int line, struct exchange *x, int16_t version, char *theirs, size_t n)
{
    const struct kafka_api *api = kafka_api(x->key);
    bool flexible = kafka_flexible(api, version);
    size_t head = flexible && x->key != KAFKA_api_versions ? 9 : 8, ours_n;
    char *ours = broker_reply_flat(&x->reply, &ours_n);
    struct arena *a = arena_new(0);
    char *p = arena_alloc(a, api->response()->size), *q = arena_alloc(a, api->response()->size);
    struct buf why = {0}, text = {0};
    struct fault f = {0};

    if (x->reply.outcome != BROKER_REPLY) {
        TEST_FAIL_("%s:%d: no answer (%s)", file, line, x->reply.why ? x->reply.why : "silent");
    } else if (kafka_decode(api->response(), version, flexible, str_make(theirs + head, n - head), a, p, NULL, &f) ||
               kafka_decode(api->response(), version, flexible, str_make(ours + head, ours_n - head), a, q, NULL, &f)) {
        TEST_FAIL_("%s:%d: %s", file, line, fault_message(&f));
    } else if (memcmp(theirs + 4, ours + 4, 4) != 0 && !x->early) {
        TEST_FAIL_("%s:%d: another correlation id", file, line);
    } else if (!same_struct(api->response(), version, p, q, &why) && !meant(file, line)) {
        kafka_json(&text, api->response(), version, q);
        TEST_FAIL_("%s:%d: %s version %d: %.*s\n  ours   %.*s", file, line, api->name, version, (int)why.n, why.p,
                   (int)(text.n < 500 ? text.n : 500), text.p);
        text.n = 0;
        kafka_json(&text, api->response(), version, p);
        fprintf(stderr, "  theirs %.*s\n", (int)(text.n < 500 ? text.n : 500), text.p);
    }
    buf_free(&why);
    buf_free(&text);
    free(ours);
    arena_free(a);
}

/* -- the file ---------------------------------------------------------------------------------------------------- */
static int hex(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

struct line {
    int16_t key, version;
    char kind[16];
    char *bytes;
    size_t n;
};

static bool parse_line(char *text, struct line *l)
{
    int at = 0, key, version;

    if (sscanf(text, "%d %d %15s %n", &key, &version, l->kind, &at) < 3)
        return false;
    l->key = (int16_t)key;
    l->version = (int16_t)version;
    l->bytes = malloc(strlen(text));
    for (l->n = 0; text[at] > ' ' && text[at] != '-'; at += 2)
        l->bytes[l->n++] = (char)(hex(text[at]) << 4 | hex(text[at + 1]));
    return true;
}

enum { OPEN = 8 };
static struct exchange *waiting[OPEN]; /* requests whose answer has not come up yet */
static int nwaiting;

static void exchange_free(struct exchange *x)
{
    broker_reply_free(&x->reply);
    free(x);
}

/*
 * InitProducerId while a transaction is open: Kafka aborts it in the background, and asks to try again until it is done;
 * penstock answers when it is done. Our answer then is compared with the one to the request that tried again.
 */
static struct exchange *answered;

static bool told_to_try_again(struct exchange *x, const struct line *l)
{
    size_t at = x->version >= 2 ? 13 : 12, n; /* length, correlation, (tags,) throttle time */
    char *ours;
    bool early;

    if (x->key != KAFKA_init_producer_id || l->n < at + 2 || l->bytes[at + 1] != KAFKA_E_CONCURRENT_TRANSACTIONS)
        return false;
    ours = broker_reply_flat(&x->reply, &n);
    early = ours && n >= at + 2 && ours[at + 1] == KAFKA_E_NONE;
    free(ours);
    return early;
}

static bool ask_answered(const struct line *l)
{
    if (!answered || l->key != KAFKA_init_producer_id)
        return false;
    answered->early = true;
    answered->version = l->version;
    waiting[nwaiting++] = answered;
    answered = NULL;
    return true;
}

static void take_request(struct line *l)
{
    struct exchange *x;
    size_t n;
    char *frame;

    if (nwaiting == OPEN) { /* requests that nobody answers (acks=0) */
        if (wait_for(waiting[0]))
            exchange_free(waiting[0]);
        memmove(waiting, waiting + 1, sizeof waiting - sizeof waiting[0]);
        nwaiting--;
    }
    if (ask_answered(l))
        return;
    x = calloc(1, sizeof *x);
    x->key = l->key;
    x->version = l->version;
    waiting[nwaiting++] = x;
    substitute(l->bytes, l->n);
    keep_ahead(l->bytes, l->n);
    frame = our_request(l->bytes + 4, l->n - 4, &n);
    broker_request(conn, frame, n, respond, x);
    free(frame);
    if (is_silent(x))
        os_sleep_ms(200); /* acks=0: readers see it when it is on disk, and nobody tells us when */
}

/* Is request i closed, or, after acks=0, the one before it? */
static bool closes(int i)
{
    return waiting[i]->reply.outcome == BROKER_CLOSE ||
           (i > 0 && wait_for(waiting[i - 1]) && waiting[i - 1]->reply.outcome == BROKER_CLOSE);
}

static void take_answer(const char *name, int number, struct line *l)
{
    struct exchange *x;
    int i = nwaiting;

    /* the newest open request of that API, or, where two members wait, the one that was answered */
    while (i-- > 0 && waiting[i]->key != l->key && strcmp(l->kind, "closed") != 0)
        ;
    if (i < 0) {
        TEST_FAIL_("%s:%d: nothing asked for this answer", name, number);
        return;
    }
    x = waiting[i];
    if (strcmp(l->kind, "silent") != 0) {
        if (!wait_for(x)) {
            TEST_FAIL_("%s:%d: no answer in time", name, number);
            return;
        }
        if (told_to_try_again(x, l))
            answered = x;
        else if (strcmp(l->kind, "closed") != 0)
            compare(name, number, x, l->version, l->bytes, l->n);
        else if (!closes(i) && !meant(name, number))
            TEST_FAIL_("%s:%d: should close the connection", name, number);
    }
    memmove(&waiting[i], &waiting[i + 1], (size_t)(nwaiting - i - 1) * sizeof waiting[0]);
    nwaiting--;
    if (x != answered && wait_for(x))
        exchange_free(x);
}

static void replay(const char *name)
{
    char path[128], *text = NULL;
    size_t cap = 0;
    int number = 0, answers = 0;
    FILE *file;

    snprintf(path, sizeof path, LIVE "%s.golden", name);
    file = fopen(path, "r");
    REQUIRE(file);
    npairs = 0;
    nproducers = 0;
    nwaiting = 0;
    start();
    while (getline(&text, &cap, file) > 0) {
        struct line l = {0};

        number++;
        if (text[0] == '#' || !parse_line(text, &l))
            continue;
        if (strcmp(l.kind, "request") == 0) {
            take_request(&l);
        } else {
            take_answer(name, number, &l);
            answers++;
        }
        free(l.bytes);
    }
    free(text);
    fclose(file);
    EXPECT(!answered);
    EXPECT(answers > 5);
    stop();
    for (int i = 0; i < nwaiting; i++)
        exchange_free(waiting[i]);
}

TEST(handshake)
{
    replay("handshake");
}

TEST(topics)
{
    replay("topics");
}

TEST(configs)
{
    replay("configs");
}

TEST(data)
{
    replay("data");
}

TEST(produce_errors)
{
    replay("produce-errors");
}

TEST(idempotence)
{
    replay("idempotence");
}

TEST(fetch_sessions)
{
    replay("fetch-sessions");
}

TEST(groups)
{
    replay("groups");
}

TEST(delete_records)
{
    replay("delete-records");
}

TEST(transactions_ids)
{
    replay("transactions-ids");
}

TEST(transactions_v1)
{
    replay("transactions-v1");
}

TEST(transactions_v2)
{
    replay("transactions-v2");
}

TEST(transactions_offsets)
{
    replay("transactions-offsets");
}

TEST(transactions_reads)
{
    replay("transactions-reads");
}

TEST(transactions_admin)
{
    replay("transactions-admin");
}

TEST(alter_configs)
{
    replay("alter-configs");
}

/* When the recording was made: half way between the bounds that Kafka names in it. */
static int64_t recorded_ms(const char *name)
{
    static const char within[] = "should be within [";
    char path[128], *line = NULL, *at;
    size_t cap = 0;
    long long low = 0, high = 0;

    snprintf(path, sizeof path, LIVE "%s.golden", name);
    FILE *in = fopen(path, "r");
    while (in && low <= 0 && getline(&line, &cap, in) > 0) /* one bound may be no bound: below zero */
        if ((at = strstr(line, within)) && sscanf(at + sizeof within - 1, "%lld, %lld", &low, &high) != 2)
            low = 0;
    free(line);
    if (in)
        fclose(in);
    return low > 0 ? low + (high - low) / 2 : 0;
}

/* What is too old or too new depends on the clock: the recording's. */
TEST(timestamps)
{
    int64_t then_ms = recorded_ms("timestamps");

    REQUIRE(then_ms > 0);
    sim_set_clock(then_ms - os_now_ms());
    replay("timestamps");
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:sim_alloc\nleak:simd_\n"; /* the simulator's disk lives to the end */
}

TEST_MAIN()
