/*
 * Consumer groups, the classic protocol: members join, one of them (the leader) assigns, all learn their share.
 *
 *            first join                 all joined, or time is up            leader's SyncGroup is durable
 *   EMPTY ──────────────▶ PREPARING ──────────────────────────────▶ COMPLETING ─────────────────────────▶ STABLE
 *     ▲                      ▲  │ nobody left                          │ a join, a leave, a timeout          │
 *     └──────────────────────┼──┘                                      └──────────────▶ PREPARING ◀──────────┘
 *
 * One lock for all groups. Time is a deadline in a field, never a timer per member: one alarm rings at the earliest, looks at
 * all, and is set anew. What is written to __consumer_offsets is applied in the order of the log, on the timer thread.
 */
#ifndef PENSTOCK_BROKER_GROUP_INT_H
#define PENSTOCK_BROKER_GROUP_INT_H

#include "broker/broker_int.h"

enum group_state { GROUP_EMPTY, GROUP_PREPARING, GROUP_COMPLETING, GROUP_STABLE };

struct protocol {
    struct str name, metadata; /* both owned */
};

struct member {
    struct str id, instance, client_id, client_host; /* owned; instance.p NULL: dynamic */
    int32_t session_ms, rebalance_ms;
    VEC(struct protocol) protocols;
    struct str assignment;
    struct request *join, *sync; /* waiting for their answers */
    int64_t deadline_ms;         /* without a sign of life the member is gone */
    bool synced;                 /* has sent its SyncGroup for this generation */
};

struct pending { /* was told its id and has not come back with it */
    struct str id;
    int64_t deadline_ms;
};

struct committed {
    struct str topic, metadata; /* owned */
    int32_t partition, leader_epoch;
    int64_t offset, timestamp_ms;
    int64_t at; /* of its record in __consumer_offsets: the later one counts */
};

struct group {
    struct str id;
    enum group_state state;
    int32_t generation;
    struct str protocol_type, protocol, leader; /* owned; p NULL: none */
    VEC(struct member *) members;
    VEC(struct pending) pending;
    int64_t rebalance_deadline_ms; /* PREPARING: members that have not joined by then are out; COMPLETING: not synced */
    bool initial_delay;            /* PREPARING: wait the deadline out even when all have joined */
    bool joined_in_delay;
    int64_t delay_left_ms;
    int64_t since_ms;   /* Unix time of the last change of state */
    struct map offsets; /* topic '/' partition → struct committed */
    bool storing;       /* the leader's assignment is on its way to the disk */
};

struct groups {
    struct os_mutex *lock;
    struct map by_id;
    struct alarm alarm;
    int64_t alarm_ms;            /* INT64_MAX: not set */
    struct log_partition *store; /* __consumer_offsets-0 */
    struct map pending;          /* producer id → offsets that its open transaction will commit (group_txn.c) */
    uint64_t nmembers;
    uint64_t commits_sent, commits_applied; /* OffsetCommits that were appended; that are on disk and in memory */
    struct os_cond *applied;
    bool stopping;
};

/* group.c: the machine; all with the lock held */
struct group *group_find(struct broker *b, struct str id);
struct group *group_make(struct broker *b, struct str id);
void group_drop(struct broker *b, struct group *g);
struct member *group_member(const struct group *g, struct str id);
struct member *group_static(const struct group *g, struct str instance);
struct member *group_add(struct broker *b, struct group *g, struct str id, struct request *rq);
void group_remove(struct broker *b, struct group *g, struct member *m);
void member_take_join(struct broker *b, struct member *m,
                      struct request *rq); /* metadata and timeouts from a JoinGroup */
bool member_same_protocols(const struct member *m, const struct kafka_join_group_request *q);
bool group_supports(const struct group *g, const struct kafka_join_group_request *q);
struct str group_pick_protocol(const struct group *g);
void member_alive(struct broker *b, struct member *m);
void group_rebalance(struct broker *b, struct group *g); /* → PREPARING */
void group_try_complete(struct broker *b, struct group *g);
void group_set_state(struct group *g, enum group_state state);
void group_ring_at(struct broker *b, int64_t deadline_ms);
bool pending_take(struct group *g, struct str id);
void join_answer(struct broker *b, struct group *g, struct member *m, struct request *rq);
void join_refuse(struct request *rq, int16_t code, struct str member_id);
void sync_answer(struct request *rq, int16_t code, const struct group *g, struct str assignment);
int64_t clock_ms(void);       /* monotonic */
struct str own(struct str s); /* a malloc'ed copy; p NULL stays NULL */
void disown(struct str *s);
const char *group_state_name(enum group_state s);

/* group_store.c: __consumer_offsets; with the lock held */
struct kafka_group_value;
/* Write the group as it is now (NULL done: nobody waits). done runs with the lock held, on the timer thread, in log order. */
bool store_group(struct broker *b, struct group *g, void (*done)(struct broker *b, void *arg, int16_t code), void *arg);
/* Records of one write: keys and values are appended by store_put_*, then sent by store_send. */
struct store_write {
    struct broker *b;
    struct buf bytes;
    struct batch_writer *batch;
    void (*done)(struct broker *b, void *arg, int16_t code);
    void *arg;
    int16_t code;
    enum log_origin origin;
};
struct store_write *store_begin(struct broker *b, void (*done)(struct broker *b, void *arg, int16_t code), void *arg);
void store_put_offset(struct store_write *w, struct str group, const struct committed *c, bool tombstone);
void store_put_group_tombstone(struct store_write *w, struct str group);
/* KAFKA_E_NONE: done will be called; *at (NULL allowed) is the first record's offset. Else it will not, and the write is freed. */
int16_t store_send(struct store_write *w, int64_t *at);
void store_cancel(struct store_write *w);
struct committed *committed_find(const struct group *g, struct str topic, int32_t partition);
void committed_put(struct group *g, const struct committed *c); /* copies */
void committed_remove(struct group *g, struct str topic, int32_t partition);
CHECK enum err store_load(struct broker *b, struct fault *f);

/* group_offsets.c */
struct committer { /* who commits offsets */
    struct str member_id, instance_id;
    int32_t generation; /* -1: not as a member */
    bool is_transactional;
};
/* May it commit? A group without members takes anybody's. With the lock held. */
int16_t group_may_commit(struct broker *b, struct group *g, const struct committer *c);

/* group_txn.c: offsets of transactions; with the lock held */
struct txn_who;
#define OFFSETS_TOPIC STR("__consumer_offsets")
void group_txn_pend(struct broker *b, int64_t producer_id, struct str group, const struct committed *c);
/* Pending offsets that are forgotten: a tombstone that stands behind them in the log takes them out of their transaction. */
struct pending_filter {
    struct str group, topic; /* p NULL: any */
    int32_t partition;       /* -1: any */
    bool missing;            /* only of topics that are not there */
};
size_t group_txn_put_tombstones(struct broker *b, const struct pending_filter *which, struct store_write *w);
size_t group_txn_cancel(struct broker *b, const struct pending_filter *which); /* both: how many */
bool group_txn_unstable(const struct broker *b, struct str group, struct str topic, int32_t partition);
void group_txn_settle(struct broker *b, int64_t producer_id, bool commit);
void group_txn_free(struct broker *b);
/* Write offsets as the producer's transactional batch; they are pending at once. KAFKA_E_NONE: done will be called. */
int16_t group_txn_write(struct broker *b, const struct txn_who *who, struct str group, struct committed *list, size_t n,
                        void (*done)(struct broker *b, void *arg, int16_t code), void *arg);

/* group_topics.c: what groups committed for topics that are no more; without the lock. */
void offsets_forget_topic(struct broker *b, struct str topic); /* blocks until durable */
CHECK enum err offsets_forget_missing(struct broker *b, struct fault *f);

#endif
