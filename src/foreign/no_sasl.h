/* no_sasl: librdkafka's Kerberos is not part of this program (no_sasl.c says why). */
#ifndef PENSTOCK_FOREIGN_NO_SASL_H
#define PENSTOCK_FOREIGN_NO_SASL_H

void no_sasl(void); /* called once, so that the linker takes that file */

#endif
