/*
 * JKS, Java's own key store format (sun.security.provider.JavaKeyStore):
 *
 *   u32 0xfeedfeed, u32 version 1|2, u32 entries, entry…, SHA-1(password as UTF-16, "Mighty Aphrodite", all before)
 *   entry: u32 1 key | 2 trusted certificate, utf alias, u64 date,
 *          key: bytes (EncryptedPrivateKeyInfo), u32 n, certificate…        certificate: [utf type, version 2] bytes
 *
 * A key is encrypted by "JKS's key protector": 20 bytes of salt, the key XORed with SHA-1(password, the 20 bytes before) chained, then
 * SHA-1(password, key). Since Java 9 keytool writes PKCS12, also under the name .jks; old stores are still about.
 */
#include "base/buf.h"
#include "base/rd.h"
#include "foreign/foreign_int.h"

#include <openssl/sha.h>
#include <stdio.h>

enum { MAGIC = 0xfeedfeed, ENTRIES_MAX = 1000, DIGEST = SHA_DIGEST_LENGTH };

static enum err bad(const char *property, const char *detail, struct fault *f)
{
    return java_invalid(f, property, STR("(a JKS store)"), detail);
}

/* Java's chars: the UTF-8 password as big-endian UTF-16. */
static void utf16(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        uint32_t v = n == 1 ? c : c & (0xffu >> (n + 1));
        for (size_t k = 1; k < n && i + k < s.n; k++)
            v = v << 6 | ((unsigned char)s.p[i + k] & 0x3f);
        i += n;
        if (v >= 0x10000) {
            buf_u16be(out, (uint16_t)(0xd800 + ((v - 0x10000) >> 10)));
            v = 0xdc00 + ((v - 0x10000) & 0x3ff);
        }
        buf_u16be(out, (uint16_t)v);
    }
}

static void digest(struct str a, struct str b, struct str c, unsigned char out[DIGEST])
{
    struct buf all = {0};
    buf_str(&all, a);
    buf_str(&all, b);
    buf_str(&all, c);
    SHA1((const unsigned char *)all.p, all.n, out);
    buf_free(&all);
}

/* The content of a DER element with this tag; moves *in behind it. */
static struct str der(struct rd *in, uint8_t tag)
{
    uint8_t is = rd_u8(in);
    size_t n = rd_u8(in);
    if (n & 0x80) {
        size_t bytes = n & 0x7f;
        for (n = 0; bytes && !in->bad; bytes--)
            n = n << 8 | rd_u8(in);
    }
    if (is != tag || n > in->n)
        in->bad = true;
    return rd_bytes(in, in->bad ? 0 : n);
}

static enum err unlock(const char *property, struct str info, struct str chars, struct arena *a, struct str *key,
                       struct fault *f)
{
    struct rd all = rd_of(info), inside = rd_of(der(&all, 0x30));
    der(&inside, 0x30); /* the algorithm: there is one */
    struct str cipher = der(&inside, 0x04);
    if (all.bad || inside.bad || cipher.n < 2 * DIGEST)
        return bad(property, "a private key does not parse", f);
    size_t n = cipher.n - 2 * DIGEST;
    char *out = arena_alloc(a, n + 1);
    unsigned char pad[DIGEST];
    struct str before = str_make(cipher.p, DIGEST);
    for (size_t i = 0; i < n; i++) {
        if (i % DIGEST == 0) {
            digest(chars, before, STR(""), pad);
            before = str_make(pad, DIGEST);
        }
        out[i] = (char)(cipher.p[DIGEST + i] ^ (char)pad[i % DIGEST]);
    }
    *key = str_make(out, n);
    digest(chars, *key, STR(""), pad);
    return memcmp(pad, cipher.p + DIGEST + n, DIGEST) ? bad(property, "the password does not open the private key", f)
                                                      : ERR_OK;
}

static struct str utf(struct rd *r)
{
    return rd_bytes(r, rd_u16be(r));
}

static struct str certificate(struct rd *r, uint32_t version)
{
    if (version == 2)
        utf(r);
    return rd_bytes(r, rd_u32be(r));
}

static enum err read_entry(const char *property, struct rd *r, uint32_t version, struct str key_chars, struct arena *a,
                           struct jks_entry *e, struct fault *f)
{
    uint32_t tag = rd_u32be(r), n = 1;
    *e = (struct jks_entry){0};
    utf(r);
    rd_bytes(r, 8);
    if (tag != 1 && tag != 2)
        return bad(property, "an entry is of an unknown kind", f);
    if (tag == 1) {
        struct str info = rd_bytes(r, rd_u32be(r));
        n = rd_u32be(r);
        if (r->bad || n > sizeof e->certificates / sizeof *e->certificates)
            return bad(property, "an entry does not parse", f);
        enum err err = unlock(property, info, key_chars, a, &e->key, f);
        if (err)
            return err;
    }
    for (uint32_t i = 0; i < n; i++)
        e->certificates[e->n++] = certificate(r, version);
    return r->bad ? bad(property, "an entry does not parse", f) : ERR_OK;
}

enum err jks_parse(const char *property, struct str bytes, struct str password, struct str key_password,
                   struct arena *a, enum err (*add)(void *arg, const struct jks_entry *e, struct fault *f), void *arg,
                   struct fault *f)
{
    struct buf chars = {0}, key_chars = {0};
    unsigned char sum[DIGEST];
    struct rd r = rd_of(str_sub(bytes, 0, bytes.n < DIGEST ? 0 : bytes.n - DIGEST));
    uint32_t magic = rd_u32be(&r), version = rd_u32be(&r), n = rd_u32be(&r);
    utf16(&chars, password);
    utf16(&key_chars, key_password.n ? key_password : password);
    digest(buf_view(&chars), STR("Mighty Aphrodite"), str_sub(bytes, 0, bytes.n < DIGEST ? 0 : bytes.n - DIGEST), sum);
    enum err e = ERR_OK;
    if (r.bad || magic != MAGIC || (version != 1 && version != 2) || n > ENTRIES_MAX)
        e = bad(property, "it does not parse", f);
    else if (password.n && memcmp(sum, bytes.p + bytes.n - DIGEST, DIGEST)) /* without a password Java does not look */
        e = bad(property, "Keystore was tampered with, or password was incorrect", f);
    for (uint32_t i = 0; !e && i < n; i++) {
        struct jks_entry entry;
        e = read_entry(property, &r, version, buf_view(&key_chars), a, &entry, f);
        if (!e)
            e = add(arg, &entry, f);
    }
    buf_free(&chars);
    buf_free(&key_chars);
    return e;
}
