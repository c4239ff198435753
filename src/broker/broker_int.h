/* The broker's inside: requests on their way, timers, worker threads; what its files share. Not for other modules. */
#ifndef PENSTOCK_BROKER_INT_H
#define PENSTOCK_BROKER_INT_H

#include "base/limit.h"
#include "base/map.h"
#include "base/vec.h"
#include "broker/broker.h"
#include "wire/kafka.h"

#include <stdatomic.h>
#include <stdlib.h>

enum {
    NODE_ID = 1,
    FETCH_SESSION_KEEP_MS = 120000,
    GROUP_MIN_SESSION_MS = 6000,
    GROUP_MAX_SESSION_MS = 1800000,
};

/* -- time and threads (broker_time.c) ---------------------------------------------------------------------------- */
/* One shot at a time; the memory is the owner's. at_index 0: not set. */
struct alarm {
    int64_t at_ns;
    size_t at_index; /* 1 + place in the heap */
    void (*fn)(void *arg);
    void *arg;
};
struct job {
    void (*fn)(void *arg);
    void *arg;
};
struct clockwork {
    struct os_mutex *lock;
    struct os_cond *tick, *work;
    VEC(struct alarm *) heap;
    VEC(struct job) now;   /* for the timer thread, at once */
    VEC(struct job) queue; /* for the threads that may block */
    size_t queue_first;
    bool stopping;
    struct os_thread *timer, *io[2];
};
CHECK enum err clockwork_start(struct clockwork *w, struct fault *f);
void clockwork_stop(struct clockwork *w); /* runs what is queued, then joins */
/* Call fn(arg) on the timer thread after ms. A set alarm is moved. */
void alarm_set(struct clockwork *w, struct alarm *a, int64_t after_ms, void (*fn)(void *arg), void *arg);
/* True: it was set and will not run. False: not set, or its fn runs or has run. */
bool alarm_cancel(struct clockwork *w, struct alarm *a);
void clockwork_now(struct clockwork *w, void (*fn)(void *arg), void *arg);
/* On a thread that may block. False when too many wait. */
bool clockwork_io(struct clockwork *w, void (*fn)(void *arg), void *arg);

/* -- the broker -------------------------------------------------------------------------------------------------- */
struct groups;       /* group.c */
struct txns;         /* txn.c */
struct sessions;     /* fetch_session.c */
struct fetch;        /* fetch.c */
struct config_state; /* config_int.h */

struct broker {
    struct broker_options o;
    struct log *log;
    struct clockwork clock;
    struct groups *groups;
    struct txns *txns;
    struct sessions *sessions;
    struct config_state *configs;
    atomic_uint_fast64_t requests, produce_requests, fetch_requests, errors, waiting_fetches;
    atomic_int_fast64_t live_requests; /* begun and not answered: broker_stop waits for none */
    atomic_bool stopping;
};

struct broker_conn {
    struct broker *b;
    struct broker_peer peer;
    atomic_int refs;
    struct os_mutex *lock; /* guards closed and waiting */
    bool closed;
    VEC(struct fetch *) waiting;
};
/* Run fn(arg) on the connection's thread, or on the timer thread once it is closed. */
void conn_run(struct broker_conn *c, void (*fn)(void *arg), void *arg);

struct request {
    struct broker *b;
    struct broker_conn *conn;
    const struct kafka_api *api;
    struct kafka_request_header header;
    int16_t version;
    struct arena *in;    /* the frame's copy and what decoding made; limited */
    struct arena *arena; /* what the handler makes; lives as long */
    void *body;          /* struct kafka_NAME_request */
    void (*respond)(void *arg, struct broker_reply *r);
    void *arg;
};
/* Each ends the request: it is freed, respond has run. */
void request_reply(struct request *rq, const void *response);
/* With record bytes: slices[i] belongs to the i-th non-empty records field in encoding order; they are taken over. */
void request_reply_slices(struct request *rq, const void *response, struct log_slice **slices, int32_t throttle_ms);
void request_silent(struct request *rq);
void request_close(struct request *rq, const char *why);
/* Go on in fn(rq) on a thread that may block; when too many wait, the request's connection is closed. */
void request_on_io(struct request *rq, void (*fn)(struct request *rq));

/* -- handlers: each ends the request, now or later --------------------------------------------------------------- */
void handle_api_versions(struct request *rq);
void handle_sasl_handshake(struct request *rq);
void handle_describe_cluster(struct request *rq);
void handle_init_producer_id(struct request *rq);
void handle_find_coordinator(struct request *rq);
void handle_produce(struct request *rq);
void handle_fetch(struct request *rq);
void handle_list_offsets(struct request *rq);
void handle_offset_for_leader_epoch(struct request *rq);
void handle_metadata(struct request *rq);
void handle_create_topics(struct request *rq);
void handle_delete_topics(struct request *rq);
void handle_create_partitions(struct request *rq);
void handle_delete_records(struct request *rq);
void handle_describe_configs(struct request *rq);
void handle_alter_configs(struct request *rq);
void handle_incremental_alter_configs(struct request *rq);
void handle_join_group(struct request *rq);
void handle_sync_group(struct request *rq);
void handle_heartbeat(struct request *rq);
void handle_leave_group(struct request *rq);
void handle_list_groups(struct request *rq);
void handle_describe_groups(struct request *rq);
void handle_delete_groups(struct request *rq);
void handle_offset_commit(struct request *rq);
void handle_offset_fetch(struct request *rq);
void handle_offset_delete(struct request *rq);
void handle_add_partitions_to_txn(struct request *rq);
void handle_add_offsets_to_txn(struct request *rq);
void handle_end_txn(struct request *rq);
void handle_write_txn_markers(struct request *rq);
void handle_txn_offset_commit(struct request *rq);
void handle_describe_producers(struct request *rq);
void handle_describe_transactions(struct request *rq);
void handle_list_transactions(struct request *rq);

/* api_versions answered in version 0 with UNSUPPORTED_VERSION: the body was not looked at */
void reply_unsupported_api_versions(struct request *rq);

/* -- the broker's own topics (store.c) --------------------------------------------------------------------------- */
struct batch;
bool topic_is_internal(struct str topic);
/* Partition 0 of the topic, which is made when it is not there. Blocks. */
CHECK enum err store_open(struct broker *b, struct str topic, const struct log_config *configs, size_t nconfigs,
                          struct log_partition **out, struct fault *f);
typedef enum err store_batch_fn(void *arg, const struct batch *batch, struct arena *a, struct fault *f);
/* Every batch of p that is durable, in order; the arena is emptied after each. */
CHECK enum err store_each_batch(struct log_partition *p, const char *name, store_batch_fn *fn, void *arg,
                                struct fault *f);

/* -- topics (topics.c) ------------------------------------------------------------------------------------------- */
bool uuid_is_zero(struct os_uuid id);
bool topic_name_ok(struct str name, const char **why);
struct str topic_name_wrong(struct arena *a, struct str name, const char *why); /* as a message */
/* The topic's name for an id, in a; p NULL when unknown. */
struct str topic_name_by_id(struct broker *b, struct os_uuid id, struct arena *a);
enum { TOPIC_OPERATIONS = 3576, GROUP_OPERATIONS = 3400, CLUSTER_OPERATIONS = 8096 };

/* -- configs (configs.c) ----------------------------------------------------------------------------------------- */
struct config_row;
/* Kafka's check of a topic's setting; KAFKA_E_NONE or INVALID_CONFIG with the message in a. */
int16_t config_check(struct arena *a, struct str name, struct str value, struct str *message);
/* What CreateTopics 5+ answers: every topic setting with its value. */
void config_created(struct broker *b, struct arena *a, const struct log_config *set, size_t nset,
                    struct kafka_create_topics_result *out);

/* What was altered of the broker's settings, from the log's facts; and what topics inherit of them, to the log. */
void configs_start(struct broker *b);
void configs_stop(struct broker *b);

/* -- fetch sessions (fetch_session.c) ---------------------------------------------------------------------------- */
struct fetch_part { /* one partition of one Fetch */
    struct str topic;
    struct os_uuid topic_id;
    int32_t partition;
    struct kafka_fetch_partition want;
    size_t cached; /* 1 + index in the session; 0: none */
    /* the outcome */
    int64_t seen; /* the high watermark before the read: a fetch that waits looks for more than this */
    struct log_slice *slice;
    struct kafka_fetch_partition_response got;
};
struct fetch_plan {
    int16_t error;         /* of the whole request */
    int32_t session_id;    /* to answer; 0: none */
    int32_t session_epoch; /* of the session after this request, to know it again */
    bool incremental;
    struct fetch_part *parts; /* in rq->arena */
    size_t nparts;
};
CHECK enum err sessions_start(struct broker *b, struct fault *f);
void sessions_stop(struct broker *b);
size_t sessions_count(struct broker *b);
void session_plan(struct request *rq, const struct kafka_fetch_request *body, struct fetch_plan *out);
/* Which parts go into the answer (all of a full fetch, what is new of an incremental one): marks keep[i]. */
void session_filter(struct broker *b, const struct fetch_plan *plan, bool *keep);

/* -- fetch (fetch.c) --------------------------------------------------------------------------------------------- */
void fetch_wake(struct fetch *f); /* the connection closes */
void fetch_ref(struct fetch *f);
void fetch_release(struct fetch *f);

/* -- groups (group.c, group_store.c) ----------------------------------------------------------------------------- */
CHECK enum err groups_start(struct broker *b, struct fault *f);
void groups_close(struct broker *b); /* answers the joins and syncs that wait; nothing new begins */
void groups_stop(struct broker *b);  /* frees them */
void groups_count(struct broker *b, uint64_t *ngroups, uint64_t *nmembers);

#endif
