/* scram: a repair of librdkafka's SCRAM (scram.c says which). */
#ifndef PENSTOCK_FOREIGN_SCRAM_H
#define PENSTOCK_FOREIGN_SCRAM_H

#include <stddef.h>

/* `in` (client-final-message, or SCRAM's AuthMessage that ends in one) without the repeated nonce; 0: nothing to put right, or
 * no room. */
size_t scram_put_right(const char *in, size_t n, char *out, size_t cap);

#endif
