/*
 * teller: a transactional producer under the power cuts, and its coordinator in the smallest form that the log's promise
 * allows: records, then the decision (a plain record in the topic "s"), then the markers, all appended without a wait in
 * between. After a cut the decision is in the log or it is not; in that case nothing behind it is there, either.
 *
 *   decision there ─▶ every record of the transaction is there; its markers are written again
 *   not there      ─▶ aborted, whatever was written
 *
 * truth_check holds read_committed to it.
 */
#ifndef PENSTOCK_TESTS_SIM_TELLER_H
#define PENSTOCK_TESTS_SIM_TELLER_H

#include "truth.h"

/* Finish what the last process left open. Before the broker starts, which would abort what its coordinator does not know. */
void teller_finish(struct truth *t, struct log *l, int number);
/* Work until *stop. `ids` guards the truth's largest producer id. */
void teller_run(struct truth *t, struct log *l, int number, struct os_mutex *ids, const bool *stop);

#endif
