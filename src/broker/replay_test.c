/*
 * What a real Kafka 4.3.1 broker was asked and answered (tests/wire/kafka/live, recorded frames), asked again of this
 * broker: the answers must be the same, field by field.
 *
 * Ids that each server makes up (topics, members, fetch sessions) are learned from the answers and put into later requests.
 * Hosts, ports and times are not compared. Lists whose order says nothing are compared by name. Where penstock means to
 * differ there is a row in DIFFERENCES with the reason.
 */
#include "base/test.h"
#include "broker/broker.h"
#include "log/batch.h"
#include "wire/kafka.h"

#include <stdio.h>
#include <stdlib.h>

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
    const char *tmp = os_env("TMPDIR");
    struct broker_options o = {0};
    char text[37];

    os_uuid_text(os_uuid_random(), text);
    snprintf(dir, sizeof dir, "%s/broker-test-%s", tmp ? tmp : "/tmp", text);
    os_log_level(OS_ERROR);
    if (log_open(&logs, &(struct log_options){.dir = dir, .journal_file_bytes = 1 << 20}, &f))
        abort();
    struct log_config kept = {STR("retention.ms"), STR("-1")}; /* as the recorded broker */
    log_defaults(logs, &kept, 1);
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

/* -- ids --------------------------------------------------------------------------------------------------------- */
struct pair { /* what the recording has and what we have in its place; same length */
    char theirs[80], ours[80];
    size_t n;
};
static struct pair pairs[2000];
static size_t npairs;

static bool learn(struct str theirs, struct str ours)
{
    for (size_t i = 0; i < npairs; i++)
        if (pairs[i].n == theirs.n && memcmp(pairs[i].theirs, theirs.p, theirs.n) == 0)
            return ours.n == theirs.n && memcmp(pairs[i].ours, ours.p, ours.n) == 0;
    if (theirs.n != ours.n || theirs.n > sizeof pairs[0].ours || npairs == sizeof pairs / sizeof pairs[0])
        return false;
    memcpy(pairs[npairs].theirs, theirs.p, theirs.n);
    memcpy(pairs[npairs].ours, ours.p, ours.n);
    pairs[npairs++].n = theirs.n;
    return true;
}

/* Numbers travel big-endian. */
static bool learn_i32(const char *theirs, const char *ours)
{
    char x[4], y[4];

    for (int i = 0; i < 4; i++) {
        x[i] = theirs[3 - i];
        y[i] = ours[3 - i];
    }
    return learn(str_make(x, 4), str_make(y, 4));
}

static void substitute(char *p, size_t n)
{
    for (size_t i = 0; i < npairs; i++)
        for (char *at = p; (at = memmem(at, n - (size_t)(at - p), pairs[i].theirs, pairs[i].n)); at += pairs[i].n)
            memcpy(at, pairs[i].ours, pairs[i].n);
}

/* A batch was recorded as two hours ahead of its time; once those hours are over, it must be ahead still. */
static void keep_ahead(char *p, size_t n)
{
    static const char recorded[] = "\0\0\1\xa2\5\x40\xf0\x28", ahead[] = "\0\0\7\xa2\5\x40\xf0\x28";
    char *at = memmem(p, n, recorded, 8);

    if (!at || at - p < 27)
        return;
    memcpy(at, ahead, 8);
    memcpy(at + 8, ahead, 8);
    batch_seal(at - 27, (size_t)(uint8_t)at[-16] + BATCH_PREFIX);
}

/* -- comparing ------------------------------------------------------------------------------------------------------- */
static const char *const NOT_COMPARED[] = {"port",
                                           "host",
                                           "cluster_id",
                                           "log_append_time_ms",
                                           "finalized_features_epoch",
                                           "finalized_features",
                                           "supported_features",
                                           "documentation"};
static const char *const UNORDERED[] = {"api_keys", "topics",    "groups",     "members",
                                        "configs",  "responses", "partitions", "partition_responses"};

static bool in(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

static bool same_struct(const struct kafka_shape *s, int16_t version, const char *a, const char *b, struct buf *why);

static bool looks_made_up(struct str s)
{
    return s.n > 36 && s.p[s.n - 13] == '-' && s.p[s.n - 37] == '-';
}

static bool same_str(struct str a, struct str b)
{
    if (looks_made_up(a) && looks_made_up(b))
        return learn(a, b);
    return str_eq(a, b) && !a.p == !b.p;
}

static bool same_one(const struct kafka_field *f, int16_t version, const char *a, const char *b, struct buf *why)
{
    static const struct os_uuid zero;

    switch (f->type) {
    case KAFKA_struct:
        return same_struct(f->of(), version, a, b, why);
    case KAFKA_uuid:
        if (memcmp(a, &zero, 16) == 0 || memcmp(b, &zero, 16) == 0 || memcmp(a, b, 16) == 0)
            return memcmp(a, b, 16) == 0;
        return learn(str_make(a, 16), str_make(b, 16));
    case KAFKA_string:
    case KAFKA_string16:
    case KAFKA_bytes:
    case KAFKA_records:
        return same_str(*(const struct str *)a, *(const struct str *)b);
    case KAFKA_bool:
        return *(const bool *)a == *(const bool *)b;
    case KAFKA_i8:
        return *a == *b;
    case KAFKA_i16:
        return memcmp(a, b, 2) == 0;
    case KAFKA_i32:
        if (strcmp(f->name, "session_id") == 0 && *(const int32_t *)a && *(const int32_t *)b)
            return learn_i32(a, b);
        return memcmp(a, b, 4) == 0;
    case KAFKA_i64:
        return memcmp(a, b, 8) == 0;
    }
    return false;
}

static struct str first_string(const struct kafka_shape *s, const char *p)
{
    for (int i = 0; i < s->nfields; i++)
        if (s->fields[i].type == KAFKA_string && !s->fields[i].array)
            return *(const struct str *)(p + s->fields[i].offset);
    return STR("");
}

/* The number that says which element it is, where there is no name. */
static int32_t number_of(const struct kafka_shape *s, const char *p)
{
    static const char *const keys[] = {"partition_index", "index", "api_key"};

    for (int i = 0; i < s->nfields; i++)
        if (in(keys, 3, s->fields[i].name))
            return s->fields[i].type == KAFKA_i32 ? *(const int32_t *)(p + s->fields[i].offset)
                                                  : *(const int16_t *)(p + s->fields[i].offset);
    return 0;
}

static bool numbered(const struct kafka_shape *s)
{
    for (int i = 0; i < s->nfields; i++)
        if (strcmp(s->fields[i].name, "partition_index") == 0 || strcmp(s->fields[i].name, "index") == 0 ||
            strcmp(s->fields[i].name, "api_key") == 0)
            return true;
    return false;
}

/* Our id for one of theirs that was learned. */
static struct str mapped(struct str theirs)
{
    for (size_t i = 0; i < npairs; i++)
        if (pairs[i].n == theirs.n && memcmp(pairs[i].theirs, theirs.p, theirs.n) == 0)
            return str_make(pairs[i].ours, pairs[i].n);
    return theirs;
}

/* The element of b that is a's counterpart: by name, or by number where there is no name. */
static const char *counterpart(const struct kafka_shape *s, const char *a, const struct kafka_array *b, int32_t at)
{
    struct str name = first_string(s, a);

    for (int32_t i = 0; i < b->n; i++) {
        const char *e = (const char *)b->p + (size_t)i * s->size;

        if (name.n ? str_eq(mapped(first_string(s, e)), name) : numbered(s) && number_of(s, e) == number_of(s, a))
            return e;
    }
    return at < b->n ? (const char *)b->p + (size_t)at * s->size : NULL;
}

/* The recorded broker was started with log.retention.ms=-1 and one partition for __consumer_offsets. */
static bool set_otherwise(const struct kafka_shape *s, const char *e)
{
    static const char *const keys[] = {"retention.ms", "log.retention.ms"};
    struct str name = s ? first_string(s, e) : STR("");

    for (int i = 0; i < 2; i++)
        if (str_eqz(name, keys[i]))
            return true;
    return false;
}

static bool same_array(const struct kafka_field *f, int16_t version, const struct kafka_array *a,
                       const struct kafka_array *b, struct buf *why)
{
    const struct kafka_shape *s = f->type == KAFKA_struct ? f->of() : NULL;
    size_t size = s ? s->size : f->type == KAFKA_string ? sizeof(struct str) : 4;
    bool loose = s && in(UNORDERED, sizeof UNORDERED / sizeof UNORDERED[0], f->name);

    /* our list of APIs and of broker keys is a part of Kafka's: each of ours must be as there */
    if (a->n != b->n && strcmp(f->name, "api_keys") != 0) {
        buf_fmt(why, "%d elements instead of %d; ", b->n, a->n);
        return false;
    }
    for (int32_t i = 0; i < b->n; i++) {
        const char *ours = (const char *)b->p + (size_t)i * size;
        const char *theirs = loose ? counterpart(s, ours, a, i) : (const char *)a->p + (size_t)i * size;

        if (set_otherwise(s, ours))
            continue;
        if (!theirs || !same_one(f, version, theirs, ours, why))
            return false;
    }
    return true;
}

static bool same_struct(const struct kafka_shape *s, int16_t version, const char *a, const char *b, struct buf *why)
{
    bool same = true;

    for (int i = 0; i < s->nfields && same; i++) {
        const struct kafka_field *f = &s->fields[i];

        if (strcmp(f->name, "error_message") == 0 && !((const struct str *)(a + f->offset))->p)
            continue; /* penstock may say more */
        if (version < f->since || version > f->until ||
            in(NOT_COMPARED, sizeof NOT_COMPARED / sizeof NOT_COMPARED[0], f->name))
            continue;
        same = f->array ? same_array(f, version, (const void *)(a + f->offset), (const void *)(b + f->offset), why)
                        : same_one(f, version, a + f->offset, b + f->offset, why);
        if (!same)
            buf_fmt(why, "%s.%s ", s->name, f->name);
    }
    return same;
}

/* -- a request and its answer ------------------------------------------------------------------------------------ */
struct exchange {
    int16_t key, version;
    bool there;
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
    {"produce-errors", 61, 61, "the message is that of the one record"},
    {"produce-errors", 69, 69, "the same"},
    {"produce-errors", 84, 84, "the records hold the time of appending"},
    {"produce-errors", 86, 86, "records keep the compression that they came with, whatever compression.type says"},
    {"produce-errors", 89, 89, "transactions are refused"},
    {"delete-records", 49, 55, "whole batches only: a batch cut at max_bytes is of no use"},
    {"delete-records", 80, 80, "a record that was deleted has no timestamp any more"},
    {"configs", 23, 23, "of the broker's 340 keys those that mean something here"},
    {"configs", 25, 25, "what cannot be altered says so"},
    {"configs", 27, 27, "says which broker was meant"},
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
    } else if (memcmp(theirs + 4, ours + 4, 4) != 0) {
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

static void take_request(struct line *l)
{
    struct exchange *x = calloc(1, sizeof *x);

    if (nwaiting == OPEN) { /* requests that nobody answers (acks=0) */
        if (wait_for(waiting[0]))
            exchange_free(waiting[0]);
        memmove(waiting, waiting + 1, sizeof waiting - sizeof waiting[0]);
        nwaiting--;
    }
    x->key = l->key;
    x->version = l->version;
    waiting[nwaiting++] = x;
    substitute(l->bytes, l->n);
    keep_ahead(l->bytes, l->n);
    broker_request(conn, l->bytes + 4, l->n - 4, respond, x);
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
        if (strcmp(l->kind, "closed") != 0)
            compare(name, number, x, l->version, l->bytes, l->n);
        else if (!closes(i) && !meant(name, number))
            TEST_FAIL_("%s:%d: should close the connection", name, number);
    }
    memmove(&waiting[i], &waiting[i + 1], (size_t)(nwaiting - i - 1) * sizeof waiting[0]);
    nwaiting--;
    if (wait_for(x))
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

TEST_MAIN()
