/* sasl.* and ssl.* of Java's clients, as librdkafka wants to hear them: names and passwords, PEM texts. */
#include "foreign/foreign_int.h"

#include <openssl/ssl.h>
#include <stdio.h>

static enum err message(struct fault *f, const char *fmt, struct str what)
{
    char text[600];
    snprintf(text, sizeof text, fmt, what.n < 300 ? (int)what.n : 300, what.p);
    return FAULT(f, ERR_SOURCE_OPTION, {"message", text});
}

static enum err refuse(struct fault *f, const char *fmt, struct str what, const char *hint)
{
    char feature[500];
    snprintf(feature, sizeof feature, fmt, what.n < 300 ? (int)what.n : 300, what.p);
    return FAULT(f, ERR_UNSUPPORTED, {"feature", feature}, {"hint", hint});
}

static struct str option(const struct java_options *o, const char *name)
{
    return str_trim(java_option(o, name));
}

/* -- SASL ------------------------------------------------------------------------------------------------------------------ */

static const char HINT_KERBEROS[] =
    "Mechanisms are PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER with unsecured tokens.";

static enum err no_module(const struct jaas *j, struct str mechanism, struct fault *f)
{
    char text[600];
    snprintf(text, sizeof text,
             "The login module %.*s of kafka.sasl.jaas.config does not fit kafka.sasl.mechanism %.*s",
             j->module.n < 300 ? (int)j->module.n : 300, j->module.p, mechanism.n < 100 ? (int)mechanism.n : 100,
             mechanism.p);
    return FAULT(f, ERR_SOURCE_OPTION, {"message", text});
}

static enum err password(const struct jaas *j, struct str mechanism, struct foreign_config *c, struct arena *a,
                         struct fault *f)
{
    struct str name = jaas_option(j, "username"), secret = jaas_option(j, "password");
    if (!str_ends(j->module, str_starts(mechanism, STR("SCRAM")) ? STR(".ScramLoginModule") : STR(".PlainLoginModule")))
        return no_module(j, mechanism, f);
    if (!name.p)
        return message(f, "The login module %.*s of kafka.sasl.jaas.config has no username", j->module);
    if (!secret.p)
        return message(f, "The login module %.*s of kafka.sasl.jaas.config has no password", j->module);
    if (str_eqz(jaas_option(j, "tokenauth"), "true"))
        return refuse(f, "delegation tokens (tokenauth in kafka.sasl.jaas.config)%.*s", STR(""), HINT_KERBEROS);
    foreign_property_set(c, a, "sasl.username", name);
    foreign_property_set(c, a, "sasl.password", secret);
    return ERR_OK;
}

/* OAuthBearerUnsecuredLoginCallbackHandler's options, which librdkafka's own unsecured tokens know under other names. */
static enum err token(const struct jaas *j, const struct java_options *o, struct foreign_config *c, struct arena *a,
                      struct fault *f)
{
    static const struct {
        const char *java, *ours;
    } names[] = {{"unsecuredLoginStringClaim_sub", "principal"},
                 {"unsecuredLoginListClaim_scope", "scope"},
                 {"unsecuredLoginStringClaim_scope", "scope"},
                 {"unsecuredLoginLifetimeSeconds", "life"}};
    if (!str_ends(j->module, STR(".OAuthBearerLoginModule")))
        return no_module(j, STR("OAUTHBEARER"), f);
    struct str url = option(o, "sasl.oauthbearer.token.endpoint.url");
    if (url.n || jaas_option(j, "clientId").p)
        return refuse(f, "OAuth tokens from a server (%.*s)", url.n ? url : STR("clientId"), HINT_KERBEROS);
    struct buf b = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct str v = jaas_option(j, names[i].java);
        if (v.p && memchr(v.p, ' ', v.n)) {
            buf_free(&b);
            return refuse(f, "a space in a claim (%.*s)", v, "Give a claim without spaces.");
        }
        size_t from = b.n;
        bool is_list = v.n > 1 && strstr(names[i].java, "List"); /* "|a|b": the first character separates */
        if (v.p)
            buf_fmt(&b, "%s%s=%.*s", b.n ? " " : "", names[i].ours, STR_ARG(str_sub(v, is_list, v.n)));
        for (size_t k = from; is_list && k < b.n; k++)
            b.p[k] = b.p[k] == v.p[0] ? ',' : b.p[k];
    }
    enum err e =
        jaas_option(j, "unsecuredLoginStringClaim_sub").n
            ? ERR_OK
            : message(f, "Extracting a token needs unsecuredLoginStringClaim_sub in kafka.sasl.jaas.config%.*s",
                      STR(""));
    foreign_property_set(c, a, "enable.sasl.oauthbearer.unsecure.jwt", STR("true"));
    foreign_property_set(c, a, "sasl.oauthbearer.config", buf_view(&b));
    buf_free(&b);
    return e;
}

/* Classes that a script may name: those that Kafka uses anyway change nothing. */
static enum err classes(const struct java_options *o, struct fault *f)
{
    static const char *const names[] = {"sasl.client.callback.handler.class", "sasl.login.callback.handler.class",
                                        "sasl.login.class", "ssl.engine.factory.class", "security.providers"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct str v = option(o, names[i]);
        if (v.n && !str_ends(v, STR(".OAuthBearerUnsecuredLoginCallbackHandler")) &&
            !str_ends(v, STR(".DefaultSslEngineFactory")))
            return refuse(f, "the Java class %.*s", v,
                          "Leave the option out: what comes with Kafka's client is built in.");
    }
    return ERR_OK;
}

static enum err sasl(const struct java_options *o, struct foreign_config *c, struct arena *a, struct fault *f)
{
    struct str mechanism = option(o, "sasl.mechanism"), text = java_option(o, "sasl.jaas.config");
    struct jaas j;
    if (!mechanism.n || str_eqz(mechanism, "GSSAPI"))
        return refuse(f, "Kerberos (kafka.sasl.mechanism=GSSAPI%.*s)", mechanism.n ? STR("") : STR(", Kafka's default"),
                      HINT_KERBEROS);
    if (!str_eqz(mechanism, "PLAIN") && !str_eqz(mechanism, "SCRAM-SHA-256") && !str_eqz(mechanism, "SCRAM-SHA-512") &&
        !str_eqz(mechanism, "OAUTHBEARER"))
        return refuse(f, "kafka.sasl.mechanism=%.*s", mechanism, HINT_KERBEROS);
    if (!text.p)
        return message(f,
                       "Could not find a 'KafkaClient' entry in the JAAS configuration. System property "
                       "'java.security.auth.login.config' is not set%.*s",
                       STR(""));
    enum err e = jaas_parse(text, a, &j, f);
    if (!e && str_ends(j.module, STR(".Krb5LoginModule")))
        e = refuse(f, "Kerberos (%.*s)", j.module, HINT_KERBEROS);
    if (e)
        return e;
    foreign_property_set(c, a, "sasl.mechanisms", mechanism);
    return str_eqz(mechanism, "OAUTHBEARER") ? token(&j, o, c, a, f) : password(&j, mechanism, c, a, f);
}

/* -- SSL --------------------------------------------------------------------------------------------------------------------- */

/* "TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" in OpenSSL's names. TLS 1.3's are all on. */
static enum err cipher_suites(struct str list, struct foreign_config *c, struct arena *a, struct fault *f)
{
    struct buf b = {0};
    char name[128];
    enum err e = ERR_OK;
    while (!e && list.n) {
        ptrdiff_t comma = str_find(list, STR(","), 0);
        size_t n = comma < 0 ? list.n : (size_t)comma;
        struct str one = str_trim(str_make(list.p, n));
        snprintf(name, sizeof name, "%.*s", STR_ARG(one));
        const char *ours = OPENSSL_cipher_name(name);
        list = str_sub(list, n + 1, list.n);
        if (!one.n || str_starts(one, STR("TLS_AES_")) || str_starts(one, STR("TLS_CHACHA20_")))
            continue;
        if (strcmp(ours, "(NONE)"))
            buf_fmt(&b, "%s%s", b.n ? ":" : "", ours);
        else
            e = java_invalid(f, "ssl.cipher.suites", one, "Unsupported CipherSuite");
    }
    if (!e && b.n)
        foreign_property_set(c, a, "ssl.cipher.suites", buf_view(&b));
    buf_free(&b);
    return e;
}

static enum err protocols(const struct java_options *o, struct fault *f)
{
    struct str v = option(o, "ssl.enabled.protocols");
    if (v.n && str_find(v, STR("TLSv1.2"), 0) < 0 && str_find(v, STR("TLSv1.3"), 0) < 0)
        return refuse(f, "kafka.ssl.enabled.protocols=%.*s", v, "TLSv1.2 and TLSv1.3 are spoken.");
    return ERR_OK;
}

static enum err truststore(const struct java_options *o, struct key_store *out, struct arena *a, struct fault *f)
{
    struct str certificates = java_option(o, "ssl.truststore.certificates"),
               path = option(o, "ssl.truststore.location");
    if (certificates.n)
        return key_store_pem("ssl.truststore.certificates", certificates, (struct str){0}, a, out, f);
    return path.n ? key_store_read("ssl.truststore.location", path, option(o, "ssl.truststore.type"),
                                   java_option(o, "ssl.truststore.password"), (struct str){0}, a, out, f)
                  : ERR_OK;
}

static enum err keystore(const struct java_options *o, struct key_store *out, struct arena *a, struct fault *f)
{
    struct str key = java_option(o, "ssl.keystore.key"), path = option(o, "ssl.keystore.location"),
               chain = java_option(o, "ssl.keystore.certificate.chain"), secret = java_option(o, "ssl.key.password");
    if (key.n || chain.n) {
        if (!key.n || !chain.n)
            return message(f, "SSL key and certificate chain must both be given%.*s", STR(""));
        struct key_store of_chain = {0};
        enum err e = key_store_pem("ssl.keystore.key", key, secret, a, out, f);
        if (!e)
            e = key_store_pem("ssl.keystore.certificate.chain", chain, secret, a, &of_chain, f);
        out->certificates = of_chain.trusted;
        return e;
    }
    if (!path.n)
        return ERR_OK;
    enum err e = key_store_read("ssl.keystore.location", path, option(o, "ssl.keystore.type"),
                                java_option(o, "ssl.keystore.password"), secret, a, out, f);
    if (!e && !out->key.n)
        e = java_invalid(f, "ssl.keystore.location", path, "it holds no private key");
    return e;
}

/*
 * librdkafka sends the first certificate of a PEM text alone. OpenSSL finds those between it and the root among the trusted ones: there
 * they make nothing trusted that was not, since a chain must end in a root.
 */
static struct str with_chain(struct str trusted, struct str chain, struct arena *a)
{
    ptrdiff_t second = str_find(chain, STR("-----BEGIN CERTIFICATE-----"), 1);
    return !trusted.n || second < 0
               ? trusted
               : arena_fmt(a, "%.*s%.*s", STR_ARG(trusted), STR_ARG(str_sub(chain, (size_t)second, chain.n)));
}

static enum err ssl(const struct java_options *o, struct foreign_config *c, struct arena *a, struct fault *f)
{
    struct key_store trust = {0}, keys = {0};
    enum err e = protocols(o, f);
    if (!e)
        e = cipher_suites(option(o, "ssl.cipher.suites"), c, a, f);
    if (!e)
        e = truststore(o, &trust, a, f);
    if (!e)
        e = keystore(o, &keys, a, f);
    if (e)
        return e;
    struct str identification = java_option(o, "ssl.endpoint.identification.algorithm");
    bool is_off = identification.p && !str_trim(identification).n;
    if (identification.p && !is_off && !str_eq_nocase(str_trim(identification), STR("https")))
        return java_invalid(f, "ssl.endpoint.identification.algorithm", identification,
                            "Unknown identification algorithm");
    foreign_property_set(c, a, "ssl.endpoint.identification.algorithm", is_off ? STR("none") : STR("https"));
    if (trust.trusted.n)
        foreign_property_set(c, a, "ssl.ca.pem", with_chain(trust.trusted, keys.certificates, a));
    if (!keys.key.n)
        return ERR_OK;
    foreign_property_set(c, a, "ssl.key.pem", keys.key);
    foreign_property_set(c, a, "ssl.certificate.pem", keys.certificates);
    return ERR_OK;
}

enum err foreign_security(const struct java_options *o, struct foreign_config *c, struct arena *a, struct fault *f)
{
    struct str protocol = option(o, "security.protocol");
    char low[24];
    enum err e = classes(o, f);
    if (e || !protocol.n)
        return e;
    snprintf(low, sizeof low, "%.*s", STR_ARG(protocol));
    for (char *p = low; *p; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    foreign_property_set(c, a, "security.protocol", str_of(low));
    if (str_starts(protocol, STR("SASL")))
        e = sasl(o, c, a, f);
    return e || !str_ends(protocol, STR("SSL")) ? e : ssl(o, c, a, f);
}
