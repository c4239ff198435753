/*
 * live: a streaming query under the power cuts. It counts what is in the topic "s", in complete mode, to the console, with a
 * checkpoint; what its console and its progress told is believed, and held against the next run:
 *
 *   each table is right in itself: of every partition as many records as its largest offset says, none twice, none missing
 *   a batch that comes again comes with the same table; one whose progress was reported never comes again
 *   batch ids go on without a gap, and what a table showed is in the log for good
 */
#ifndef PENSTOCK_TESTS_SIM_LIVE_H
#define PENSTOCK_TESTS_SIM_LIVE_H

#include "truth.h"

struct live;
/* Start the query over the log; the topic is there. Ends the process when it does not start. */
struct live *live_start(struct truth *t, struct log *l);
/* Note the newest progress. */
void live_look(struct live *x);
/* Stop it cleanly. Ends the process when it had failed. */
void live_stop(struct live *x);

#endif
