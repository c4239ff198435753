/* embed: files that travel inside the program, so that one file is the product. */
#ifndef PENSTOCK_CLI_EMBED_H
#define PENSTOCK_CLI_EMBED_H

#include "base/str.h"

/* src/cli/launcher/sitecustomize.py: what `penstock run` puts in front of a script. */
struct str embed_sitecustomize(void);

#endif
