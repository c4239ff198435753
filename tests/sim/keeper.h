/*
 * keeper: a compacted topic under the power cuts. Every record of a key has a version in a header, some are tombstones; some
 * 20 keys in segments of 16 KiB, so that compaction works all the time. What is held to it:
 *
 *   the last record of each key is the one that was acknowledged, or one that was on its way
 *   versions of a key only grow; an old one never stands behind a newer one
 *   a key is absent only when a tombstone may have been its last record
 */
#ifndef PENSTOCK_TESTS_SIM_KEEPER_H
#define PENSTOCK_TESTS_SIM_KEEPER_H

#include "truth.h"

/* Make the topic, when it is not there. */
void keeper_start(struct truth *t, struct log *l);
void keeper_run(struct truth *t, struct log *l, const bool *stop);
int keeper_check(struct truth *t, struct log *l);
#endif
