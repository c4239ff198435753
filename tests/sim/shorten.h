/*
 * shorten: logs that begin later, under the power cuts. DeleteRecords up to what a reader has seen, or up to the high
 * watermark; topics with a retention so short that it works all the time. What a log once said of its start holds.
 */
#ifndef PENSTOCK_TESTS_SIM_SHORTEN_H
#define PENSTOCK_TESTS_SIM_SHORTEN_H

#include "truth.h"

/* Of topic and partition, delete some or all records. False: an answer that cannot be. */
bool shorten(struct truth *t, struct port *port, int topic, int part);
/* Where the log begins, as ListOffsets says; -1: the topic is on its way out. */
int64_t shorten_earliest(struct truth *t, struct port *port, int topic, int part);
/* Settings for a new topic, now and then. Returns how many. */
int shorten_settings(struct t_topic *x, struct kafka_create_topics_config *out);
#endif
