/*
 * output: answers as people or programs want them: --format table | json | csv.
 *
 * A table is kept until its end, for its column widths; JSON (one object per line) and CSV (RFC 4180, with a header line)
 * go out row by row. Cells are text; a column says whether it holds numbers (right-aligned, unquoted in JSON). A NULL cell
 * is JSON null, an empty CSV field, "NULL" in a table.
 */
#ifndef PENSTOCK_CLI_OUTPUT_H
#define PENSTOCK_CLI_OUTPUT_H

#include "base/str.h"

enum output_format { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_CSV };
struct output_column {
    const char *name;
    bool number;
};
struct output;

/* "table", "json" or "csv" (NULL: table); false for anything else. */
bool output_format(const char *text, enum output_format *out);
struct output *output_new(enum output_format format, const struct output_column *columns, int n);
/* n cells, copied; p NULL is null. */
void output_row(struct output *o, const struct str *cells);
/* Print what is left, free. False when standard output failed. */
bool output_end(struct output *o);

#endif
