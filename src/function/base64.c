/* Base64 (RFC 4648, section 4) as Java's Base64 encoder and MIME decoder have it: padded, foreign characters passed over. */
#include "function/function_int.h"

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i += 3) {
        size_t n = s.n - i < 3 ? s.n - i : 3;
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? (uint8_t)s.p[i + k] : 0);
        char four[4] = {DIGITS[v >> 18], DIGITS[v >> 12 & 63], n > 1 ? DIGITS[v >> 6 & 63] : '=',
                        n > 2 ? DIGITS[v & 63] : '='};
        buf_put(out, four, 4);
    }
}

bool text_from_base64(struct str s, struct arena *a, struct str *out)
{
    char *p = arena_alloc(a, s.n / 4 * 3 + 4);
    size_t n = 0;
    uint32_t v = 0;
    int digits = 0, padding = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *hit = s.p[i] ? strchr(DIGITS, s.p[i]) : NULL;
        padding += s.p[i] == '=';
        if (!hit)
            continue;
        if (padding)
            return false; /* digits behind the padding */
        v = v << 6 | (uint32_t)(hit - DIGITS);
        if (++digits % 4 == 0) {
            p[n++] = (char)(v >> 16);
            p[n++] = (char)(v >> 8);
            p[n++] = (char)v;
        }
    }
    int rest = digits % 4;
    if (rest == 1 || (padding && (rest + padding) % 4 != 0))
        return false;
    if (rest >= 2)
        p[n++] = (char)(rest == 2 ? v >> 4 : v >> 10);
    if (rest == 3)
        p[n++] = (char)(v >> 2);
    *out = str_make(p, n);
    return true;
}
