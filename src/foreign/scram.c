/*
 * librdkafka before 2.8 (Debian 12 has 2.0.2) repeats its own nonce in SCRAM's last message: r=CCS where RFC 5802 has r=CS, the
 * nonce that the server sent. Kafka before 3.7.2 did not look; since then (CVE-2024-56128) it refuses such a client.
 * The message leaves librdkafka's file through two calls, which the linker (--wrap, Makefile) brings here: HMAC over all
 * messages, which makes the proof, and the sending. Both texts are put right; a librdkafka that is right already is left alone.
 */
#include "foreign/scram.h"

#include <openssl/hmac.h>
#include <stdbool.h>
#include <string.h>

enum { NONCE = 32, MESSAGE_MAX = 4096 }; /* rd_kafka_sasl_scram_generate_nonce's length */
static const char LAST[] = "c=biws,r=";  /* how client-final-message begins */

size_t scram_put_right(const char *in, size_t n, char *out, size_t cap)
{
    const char *at = NULL;
    if (n > cap)
        return 0;
    for (const char *p = in; (p = memmem(p, (size_t)(in + n - p), LAST, sizeof LAST - 1)); p++)
        at = p;
    if (!at || (at > in && at[-1] != ','))
        return 0;
    const char *nonce = at + sizeof LAST - 1;
    if (in + n - nonce < 2 * NONCE || memcmp(nonce, nonce + NONCE, NONCE))
        return 0;
    size_t before = (size_t)(nonce - in);
    memcpy(out, in, before);
    memcpy(out + before, nonce + NONCE, n - before - NONCE);
    return n - NONCE;
}

unsigned char *__real_HMAC(const EVP_MD *md, const void *key, int key_n, const unsigned char *data, size_t n,
                           unsigned char *out, unsigned *out_n);
unsigned char *__wrap_HMAC(const EVP_MD *md, const void *key, int key_n, const unsigned char *data, size_t n,
                           unsigned char *out, unsigned *out_n);
unsigned char *__wrap_HMAC(const EVP_MD *md, const void *key, int key_n, const unsigned char *data, size_t n,
                           unsigned char *out, unsigned *out_n)
{
    char right[MESSAGE_MAX];
    size_t m = scram_put_right((const char *)data, n, right, sizeof right);
    return m ? __real_HMAC(md, key, key_n, (const unsigned char *)right, m, out, out_n)
             : __real_HMAC(md, key, key_n, data, n, out, out_n);
}

int __real_rd_kafka_sasl_send(void *transport, const void *payload, int n, char *why, size_t why_n);
int __wrap_rd_kafka_sasl_send(void *transport, const void *payload, int n, char *why, size_t why_n);
int __wrap_rd_kafka_sasl_send(void *transport, const void *payload, int n, char *why, size_t why_n)
{
    char right[MESSAGE_MAX];
    size_t m = n > 0 ? scram_put_right(payload, (size_t)n, right, sizeof right) : 0;
    return m ? __real_rd_kafka_sasl_send(transport, right, (int)m, why, why_n)
             : __real_rd_kafka_sasl_send(transport, payload, n, why, why_n);
}
