/*
 * What librdkafka asks of Cyrus SASL, answered with "not here".
 *
 * Debian's librdkafka.a is built with Cyrus SASL, for one mechanism: GSSAPI (Kerberos). PLAIN, SCRAM and OAUTHBEARER are its
 * own code. Cyrus finds its mechanisms by loading whatever lies in /usr/lib/sasl2 into the process, and Kerberos needs a
 * kinit beside it: a program that is one file has neither. So GSSAPI is refused by name when a script asks for it
 * (security.c), and these symbols exist so that the library links (the Makefile asks
 * for one of them, so that the linker takes this file); nothing below is reached but sasl_client_init.
 */
#include <stddef.h>

enum { SASL_OK = 0, SASL_NOMECH = -4 };

int sasl_client_init(const void *callbacks);
int sasl_client_new(const char *service, const char *host, const char *local, const char *remote, const void *callbacks,
                    unsigned flags, void **connection);
int sasl_client_start(void *connection, const char *mechanisms, void **interact, const char **out, unsigned *n,
                      const char **mechanism);
int sasl_client_step(void *connection, const char *in, unsigned in_n, void **interact, const char **out, unsigned *n);
void sasl_dispose(void **connection);
const char *sasl_errdetail(void *connection);
const char *sasl_errstring(int error, const char *languages, const char **language);
int sasl_getprop(void *connection, int property, const void **value);
int sasl_listmech(void *connection, const char *user, const char *prefix, const char *separator, const char *suffix,
                  const char **result, unsigned *n, int *count);

static const char ABSENT[] = "this program has no Kerberos";

int sasl_client_init(const void *callbacks)
{
    (void)callbacks;
    return SASL_OK;
}

int sasl_client_new(const char *service, const char *host, const char *local, const char *remote, const void *callbacks,
                    unsigned flags, void **connection)
{
    (void)service, (void)host, (void)local, (void)remote, (void)callbacks, (void)flags;
    *connection = NULL;
    return SASL_NOMECH;
}

int sasl_client_start(void *connection, const char *mechanisms, void **interact, const char **out, unsigned *n,
                      const char **mechanism)
{
    (void)connection, (void)mechanisms, (void)interact, (void)out, (void)n, (void)mechanism;
    return SASL_NOMECH;
}

int sasl_client_step(void *connection, const char *in, unsigned in_n, void **interact, const char **out, unsigned *n)
{
    (void)connection, (void)in, (void)in_n, (void)interact, (void)out, (void)n;
    return SASL_NOMECH;
}

void sasl_dispose(void **connection)
{
    *connection = NULL;
}

const char *sasl_errdetail(void *connection)
{
    (void)connection;
    return ABSENT;
}

const char *sasl_errstring(int error, const char *languages, const char **language)
{
    (void)error, (void)languages, (void)language;
    return ABSENT;
}

int sasl_getprop(void *connection, int property, const void **value)
{
    (void)connection, (void)property;
    *value = NULL;
    return SASL_NOMECH;
}

int sasl_listmech(void *connection, const char *user, const char *prefix, const char *separator, const char *suffix,
                  const char **result, unsigned *n, int *count)
{
    (void)connection, (void)user, (void)prefix, (void)separator, (void)suffix, (void)n, (void)count;
    *result = "";
    return SASL_NOMECH;
}
