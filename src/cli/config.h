/*
 * config: what the server was told, from the rows of spec/config.def.
 *
 *   defaults ◀── --config FILE ◀── PENSTOCK_… ◀── flags        (the right one wins)
 *
 * A value knows where it came from, so that a complaint can name the place. All texts live in the config's arena.
 * Bad values are ERR_INVALID with the key, the place and the range in the message; unknown keys and variables too, for a
 * misspelt setting that is silently ignored is worse than a refusal.
 */
#ifndef PENSTOCK_CLI_CONFIG_H
#define PENSTOCK_CLI_CONFIG_H

#include "base/arena.h"
#include "base/fault.h"

#include <stdio.h>

enum config_key {
#define X(id, type, key, placeholder, least, most, def, doc) id,
#include "config.def"
#undef X
    CFG_COUNT
};

enum config_source { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENV, CONFIG_FLAG };

struct config_value {
    enum config_source source;
    const char *text; /* as it was written */
    int64_t number;   /* INT, SIZE, BOOL (0/1), CHOICE (index) */
};

struct config {
    struct arena *arena;
    struct config_value v[CFG_COUNT];
};

/* Fill in every row's default. */
void config_init(struct config *c, struct arena *a);
/* Set one key, checked. `place` says where it stands ("--loops", "FILE:3"). A weaker source does not replace a stronger. */
CHECK enum err config_set(struct config *c, enum config_key key, const char *value, enum config_source source,
                          const char *place, struct fault *f);
/* The key of that name, or CFG_COUNT. */
enum config_key config_find(struct str name);
const char *config_name(enum config_key key);
/* Read `KEY = VALUE` lines; # begins a comment. */
CHECK enum err config_read_file(struct config *c, const char *path, struct fault *f);
/* Read PENSTOCK_… variables through os_env. */
CHECK enum err config_read_env(struct config *c, struct fault *f);
/* The table as help text: one line per key with its default. */
void config_print_help(FILE *out);
/* Bytes, optionally with a suffix K, M or G (powers of 1024). */
bool config_parse_size(struct str s, int64_t *out);

#endif
