/* Key stores that Java's keytool wrote, read without Java; and damaged ones, refused. */
#include "base/test.h"
#include "foreign/foreign_int.h"
#include "foreign/store_golden.h"

#include <openssl/pem.h>
#include <unistd.h>

static struct arena *A;
static struct fault F;

static enum err read_bytes(const void *p, size_t n, const char *type, const char *password, const char *key_password,
                           struct key_store *out)
{
    char path[] = "/tmp/penstock-store-XXXXXX";
    int fd = mkstemp(path);
    EXPECT(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    close(fd);
    enum err e = key_store_read("ssl.keystore.location", str_of(path), str_of(type), str_of(password),
                                str_of(key_password), A, out, &F);
    unlink(path);
    return e;
}

static int certificates(struct str pem, char name[256])
{
    BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *x;
    int n = 0;
    while ((x = PEM_read_bio_X509(b, NULL, NULL, NULL))) {
        X509_NAME_oneline(X509_get_subject_name(x), name, 256);
        X509_free(x);
        n++;
    }
    BIO_free(b);
    return n;
}

/* Does the private key belong to the first certificate of the chain? */
static bool fits(const struct key_store *k)
{
    BIO *b = BIO_new_mem_buf(k->key.p, (int)k->key.n), *c = BIO_new_mem_buf(k->certificates.p, (int)k->certificates.n);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, NULL, NULL);
    X509 *x = PEM_read_bio_X509(c, NULL, NULL, NULL);
    bool ok = key && x && X509_check_private_key(x, key) == 1;
    EVP_PKEY_free(key);
    X509_free(x);
    BIO_free(b);
    BIO_free(c);
    return ok;
}

TEST(keytools_stores)
{
    A = arena_new(0);
    struct key_store k;
    char name[256] = "";
    EXPECT(!read_bytes(JKS, sizeof JKS, "JKS", "store word", "key word", &k));
    EXPECT_INT(certificates(k.trusted, name), 1);
    EXPECT(!strcmp(name, "/CN=authority"));
    EXPECT_INT(certificates(k.certificates, name), 1);
    EXPECT(!strcmp(name, "/CN=client"));
    EXPECT(fits(&k));
    EXPECT(!read_bytes(P12, sizeof P12, "PKCS12", "secret1", "", &k));
    EXPECT_INT(certificates(k.trusted, name), 1);
    EXPECT(!strcmp(name, "/CN=authority") && !k.key.n);
    /* what a store is, its bytes say: the type of a JKS store may be missing */
    EXPECT(!read_bytes(JKS, sizeof JKS, "", "store word", "key word", &k));
    arena_free(A);
}

TEST(what_does_not_open_is_refused)
{
    A = arena_new(0);
    struct key_store k;
    EXPECT(read_bytes(JKS, sizeof JKS, "JKS", "wrong", "key word", &k));
    EXPECT(strstr(fault_message(&F), "Keystore was tampered with, or password was incorrect"));
    EXPECT(read_bytes(JKS, sizeof JKS, "JKS", "store word", "wrong", &k));
    EXPECT(strstr(fault_message(&F), "the password does not open the private key"));
    EXPECT(read_bytes(P12, sizeof P12, "PKCS12", "wrong", "", &k));
    EXPECT(strstr(fault_message(&F), "keystore password was incorrect"));
    EXPECT(read_bytes("nonsense", 8, "JKS", "x", "", &k));
    EXPECT(read_bytes("", 0, "", "x", "", &k));
    EXPECT(read_bytes("-----BEGIN NOTHING-----", 23, "PEM", "", "", &k));
    EXPECT(read_bytes(JKS, sizeof JKS, "BCFKS", "x", "", &k) && strstr(fault_message(&F), "keytool"));
    arena_free(A);
}

/* One byte changed, one after the other, and every length cut: an error, and no memory read that is not there. */
TEST(damage_is_refused)
{
    unsigned char bytes[sizeof JKS];
    struct key_store k;
    for (size_t i = 0; i < sizeof JKS; i += 3) {
        A = arena_new(0);
        memcpy(bytes, JKS, sizeof JKS);
        bytes[i] ^= 0x41;
        EXPECT(read_bytes(bytes, sizeof bytes, "JKS", "store word", "key word", &k));
        EXPECT(read_bytes(JKS, i, "JKS", "store word", "key word", &k));
        (void)!read_bytes(bytes, sizeof bytes, "JKS", "", "key word", &k); /* without a password nothing is verified */
        arena_free(A);
    }
}

TEST_MAIN()
