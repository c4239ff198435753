/* Options in Java's names and words: types, ranges, what is refused; JAAS texts; what of it reaches librdkafka. */
#include "base/buf.h"
#include "base/test.h"
#include "foreign/foreign_int.h"

static struct arena *A;
static struct fault F;

static const struct foreign_config *config(enum foreign_role role, const char *const *kv)
{
    struct option o[20] = {{STR("kafka.bootstrap.servers"), STR("a:9092, b:9093")}};
    int n = 1;
    for (; *kv; kv += 2)
        o[n++] = (struct option){str_of(kv[0]), str_of(kv[1])};
    const struct foreign_config *c = NULL;
    F.err = ERR_OK;
    return foreign_config(o, n, role, A, &c, &F) ? NULL : c;
}
#define CONFIG(role, ...) config(role, (const char *const[]){__VA_ARGS__, NULL})
#define PROPERTY(c, name) str_of((c) ? foreign_property(c, name) : "(refused)")

static const char *error(enum foreign_role role, const char *key, const char *value)
{
    return CONFIG(role, key, value) ? "" : fault_message(&F);
}

TEST(java_names_become_librdkafkas)
{
    A = arena_new(0);
    os_log_level(OS_ERROR);
    const struct foreign_config *c =
        CONFIG(FOREIGN_SOURCE, "kafka.fetch.max.wait.ms", "200", "KAFKA.FETCH.MIN.BYTES", " 10 ",
               "kafka.reconnect.backoff.ms", "-5", "kafkaConsumer.pollTimeoutMs", "7", "kafka.check.crcs", "False");
    EXPECT_STR(PROPERTY(c, "bootstrap.servers"), "a:9092, b:9093");
    EXPECT_STR(PROPERTY(c, "fetch.wait.max.ms"), "200");
    EXPECT_STR(PROPERTY(c, "fetch.min.bytes"), "10");
    EXPECT_STR(PROPERTY(c, "reconnect.backoff.ms"), "0"); /* as far as librdkafka goes */
    EXPECT_STR(PROPERTY(c, "check.crcs"), "false");
    EXPECT_STR(PROPERTY(c, "isolation.level"), "read_uncommitted"); /* Java's default, not librdkafka's */
    EXPECT(c && c->poll_ms == 7 && !c->read_committed);
    c = CONFIG(FOREIGN_SOURCE, "kafka.isolation.level", "read_committed");
    EXPECT(c && c->read_committed);
    EXPECT_STR(PROPERTY(c, "check.crcs"), "true");
    c = CONFIG(FOREIGN_SINK, "kafka.compression.type", "zstd", "kafka.compression.zstd.level", "19");
    EXPECT_STR(PROPERTY(c, "compression.level"), "12");
    EXPECT_STR(PROPERTY(c, "partitioner"), "murmur2_random");
    EXPECT_STR(PROPERTY(c, "linger.ms"), "5");
    arena_free(A);
}

TEST(values_are_refused_in_javas_words)
{
    A = arena_new(0);
    static const struct {
        enum foreign_role role;
        const char *key, *value, *text;
    } rows[] = {
        {FOREIGN_SOURCE, "kafka.max.poll.records", "many",
         "org.apache.kafka.common.config.ConfigException: Invalid value many for configuration max.poll.records: Not a "
         "number of type INT"},
        {FOREIGN_SOURCE, "kafka.session.timeout.ms", "3000000000", "Not a number of type INT"},
        {FOREIGN_SOURCE, "kafka.metadata.max.age.ms", "1.5", "Not a number of type LONG"},
        {FOREIGN_SOURCE, "kafka.check.crcs", "yes", "Expected value to be either true or false"},
        {FOREIGN_SOURCE, "kafka.isolation.level", "none", "String must be one of: read_committed, read_uncommitted"},
        {FOREIGN_SOURCE, "kafka.security.protocol", "ssl",
         "String must be one of: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"},
        {FOREIGN_SOURCE, "kafkaConsumer.pollTimeoutMs", "x", "For input string: \"x\""},
        {FOREIGN_SINK, "kafka.acks", "2", "String must be one of: all, -1, 0, 1"},
        {FOREIGN_SINK, "kafka.partitioner.class", "a.B", "the Java class a.B (kafka.partitioner.class)"},
        {FOREIGN_SINK, "kafka.transactional.id", "x", "kafka.transactional.id"},
        {FOREIGN_SOURCE, "kafka.security.providers", "a.B", "the Java class a.B"},
        {FOREIGN_SOURCE, "kafka.security.protocol", "SASL_PLAINTEXT", "Kerberos"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *got = error(rows[i].role, rows[i].key, rows[i].value);
        if (!strstr(got, rows[i].text))
            TEST_FAIL_("%s=%s: \"%s\"", rows[i].key, rows[i].value, got);
    }
    EXPECT_STR(str_of(error(FOREIGN_SOURCE, "kafka.no.such", "1")), ""); /* a warning, as in Java */
    arena_free(A);
}

TEST(idempotence_gives_way_as_in_java)
{
    A = arena_new(0);
    EXPECT_STR(PROPERTY(CONFIG(FOREIGN_SINK, "kafka.batch.size", "1"), "enable.idempotence"), "true");
    EXPECT_STR(PROPERTY(CONFIG(FOREIGN_SINK, "kafka.acks", "1"), "enable.idempotence"), "false");
    EXPECT_STR(PROPERTY(CONFIG(FOREIGN_SINK, "kafka.acks", "1"), "acks"), "1");
    EXPECT_STR(PROPERTY(CONFIG(FOREIGN_SINK, "kafka.retries", "0"), "enable.idempotence"), "false");
    EXPECT(!CONFIG(FOREIGN_SINK, "kafka.acks", "1", "kafka.enable.idempotence", "true"));
    EXPECT(strstr(fault_message(&F), "Must set acks to all in order to use the idempotent producer."));
    arena_free(A);
}

/* -- JAAS ----------------------------------------------------------------------------------------------------------------------- */

#define PLAIN "org.apache.kafka.common.security.plain.PlainLoginModule"
#define SCRAM "org.apache.kafka.common.security.scram.ScramLoginModule"

TEST(jaas_texts)
{
    A = arena_new(0);
    struct jaas j;
    EXPECT(!jaas_parse(STR(SCRAM " required\n username=\"al\\\"ice\" // who\n password='a;b\\'\\\\\\x\\101' ;"), A, &j,
                       &F));
    EXPECT_STR(j.module, SCRAM);
    EXPECT_STR(jaas_option(&j, "username"), "al\"ice");
    EXPECT_STR(jaas_option(&j, "password"), "a;b'\\xA");
    EXPECT(!jaas_parse(STR(PLAIN "   REQUIRED username=bob-1 password=\"\" a.b=c;"), A, &j, &F));
    EXPECT_STR(jaas_option(&j, "username"), "bob-1");
    EXPECT(jaas_option(&j, "password").p && !jaas_option(&j, "password").n);
    EXPECT(!jaas_option(&j, "none").p);
    static const struct {
        const char *text, *error;
    } bad[] = {
        {"", "Login module not specified in JAAS config"},
        {"  /* nothing */ ", "Login module not specified in JAAS config"},
        {PLAIN, "Login module control flag is not available in the JAAS config"},
        {PLAIN " needed;", "Invalid login module control flag 'needed' in JAAS config"},
        {PLAIN " required username=\"x\"", "JAAS config entry not terminated by semi-colon"},
        {PLAIN " required username;", "Value not specified for key 'username' in JAAS config"},
        {PLAIN " required username=;", "Value not specified for key 'username' in JAAS config"},
        {PLAIN " required username=17;", "Value not specified for key 'username' in JAAS config"},
        {PLAIN " required; " PLAIN " required;", "JAAS config property contains 2 login modules, should be 1 module"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!jaas_parse(str_of(bad[i].text), A, &j, &F) || strcmp(fault_message(&F), bad[i].error))
            TEST_FAIL_("%s: %s", bad[i].text, fault_message(&F));
    arena_free(A);
}

TEST(jaas_limits)
{
    A = arena_new(0);
    struct jaas j;
    struct buf b = {0};
    buf_z(&b, PLAIN " required");
    for (int i = 0; i < LIMIT_JAAS_OPTIONS; i++)
        buf_fmt(&b, " o%d=v", i);
    size_t full = b.n;
    buf_z(&b, ";");
    EXPECT(!jaas_parse(buf_view(&b), A, &j, &F));
    b.n = full;
    buf_z(&b, " more=v;");
    EXPECT_INT(jaas_parse(buf_view(&b), A, &j, &F), ERR_LIMIT);
    buf_clear(&b);
    buf_z(&b, PLAIN " required;");
    buf_fill(&b, ' ', LIMIT_JAAS_BYTES - b.n);
    EXPECT(!jaas_parse(buf_view(&b), A, &j, &F));
    buf_z(&b, " ");
    EXPECT_INT(jaas_parse(buf_view(&b), A, &j, &F), ERR_LIMIT);
    buf_clear(&b);
    buf_fill(&b, '-', LIMIT_KEY_STORE_BYTES + 1);
    struct key_store k;
    EXPECT_INT(key_store_pem("ssl.truststore.certificates", buf_view(&b), (struct str){0}, A, &k, &F), ERR_LIMIT);
    buf_free(&b);
    arena_free(A);
}

static const struct foreign_config *sasl(const char *mechanism, const char *text)
{
    return CONFIG(FOREIGN_SOURCE, "kafka.security.protocol", "SASL_PLAINTEXT", "kafka.sasl.mechanism", mechanism,
                  "kafka.sasl.jaas.config", text);
}

TEST(login_modules_become_properties)
{
    A = arena_new(0);
    const struct foreign_config *c =
        sasl("SCRAM-SHA-512", SCRAM " required username=\"alice\" password=\"a \\\"b\\\" c\";");
    EXPECT_STR(PROPERTY(c, "security.protocol"), "sasl_plaintext");
    EXPECT_STR(PROPERTY(c, "sasl.mechanisms"), "SCRAM-SHA-512");
    EXPECT_STR(PROPERTY(c, "sasl.username"), "alice");
    EXPECT_STR(PROPERTY(c, "sasl.password"), "a \"b\" c");
    EXPECT(!sasl("PLAIN", SCRAM " required username=\"a\" password=\"b\";"));
    EXPECT(strstr(fault_message(&F), "does not fit kafka.sasl.mechanism PLAIN"));
    EXPECT(!sasl("PLAIN", PLAIN " required username=\"a\";") && strstr(fault_message(&F), "has no password"));
    EXPECT(!sasl("GSSAPI", "com.sun.security.auth.module.Krb5LoginModule required;") &&
           strstr(fault_message(&F), "Kerberos"));
    EXPECT(!sasl("PLAIN", "com.sun.security.auth.module.Krb5LoginModule required;") &&
           strstr(fault_message(&F), "Kerberos"));
    EXPECT(!CONFIG(FOREIGN_SOURCE, "kafka.security.protocol", "SASL_SSL", "kafka.sasl.mechanism", "PLAIN"));
    EXPECT(strstr(fault_message(&F), "Could not find a 'KafkaClient' entry in the JAAS configuration."));
    c = sasl("OAUTHBEARER", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
                            "unsecuredLoginStringClaim_sub=\"alice\" unsecuredLoginListClaim_scope=\"|a|b\";");
    EXPECT_STR(PROPERTY(c, "sasl.oauthbearer.config"), "principal=alice scope=a,b");
    arena_free(A);
}

TEST_MAIN()
