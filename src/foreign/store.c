/* Key stores of Java's clients (JKS, PKCS12, PEM) as PEM texts, which is what librdkafka takes. */
#include "foreign/foreign_int.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

struct building {
    const char *property;
    struct arena *arena;
    struct key_store *out;
    BIO *trusted, *key, *chain;
};

static enum err no_good(struct fault *f, const char *property, struct str path, const char *detail)
{
    char text[300];
    unsigned long code = ERR_get_error();
    snprintf(text, sizeof text, "%s%s%s", detail, code ? ": " : "", code ? ERR_reason_error_string(code) : "");
    ERR_clear_error();
    return java_invalid(f, property, path, text);
}

static struct str text_of(BIO *b, struct arena *a)
{
    char *p;
    long n = BIO_get_mem_data(b, &p);
    return n > 0 ? arena_str(a, str_make(p, (size_t)n)) : (struct str){0};
}

static void begin(struct building *b, const char *property, struct arena *a, struct key_store *out)
{
    *b = (struct building){property, a, out, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())};
    *out = (struct key_store){0};
}

static void end(struct building *b)
{
    b->out->trusted = text_of(b->trusted, b->arena);
    b->out->key = text_of(b->key, b->arena);
    b->out->certificates = text_of(b->chain, b->arena);
    BIO_free(b->trusted);
    BIO_free(b->key);
    BIO_free(b->chain);
}

static bool put_key(struct building *b, EVP_PKEY *key)
{
    return PEM_write_bio_PKCS8PrivateKey(b->key, key, NULL, NULL, 0, NULL, NULL) == 1;
}

/* -- JKS -------------------------------------------------------------------------------------------------------------------- */

static enum err add_entry(void *arg, const struct jks_entry *e, struct fault *f)
{
    struct building *b = arg;
    const unsigned char *p = (const unsigned char *)e->key.p;
    if (e->key.n && BIO_pending(b->key))
        return ERR_OK; /* the first key is the one, as in Java's default key manager */
    if (e->key.n) {
        EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)e->key.n);
        bool ok = key && put_key(b, key);
        EVP_PKEY_free(key);
        if (!ok)
            return no_good(f, b->property, STR("(a JKS store)"), "a private key does not parse");
    }
    for (int i = 0; i < e->n; i++) {
        p = (const unsigned char *)e->certificates[i].p;
        X509 *x = d2i_X509(NULL, &p, (long)e->certificates[i].n);
        bool ok = x && PEM_write_bio_X509(e->key.n ? b->chain : b->trusted, x) == 1;
        X509_free(x);
        if (!ok)
            return no_good(f, b->property, STR("(a JKS store)"), "a certificate does not parse");
    }
    return ERR_OK;
}

/* -- PKCS12 ------------------------------------------------------------------------------------------------------------------- */

static enum err pkcs12(struct building *b, struct str path, struct str bytes, struct str password, struct fault *f)
{
    const unsigned char *p = (const unsigned char *)bytes.p;
    char secret[256];
    EVP_PKEY *key = NULL;
    X509 *leaf = NULL;
    STACK_OF(X509) *rest = NULL;
    PKCS12 *store = d2i_PKCS12(NULL, &p, (long)bytes.n);
    if (!store)
        return no_good(f, b->property, path, "it is neither JKS nor PKCS12");
    snprintf(secret, sizeof secret, "%.*s", STR_ARG(password));
    bool ok = PKCS12_parse(store, secret, &key, &leaf, &rest) == 1;
    PKCS12_free(store);
    if (!ok)
        return no_good(
            f, b->property, path,
            "it cannot be opened (keystore password was incorrect, or it is encrypted in a way that OpenSSL 3 calls "
            "legacy: keytool -importkeystore -deststoretype PKCS12 writes it anew)");
    if (key)
        ok = put_key(b, key) && (!leaf || PEM_write_bio_X509(b->chain, leaf) == 1);
    for (int i = 0; ok && i < sk_X509_num(rest); i++)
        ok = PEM_write_bio_X509(key ? b->chain : b->trusted, sk_X509_value(rest, i)) == 1;
    EVP_PKEY_free(key);
    X509_free(leaf);
    sk_X509_pop_free(rest, X509_free);
    return ok ? ERR_OK : no_good(f, b->property, path, "it cannot be turned into PEM");
}

/* -- PEM ------------------------------------------------------------------------------------------------------------------------ */

static int secret_of(char *out, int cap, int writing, void *arg)
{
    const struct str *s = arg;
    (void)writing;
    if (!s->n || s->n >= (size_t)cap)
        return 0;
    memcpy(out, s->p, s->n);
    return (int)s->n;
}

static enum err pem(struct building *b, struct str what, struct str text, struct str key_password, struct fault *f)
{
    BIO *in = BIO_new_mem_buf(text.p, (int)text.n);
    X509 *x;
    int n = 0;
    bool ok = true;
    while (ok && (x = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
        ok = PEM_write_bio_X509(b->trusted, x) == 1;
        X509_free(x);
        n++;
    }
    ERR_clear_error(); /* the end is an error to OpenSSL */
    BIO_free(in);
    if (str_find(text, STR("PRIVATE KEY-----"), 0) >= 0) {
        in = BIO_new_mem_buf(text.p, (int)text.n);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, secret_of, &key_password);
        BIO_free(in);
        if (!key)
            return no_good(f, b->property, what, "the private key cannot be read");
        ok = put_key(b, key);
        EVP_PKEY_free(key);
        n++;
    }
    return ok && n ? ERR_OK : no_good(f, b->property, what, "no PEM certificate or key in it");
}

enum err key_store_pem(const char *property, struct str text, struct str key_password, struct arena *a,
                       struct key_store *out, struct fault *f)
{
    struct building b;
    begin(&b, property, a, out);
    enum err e = text.n > LIMIT_KEY_STORE_BYTES ? LIMIT_FAULT(f, KEY_STORE_BYTES)
                                                : pem(&b, STR("(PEM text)"), text, key_password, f);
    end(&b);
    return e;
}

/* -- files ------------------------------------------------------------------------------------------------------------------------- */

enum err key_store_read(const char *property, struct str path, struct str type, struct str password,
                        struct str key_password, struct arena *a, struct key_store *out, struct fault *f)
{
    struct building b;
    struct fault why;
    char *p;
    size_t n;
    if (str_eq_nocase(type, STR("BCFKS")) || str_eq_nocase(type, STR("JCEKS")))
        return java_invalid(f, property, type,
                            "stores are JKS, PKCS12 or PEM; keytool -importkeystore -deststoretype PKCS12 converts");
    enum err e = os_read_file(arena_z(a, path), LIMIT_KEY_STORE_BYTES, &p, &n, &why);
    if (e == ERR_LIMIT)
        return LIMIT_FAULT(f, KEY_STORE_BYTES);
    if (e)
        return java_invalid(f, property, path, fault_message(&why));
    struct str bytes = str_make(p, n);
    begin(&b, property, a, out);
    if (str_eq_nocase(type, STR("PEM"))) {
        e = pem(&b, path, bytes, key_password.n ? key_password : password, f);
    } else if (n > 4 && !memcmp(p, "\xfe\xed\xfe\xed", 4)) {
        e = jks_parse(property, bytes, password, key_password, a, add_entry, &b, f);
    } else if (str_starts(bytes, STR("-----BEGIN"))) {
        e = java_invalid(f, property, path, "it is PEM: say so in the option …store.type");
    } else {
        e = pkcs12(&b, path, bytes, password, f);
    }
    free(p);
    end(&b);
    if (!e && str_eq_nocase(type, STR("PEM")) && out->key.n) { /* a PEM key store: key, then its chain */
        out->certificates = out->trusted;
    }
    return e;
}
