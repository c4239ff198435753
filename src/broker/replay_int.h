/*
 * replay: when is our answer the one that was recorded? Ids that each server makes up are learned and replaced, times are not
 * compared, and lists whose order says nothing are compared by name. For replay_test.c alone.
 */
#ifndef PENSTOCK_BROKER_REPLAY_INT_H
#define PENSTOCK_BROKER_REPLAY_INT_H

#include "broker/broker.h"
#include "log/batch.h"
#include "wire/kafka.h"

#include <stdio.h>
#include <stdlib.h>

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

/* Producer ids are small numbers: they are replaced where a message says producer_id, not wherever their bytes occur. */
static struct {
    int64_t theirs, ours;
} producers[64];
static size_t nproducers;

static int64_t our_producer(int64_t theirs)
{
    for (size_t i = 0; i < nproducers; i++)
        if (producers[i].theirs == theirs)
            return producers[i].ours;
    return theirs;
}

static bool learn_producer(int64_t theirs, int64_t ours)
{
    if (theirs == 0 && ours == 0) /* beside an error; the recording's own first producer is not in it */
        return true;
    for (size_t i = 0; i < nproducers; i++)
        if (producers[i].theirs == theirs || producers[i].ours == ours)
            return producers[i].theirs == theirs && producers[i].ours == ours;
    if (theirs < 0 || ours < 0 || nproducers == sizeof producers / sizeof producers[0])
        return theirs == ours;
    producers[nproducers].theirs = theirs;
    producers[nproducers++].ours = ours;
    return true;
}

/* The length of the batch at p; 0 when it does not fit. */
static size_t batch_at(const char *p, size_t n)
{
    struct batch b;
    struct fault f = {0};

    return batch_parse(str_make(p, n), &b, &f) ? 0 : b.all.n;
}

static void our_batches(char *p, size_t n)
{
    for (size_t size; (size = batch_at(p, n)) > 0; p += size, n -= size) {
        struct fault f = {0};
        struct batch b;
        int64_t ours;

        if (batch_parse(str_make(p, n), &b, &f) || !batch_crc_ok(&b) ||
            (ours = our_producer(b.producer_id)) == b.producer_id)
            continue;
        for (int i = 0; i < 8; i++)
            p[43 + i] = (char)(ours >> (56 - 8 * i));
        batch_seal(p, size);
    }
}

static void our_struct(const struct kafka_shape *s, int16_t version, char *p);

static void our_one(const struct kafka_field *f, int16_t version, char *p)
{
    if (f->type == KAFKA_struct)
        our_struct(f->of(), version, p);
    else if (f->type == KAFKA_i64 && strstr(f->name, "producer_id"))
        *(int64_t *)p = our_producer(*(int64_t *)p);
    else if (f->type == KAFKA_records)
        our_batches((char *)((struct str *)p)->p, ((struct str *)p)->n); /* inside the line's own bytes */
}

static void our_struct(const struct kafka_shape *s, int16_t version, char *p)
{
    for (int i = 0; i < s->nfields; i++) {
        const struct kafka_field *f = &s->fields[i];
        const struct kafka_array *list = (const void *)(p + f->offset);
        size_t size = f->type == KAFKA_struct ? f->of()->size : 8;

        if (version < f->since || version > f->until)
            continue;
        if (!f->array)
            our_one(f, version, p + f->offset);
        else if (f->type == KAFKA_struct || f->type == KAFKA_i64)
            for (int32_t k = 0; k < list->n; k++)
                our_one(f, version, (char *)list->p + (size_t)k * size);
    }
}

/* A request (without its length word) with our producer ids, malloc'ed. */
static char *our_request(char *frame, size_t n, size_t *out_n)
{
    struct kafka_request_header h;
    struct arena *a = arena_new(0);
    struct buf b = {0};
    struct fault f = {0};
    struct str body;

    if (nproducers > 0 && !kafka_read_header(str_make(frame, n), &h, &body, &f)) {
        const struct kafka_api *api = kafka_api(h.request_api_key);
        bool flexible = api && kafka_flexible(api, h.request_api_version);
        char *p = api ? arena_alloc(a, api->request()->size) : NULL;

        if (p && !kafka_decode(api->request(), h.request_api_version, flexible, body, a, p, NULL, &f)) {
            our_struct(api->request(), h.request_api_version, p);
            buf_put(&b, frame, (size_t)(body.p - frame));
            kafka_encode(api->request(), h.request_api_version, flexible, p, &b, NULL);
        }
    }
    if (b.n == 0)
        buf_put(&b, frame, n);
    arena_free(a);
    *out_n = b.n;
    return b.p;
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
static const char *const UNORDERED[] = {"api_keys",         "topics",
                                        "groups",           "members",
                                        "configs",          "responses",
                                        "partitions",       "partition_responses",
                                        "active_producers", "transaction_states",
                                        "markers",          "results_by_topic_v3_and_below",
                                        "topic_results",    "results_by_partition"};
/* When something happened: by the clock (after MADE), or as the client said. */
static const char *const CLOCKS[] = {"timestamp", "last_timestamp", "transaction_start_time_ms"};
static const int64_t MADE = 1750000000000;

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

static size_t digits(struct str s, size_t at)
{
    size_t n = 0;

    while (at + n < s.n && s.p[at + n] >= '0' && s.p[at + n] <= '9')
        n++;
    return n;
}

/* The same text but for the times in it: numbers of 13 digits and more. */
static bool same_but_times(struct str a, struct str b)
{
    size_t i = 0, k = 0;

    while (i < a.n && k < b.n) {
        size_t x = digits(a, i), y = digits(b, k);

        if (x >= 13 && y >= 13) {
            i += x;
            k += y;
        } else if (a.p[i++] != b.p[k++]) {
            return false;
        }
    }
    return i == a.n && k == b.n;
}

static bool same_str(struct str a, struct str b)
{
    if (looks_made_up(a) && looks_made_up(b))
        return learn(a, b);
    return same_but_times(a, b) && !a.p == !b.p;
}

/* The same records: markers and LogAppendTime differ in their time, all in the producer's id, and therefore in checksums. */
static bool same_records(struct str a, struct str b)
{
    size_t na, nb;

    if (a.n != b.n || str_eq(a, b))
        return str_eq(a, b) && !a.p == !b.p;
    for (; (na = batch_at(a.p, a.n)) > 0; a.p += na, a.n -= na, b.p += nb, b.n -= nb) {
        struct batch x, y;
        struct fault f = {0};
        bool control;

        nb = batch_at(b.p, b.n);
        if (na != nb || batch_parse(a, &x, &f) || batch_parse(b, &y, &f) || !batch_crc_ok(&y))
            return false;
        control = x.attributes & BATCH_CONTROL;
        if (our_producer(x.producer_id) != y.producer_id || memcmp(a.p, b.p, 17) != 0 ||
            memcmp(a.p + 21, b.p + 21, 6) != 0 || memcmp(a.p + 51, b.p + 51, na - 51) != 0 ||
            (!control && memcmp(a.p + 27, b.p + 27, x.attributes & BATCH_APPEND_TIME ? 8 : 16) != 0))
            return false;
    }
    return str_eq(a, b);
}

static bool same_i64(const struct kafka_field *f, int64_t a, int64_t b)
{
    if (strcmp(f->name, "producer_id") == 0)
        return learn_producer(a, b);
    return a == b || (in(CLOCKS, sizeof CLOCKS / sizeof CLOCKS[0], f->name) && a > MADE && b > MADE);
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
        return same_str(*(const struct str *)a, *(const struct str *)b);
    case KAFKA_records:
        return same_records(*(const struct str *)a, *(const struct str *)b);
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
        return same_i64(f, *(const int64_t *)a, *(const int64_t *)b);
    }
    return false;
}

static struct str first_string(const struct kafka_shape *s, const char *p)
{
    for (int i = 0; i < s->nfields; i++)
        if (s->fields[i].type == KAFKA_string && !s->fields[i].array)
            return *(const struct str *)(p + s->fields[i].offset);
    return (struct str){NULL, 0};
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

/* The producer that an element is about; -1 for none. */
static int64_t producer_of(const struct kafka_shape *s, const char *p)
{
    for (int i = 0; i < s->nfields; i++)
        if (s->fields[i].type == KAFKA_i64 && strcmp(s->fields[i].name, "producer_id") == 0)
            return *(const int64_t *)(p + s->fields[i].offset);
    return -1;
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

        if (name.n        ? str_eq(mapped(first_string(s, e)), name)
            : numbered(s) ? number_of(s, e) == number_of(s, a)
                          : !name.p && producer_of(s, a) >= 0 && our_producer(producer_of(s, e)) == producer_of(s, a))
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

#endif
