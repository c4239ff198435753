/*
 * Every message of tests/wire/kafka (bytes and JSON by Kafka 4.3.1's own classes): decoding the bytes must give the
 * JSON, encoding the result must give the bytes. Then the same bytes cut short and mangled must be refused or read, never
 * crash.
 */
#include "base/test.h"
#include "wire/kafka.h"

#include <stdio.h>
#include <stdlib.h>

#define GOLDENS "tests/wire/kafka/"

/* -- the recorded lines ------------------------------------------------------------------------------------------ */
struct line {
    int16_t key, version;
    char kind[32], fill[16];
    char *bytes;
    size_t n;
    char *json;
};

static int hex(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

/* Fills l from text (changed); false for comments. */
static bool parse_line(char *text, struct line *l)
{
    char *save, *key = strtok_r(text, " ", &save), *version, *kind, *fill, *digits;

    if (!key || *key == '#' || *key == '\n')
        return false;
    version = strtok_r(NULL, " ", &save);
    kind = strtok_r(NULL, " ", &save);
    fill = strtok_r(NULL, " ", &save);
    digits = strtok_r(NULL, " ", &save);
    l->json = strtok_r(NULL, "\n", &save);
    l->key = (int16_t)atoi(key);
    l->version = (int16_t)atoi(version);
    snprintf(l->kind, sizeof l->kind, "%s", kind);
    snprintf(l->fill, sizeof l->fill, "%s", fill);
    l->n = *digits == '-' ? 0 : strlen(digits) / 2;
    l->bytes = malloc(l->n + 1);
    for (size_t i = 0; i < l->n; i++)
        l->bytes[i] = (char)(hex(digits[2 * i]) << 4 | hex(digits[2 * i + 1]));
    return true;
}

static const struct kafka_shape *shape_of(const struct line *l, bool *flexible)
{
    static const struct {
        const char *kind;
        const struct kafka_shape *(*shape)(void);
        int16_t flexible;
    } records[] = {{"offset-key", kafka_shape_offset_key, KAFKA_NEVER},
                   {"offset-value", kafka_shape_offset_value, 4},
                   {"group-key", kafka_shape_group_key, KAFKA_NEVER},
                   {"group-value", kafka_shape_group_value, 4},
                   {"transaction-key", kafka_shape_transaction_key, KAFKA_NEVER},
                   {"transaction-value", kafka_shape_transaction_value, 1}};
    const struct kafka_api *api = kafka_api(l->key);
    bool request = strcmp(l->kind, "request") == 0;

    if (l->key == -1) {
        *flexible = request ? l->version == 2 : l->version == 1;
        return request ? kafka_shape_request_header() : kafka_shape_response_header();
    }
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++)
        if (strcmp(records[i].kind, l->kind) == 0) {
            *flexible = l->version >= records[i].flexible;
            return records[i].shape();
        }
    if (!api)
        return NULL;
    *flexible = kafka_flexible(api, l->version);
    return request ? api->request() : api->response();
}

static void check_line(const char *file, const struct line *l)
{
    bool flexible = false;
    const struct kafka_shape *s = shape_of(l, &flexible);
    struct arena *a = arena_new(1 << 20);
    struct buf again = {0}, json = {0};
    struct fault f = {0};
    size_t used = 0;
    char *value;

    if (!s) {
        fprintf(stderr, "%s: API %d is not in the table\n", file, l->key);
        test_failures_++;
        return;
    }
    value = arena_alloc(a, s->size);
    if (kafka_decode(s, l->version, flexible, str_make(l->bytes, l->n), a, value, &used, &f)) {
        fprintf(stderr, "%s %d %s %s: %s\n", file, l->version, l->kind, l->fill, fault_message(&f));
        test_failures_++;
    } else {
        kafka_json(&json, s, l->version, value);
        kafka_encode(s, l->version, flexible, value, &again, NULL);
        if (used != l->n || again.n != l->n || (l->n && memcmp(again.p, l->bytes, l->n))) {
            fprintf(stderr, "%s %d %s %s: encodes to other bytes\n", file, l->version, l->kind, l->fill);
            test_failures_++;
        }
        if (!str_eqz(buf_view(&json), l->json)) {
            fprintf(stderr, "%s %d %s %s:\n got  %.*s\n want %s\n", file, l->version, l->kind, l->fill, (int)json.n,
                    json.p, l->json);
            test_failures_++;
        }
    }
    buf_free(&again);
    buf_free(&json);
    arena_free(a);
}

static int each_line(const char *name, void (*fn)(const char *file, const struct line *l))
{
    char path[128], *text = NULL;
    size_t cap = 0;
    int n = 0;
    FILE *in;

    snprintf(path, sizeof path, GOLDENS "%s.golden", name);
    in = fopen(path, "r");
    if (!in) {
        fprintf(stderr, "no %s\n", path);
        test_failures_++;
        return 0;
    }
    while (getline(&text, &cap, in) > 0) {
        struct line l = {0};

        if (!parse_line(text, &l))
            continue;
        fn(name, &l);
        free(l.bytes);
        n++;
    }
    free(text);
    fclose(in);
    return n;
}

static const char *const FILES[] = {
    "AlterConfigs",      "ApiVersions",
    "ConsumerOffsets",   "CreatePartitions",
    "CreateTopics",      "DeleteRecords",
    "DeleteTopics",      "DescribeConfigs",
    "DescribeGroups",    "Fetch",
    "FindCoordinator",   "Header",
    "Heartbeat",         "IncrementalAlterConfigs",
    "InitProducerId",    "JoinGroup",
    "LeaveGroup",        "ListGroups",
    "ListOffsets",       "Metadata",
    "OffsetCommit",      "OffsetFetch",
    "Produce",           "SyncGroup",
    "DeleteGroups",      "DescribeCluster",
    "OffsetDelete",      "OffsetForLeaderEpoch",
    "SaslHandshake",     "AddPartitionsToTxn",
    "AddOffsetsToTxn",   "EndTxn",
    "WriteTxnMarkers",   "TxnOffsetCommit",
    "DescribeProducers", "DescribeTransactions",
    "ListTransactions",  "TransactionState",
};
enum { NFILES = sizeof FILES / sizeof FILES[0] };

TEST(every_recorded_message_decodes_to_its_json_and_back)
{
    int n = 0;

    for (int i = 0; i < NFILES; i++)
        n += each_line(FILES[i], check_line);
    EXPECT(n > 700);
}

/* Cut at every length, and every byte changed: no crash, no read beyond the end (the copy is exact for ASan). */
static void mangle_line(const char *file, const struct line *l)
{
    bool flexible = false;
    const struct kafka_shape *s = shape_of(l, &flexible);
    struct arena *a = arena_new(1 << 20);

    (void)file;
    if (!s)
        return;
    for (size_t cut = 0; cut < l->n; cut++) {
        char *exact = malloc(cut ? cut : 1), *value = arena_alloc(a, s->size);
        struct fault f;

        memcpy(exact, l->bytes, cut);
        EXPECT(kafka_decode(s, l->version, flexible, str_make(exact, cut), a, value, NULL, &f) != ERR_OK);
        free(exact);
        arena_reset(a);
    }
    for (size_t i = 0; i < l->n; i++) {
        char saved = l->bytes[i], *value = arena_alloc(a, s->size);

        l->bytes[i] = (char)0xff;
        (void)!kafka_decode(s, l->version, flexible, str_make(l->bytes, l->n), a, value, NULL, NULL);
        l->bytes[i] = saved;
        arena_reset(a);
    }
    arena_free(a);
}

TEST(mangled_messages_are_refused)
{
    for (int i = 0; i < NFILES; i++)
        each_line(FILES[i], mangle_line);
}

TEST(counts_do_not_size_allocations)
{
    /* metadata v1 with two billion topics */
    static const char bytes[] = "\x7f\xff\xff\xff";
    struct kafka_metadata_request m;
    struct arena *a = arena_new(1 << 20);
    struct fault f = {0};

    EXPECT_INT(kafka_decode(kafka_shape_metadata_request(), 1, false, str_make(bytes, 4), a, &m, NULL, &f), ERR_FRAME);
    EXPECT(strstr(fault_message(&f), "topics"));
    arena_free(a);
}

TEST(what_fits_the_frame_but_not_the_arena_is_a_limit)
{
    char *bytes = calloc(1, 100000);
    struct kafka_metadata_request m;
    struct arena *a = arena_new(64 << 10);
    struct fault f = {0};

    bytes[1] = 1; /* 65536 empty names of two bytes each would need a megabyte */
    bytes[0] = 0, bytes[2] = 0;
    EXPECT_INT(kafka_decode(kafka_shape_metadata_request(), 1, false, str_make(bytes, 100000), a, &m, NULL, &f),
               ERR_LIMIT);
    arena_free(a);
    free(bytes);
}

TEST(records_are_spliced_not_copied)
{
    struct arena *a = arena_new(0);
    struct kafka_fetch_response *r = KAFKA_NEW(a, fetch_response);
    struct kafka_splices sp = {0};
    struct buf whole = {0}, parts = {0}, joined = {0};

    r->responses.n = 1;
    r->responses.p = KAFKA_ARRAY(a, fetch_topic_response, 1);
    r->responses.p->topic = STR("t");
    r->responses.p->partitions.n = 2;
    r->responses.p->partitions.p = KAFKA_ARRAY(a, fetch_partition_response, 2);
    for (int i = 0; i < 2; i++)
        r->responses.p->partitions.p[i].records = STR("some record bytes");
    for (int16_t v = 4; v <= 17; v += 8) {
        size_t at = 0;

        whole.n = parts.n = joined.n = sp.n = 0;
        kafka_encode(kafka_shape_fetch_response(), v, v >= 12, r, &whole, NULL);
        kafka_encode(kafka_shape_fetch_response(), v, v >= 12, r, &parts, &sp);
        EXPECT_INT(sp.n, 2);
        for (size_t i = 0; i < sp.n; i++) {
            buf_put(&joined, parts.p + at, sp.p[i].at - at);
            buf_str(&joined, sp.p[i].bytes);
            at = sp.p[i].at;
        }
        buf_put(&joined, parts.p + at, parts.n - at);
        EXPECT(str_eq(buf_view(&joined), buf_view(&whole)));
    }
    free(sp.p);
    buf_free(&whole);
    buf_free(&parts);
    buf_free(&joined);
    arena_free(a);
}

TEST(headers)
{
    /* Metadata 9, correlation 7, client "me", no tags, then the body */
    static const char frame[] = "\0\3\0\11\0\0\0\7\0\2me\0body";
    struct kafka_request_header h;
    struct str body;
    struct buf b = {0};
    struct fault f;

    EXPECT_INT(kafka_read_header(str_make(frame, sizeof frame - 1), &h, &body, &f), ERR_OK);
    EXPECT_INT(h.correlation_id, 7);
    EXPECT_STR(h.client_id, "me");
    EXPECT_STR(body, "body");
    EXPECT_INT(kafka_read_header(str_make(frame, 9), &h, &body, &f), ERR_FRAME);
    kafka_put_response_header(&b, kafka_api(KAFKA_metadata), 9, 7);
    EXPECT_INT(b.n, 5);
    b.n = 0;
    kafka_put_response_header(&b, kafka_api(KAFKA_api_versions), 4, 7);
    EXPECT_INT(b.n, 4);
    buf_free(&b);
    EXPECT(kafka_api(4) == NULL);
    EXPECT(kafka_api(-1) == NULL);
    EXPECT_STR(str_of(kafka_code_name(3)), "UNKNOWN_TOPIC_OR_PARTITION");
}

TEST_MAIN()
