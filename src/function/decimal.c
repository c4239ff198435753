/*
 * Decimals: unscaled 128-bit integers of at most 38 digits. Products and scaled dividends may need more; they take the slow
 * road through an integer of 512 bits.
 */
#include "function/function_int.h"

#include <stdio.h>
#include <stdlib.h>

#define E19 ((u128)10000000000000000000u)
const u128 POW10[39] = {
    1u,
    10u,
    100u,
    1000u,
    10000u,
    100000u,
    1000000u,
    10000000u,
    100000000u,
    1000000000u,
    10000000000u,
    100000000000u,
    1000000000000u,
    10000000000000u,
    100000000000000u,
    1000000000000000u,
    10000000000000000u,
    100000000000000000u,
    1000000000000000000u,
    E19,
    E19 * 10u,
    E19 * 100u,
    E19 * 1000u,
    E19 * 10000u,
    E19 * 100000u,
    E19 * 1000000u,
    E19 * 10000000u,
    E19 * 100000000u,
    E19 * 1000000000u,
    E19 * 10000000000u,
    E19 * 100000000000u,
    E19 * 1000000000000u,
    E19 * 10000000000000u,
    E19 * 100000000000000u,
    E19 * 1000000000000000u,
    E19 * 10000000000000000u,
    E19 * 100000000000000000u,
    E19 * 1000000000000000000u,
    E19 *E19,
};

static u128 magnitude(i128 v)
{
    return v < 0 ? -(u128)v : (u128)v;
}

static int u128_digits(u128 m)
{
    int n = 1;
    while (n < 39 && m >= POW10[n])
        n++;
    return n;
}

int i128_digits(i128 v)
{
    return u128_digits(magnitude(v));
}

/* Whether a quotient (magnitude q, remainder r of divisor d) rounds away from zero. */
static bool round_up(u128 q, u128 r, u128 d, bool negative, enum round_mode mode)
{
    if (r == 0)
        return false;
    u128 rest = d - r;
    switch (mode) {
    case ROUND_HALF_UP:
        return r >= rest;
    case ROUND_HALF_EVEN:
        return r > rest || (r == rest && (q & 1));
    case ROUND_FLOOR:
        return negative;
    case ROUND_CEILING:
        return !negative;
    default:
        return false;
    }
}

bool decimal_rescale(i128 v, int from, int to, enum round_mode mode, i128 *out)
{
    u128 m = magnitude(v);
    if (to >= from) {
        if (to - from > DECIMAL_MAX)
            return *out = 0, m == 0;
        u128 scaled;
        if (__builtin_mul_overflow(m, POW10[to - from], &scaled) || scaled >= POW10[DECIMAL_MAX])
            return false;
        *out = v < 0 ? -(i128)scaled : (i128)scaled;
        return true;
    }
    int drop = from - to;
    u128 d = drop <= DECIMAL_MAX ? POW10[drop] : 0, q = d ? m / d : 0, r = d ? m % d : m;
    if (!d) /* more digits dropped than there are */
        q = (mode == ROUND_FLOOR && v < 0) || (mode == ROUND_CEILING && v > 0);
    else
        q += round_up(q, r, d, v < 0, mode);
    *out = v < 0 ? -(i128)q : (i128)q;
    return q < POW10[DECIMAL_MAX];
}

/* -- 512 bits --------------------------------------------------------------------------------------------------------- */
enum { LIMBS = 8 };
struct big {
    uint64_t w[LIMBS]; /* little endian */
};

static struct big big_of(u128 v)
{
    return (struct big){{(uint64_t)v, (uint64_t)(v >> 64)}};
}

/* x * y, dropping what passes 512 bits (callers stay below 10^152). */
static struct big big_mul(struct big x, u128 y)
{
    struct big out = {{0}};
    uint64_t part[2] = {(uint64_t)y, (uint64_t)(y >> 64)};
    for (int i = 0; i < 2; i++) {
        uint64_t carry = 0;
        for (int k = 0; k + i < LIMBS; k++) {
            u128 t = (u128)x.w[k] * part[i] + out.w[k + i] + carry;
            out.w[k + i] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
    }
    return out;
}

/* x / d with the remainder, bit by bit. */
static struct big big_div(struct big x, u128 d, u128 *rest)
{
    struct big q = {{0}};
    u128 r = 0;
    for (int bit = LIMBS * 64 - 1; bit >= 0; bit--) {
        bool top = r >> 127;
        r = r << 1 | (x.w[bit / 64] >> (bit % 64) & 1);
        if (top || r >= d) {
            r -= d;
            q.w[bit / 64] |= 1ull << (bit % 64);
        }
    }
    *rest = r;
    return q;
}

static bool big_small(const struct big *x, u128 *out)
{
    for (int i = 2; i < LIMBS; i++)
        if (x->w[i])
            return false;
    *out = (u128)x->w[1] << 64 | x->w[0];
    return true;
}

static struct big big_pow10(struct big x, int n)
{
    for (; n > DECIMAL_MAX; n -= DECIMAL_MAX)
        x = big_mul(x, POW10[DECIMAL_MAX]);
    return big_mul(x, POW10[n]);
}

/* The product rounded half up to `scale`. BigDecimal.multiply rounds to 38 digits first, as Spark's MATH_CONTEXT says. */
bool decimal_mul(i128 x, int sx, i128 y, int sy, int scale, i128 *out)
{
    bool negative = (x < 0) != (y < 0);
    u128 mx = magnitude(x), my = magnitude(y), product;
    int have = sx + sy;
    if (__builtin_mul_overflow(mx, my, &product) || product >= POW10[DECIMAL_MAX]) {
        struct big b = big_mul(big_of(mx), my);
        u128 rest, small;
        int drop = 0;
        struct big q = b;
        while (!big_small(&q, &small) || small >= POW10[DECIMAL_MAX]) {
            drop++;
            q = big_div(b, POW10[drop], &rest);
        }
        small += round_up(small, rest, POW10[drop], negative, ROUND_HALF_UP);
        product = small;
        have -= drop;
    }
    i128 v = negative ? -(i128)product : (i128)product;
    return decimal_rescale(v, have, scale, ROUND_HALF_UP, out);
}

bool decimal_div(i128 x, int sx, i128 y, int sy, int scale, enum round_mode mode, i128 *out)
{
    bool negative = (x < 0) != (y < 0);
    u128 mx = magnitude(x), my = magnitude(y), q, r, scaled, d = my;
    int up = scale - sx + sy;
    if (up < 0) { /* only with a result scale below the dividend's: the divisor grows instead */
        if (-up > DECIMAL_MAX || __builtin_mul_overflow(my, POW10[-up], &d))
            return *out = 0, true;
        up = 0;
    }
    if (up <= DECIMAL_MAX && !__builtin_mul_overflow(mx, POW10[up], &scaled)) {
        q = scaled / d;
        r = scaled % d;
    } else {
        struct big b = big_div(big_pow10(big_of(mx), up), d, &r);
        if (!big_small(&b, &q))
            return false;
    }
    q += round_up(q, r, d, negative, mode);
    *out = negative ? -(i128)q : (i128)q;
    return q < POW10[DECIMAL_MAX];
}

/* -- texts ---------------------------------------------------------------------------------------------------------------- */
/* Decimal digits of m at the end of p[40]; returns the first. */
static char *u128_digits_text(u128 m, char p[40])
{
    char *at = p + 39;
    *at = 0;
    do {
        *--at = (char)('0' + (int)(m % 10));
        m /= 10;
    } while (m);
    return at;
}

void i128_text(struct buf *out, i128 v)
{
    char digits[40];
    if (v < 0)
        buf_u8(out, '-');
    buf_z(out, u128_digits_text(magnitude(v), digits));
}

void decimal_text(struct buf *out, i128 v, int scale)
{
    char room[40], *digits = u128_digits_text(magnitude(v), room);
    size_t n = strlen(digits), s = (size_t)scale;
    if (v < 0)
        buf_u8(out, '-');
    if (n > s)
        buf_put(out, digits, n - s);
    else
        buf_u8(out, '0');
    if (!s)
        return;
    buf_u8(out, '.');
    if (n < s)
        buf_fill(out, '0', s - n);
    buf_put(out, n > s ? digits + n - s : digits, n > s ? s : n);
}

/* BigDecimal.toString: plain unless the adjusted exponent is below -6. */
void decimal_java_text(struct buf *out, i128 v, int scale)
{
    char room[40], *digits = u128_digits_text(magnitude(v), room);
    size_t n = strlen(digits);
    int adjusted = (int)n - 1 - scale;
    if (adjusted >= -6) {
        decimal_text(out, v, scale);
        return;
    }
    if (v < 0)
        buf_u8(out, '-');
    buf_u8(out, (uint8_t)digits[0]);
    if (n > 1) {
        buf_u8(out, '.');
        buf_put(out, digits + 1, n - 1);
    }
    buf_fmt(out, "E%d", adjusted);
}

double decimal_double(i128 v, int scale)
{
    u128 m = magnitude(v);
    if (m < (u128)1 << 53 && scale <= 22) {
        static const double TEN[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
        double d = (double)(uint64_t)m / TEN[scale];
        return v < 0 ? -d : d;
    }
    char room[40], text[64];
    snprintf(text, sizeof text, "%s%se-%d", v < 0 ? "-" : "", u128_digits_text(m, room), scale);
    return strtod(text, NULL);
}

bool decimal_parse(struct str s, int scale, i128 *out, bool *overflow)
{
    u128 m = 0;
    int digits = 0, seen = 0, point = 0, dropped = 0, first_dropped = 0;
    bool negative, fraction = false;
    *overflow = false;
    s = str_trim(s);
    size_t i = s.n && (s.p[0] == '+' || s.p[0] == '-');
    negative = i && s.p[0] == '-';
    for (; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        seen++;
        point += fraction;
        if (digits < DECIMAL_MAX) {
            m = m * 10 + (u128)(c - '0');
            digits += m != 0;
        } else if (!dropped++) {
            first_dropped = c - '0';
        }
    }
    if (!seen)
        return false;
    int64_t exponent = 0;
    if (i < s.n) {
        if ((s.p[i] | 32) != 'e' || !str_to_i64(str_sub(s, i + 1, s.n), &exponent) || exponent > 100000 ||
            exponent < -100000)
            return false;
    }
    int have = point - dropped - (int)exponent; /* the scale of m */
    if (dropped && have < scale) {
        *overflow = m != 0;
        return !*overflow;
    }
    if (dropped && have == scale)
        m += first_dropped >= 5;
    i128 v = negative ? -(i128)m : (i128)m;
    *overflow = !decimal_rescale(v, have, scale, ROUND_HALF_UP, out);
    return !*overflow;
}

bool decimal_of_double(double v, int scale, i128 *out)
{
    struct buf b = {0};
    bool overflow = true, ok = false;
    if (isfinite(v)) {
        double_text(&b, v); /* BigDecimal(double) of Scala goes through Double.toString */
        ok = decimal_parse(buf_view(&b), scale, out, &overflow);
    }
    buf_free(&b);
    return ok;
}
