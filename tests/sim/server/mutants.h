/* mutants: the server with one bug on purpose, to show that the simulation finds it. World says which (0: none). */
#ifndef PENSTOCK_TESTS_SIM_MUTANTS_H
#define PENSTOCK_TESTS_SIM_MUTANTS_H

struct mutant {
    const char *name, *what;
};
const struct mutant *mutant_row(int i); /* NULL past the end */
const char *mutant_drop_site(void);     /* for sim_options */

#endif
