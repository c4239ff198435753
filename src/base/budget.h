/*
 * budget: how much of the process's memory the outside may hold at once, all connections together.
 *
 * A limit per connection (spec/limits.def) keeps one client in bounds; ten thousand of them are kept here. Memory whose
 * size others decide about is taken from one of three shares and given back when it is freed:
 *
 *   INPUT     requests on their way in: what has come of a frame, a message, and what was decoded from it
 *   OUTPUT    answers that nobody has taken yet
 *   UNPACKED  compressed batches, decompressed
 *
 *   client ──bytes──▶ budget_take ──yes──▶ memory ──▶ … ──▶ budget_give
 *                          └──no──▶ wait (stop reading), be refused with a retriable error, or the slowest holder goes
 *
 * The last quarter of a share is for small pieces (up to BUDGET_SMALL), so that an honest client of ordinary size gets its
 * turn while large ones wait. Who has to hold memory whatever happens says so: budget_force.
 * Until budget_start the shares are without end: tests and tools need none. All calls from any thread.
 */
#ifndef PENSTOCK_BASE_BUDGET_H
#define PENSTOCK_BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

enum { BUDGET_SMALL = 64 << 10 };
enum budget { BUDGET_NONE = -1, BUDGET_INPUT, BUDGET_OUTPUT, BUDGET_UNPACKED, BUDGETS };

/* Shares of what the process may use: a quarter, a quarter, an eighth. Before any connection. */
void budget_start(size_t memory_bytes);
size_t budget_size(enum budget b);
size_t budget_left(enum budget b); /* 0 when overdrawn */
/* Little is left, or somebody waits: holders that make no progress should go. */
bool budget_short(enum budget b);
void budget_wait(enum budget b, int more); /* +1: somebody waits for more of it; -1: no longer */
bool budget_take(enum budget b, size_t n);
void budget_force(enum budget b, size_t n);
void budget_give(enum budget b, size_t n);

#endif
