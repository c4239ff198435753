/* cluster_int: a foreign cluster as a source sees it, shared by cluster.c and feed.c. */
#ifndef PENSTOCK_FOREIGN_CLUSTER_INT_H
#define PENSTOCK_FOREIGN_CLUSTER_INT_H

#include "base/vec.h"
#include "foreign/foreign_int.h"

struct foreign {
    const struct foreign_config *config;
    const bool *cancelled; /* NULL: cannot be */
    struct foreign_client *control;
    struct foreign_client *feeds; /* opened with the first feed */
    int64_t ahead_bytes;          /* what `feeds` was opened with, for one partition */
    size_t partitions;            /* most that were asked about at once: how many feeds there will be */
    struct os_mutex *opening;     /* of `feeds`, `tails`, `readers`; held while the driver is called */
    VEC(struct foreign_feed *) tails;
    int readers; /* open ones */
    struct os_mutex
        *lock; /* of what follows and of every feed's `ready`, `is_read`; the driver's threads take it: never hold it
                              while calling the driver */
    void (*wake)(void *arg);
    void *wake_arg;
};

static inline bool foreign_cancelled(const bool *flag)
{
    return flag && __atomic_load_n(flag, __ATOMIC_RELAXED);
}
void foreign_feeds_close(struct foreign *c);

#endif
