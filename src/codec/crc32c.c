#include "codec/codec.h"

#if defined __x86_64__
#include <immintrin.h>
#elif defined __aarch64__
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

static const uint32_t POLY = 0x82F63B78; /* reflected: bit 31 is x^0 */
static uint32_t table[8][256];

/* Slicing by 8 (Kounavis and Berry, 2005): table[k][b] is the CRC of byte b followed by k zero bytes. */
static void make_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int i = 0; i < 8; i++)
            c = (c >> 1) ^ (c & 1 ? POLY : 0);
        table[0][b] = c;
    }
    for (uint32_t b = 0; b < 256; b++)
        for (int k = 1; k < 8; k++)
            table[k][b] = (table[k - 1][b] >> 8) ^ table[0][table[k - 1][b] & 255];
}

static uint32_t portable(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t c = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t lo = c ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        c = table[7][lo & 255] ^ table[6][lo >> 8 & 255] ^ table[5][lo >> 16 & 255] ^ table[4][lo >> 24] ^
            table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    for (; n; n--)
        c = (c >> 8) ^ table[0][(c ^ *p++) & 255];
    return ~c;
}

/* -- joining: polynomials over GF(2) mod P, reflected, so that bit 31 is x^0 ----------------------------------------- */

static uint32_t squares[64]; /* x^(2^k) */

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t m = 0x80000000; m; m >>= 1) {
        product ^= a & m ? b : 0;
        b = (b >> 1) ^ (b & 1 ? POLY : 0);
    }
    return product;
}

static void make_squares(void)
{
    squares[0] = 0x40000000; /* x */
    for (int k = 1; k < 64; k++)
        squares[k] = multiply(squares[k - 1], squares[k - 1]);
}

uint32_t crc32c_joined(uint32_t first, uint32_t second, uint64_t second_n)
{
    uint32_t shift = 0x80000000;                             /* x^0 */
    for (int k = 3; second_n && k < 64; k++, second_n >>= 1) /* bits, not bytes */
        if (second_n & 1)
            shift = multiply(squares[k], shift);
    return multiply(shift, first) ^ second;
}

#if defined __x86_64__
/*
 * The crc32 instruction has a latency of 3 and a throughput of 1: three streams keep it busy. Stream k of LANE bytes is
 * then moved over the bytes that follow it: a carry-less product with x^(8n-33) mod P, which the instruction itself
 * reduces (crc32_u64(0, q) is q·x^32 mod P, and the reflected product carries one more x).
 */
enum { LONG_LANE = 1024, SHORT_LANE = 128 };
static uint32_t shift_long[2], shift_short[2]; /* over one lane, over two lanes */

static uint32_t x_power(uint32_t n)
{
    uint32_t v = 0x80000000;
    while (n--)
        v = (v >> 1) ^ (v & 1 ? POLY : 0);
    return v;
}

static void make_shifts(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        shift_long[i] = x_power((i + 1) * LONG_LANE * 8 - 33);
        shift_short[i] = x_power((i + 1) * SHORT_LANE * 8 - 33);
    }
}

static inline uint64_t word(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

__attribute__((target("sse4.2,pclmul"))) static inline uint32_t move(uint32_t crc, uint32_t k)
{
    __m128i q = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)k), 0);
    return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(q));
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t three(uint64_t c, const unsigned char *p, size_t lane,
                                                                      const uint32_t shift[2])
{
    uint64_t a = c, b = 0, d = 0;
    for (size_t i = 0; i < lane; i += 8) {
        a = _mm_crc32_u64(a, word(p + i));
        b = _mm_crc32_u64(b, word(p + lane + i));
        d = _mm_crc32_u64(d, word(p + 2 * lane + i));
    }
    return move((uint32_t)a, shift[1]) ^ move((uint32_t)b, shift[0]) ^ (uint32_t)d;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t sse42(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    uint64_t c = (uint32_t)~crc;
    for (; n >= 3 * LONG_LANE; p += 3 * LONG_LANE, n -= 3 * LONG_LANE)
        c = three(c, p, LONG_LANE, shift_long);
    for (; n >= 3 * SHORT_LANE; p += 3 * SHORT_LANE, n -= 3 * SHORT_LANE)
        c = three(c, p, SHORT_LANE, shift_short);
    for (; n >= 8; p += 8, n -= 8)
        c = _mm_crc32_u64(c, word(p));
    for (; n; n--)
        c = _mm_crc32_u8((uint32_t)c, *p++);
    return ~(uint32_t)c;
}
#elif defined __aarch64__
__attribute__((target("+crc"))) static uint32_t armv8(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t c = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c = __crc32cd(c, v);
    }
    for (; n; n--)
        c = __crc32cb(c, *p++);
    return ~c;
}
#endif

static struct crc32c_twin twins[] = {
    {"portable", portable},
    {"sse4.2", NULL},
    {"armv8", NULL},
};
static uint32_t (*best)(uint32_t, const void *, size_t) = portable;

__attribute__((constructor)) static void pick(void)
{
    make_table();
    make_squares();
#if defined __x86_64__
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        make_shifts();
        best = twins[1].fn = sse42;
    }
#elif defined __aarch64__
    if (getauxval(AT_HWCAP) & (1 << 7)) /* HWCAP_CRC32 */
        best = twins[2].fn = armv8;
#endif
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    return best(crc, p, n);
}

bool crc32c_twin(size_t i, struct crc32c_twin *out)
{
    if (i >= sizeof twins / sizeof *twins)
        return false;
    *out = twins[i];
    return true;
}
