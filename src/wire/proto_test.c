#include "wire/proto.h"

#include "base/buf.h"
#include "base/test.h"
#include "spark/connect/base.pb-c.h"

static const char *const strict[] = {"spark.connect.Plan", NULL};
#define PLAN_REQUEST (&spark__connect__execute_plan_request__descriptor)

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_u8(b, (uint8_t)(v | 0x80));
    buf_u8(b, (uint8_t)v);
}

static void put_bytes(struct buf *b, unsigned field, struct str s)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, s.n);
    buf_str(b, s);
}

/* An ExecutePlanRequest whose plan is `levels` limits, one inside the other (two message levels each). */
static struct buf deep_plan(int levels)
{
    struct buf inner = {0};
    for (int i = 0; i < levels; i++) {
        struct buf limit = {0}, relation = {0};
        if (inner.n)
            put_bytes(&limit, 1, buf_view(&inner)); /* Limit.input */
        put_bytes(&relation, 7, buf_view(&limit));  /* Relation.limit */
        buf_free(&inner);
        buf_free(&limit);
        inner = relation;
    }
    struct buf plan = {0}, request = {0};
    put_bytes(&plan, 1, buf_view(&inner));
    put_bytes(&request, 1, STR("00000000-0000-0000-0000-000000000000"));
    put_bytes(&request, 3, buf_view(&plan));
    buf_free(&inner);
    buf_free(&plan);
    return request;
}

/* The same bytes for depths where building inside out would take quadratic time: lengths first, then one pass. */
static struct buf very_deep_plan(int levels)
{
    size_t *size = malloc(sizeof *size * (size_t)levels * 2 + sizeof *size);
    size_t n = 0;
    for (int i = 0; i < levels * 2; i++) { /* even: Limit inside Relation, odd: Relation inside Limit */
        size[i] = n;
        size_t v = n, width = 1;
        for (; v >= 0x80; v >>= 7)
            width++;
        n += 1 + width;
    }
    struct buf request = {0};
    size_t v = n, width = 1;
    for (; v >= 0x80; v >>= 7)
        width++;
    put_varint(&request, 3 << 3 | 2);
    put_varint(&request, n + width + 1);
    put_varint(&request, 1 << 3 | 2);
    put_varint(&request, n);
    for (int i = levels * 2 - 1; i >= 0; i--) {
        put_varint(&request, (i % 2 ? 7 : 1) << 3 | 2);
        put_varint(&request, size[i]);
    }
    free(size);
    return request;
}

static enum err check(struct buf *b, struct fault *f)
{
    enum err e = proto_check(PLAN_REQUEST, buf_view(b), strict, f);
    buf_free(b);
    return e;
}

TEST(depth_is_bounded)
{
    struct fault f = {0};
    struct buf b = deep_plan(510);
    EXPECT_INT(check(&b, &f), ERR_OK);
    b = deep_plan(512);
    EXPECT_INT(check(&b, &f), ERR_LIMIT);
    b = very_deep_plan(100000);
    EXPECT_INT(check(&b, &f), ERR_LIMIT);
    b = very_deep_plan(500);
    EXPECT_INT(check(&b, &f), ERR_OK);
}

TEST(deepest_accepted_plan_unpacks)
{
    struct buf b = deep_plan(510);
    struct arena *a = arena_new(0);
    struct fault f = {0};
    ProtobufCMessage *m = NULL;
    REQUIRE(proto_unpack(a, PLAN_REQUEST, buf_view(&b), strict, &m, &f) == ERR_OK);
    Spark__Connect__ExecutePlanRequest *r = (void *)m;
    int levels = 0;
    for (Spark__Connect__Relation *rel = r->plan->root; rel; rel = rel->limit->input)
        levels++;
    EXPECT_INT(levels, 510);
    struct str again = proto_pack(a, m);
    EXPECT(str_eq(again, buf_view(&b)));
    arena_free(a);
    buf_free(&b);
}

TEST(unknown_fields)
{
    struct fault f = {0};
    struct buf request = {0}, plan = {0};
    put_bytes(&request, 77, STR("from a newer client"));
    EXPECT_INT(check(&request, &f), ERR_OK);
    put_bytes(&plan, 77, STR("from a newer client"));
    put_bytes(&request, 3, buf_view(&plan));
    EXPECT_INT(check(&request, &f), ERR_UNSUPPORTED);
    EXPECT(strstr(fault_message(&f), "field 77 of protobuf message spark.connect.Plan"));
    buf_free(&plan);
}

TEST(malformed_bytes)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x0a\x05"
         "abc",
         5},                                                  /* a length over the end */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10},     /* a huge length */
        {"\x08\x01", 2},                                      /* session_id as a varint */
        {"\x0a\x02\xc3\x28", 4},                              /* bad UTF-8 */
        {"\x0a\x01\x00", 3},                                  /* U+0000 in a string */
        {"\x0a", 1},                                          /* no length */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11}, /* an endless tag */
        {"\x00\x00", 2},                                      /* field 0 */
        {"\x0b\x0c", 2},                                      /* a group */
        {"\x1a\x00\x1a\x00", 4},                              /* plan twice */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fault f = {0};
        EXPECT_INT(proto_check(PLAN_REQUEST, str_make(bad[i].bytes, bad[i].n), strict, &f), ERR_FRAME);
    }
}

TEST(memory_is_bounded)
{
    struct buf plan = {0}, request = {0};
    for (int i = 0; i < 100000; i++)
        put_bytes(&plan, 5, STR("")); /* request_options, empty: 2 bytes become a struct */
    struct arena *a = arena_new(1 << 20);
    struct fault f = {0};
    ProtobufCMessage *m = NULL;
    EXPECT_INT(proto_unpack(a, PLAN_REQUEST, buf_view(&plan), strict, &m, &f), ERR_NOMEM);
    arena_free(a);
    buf_free(&plan);
    buf_free(&request);
}

TEST_MAIN()
