/* An idempotent producer that repeats, over new connections and after every crash, what it has no answer to; and a reader
 * that looks anywhere, all the time. */
#include "actors.h"

#include "os/sim.h"

struct run RUN;

struct w_topic *actor_topic(const char *name)
{
    struct w_topic *t = world_topic(name);
    return t && t->state == W_LIVE ? t : NULL;
}

bool actor_gone(int16_t code)
{
    return code == KAFKA_E_UNKNOWN_TOPIC_ID || code == KAFKA_E_UNKNOWN_TOPIC_OR_PARTITION;
}

bool actor_later(int16_t code)
{
    W->errors_seen += code != 0;
    switch (code) {
    case KAFKA_E_REQUEST_TIMED_OUT:
    case KAFKA_E_COORDINATOR_LOAD_IN_PROGRESS:
    case KAFKA_E_COORDINATOR_NOT_AVAILABLE:
    case KAFKA_E_NOT_COORDINATOR:
        return true;
    case KAFKA_E_KAFKA_STORAGE_ERROR:
        return RUN.disk_fails || RUN.memory_fails || W->rotten;
    case KAFKA_E_CORRUPT_MESSAGE:
        return W->rotten;
    case KAFKA_E_UNKNOWN_SERVER_ERROR:
        return RUN.memory_fails || RUN.disk_fails;
    default:
        return false;
    }
}

void actor_pause(int64_t most_ms)
{
    os_sleep_ms(1 + (int64_t)sim_random((uint64_t)most_ms));
}

/* -- the producer ----------------------------------------------------------------------------------------------------------- */

static bool has_id(struct client *c, struct w_producer *p)
{
    if (p->id >= 0)
        return true;
    struct arena *a = arena_new(0);
    struct kafka_init_producer_id_request *q = KAFKA_NEW(a, init_producer_id_request);
    struct kafka_init_producer_id_response r;
    q->transactional_id = (struct str){NULL, 0};
    q->transaction_timeout_ms = 60000;
    bool answered = client_call(c, KAFKA_init_producer_id, 4, q, a, &r);
    arena_free(a);
    if (!answered || actor_later(r.error_code))
        return false;
    if (r.error_code)
        world_wrong("no producer id: %s", kafka_code_name(r.error_code));
    for (int i = 0; i < W_PRODUCERS; i++)
        if (W->producers[i].id == r.producer_id)
            world_wrong("the producer id %lld is given twice", (long long)r.producer_id);
    p->id = r.producer_id;
    p->epoch = r.producer_epoch;
    return true;
}

static bool send_attempt(struct client *c, int number)
{
    const struct w_attempt *x = &W->attempts[number];
    struct arena *a = arena_new(0);
    struct buf records = {0};
    struct kafka_produce_request *q = KAFKA_NEW(a, produce_request);
    world_batch(number, &records);
    q->acks = -1;
    q->timeout_ms = 20000;
    q->topic_data.p = KAFKA_ARRAY(a, produce_topic, 1);
    q->topic_data.n = 1;
    q->topic_data.p->topic_id = W->topics[x->topic].id;
    q->topic_data.p->partition_data.p = KAFKA_ARRAY(a, produce_partition, 1);
    q->topic_data.p->partition_data.n = 1;
    q->topic_data.p->partition_data.p->index = x->part;
    q->topic_data.p->partition_data.p->records = buf_view(&records);
    bool ok = client_send(c, KAFKA_produce, 13, q);
    buf_free(&records);
    arena_free(a);
    return ok;
}

enum answer { DONE, AGAIN, GIVE_UP };

static enum answer receive_answer(struct client *c, int number, bool first)
{
    const struct w_topic *t = &W->topics[W->attempts[number].topic];
    struct arena *a = arena_new(0);
    struct kafka_produce_response r;
    if (!client_receive(c, KAFKA_produce, 13, a, &r)) {
        arena_free(a);
        return AGAIN;
    }
    if (r.responses.n != 1 || r.responses.p->partition_responses.n != 1)
        world_wrong("an answer to a Produce about something else");
    int16_t code = r.responses.p->partition_responses.p->error_code;
    int64_t base = r.responses.p->partition_responses.p->base_offset;
    arena_free(a);
    if (code == KAFKA_E_NONE || code == KAFKA_E_DUPLICATE_SEQUENCE_NUMBER) {
        world_acked(number, code ? -1 : base);
        return DONE;
    }
    if (actor_gone(code) && t->state != W_LIVE)
        return GIVE_UP;
    if (actor_later(code) || (code == KAFKA_E_OUT_OF_ORDER_SEQUENCE_NUMBER && !first))
        return AGAIN;
    if (W->rotten)
        return GIVE_UP;
    const struct w_attempt *x = &W->attempts[number], *before = x->before ? &W->attempts[x->before - 1] : NULL;
    world_wrong(
        "attempt %d to %s-%d (sequence %d of producer %d; before it attempt %d: sequence %d, %d records, %s): %s",
        number, t->name, x->part, x->seq, x->producer, x->before - 1, before ? before->seq : -1,
        before ? before->count : 0, before && before->acked ? "acknowledged" : "unknown", kafka_code_name(code));
}

static void begin(struct w_producer *p, int number)
{
    struct w_topic *t;
    int part, burst = sim_random(3) ? 1 : 1 + (int)sim_random(5);
    if (!world_pick(&t, &part))
        return;
    if (!t->part[part].last[number])
        burst =
            1; /* of a producer that it does not know a partition takes any number first: were the first one refused */
    p->first = W->nattempts;
    for (p->count = 0; p->count < burst && world_attempt(number, t, part) >= 0;)
        p->count++;
}

/* All that has no answer is sent, in order; what is answered is done. */
static void send_window(struct client *c, struct w_producer *p)
{
    int sent = 0;
    while (sent < p->count && send_attempt(c, p->first + sent))
        sent++;
    for (bool first = true; sent; sent--, first = false) {
        enum answer x = receive_answer(c, p->first, first);
        if (x == AGAIN)
            break;
        p->first++;
        p->count = x == DONE ? p->count - 1 : 0;
        p->done += x == DONE;
        if (x == GIVE_UP)
            break;
    }
    if (sent || p->count) { /* the rest of the answers is of no use: the same again, in order */
        client_drop(c);
        actor_pause(300);
    }
}

void producer_run(void *arg)
{
    struct actor *me = arg;
    struct w_producer *p = &W->producers[me->number];
    while (RUN.phase != QUIT) {
        if (!has_id(&me->client, p)) {
            actor_pause(200);
            continue;
        }
        if (!p->count && RUN.phase == WORK)
            begin(p, me->number);
        if (p->count)
            send_window(&me->client, p);
        actor_pause(p->count ? 5 : 40);
    }
}

/* -- the reader --------------------------------------------------------------------------------------------------------------- */

static struct kafka_fetch_request *fetch_request(struct arena *a, const struct w_topic *t, int part, int64_t from,
                                                 int32_t wait_ms)
{
    struct kafka_fetch_request *q = KAFKA_NEW(a, fetch_request);
    q->max_wait_ms = wait_ms;
    q->min_bytes = 1;
    q->max_bytes = 1 << 20;
    q->session_epoch = -1;
    q->topics.p = KAFKA_ARRAY(a, fetch_topic, 1);
    q->topics.n = 1;
    q->topics.p->topic_id = t->id;
    q->topics.p->partitions.p = KAFKA_ARRAY(a, fetch_partition, 1);
    q->topics.p->partitions.n = 1;
    q->topics.p->partitions.p->partition = part;
    q->topics.p->partitions.p->fetch_offset = from;
    q->topics.p->partitions.p->partition_max_bytes = 1 + (int32_t)sim_random(30000);
    return q;
}

int64_t reader_fetch(struct client *c, struct w_topic *t, int part, int64_t from, int32_t wait_ms)
{
    struct arena *a = arena_new(0);
    struct kafka_fetch_response r;
    int64_t before = t->part[part].hw;
    if (!client_call(c, KAFKA_fetch, 16, fetch_request(a, t, part, from, wait_ms), a, &r)) {
        arena_free(a);
        return from;
    }
    if (r.error_code && !actor_later(r.error_code))
        world_wrong("a fetch: %s", kafka_code_name(r.error_code));
    if (!r.error_code && (r.responses.n != 1 || r.responses.p->partitions.n != 1))
        world_wrong("a fetch of one partition: an answer about %d topics", r.responses.n);
    if (!r.error_code) {
        const struct kafka_fetch_partition_response *p = r.responses.p->partitions.p;
        if (!p->error_code) {
            world_told_hw(t, part, before, p->high_watermark);
            if (t->name[0] != 'q')
                from = world_told_records(t, part, from, p->records);
        } else if (!(actor_gone(p->error_code) && t->state != W_LIVE) && !actor_later(p->error_code) && !W->rotten) {
            world_wrong("a fetch of %s-%d at %lld (end %lld): %s", t->name, part, (long long)from, (long long)before,
                        kafka_code_name(p->error_code));
        }
    }
    arena_free(a);
    return from;
}

/* Batches of transactions that were not aborted, given to fn record by record; returns where to go on. */
static int64_t committed_records(const struct kafka_fetch_partition_response *p, int64_t from,
                                 void (*fn)(const struct record *, int part, bool once))
{
    struct arena *a = arena_new(0);
    struct batch b;
    bool over[64] = {false}; /* of the list of aborted ones: its marker was met */
    for (struct str rest = p->records; rest.n && !batch_parse(rest, &b, NULL); rest = str_sub(rest, b.all.n, rest.n)) {
        int64_t next = b.base_offset + b.last_offset_delta + 1;
        bool control = b.attributes & 32, aborted = false;
        struct record_iter it;
        struct record r;
        bool got = true;
        for (int i = 0; i < p->aborted_transactions.n && i < 64 && (b.attributes & 16); i++) {
            const struct kafka_fetch_aborted *x = &p->aborted_transactions.p[i];
            bool its = x->producer_id == b.producer_id && x->first_offset <= b.base_offset && !over[i];
            aborted = aborted || its;
            over[i] = over[i] || (its && control);
        }
        if (!batch_crc_ok(&b) || records_begin(&it, &b, a, 1 << 24, NULL))
            world_wrong("a batch at %lld cannot be read", (long long)b.base_offset);
        while (!control && !aborted && records_next(&it, &r, &got, NULL) == ERR_OK && got)
            if (r.offset >= from)
                fn(&r, p->partition_index, b.attributes & 16);
        from = next > from ? next : from;
    }
    arena_free(a);
    return from;
}

int64_t reader_committed(struct client *c, struct w_topic *t, int part, int64_t from,
                         void (*fn)(const struct record *, int part, bool once), int64_t *end)
{
    struct arena *a = arena_new(0);
    struct kafka_fetch_response r;
    struct kafka_fetch_request *q = fetch_request(a, t, part, from, 0);
    q->isolation_level = 1;
    *end = -1;
    if (client_call(c, KAFKA_fetch, 16, q, a, &r) && !r.error_code && r.responses.n == 1 &&
        r.responses.p->partitions.n == 1) {
        const struct kafka_fetch_partition_response *p = r.responses.p->partitions.p;
        if (p->error_code && !actor_later(p->error_code))
            world_wrong("a fetch of %s-%d: %s", t->name, part, kafka_code_name(p->error_code));
        if (!p->error_code) {
            *end = p->last_stable_offset;
            from = committed_records(p, from, fn);
        }
    }
    arena_free(a);
    return from;
}

void reader_run(void *arg)
{
    struct actor *me = arg;
    while (RUN.phase != QUIT) {
        struct w_topic *t;
        int part;
        if (RUN.phase == WORK && world_pick(&t, &part)) {
            int64_t end = t->part[part].hw, from = sim_random(3) ? (int64_t)sim_random((uint64_t)end + 1) : end;
            (void)reader_fetch(&me->client, t, part, from, (int32_t)sim_random(200));
        }
        actor_pause(60);
    }
}
