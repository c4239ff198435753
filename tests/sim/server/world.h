/*
 * world: what the outside was told, kept where no crash of the server reaches it (memory shared by a run's processes), and
 * held against everything the server says, at the moment it says it.
 *
 *   attempt ─send─▶ acknowledged at an offset, or unknown          told: offset ─▶ record, for ever
 *
 * Rules, of every partition of every topic that nobody deletes:
 *   an offset is one record: whoever reads it, whenever, gets the same
 *   an attempt has one place: never twice, whole, at the offset that was told when it was acknowledged
 *   a producer's attempts come in the order in which it numbered them
 *   a high watermark never goes back, and lies above all that was acknowledged
 *   below the high watermark there is no gap, and what is read is what was sent, byte for byte
 * and of a group's offset: it is what was acknowledged last, or what was tried since.
 * A timeout, a cut connection or an error of the disk is no answer: the attempt stays unknown, and is sent again.
 */
#ifndef PENSTOCK_TESTS_SIM_WORLD_H
#define PENSTOCK_TESTS_SIM_WORLD_H

#include "log/batch.h"
#include "os/os.h"

enum {
    W_TOPICS = 24, /* incarnations of names */
    W_PARTS = 3,
    W_OFFSETS = 1 << 14,
    W_ATTEMPTS = 1 << 13,
    W_PRODUCERS = 3,
    W_MAYBE = 64,
    W_IMAGE_MAX = 96 << 20,
    W_RECORDS_MAX = 16, /* of one attempt */
    W_QUERIES = 2,
};
enum w_state { W_CREATING, W_LIVE, W_DELETING, W_GONE };

struct w_part {
    int64_t hw;             /* the highest that anybody was told */
    int64_t end;            /* offsets below it may have an entry in `at` */
    uint32_t at[W_OFFSETS]; /* 1 + attempt * W_RECORDS_MAX + record; 0: nobody was told */
    int last[W_PRODUCERS];  /* 1 + the producer's newest attempt */
    int64_t committed;      /* of the group; -1: none */
    int64_t maybe[W_MAYBE]; /* commits without an answer since */
    int nmaybe;
};
struct w_topic {
    char name[8];
    struct os_uuid id;
    enum w_state state;
    int parts;
    struct w_part part[W_PARTS];
};
struct w_attempt {
    int topic, part, count, codec, producer;
    int64_t producer_id;
    int16_t epoch;
    int32_t seq;
    int64_t ts, base; /* base -1: not known yet */
    bool acked;
    int before; /* 1 + the producer's attempt before it in this partition; 0: none */
};
struct w_producer {
    int64_t id; /* -1: none yet */
    int16_t epoch;
    int32_t next_seq[W_TOPICS][W_PARTS];
    int first, count; /* attempts without an answer: one partition's, in order */
    uint64_t done;
};
struct w_query { /* one that copies "s" to a topic and one that counts it there */
    uint64_t started, failed;
    int64_t counted[W_PARTS]; /* the highest count that was shown */
};
struct world {
    struct w_topic topics[W_TOPICS];
    int ntopics;
    struct w_attempt attempts[W_ATTEMPTS];
    int nattempts;
    struct w_producer producers[W_PRODUCERS];
    struct w_query queries[W_QUERIES];
    uint32_t copied[W_PARTS]
                   [W_OFFSETS];   /* 1 + where the copying query put it: its offset there * W_PARTS + partition */
    int64_t copied_seen[W_PARTS]; /* of the output topics: read up to here */
    int64_t counted_seen;
    bool rotten; /* something was damaged at rest: what is gone may be gone, but nothing false is served */
    bool quiet;  /* a failure is what is looked for */
    int mutant;  /* 1 + the bug on purpose (mutants.h); 0: none */
    int out;     /* where the test talks; standard error is the server's */
    char damage[400];
    /* totals of all seeds */
    uint64_t records_checked, acks, commits_checked, stages, cuts, deaths, starts, refused_starts, failures,
        connections;
    uint64_t alloc_failures, rebalances, errors_seen, query_rows, query_starts, query_failures, rots, rots_named,
        rots_seen;
    uint64_t hash; /* of the seed's stages */
    uint64_t image_n;
    char image[W_IMAGE_MAX];
};
extern struct world *W;

void world_reset(void); /* for the next seed */
void world_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Print what is wrong and end the process as failed. */
_Noreturn void world_wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct w_topic *world_topic(const char *name);        /* the newest incarnation that is not gone, or NULL */
struct w_topic *world_topic_by_id(struct os_uuid id); /* NULL: none of ours */
/* A topic that is there and a partition of it. False: there is none. */
bool world_pick(struct w_topic **t, int *part);
/* A new attempt of a producer; -1 when there is no room. */
int world_attempt(int producer, struct w_topic *t, int part);
/* The batch of an attempt: always the same bytes. */
void world_batch(int number, struct buf *out);
void world_acked(int number, int64_t base /* -1: not told */);
/* A high watermark was told by an answer to a request that was sent when `before` was the highest. */
void world_told_hw(struct w_topic *t, int part, int64_t before, int64_t hw);
/* Record bytes of an answer to a fetch at `from`; returns the next offset. `check` false: somebody else's records. */
int64_t world_told_records(struct w_topic *t, int part, int64_t from, struct str bytes);
/* Are all acknowledged attempts of the topic's partition told? After it was read from the beginning to its end. */
void world_all_there(struct w_topic *t, int part);

void world_committing(struct w_topic *t, int part, int64_t offset);
void world_committed(struct w_topic *t, int part, int64_t offset);
void world_told_committed(struct w_topic *t, int part, int64_t offset, bool only_one_owner);

#endif
