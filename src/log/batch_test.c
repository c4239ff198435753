#include "base/test.h"
#include "codec/codec.h"
#include "log/batch.h"

static struct str build(struct buf *out, int compression, int count)
{
    struct batch_writer w;
    struct fault f;
    char value[64];
    const struct str headers[] = {STR("trace"), STR("abc"), STR("empty"), {NULL, 0}};
    buf_clear(out);
    batch_begin(&w, out, 1700000000000, compression);
    for (int i = 0; i < count; i++) {
        int n = snprintf(value, sizeof value, "value number %d", i);
        batch_record(&w, 1700000000000 + (i % 7) * 1000 - 3, i % 3 ? STR("key") : (struct str){NULL, 0},
                     str_make(value, (size_t)n), headers, i % 2 ? 2 : 0);
    }
    if (batch_end(&w, &f))
        abort();
    return buf_view(out);
}

TEST(a_batch_reads_back)
{
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        struct buf bytes = {0};
        struct arena *a = arena_new(0);
        struct batch b;
        struct record_iter it;
        struct record r;
        struct fault f;
        bool got;
        struct str all = build(&bytes, codec, 1000);
        REQUIRE(batch_parse(all, &b, &f) == ERR_OK);
        EXPECT(batch_crc_ok(&b));
        EXPECT(b.count == 1000 && b.last_offset_delta == 999 && b.producer_id == -1 && b.base_sequence == -1);
        EXPECT_INT(b.max_timestamp, 1700000005997);
        EXPECT(str_eq(b.all, all));
        b.base_offset = 50;
        REQUIRE(records_begin(&it, &b, a, 1 << 20, &f) == ERR_OK);
        int n = 0;
        for (; records_next(&it, &r, &got, &f) == ERR_OK && got; n++) {
            char want[64];
            snprintf(want, sizeof want, "value number %d", n);
            EXPECT_STR(r.value, want);
            EXPECT_INT(r.offset, 50 + n);
            EXPECT_INT(r.timestamp_ms, 1700000000000 + (n % 7) * 1000 - 3);
            EXPECT(n % 3 ? str_eqz(r.key, "key") : r.key.p == NULL);
            EXPECT_INT(r.nheaders, n % 2 ? 2 : 0);
            size_t at = 0;
            struct str k, v;
            if (r.nheaders) {
                EXPECT(record_header(&r, &at, &k, &v, &f) == ERR_OK && str_eqz(k, "trace") && str_eqz(v, "abc"));
                EXPECT(record_header(&r, &at, &k, &v, &f) == ERR_OK && str_eqz(k, "empty") && v.p == NULL);
                EXPECT(record_header(&r, &at, &k, &v, &f) == ERR_FRAME);
            }
        }
        EXPECT_INT(n, 1000);
        if (codec)
            EXPECT(records_begin(&it, &b, a, 1000, &f) == ERR_LIMIT);
        arena_free(a);
        buf_free(&bytes);
    }
}

/* The header's layout, byte by byte, from the field list of the format (KIP-98). */
TEST(header_layout)
{
    struct buf bytes = {0};
    struct batch_writer w;
    batch_begin(&w, &bytes, 0x0102030405, 0);
    w.producer_id = 7;
    w.producer_epoch = 1;
    w.base_sequence = 9;
    batch_record(&w, 0x0102030405, STR("k"), STR("v"), NULL, 0);
    REQUIRE(batch_end(&w, NULL) == ERR_OK);
    static const char WANT[] = "\0\0\0\0\0\0\0\0"
                               "\0\0\0\x3a"
                               "\xff\xff\xff\xff"
                               "\2";
    static const char REST[] = "\0\0"
                               "\0\0\0\0"
                               "\0\0\0\1\2\3\4\5"
                               "\0\0\0\1\2\3\4\5"
                               "\0\0\0\0\0\0\0\7"
                               "\0\1"
                               "\0\0\0\x9"
                               "\0\0\0\1"
                               "\x10\0\0\0\2k\2v\0";
    EXPECT_INT(bytes.n, 70);
    EXPECT(!memcmp(bytes.p, WANT, 17));
    EXPECT(!memcmp(bytes.p + 21, REST, 49));
    buf_free(&bytes);
}

TEST(lengths_are_checked)
{
    struct buf bytes = {0};
    struct batch b;
    struct str all = build(&bytes, 0, 10);
    for (size_t n = 0; n < all.n; n++)
        EXPECT(batch_parse(str_make(all.p, n), &b, NULL) == ERR_FRAME);
    char *p = bytes.p;
    p[16] = 1;
    EXPECT(batch_parse(all, &b, NULL) == ERR_FRAME);
    p[16] = 2;
    memset(p + 8, 0xff, 4);
    EXPECT(batch_parse(all, &b, NULL) == ERR_FRAME);
    memcpy(p + 8, "\x7f\xff\xff\xff", 4);
    EXPECT(batch_parse(all, &b, NULL) == ERR_FRAME);
    buf_free(&bytes);
}

TEST(flipped_bits_never_crash_and_break_the_crc)
{
    struct buf bytes = {0};
    uint64_t seed = 99;
    for (int codec = 0; codec < CODEC_COUNT; codec++) {
        struct str all = build(&bytes, codec, 50);
        for (int round = 0; round < 2000; round++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (seed >> 20) % all.n;
            struct arena *a = arena_new(0);
            struct batch b;
            struct record_iter it;
            struct record r;
            bool got = true;
            bytes.p[at] ^= (char)(1 << (seed >> 10 & 7));
            if (batch_parse(all, &b, NULL) == ERR_OK) {
                EXPECT(at < 16 || !batch_crc_ok(&b));
                if (records_begin(&it, &b, a, 1 << 20, NULL) == ERR_OK)
                    while (got && records_next(&it, &r, &got, NULL) == ERR_OK)
                        ;
            }
            bytes.p[at] ^= (char)(1 << (seed >> 10 & 7));
            arena_free(a);
        }
    }
    buf_free(&bytes);
}

TEST_MAIN()
