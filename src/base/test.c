#include "base/test.h"

struct test_case *test_cases_;
int test_failures_;
const char *test_skip_;

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return 1;
    return argc == 1;
}

int test_main_(int argc, char **argv)
{
    int passed = 0, failed = 0, skipped = 0;
    struct test_case *order = NULL, *next;
    for (struct test_case *t = test_cases_; t; t = next) { /* constructors registered in reverse */
        next = t->next;
        t->next = order;
        order = t;
    }
    for (struct test_case *t = order; t; t = t->next) {
        if (!wanted(t->name, argc, argv))
            continue;
        test_failures_ = 0;
        test_skip_ = NULL;
        t->run();
        if (test_failures_) {
            failed++;
            printf("FAIL %s\n", t->name);
        } else if (test_skip_) {
            skipped++;
            printf("SKIP %s: %s\n", t->name, test_skip_);
        } else {
            passed++;
        }
    }
    const char *base = strrchr(argv[0], '/');
    printf("%s: %d passed, %d failed, %d skipped\n", base ? base + 1 : argv[0], passed, failed, skipped);
    return failed ? 1 : 0;
}
