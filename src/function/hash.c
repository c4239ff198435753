/* Hashes and encodings of bytes. */
#include "function/string_int.h"

#include <openssl/evp.h>

/* -- hash(…), xxhash64(…) ------------------------------------------------------------------------------------------------------------ */
static bool has_map(const struct type *t)
{
    if (t->id == TYPE_MAP)
        return true;
    for (int i = 0; i < t->nfields; i++)
        if (has_map(t->fields[i].type))
            return true;
    return false;
}

enum err bind_hash(struct bind_call *bc)
{
    struct expr *e = bc->e;
    e->type = type_simple(bc->fn->op ? TYPE_LONG : TYPE_INT);
    for (int i = 0; i < e->nargs; i++)
        if (has_map(e->args[i]->type))
            return BIND_FAULT(bc, ERR_MISMATCH_HASH_MAP_TYPE, {"functionName", quoted_name(bc->b->arena, bc->shown)});
    return ERR_OK;
}

enum err fn_hash(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        int32_t h = 42;
        for (int k = 0; k < c->e->nargs; k++)
            h = column_murmur3(&c->args[k], i, h);
        c->out->data.i32[i] = h;
    }
    return ERR_OK;
}

/* XXH64, as Spark's XXH64 has it (seed 42; ints and longs as single rounds). */
#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

static uint64_t rotl(uint64_t x, int r)
{
    return x << r | x >> (64 - r);
}

static uint64_t avalanche(uint64_t h)
{
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}

static uint64_t word_round(uint64_t h, uint64_t v)
{
    return rotl(h ^ rotl(v * P2, 31) * P1, 27) * P1 + P4;
}

static uint64_t xx_long(uint64_t v, uint64_t seed)
{
    return avalanche(word_round(seed + P5 + 8, v));
}

static uint64_t xx_int(uint32_t v, uint64_t seed)
{
    uint64_t h = seed + P5 + 4;
    return avalanche(rotl(h ^ v * P1, 23) * P2 + P3);
}

static uint64_t read64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static uint64_t xx_bytes(struct str s, uint64_t seed)
{
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    uint64_t h;
    if (s.n >= 32) {
        uint64_t v[4] = {seed + P1 + P2, seed + P2, seed, seed - P1};
        for (; end - p >= 32; p += 32)
            for (int k = 0; k < 4; k++)
                v[k] = rotl(v[k] + read64(p + 8 * k) * P2, 31) * P1;
        h = rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18);
        for (int k = 0; k < 4; k++)
            h = (h ^ rotl(v[k] * P2, 31) * P1) * P1 + P4;
    } else {
        h = seed + P5;
    }
    h += s.n;
    for (; end - p >= 8; p += 8)
        h = word_round(h, read64(p));
    if (end - p >= 4) {
        uint32_t v;
        memcpy(&v, p, 4);
        h = rotl(h ^ v * P1, 23) * P2 + P3;
        p += 4;
    }
    for (; p < end; p++)
        h = rotl(h ^ *p * P5, 11) * P1;
    return avalanche(h);
}

static uint64_t xx_value(const struct column *c, uint32_t row, uint64_t seed);

static uint64_t xx_nested(const struct column *c, uint32_t r, uint64_t seed)
{
    if (c->type->id == TYPE_STRUCT) {
        for (int k = 0; k < c->type->nfields; k++)
            seed = xx_value(&c->children[k], r, seed);
        return seed;
    }
    for (uint32_t k = c->data.offsets[r]; k < c->data.offsets[r + 1]; k++)
        seed = xx_value(&c->children[0], k, seed);
    return seed;
}

static uint64_t xx_value(const struct column *c, uint32_t row, uint64_t seed)
{
    uint32_t r = COL_AT(c, row), bits32;
    uint64_t bits64;
    if (!col_valid(c, row) || c->type->id == TYPE_NULL)
        return seed;
    switch (c->type->id) {
    case TYPE_STRING:
    case TYPE_BINARY:
        return xx_bytes(c->data.str[r], seed);
    case TYPE_FLOAT:
        memcpy(&bits32, &c->data.f32[r], 4);
        return xx_int(c->data.f32[r] == 0 ? 0 : isnan(c->data.f32[r]) ? 0x7fc00000u : bits32, seed);
    case TYPE_DOUBLE:
        memcpy(&bits64, &c->data.f64[r], 8);
        return xx_long(c->data.f64[r] == 0 ? 0 : isnan(c->data.f64[r]) ? 0x7ff8000000000000u : bits64, seed);
    case TYPE_DECIMAL: {
        if (c->type->precision <= 18)
            return xx_long((uint64_t)(int64_t)c->data.i128[r], seed);
        uint8_t b[16];
        i128 v = c->data.i128[r];
        for (int k = 0; k < 16; k++)
            b[k] = (uint8_t)((u128)v >> (120 - 8 * k));
        int from = 0;
        while (from < 15 && b[from] == (v < 0 ? 0xFF : 0) && (b[from + 1] >> 7) == (v < 0))
            from++;
        return xx_bytes(str_make(b + from, (size_t)(16 - from)), seed);
    }
    case TYPE_CALENDAR:
        seed = xx_long((uint64_t)c->data.interval[r].micros, seed);
        return xx_int((uint32_t)c->data.interval[r].months, xx_int((uint32_t)c->data.interval[r].days, seed));
    case TYPE_ARRAY:
    case TYPE_STRUCT:
        return xx_nested(c, r, seed);
    default:
        switch (type_width(c->type)) {
        case 1:
            return xx_int((uint32_t)c->data.i8[r], seed);
        case 2:
            return xx_int((uint32_t)c->data.i16[r], seed);
        case 4:
            return xx_int((uint32_t)c->data.i32[r], seed);
        default:
            return xx_long((uint64_t)c->data.i64[r], seed);
        }
    }
}

enum err fn_xxhash64(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t h = 42;
        for (int k = 0; k < c->e->nargs; k++)
            h = xx_value(&c->args[k], i, h);
        c->out->data.i64[i] = (int64_t)h;
    }
    return ERR_OK;
}

/* -- digests ---------------------------------------------------------------------------------------------------------------------------- */
static struct str digest(struct arena *a, struct str s, const EVP_MD *md)
{
    static const char HEX[] = "0123456789abcdef";
    uint8_t d[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!EVP_Digest(s.n ? s.p : "", s.n, d, &n, md, NULL))
        n = 0;
    char *p = arena_alloc(a, (size_t)n * 2);
    for (unsigned k = 0; k < n; k++) {
        p[2 * k] = HEX[d[k] >> 4];
        p[2 * k + 1] = HEX[d[k] & 15];
    }
    return str_make(p, (size_t)n * 2);
}

enum err fn_digest(struct call *c)
{
    const EVP_MD *md = c->e->fn->op ? EVP_sha1() : EVP_md5();
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.str[i] = digest(c->ev->arena, CALL_STR(c, 0, i), md);
    return ERR_OK;
}

enum err fn_sha2(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        int32_t bits = CALL_I32(c, 1, i);
        const EVP_MD *md = bits == 0 || bits == 256 ? EVP_sha256()
                           : bits == 224            ? EVP_sha224()
                           : bits == 384            ? EVP_sha384()
                           : bits == 512            ? EVP_sha512()
                                                    : NULL;
        if (md)
            c->out->data.str[i] = digest(c->ev->arena, CALL_STR(c, 0, i), md);
        else
            call_set_null(c, i);
    }
    return ERR_OK;
}

static uint32_t crc32(struct str s)
{
    uint32_t h = ~0u;
    for (size_t i = 0; i < s.n; i++) {
        h ^= (uint8_t)s.p[i];
        for (int k = 0; k < 8; k++)
            h = h >> 1 ^ (h & 1 ? 0xEDB88320u : 0);
    }
    return ~h;
}

enum err fn_crc32(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.i64[i] = crc32(CALL_STR(c, 0, i));
    return ERR_OK;
}

/* -- base64, character sets, URLs ----------------------------------------------------------------------------------------------------------- */
enum err fn_base64(struct call *c)
{
    STRING_ROWS(c, { base64_put(&b, CALL_STR(c, 0, i)); });
    return ERR_OK;
}

enum err fn_unbase64(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i) && !text_from_base64(CALL_STR(c, 0, i), c->ev->arena, &c->out->data.str[i]))
            CALL_FAIL(c, i, ERR_CONVERSION_INVALID_INPUT, {"str", arena_z(c->ev->arena, CALL_STR(c, 0, i))},
                      {"fmt", "BASE64"}, {"targetType", "\"BINARY\""}, {"suggestion", "`try_to_binary`"});
    return ERR_OK;
}

enum charset { CS_UTF8, CS_ASCII, CS_LATIN1, CS_UTF16, CS_UTF16BE, CS_UTF16LE, CS_UTF32, CS_NONE };
static enum charset charset(struct str name)
{
    static const char *const NAMES[] = {"UTF-8", "US-ASCII", "ISO-8859-1", "UTF-16", "UTF-16BE", "UTF-16LE", "UTF-32"};
    int k = 0;
    while (k < CS_NONE && !str_eq_nocase(name, str_of(NAMES[k])))
        k++;
    return (enum charset)k;
}

static void put_unit(struct buf *out, uint32_t v, int bytes, bool big)
{
    for (int k = 0; k < bytes; k++)
        buf_u8(out, (uint8_t)(v >> (8 * (big ? bytes - 1 - k : k))));
}

static bool put_charset(struct buf *out, uint32_t cp, enum charset cs)
{
    switch (cs) {
    case CS_ASCII:
    case CS_LATIN1:
        buf_u8(out, (uint8_t)cp);
        return cp < (cs == CS_ASCII ? 0x80u : 0x100u);
    case CS_UTF32:
        put_unit(out, cp, 4, true);
        return true;
    case CS_UTF8:
        utf8_put(out, cp);
        return true;
    default:
        if (cp >= 0x10000) {
            put_unit(out, 0xD800 + ((cp - 0x10000) >> 10), 2, cs != CS_UTF16LE);
            cp = 0xDC00 + ((cp - 0x10000) & 0x3FF);
        }
        put_unit(out, cp, 2, cs != CS_UTF16LE);
        return true;
    }
}

static enum err bad_charset(struct call *c, uint32_t i, const char *name)
{
    struct arena *a = c->ev->arena;
    CALL_FAIL(c, i, ERR_INVALID_PARAMETER_VALUE_CHARSET, {"functionName", name}, {"parameter", "`charset`"},
              {"charset", arena_z(a, CALL_STR(c, 1, i))},
              {"charsets", "iso-8859-1, us-ascii, utf-16, utf-16be, utf-16le, utf-32, utf-8"});
    return ERR_OK;
}

static enum err bad_coding(struct call *c, uint32_t i, const char *name)
{
    struct arena *a = c->ev->arena;
    CALL_FAIL(c, i, ERR_MALFORMED_CHARACTER_CODING, {"function", name}, {"charset", arena_z(a, CALL_STR(c, 1, i))});
    return ERR_OK;
}

enum err fn_encode(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i);
        enum charset cs = charset(CALL_STR(c, 1, i));
        struct buf b = {0};
        bool ok = true;
        if (cs == CS_UTF16)
            put_unit(&b, 0xFEFF, 2, true);
        for (size_t at = 0, w; at < s.n && cs != CS_NONE; at += w)
            ok &= put_charset(&b, utf8_at(s, at, &w), cs);
        c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&b));
        buf_free(&b);
        enum err err = cs == CS_NONE ? bad_charset(c, i, "`encode`") : ok ? ERR_OK : bad_coding(c, i, "`encode`");
        if (err)
            return err;
    }
    return ERR_OK;
}

static uint32_t get_unit(struct str s, size_t at, int bytes, bool big)
{
    uint32_t v = 0;
    for (int k = 0; k < bytes; k++)
        v |= (uint32_t)(uint8_t)s.p[at + (size_t)(big ? bytes - 1 - k : k)] << (8 * k);
    return v;
}

static bool decode(struct str s, enum charset cs, struct buf *out)
{
    bool big = cs != CS_UTF16LE;
    size_t at = 0;
    if (cs == CS_UTF8) {
        buf_str(out, s);
        return utf8_is_valid(s);
    }
    if (cs <= CS_LATIN1) {
        for (; at < s.n; at++)
            utf8_put(out, (uint8_t)s.p[at]);
        return cs == CS_LATIN1 || utf8_count(buf_view(out)) == out->n;
    }
    if (cs == CS_UTF16 && s.n >= 2 && (get_unit(s, 0, 2, true) == 0xFEFF || get_unit(s, 0, 2, true) == 0xFFFE)) {
        big = get_unit(s, 0, 2, true) == 0xFEFF;
        at = 2;
    }
    size_t w = cs == CS_UTF32 ? 4 : 2;
    for (; at + w <= s.n; at += w) {
        uint32_t cp = get_unit(s, at, (int)w, big);
        if (w == 2 && cp >= 0xD800 && cp < 0xDC00 && at + 4 <= s.n) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + (get_unit(s, at + 2, 2, big) - 0xDC00);
            at += 2;
        }
        if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
            return false;
        utf8_put(out, cp);
    }
    return at == s.n;
}

enum err fn_decode(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        enum charset cs = charset(CALL_STR(c, 1, i));
        struct buf b = {0};
        bool ok = cs != CS_NONE && decode(CALL_STR(c, 0, i), cs, &b);
        c->out->data.str[i] = arena_str(c->ev->arena, buf_view(&b));
        buf_free(&b);
        enum err err = cs == CS_NONE ? bad_charset(c, i, "`decode`") : ok ? ERR_OK : bad_coding(c, i, "`decode`");
        if (err)
            return err;
    }
    return ERR_OK;
}

/* decode(bytes, charset), or decode(expression, search, result, … [default]): a CASE with null-safe equality. */
enum err bind_decode(struct bind_call *bc)
{
    struct expr *e = bc->e;
    if (e->nargs == 2) {
        e->nullable = true;
        enum err err = bind_args(bc, "X,S");
        e->type = type_simple(TYPE_STRING);
        return err;
    }
    int n = 0;
    struct expr **args = ARENA_ARRAY(bc->b->arena, (size_t)e->nargs + 1, struct expr *), *out;
    for (int k = 1; k + 1 < e->nargs; k += 2) {
        struct expr *both[2] = {e->args[0], e->args[k]};
        enum err err = bind_call_name(bc->b, "<=>", both, 2, &args[n], bc->f);
        if (err)
            return err;
        args[n + 1] = e->args[k + 1];
        n += 2;
    }
    if (e->nargs % 2 == 0)
        args[n++] = e->args[e->nargs - 1];
    enum err err = expr_case(bc->b, args, n, &out, bc->f);
    if (err)
        return err;
    out->sql = bind_sql(bc);
    bc->e = out;
    return ERR_OK;
}

enum err fn_url_encode(struct call *c)
{
    STRING_ROWS(c, {
        struct str s = CALL_STR(c, 0, i);
        for (size_t k = 0; k < s.n; k++) {
            unsigned char ch = (unsigned char)s.p[k];
            bool plain =
                (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z') || (ch && strchr("-_.*", ch));
            if (plain)
                buf_u8(&b, ch);
            else if (ch == ' ')
                buf_u8(&b, '+');
            else
                buf_fmt(&b, "%%%02X", ch);
        }
    });
    return ERR_OK;
}

static int hex_value(char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
}

enum err fn_url_decode(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (!call_live(c, i))
            continue;
        struct str s = CALL_STR(c, 0, i);
        char *p = arena_alloc(c->ev->arena, s.n);
        size_t n = 0;
        bool ok = true;
        for (size_t k = 0; k < s.n && ok; k++) {
            if (s.p[k] == '%') {
                ok = k + 2 < s.n && hex_value(s.p[k + 1]) >= 0 && hex_value(s.p[k + 2]) >= 0;
                p[n++] = ok ? (char)(hex_value(s.p[k + 1]) << 4 | hex_value(s.p[k + 2])) : 0;
                k += 2;
            } else {
                p[n++] = s.p[k] == '+' ? ' ' : s.p[k];
            }
        }
        c->out->data.str[i] = str_make(p, n);
        if (!ok)
            CALL_FAIL(c, i, ERR_INVALID, {"what", "url_decode"}, {"detail", "the text is not URL-encoded"});
    }
    return ERR_OK;
}

enum err fn_is_valid_utf8(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (call_live(c, i))
            c->out->data.boolean[i] = utf8_is_valid(CALL_STR(c, 0, i));
    return ERR_OK;
}

enum err fn_luhn_check(struct call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct str s = call_live(c, i) ? CALL_STR(c, 0, i) : STR("");
        int sum = 0;
        bool ok = s.n > 0, twice = false;
        for (size_t k = s.n; k-- > 0 && ok; twice = !twice) {
            int d = s.p[k] - '0';
            ok = d >= 0 && d <= 9;
            d = twice ? d * 2 : d;
            sum += d > 9 ? d - 9 : d;
        }
        c->out->data.boolean[i] = ok && sum % 10 == 0;
    }
    return ERR_OK;
}
