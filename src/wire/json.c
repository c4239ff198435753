#include "wire/json.h"

#include <locale.h>
#include <stdlib.h>

bool json_fail(struct json *j)
{
    j->bad = true;
    return false;
}

/* -- scanning strings ------------------------------------------------------------------------------------------------ */
const char *json_scan_string_portable(const char *p, const char *end, char q, bool *high)
{
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == (unsigned char)q || c == '\\' || c < 0x20)
            return p;
        *high |= c >= 0x80;
    }
    return end;
}

const char *json_scan_string(const char *p, const char *end, char q, bool *high)
{
    return json_scan_inside(p, p, end, q, high);
}

/* -- UTF-8 ------------------------------------------------------------------------------------------------------------ */
/* Length of the valid sequence at p (1..4), or 0; *bad_n: how long the ill-formed subsequence is. */
static int utf8_one(const unsigned char *p, size_t n, int *bad_n)
{
    *bad_n = 1;
    if (p[0] < 0x80)
        return 1;
    int len = p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4 : 0;
    if (!len)
        return 0;
    unsigned char lo = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char hi = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n || p[i] < lo || p[i] > hi) {
            *bad_n = i;
            return 0;
        }
        lo = 0x80;
        hi = 0xBF;
    }
    return len;
}

bool utf8_valid(struct str s)
{
    int bad_n, len;
    for (size_t i = 0; i < s.n; i += (size_t)len)
        if (!(len = utf8_one((const unsigned char *)s.p + i, s.n - i, &bad_n)))
            return false;
    return true;
}

struct str utf8_repair(struct str s, struct arena *a)
{
    char *out = arena_alloc(a, s.n * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        int bad_n, len = utf8_one((const unsigned char *)s.p + i, s.n - i, &bad_n);
        if (len) {
            memcpy(out + n, s.p + i, (size_t)len);
            n += (size_t)len;
            i += (size_t)len;
        } else {
            memcpy(out + n, "\xEF\xBF\xBD", 3);
            n += 3;
            i += (size_t)bad_n;
        }
    }
    return str_make(out, n);
}

/* -- structure -------------------------------------------------------------------------------------------------------- */
static bool open_with(struct json *j, char c)
{
    if (json_peek(j) != c || j->depth >= LIMIT_JSON_DEPTH)
        return json_fail(j);
    j->p++;
    j->depth++;
    j->first = true;
    return true;
}

bool json_object(struct json *j)
{
    return open_with(j, '{');
}

bool json_array(struct json *j)
{
    return open_with(j, '[');
}

bool json_more(struct json *j, char close)
{
    char c = json_peek(j);
    if (c == close) {
        j->p++;
        j->depth--;
        j->first = false;
        return false;
    }
    if (!c)
        return json_fail(j);
    if (!j->first) {
        if (c != ',')
            return json_fail(j);
        j->p++;
        c = json_peek(j);
        if (c == close || !c)
            return json_fail(j); /* a trailing comma */
    }
    j->first = false;
    return true;
}

bool json_key(struct json *j, struct arena *a, struct str *name)
{
    if (!json_string(j, a, name) || json_peek(j) != ':')
        return json_fail(j);
    j->p++;
    return true;
}

bool json_end(struct json *j)
{
    json_ws(j);
    return j->bad || j->p < j->end ? json_fail(j) : true;
}

/* -- strings ---------------------------------------------------------------------------------------------------------- */
static int hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static char *put_utf8(char *o, unsigned cp)
{
    if (cp < 0x80) {
        *o++ = (char)cp;
    } else if (cp < 0x800) {
        *o++ = (char)(0xC0 | cp >> 6);
        *o++ = (char)(0x80 | (cp & 0x3F));
    } else if (cp < 0x10000) {
        *o++ = (char)(0xE0 | cp >> 12);
        *o++ = (char)(0x80 | (cp >> 6 & 0x3F));
        *o++ = (char)(0x80 | (cp & 0x3F));
    } else {
        *o++ = (char)(0xF0 | cp >> 18);
        *o++ = (char)(0x80 | (cp >> 12 & 0x3F));
        *o++ = (char)(0x80 | (cp >> 6 & 0x3F));
        *o++ = (char)(0x80 | (cp & 0x3F));
    }
    return o;
}

/* The escape at j->p (behind the backslash) into *o; false when it is none. */
static bool escape(struct json *j, char **o)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (j->p >= j->end)
        return false;
    char c = *j->p++;
    const char *hit = c ? strchr(from, c) : NULL;
    if (hit) {
        *(*o)++ = to[hit - from];
        return true;
    }
    int hi = c == 'u' ? hex4(j->p, j->end) : -1;
    if (hi < 0)
        return false;
    j->p += 4;
    unsigned cp = (unsigned)hi;
    if (cp >= 0xD800 && cp <= 0xDFFF) {
        int lo = cp < 0xDC00 && j->end - j->p >= 6 && j->p[0] == '\\' && j->p[1] == 'u' ? hex4(j->p + 2, j->end) : -1;
        if (lo >= 0xDC00 && lo <= 0xDFFF) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + ((unsigned)lo - 0xDC00);
            j->p += 6;
        } else {
            cp = '?';
        }
    }
    *o = put_utf8(*o, cp);
    return true;
}

/* A string with escapes: `from` is its first byte, j->p stands at its first backslash. */
static bool decode_string(struct json *j, char q, const char *from, bool high, struct arena *a, struct str *out)
{
    /* The decoded text is never longer than what is left of the document; find its end first, to ask for no more. */
    const char *e = j->p;
    bool more_high = false;
    for (;;) {
        e = json_scan_string(e, j->end, q, &more_high);
        if (e >= j->end || (unsigned char)*e < 0x20)
            return json_fail(j);
        if (*e == q)
            break;
        if (j->end - e < 2)
            return json_fail(j);
        e += 2;
    }
    char *buf = arena_alloc(a, (size_t)(e - from) + 1), *o = buf;
    memcpy(o, from, (size_t)(j->p - from));
    o += j->p - from;
    while (*j->p != q) {
        const char *stop = json_scan_string(j->p, j->end, q, &high);
        memcpy(o, j->p, (size_t)(stop - j->p));
        o += stop - j->p;
        j->p = stop;
        if (*j->p == '\\') {
            j->p++;
            if (!escape(j, &o))
                return json_fail(j);
        }
    }
    j->p++;
    *out = str_make(buf, (size_t)(o - buf));
    if (high && !utf8_valid(*out))
        *out = utf8_repair(*out, a);
    return true;
}

bool json_string(struct json *j, struct arena *a, struct str *out)
{
    char q = json_peek(j);
    if (q != '"' && !(q == '\'' && j->lenient))
        return json_fail(j);
    const char *from = ++j->p;
    bool high = false;
    j->p = json_scan_string(from, j->end, q, &high);
    if (j->p >= j->end || (unsigned char)*j->p < 0x20)
        return json_fail(j);
    if (*j->p == '\\')
        return decode_string(j, q, from, high, a, out);
    *out = str_make(from, (size_t)(j->p - from));
    j->p++;
    if (high && !utf8_valid(*out))
        *out = utf8_repair(*out, a);
    return true;
}

static bool skip_string(struct json *j)
{
    char q = *j->p++;
    bool high = false;
    for (;;) {
        j->p = json_scan_string(j->p, j->end, q, &high);
        if (j->p >= j->end || (unsigned char)*j->p < 0x20)
            return json_fail(j);
        if (*j->p++ == q)
            return true;
        char scratch[8], *o = scratch;
        if (!escape(j, &o))
            return json_fail(j);
    }
}

/* -- numbers and words ------------------------------------------------------------------------------------------------- */
static inline bool digit(const struct json *j)
{
    return j->p < j->end && *j->p >= '0' && *j->p <= '9';
}

static bool word_here(struct json *j, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(j->end - j->p) < n || memcmp(j->p, w, n) != 0)
        return false;
    char next = (size_t)(j->end - j->p) > n ? j->p[n] : ' ';
    if ((next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z') || (next >= '0' && next <= '9') || next == '_' ||
        next == '$')
        return false;
    j->p += n;
    return true;
}

bool json_word(struct json *j, const char *word)
{
    json_ws(j);
    return j->bad || !word_here(j, word) ? json_fail(j) : true;
}

static bool odd_number(struct json *j)
{
    static const char *const words[] = {"NaN", "Infinity", "+Infinity", "-Infinity", "INF", "+INF", "-INF"};
    for (size_t i = 0; j->lenient && i < sizeof words / sizeof *words; i++)
        if (word_here(j, words[i]))
            return true;
    return false;
}

bool json_number(struct json *j, struct str *text, bool *integer)
{
    json_ws(j);
    const char *from = j->p;
    if (j->bad)
        return false;
    *integer = true;
    if (j->p < j->end && *j->p == '-')
        j->p++;
    if (!digit(j)) {
        j->p = from;
        *integer = false;
        if (!odd_number(j))
            return json_fail(j);
        *text = str_make(from, (size_t)(j->p - from));
        return true;
    }
    if (*j->p == '0' && j->end - j->p > 1 && j->p[1] >= '0' && j->p[1] <= '9')
        return json_fail(j);
    while (digit(j))
        j->p++;
    if (j->p < j->end && *j->p == '.') {
        *integer = false;
        j->p++;
        if (!digit(j))
            return json_fail(j);
        while (digit(j))
            j->p++;
    }
    if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
        *integer = false;
        j->p++;
        if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
            j->p++;
        if (!digit(j))
            return json_fail(j);
        while (digit(j))
            j->p++;
    }
    *text = str_make(from, (size_t)(j->p - from));
    return text->n <= LIMIT_JSON_NUMBER_CHARS ? true : json_fail(j);
}

bool json_i64(struct json *j, int64_t *out)
{
    struct str text;
    bool integer;
    return json_number(j, &text, &integer) && integer && str_to_i64(text, out) ? true : json_fail(j);
}

bool json_bool(struct json *j, bool *out)
{
    *out = json_peek(j) == 't';
    return json_word(j, *out ? "true" : "false");
}

/* 10^k for k in 0..22 is exact in a double (Clinger's fast path): one division or multiplication rounds once. */
static const double POW10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool slow_double(struct str text, double *out)
{
    static locale_t c_locale;
    char small[128], *z = text.n < sizeof small ? small : malloc(text.n + 1), *end;
    if (!z)
        return false;
    locale_t loc = __atomic_load_n(&c_locale, __ATOMIC_ACQUIRE);
    if (!loc) {
        loc = newlocale(LC_ALL_MASK, "C", NULL);
        __atomic_store_n(&c_locale, loc, __ATOMIC_RELEASE);
    }
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    *out = strtod_l(z, &end, loc);
    bool whole = end == z + text.n;
    if (z != small)
        free(z);
    return whole;
}

bool json_to_double(struct str t, double *out)
{
    uint64_t m = 0;
    int digits = 0, exp10 = 0;
    size_t i = t.n && (t.p[0] == '-' || t.p[0] == '+'), from = i;
    bool negative = i && t.p[0] == '-';
    for (; i < t.n && t.p[i] >= '0' && t.p[i] <= '9'; i++, digits += m != 0)
        m = m * 10 + (uint64_t)(t.p[i] - '0');
    size_t seen = i - from;
    if (i < t.n && t.p[i] == '.') {
        for (i++; i < t.n && t.p[i] >= '0' && t.p[i] <= '9'; i++, digits += m != 0, exp10--, seen++)
            m = m * 10 + (uint64_t)(t.p[i] - '0');
    }
    if (!seen)
        return false;
    if (i < t.n) { /* an exponent, or no number: strtod accepts more than decimals (hex, inf), so only 'e' gets there */
        if (t.p[i] != 'e' && t.p[i] != 'E')
            return false;
        return slow_double(t, out);
    }
    if (digits > 18 || m >= (uint64_t)1 << 53 || exp10 < -22)
        return slow_double(t, out);
    double v = (double)m / POW10[-exp10];
    *out = negative ? -v : v;
    return true;
}

/* -- passing over ------------------------------------------------------------------------------------------------------ */
static bool skip_scalar(struct json *j, char c)
{
    struct str text;
    bool integer;
    if (c == '"' || (c == '\'' && j->lenient))
        return skip_string(j);
    if (c == 't' || c == 'f' || c == 'n')
        return json_word(j, c == 't' ? "true" : c == 'f' ? "false" : "null");
    return json_number(j, &text, &integer);
}

/* Pass over the container at hand. Which kind each open one is, is a bit per level: no recursion, whatever the depth. */
static bool skip_container(struct json *j)
{
    uint64_t object_bits[LIMIT_JSON_DEPTH / 64 + 1] = {0};
    int target = j->depth;
    for (;;) {
        char c = json_peek(j);
        if (c == '{' || c == '[') {
            if (!open_with(j, c))
                return false;
            uint64_t bit = (uint64_t)1 << (j->depth % 64), *word = &object_bits[j->depth / 64];
            *word = c == '{' ? *word | bit : *word & ~bit;
        } else if (!skip_scalar(j, c)) {
            return false;
        }
        bool object;
        for (;;) { /* close what ends here */
            object = object_bits[j->depth / 64] >> (j->depth % 64) & 1;
            if (json_more(j, object ? '}' : ']'))
                break;
            if (j->bad || j->depth == target)
                return !j->bad;
        }
        if (object) {
            c = json_peek(j);
            if ((c != '"' && !(c == '\'' && j->lenient)) || !skip_string(j) || json_peek(j) != ':')
                return json_fail(j);
            j->p++;
        }
    }
}

bool json_skip(struct json *j, struct str *raw)
{
    char c = json_peek(j);
    const char *from = j->p;
    bool ok = c == '{' || c == '[' ? skip_container(j) : skip_scalar(j, c);
    j->first = false;
    if (raw)
        *raw = str_make(from, (size_t)(j->p - from));
    return ok;
}
