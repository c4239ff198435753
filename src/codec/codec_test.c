#include "base/budget.h"
#include "base/test.h"
#include "codec/codec.h"

static uint64_t seed = 7;
static uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

/* RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
TEST(crc32c_of_the_rfc)
{
    unsigned char b[32];
    memset(b, 0, 32);
    EXPECT_INT(crc32c(0, b, 32), 0x8a9136aa);
    memset(b, 255, 32);
    EXPECT_INT(crc32c(0, b, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        b[i] = (unsigned char)i;
    EXPECT_INT(crc32c(0, b, 32), 0x46dd794e);
    EXPECT_INT(crc32c(0, "123456789", 9), 0xe3069283);
    EXPECT_INT(crc32c(0, NULL, 0), 0);
}

/* Every twin, at every alignment, whole and in two pieces, around the lane sizes. */
TEST(crc32c_twins_agree)
{
    static unsigned char b[9000];
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (unsigned char)rnd();
    struct crc32c_twin t;
    REQUIRE(crc32c_twin(0, &t) && t.fn);
    uint32_t (*reference)(uint32_t, const void *, size_t) = t.fn;
    int twins = 0;
    for (size_t i = 1; crc32c_twin(i, &t); i++) {
        if (!t.fn)
            continue;
        twins++;
        for (int round = 0; round < 3000; round++) {
            size_t at = rnd() % 17, n = round < 800 ? (size_t)round : rnd() % (sizeof b - 17), cut = n ? rnd() % n : 0;
            uint32_t start = rnd(), want = reference(start, b + at, n);
            if (t.fn(start, b + at, n) != want || t.fn(t.fn(start, b + at, cut), b + at + cut, n - cut) != want) {
                TEST_FAIL_("%s differs at length %zu", t.name, n);
                break;
            }
        }
    }
    if (!twins)
        SKIP("this processor has no CRC instruction");
}

static void fill(struct buf *b, size_t n, int kind)
{
    for (size_t i = 0; i < n; i++)
        buf_u8(b, kind == 0 ? 0 : kind == 1 ? (uint8_t)rnd() : (uint8_t)("{\"key\": 12, "[i % 12] + (rnd() % 50 == 0)));
}

/* Cut anywhere, the two parts' CRCs make the whole's. */
TEST(crcs_join)
{
    static char bytes[70000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * i * 31 + i / 7);
    static const size_t lengths[] = {0, 1, 2, 7, 8, 9, 255, 256, 4095, 4096, 65537, sizeof bytes};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t cut = 0; cut <= lengths[i]; cut += 1 + lengths[i] / 13) {
            uint32_t a = crc32c(0, bytes, cut), b = crc32c(0, bytes + cut, lengths[i] - cut);
            EXPECT_INT(crc32c_joined(a, b, lengths[i] - cut), crc32c(0, bytes, lengths[i]));
        }
}

TEST(what_was_compressed_comes_back)
{
    static const size_t SIZES[] = {0, 1, 100, 32767, 32768, 32769, 65536, 300000};
    struct fault f;
    for (int codec = 0; codec < CODEC_COUNT; codec++)
        for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++)
            for (int kind = 0; kind < 3; kind++) {
                struct buf in = {0}, packed = {0}, out = {0};
                fill(&in, SIZES[i], kind);
                buf_z(&out, "before");
                EXPECT(codec_compress(codec, buf_view(&in), &packed, &f) == ERR_OK);
                EXPECT(codec_decompress(codec, buf_view(&packed), in.n, &out, &f) == ERR_OK);
                EXPECT(str_eq(str_make(out.p + 6, out.n - 6), buf_view(&in)));
                buf_clear(&out);
                if (in.n)
                    EXPECT(codec_decompress(codec, buf_view(&packed), in.n - 1, &out, &f) == ERR_LIMIT);
                buf_free(&in);
                buf_free(&packed);
                buf_free(&out);
            }
    EXPECT(codec_compress(CODEC_COUNT, STR("x"), &(struct buf){0}, &f) == ERR_UNSUPPORTED);
    EXPECT(codec_decompress(-1, STR("x"), 1, &(struct buf){0}, &f) == ERR_UNSUPPORTED);
}

/* The framing is the format's business: the magic numbers of RFC 1952, xerial, the LZ4 frame and RFC 8878. */
TEST(framings)
{
    static const char *const MAGIC[] = {"", "\x1f\x8b", "\x82SNAPPY", "\x04\x22\x4d\x18", "\x28\xb5\x2f\xfd"};
    for (int codec = 1; codec < CODEC_COUNT; codec++) {
        struct buf packed = {0};
        EXPECT(codec_compress(codec, STR("hello"), &packed, NULL) == ERR_OK);
        EXPECT(packed.n >= strlen(MAGIC[codec]) && !memcmp(packed.p, MAGIC[codec], strlen(MAGIC[codec])));
        buf_free(&packed);
    }
    struct buf out = {0}; /* a bare snappy block: length 5, a literal of 5 */
    EXPECT(codec_decompress(CODEC_SNAPPY, STR("\x05\x10hello"), 100, &out, NULL) == ERR_OK);
    EXPECT_STR(buf_view(&out), "hello");
    buf_free(&out);
}

TEST(several_gzip_members)
{
    struct buf packed = {0}, out = {0};
    EXPECT(codec_compress(CODEC_GZIP, STR("one "), &packed, NULL) == ERR_OK);
    EXPECT(codec_compress(CODEC_GZIP, STR("two"), &packed, NULL) == ERR_OK);
    EXPECT(codec_decompress(CODEC_GZIP, buf_view(&packed), 100, &out, NULL) == ERR_OK);
    EXPECT_STR(buf_view(&out), "one two");
    buf_free(&packed);
    buf_free(&out);
}

/* A cut never passes for the whole (but a prefix of whole gzip members or xerial blocks); a flipped bit never crashes.
 */
TEST(damage_is_refused)
{
    struct buf in = {0};
    fill(&in, 70000, 2);
    for (int codec = 1; codec < CODEC_COUNT; codec++) {
        struct buf packed = {0}, out = {0};
        EXPECT(codec_compress(codec, buf_view(&in), &packed, NULL) == ERR_OK);
        for (int round = 0; round < 300; round++) {
            buf_clear(&out);
            size_t cut = rnd() % packed.n;
            enum err e = codec_decompress(codec, str_make(packed.p, cut), 1 << 20, &out, NULL);
            EXPECT(e == ERR_FRAME || e == ERR_LIMIT || (codec == CODEC_SNAPPY && e == ERR_OK && out.n < in.n));
            buf_clear(&out);
            size_t at = rnd() % packed.n;
            packed.p[at] ^= (char)(1 << rnd() % 8);
            e = codec_decompress(codec, buf_view(&packed), 1 << 20, &out, NULL);
            EXPECT(e == ERR_OK || e == ERR_FRAME || e == ERR_LIMIT);
        }
        buf_free(&packed);
        buf_free(&out);
    }
    buf_free(&in);
}

/* A bomb stops at the bound, and a length that lies does not size an allocation. */
TEST(bombs)
{
    struct buf in = {0}, packed = {0}, out = {0};
    fill(&in, 8 << 20, 0);
    for (int codec = 1; codec < CODEC_COUNT; codec++) {
        buf_clear(&packed);
        buf_free(&out);
        EXPECT(codec_compress(codec, buf_view(&in), &packed, NULL) == ERR_OK);
        EXPECT(codec_decompress(codec, buf_view(&packed), 1 << 20, &out, NULL) == ERR_LIMIT);
        EXPECT(out.cap <= 4 << 20);
    }
    buf_free(&out);
    EXPECT(codec_decompress(CODEC_SNAPPY, STR("\xff\xff\xff\x7f\x10hello"), 1 << 30, &out, NULL) == ERR_FRAME);
    EXPECT(out.cap == 0);
    buf_free(&in);
    buf_free(&packed);
}

/* The memory that all clients' batches may have together: a bomb gets no more, and does not keep it. */
TEST(unpacking_is_counted)
{
    struct buf in = {0}, packed = {0};
    struct unpacked a, b;
    budget_start(64 << 20); /* of which an eighth, and three quarters of that for one: 6 MiB */
    fill(&in, 7 << 20, 0);
    EXPECT(codec_compress(CODEC_ZSTD, buf_view(&in), &packed, NULL) == ERR_OK);
    EXPECT(codec_unpack(CODEC_ZSTD, buf_view(&packed), 1 << 30, &a, NULL) == ERR_LIMIT);
    EXPECT_INT(budget_left(BUDGET_UNPACKED), 8 << 20);
    in.n = 5 << 20;
    buf_clear(&packed);
    EXPECT(codec_compress(CODEC_ZSTD, buf_view(&in), &packed, NULL) == ERR_OK);
    EXPECT(codec_unpack(CODEC_ZSTD, buf_view(&packed), 1 << 20, &a, NULL) == ERR_LIMIT);
    EXPECT(codec_unpack(CODEC_ZSTD, buf_view(&packed), 1 << 30, &a, NULL) == ERR_OK);
    EXPECT_INT(a.bytes.n, 5 << 20);
    EXPECT(codec_unpack(CODEC_ZSTD, buf_view(&packed), 1 << 30, &b, NULL) == ERR_AGAIN);
    codec_unpacked_free(&a);
    EXPECT(codec_unpack(CODEC_ZSTD, buf_view(&packed), 1 << 30, &b, NULL) == ERR_OK);
    codec_unpacked_free(&b);
    EXPECT_INT(budget_left(BUDGET_UNPACKED), 8 << 20);
    buf_free(&in);
    buf_free(&packed);
}

TEST_MAIN()
