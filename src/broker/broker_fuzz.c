/*
 * Whole requests to a broker on a temporary directory: each input is frames of a 16-bit length, sent on one connection.
 * The broker must answer or ask to close, and never crash. CreateTopics and CreatePartitions are left out here: what they
 * do when they are understood is to fill the disk; their decoding is wire/kafka_fuzz.c's.
 */
#include "broker/broker.h"
#include "wire/kafka.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char dir[256];
static struct log *logs;
static struct broker *broker;

static void cleanup(void)
{
    (void)!os_remove_tree(dir, NULL); /* the threads still run: nothing here is waited for */
}

static void start(void)
{
    const char *tmp = os_env("TMPDIR");
    struct os_uuid id;
    struct fault f;
    char text[37];

    os_uuid_text(os_uuid_random(), text);
    snprintf(dir, sizeof dir, "%s/broker-fuzz-%s", tmp ? tmp : "/tmp", text);
    os_log_level(OS_ERROR);
    if (log_open(&logs, &(struct log_options){.dir = dir, .journal_file_bytes = 1 << 20}, &f) ||
        log_topic_create(logs, STR("t"), 2, NULL, 0, &id, &f) ||
        broker_start(&broker, &(struct broker_options){.log = logs, .no_auto_create = true}, &f)) {
        fprintf(stderr, "%s\n", fault_message(&f));
        abort();
    }
    atexit(cleanup);
}

static void respond(void *arg, struct broker_reply *r)
{
    (void)arg;
    if (r->outcome == BROKER_REPLY && r->n < 8)
        __builtin_trap();
    broker_reply_free(r);
}

static bool fills_the_disk(const uint8_t *frame, size_t n)
{
    return n >= 2 && frame[0] == 0 && (frame[1] == KAFKA_create_topics || frame[1] == KAFKA_create_partitions);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct broker_peer peer = {.client_host = "fuzz", .advertised_host = "fuzz", .advertised_port = 1};
    struct broker_conn *c;

    if (!broker)
        start();
    c = broker_conn_open(broker, &peer);
    while (n >= 2) {
        size_t size = (size_t)data[0] << 8 | data[1];
        char *frame;

        data += 2;
        n -= 2;
        size = size < n ? size : n;
        if (!fills_the_disk(data, size)) {
            frame = malloc(size ? size : 1); /* exact, so that a read beyond it is seen */
            memcpy(frame, data, size);
            broker_request(c, frame, size, respond, NULL);
            free(frame);
        }
        data += size;
        n -= size;
    }
    broker_conn_close(c);
    return 0;
}
