/*
 * arena: memory named by how long it lives.
 *
 * An arena hands out bytes that are all freed together: one per request, epoch, query, plan. Blocks grow geometrically
 * up to a megabyte; a reset keeps one block, so that a warm epoch touches no fresh pages (first touch costs ~5 µs/page).
 *
 *   request ──▶ arena_new(limit) ──▶ arena_alloc… ──▶ arena_free
 *   epoch   ──▶ arena_reset between batches
 *
 * Limits: `limit_bytes` bounds the sum of all blocks, and so does the share of base/budget.h that an arena may be charged
 * to. arena_try returns NULL beyond either, or when malloc refuses: use it where the size comes from outside. arena_alloc is
 * for small pieces of fixed size whose number follows from what was let in already; it heeds neither, and stops the process
 * (base/memory.h) when malloc itself refuses.
 * An arena belongs to one thread at a time.
 */
#ifndef PENSTOCK_BASE_ARENA_H
#define PENSTOCK_BASE_ARENA_H

#include "base/budget.h"
#include "base/str.h"

struct arena;

struct arena *arena_new(size_t limit_bytes); /* 0: unbounded */
/* The same, and its blocks are taken from a share of the process's memory. */
struct arena *arena_new_charged(size_t limit_bytes, enum budget budget);
void arena_free(struct arena *a);
/* Forget everything allocated; keeps the largest block for reuse. */
void arena_reset(struct arena *a);
/* Bytes held in blocks (what the limit counts). */
size_t arena_bytes(const struct arena *a);

/* 16-byte aligned, uninitialised. NULL over a limit or out of memory. */
void *arena_try(struct arena *a, size_t size_bytes) __attribute__((malloc, warn_unused_result));
/* 16-byte aligned, zeroed; memory_out when malloc refuses: for small, bounded pieces (tree nodes, names). */
void *arena_alloc(struct arena *a, size_t size_bytes) __attribute__((malloc, returns_nonnull));
/* n * size without overflow, zeroed; memory_out as arena_alloc does. */
void *arena_array(struct arena *a, size_t n, size_t size_bytes) __attribute__((returns_nonnull));

struct str arena_str(struct arena *a, struct str s); /* a copy, with a NUL after it for debuggers */
char *arena_z(struct arena *a, struct str s);        /* a NUL-terminated copy */
struct str arena_fmt(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, T)      ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, n, T) ((T *)arena_array((a), (n), sizeof(T)))

#endif
