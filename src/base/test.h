/*
 * test: the frame of a unit test. A *_test.c file holds TEST(name) { … } functions and ends with TEST_MAIN().
 *
 * EXPECT(cond) counts and prints a failure and goes on; REQUIRE(cond) leaves the test. The program ends with a line
 * `N passed, N failed, N skipped` (of TESTs) and exits 1 when one failed. `prog NAME…` runs only the named tests.
 */
#ifndef PENSTOCK_BASE_TEST_H
#define PENSTOCK_BASE_TEST_H

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};
extern struct test_case *test_cases_;
extern int test_failures_;
extern const char *test_skip_;
int test_main_(int argc, char **argv);

#define TEST(fn)                                                                                                       \
    static void fn(void);                                                                                              \
    static struct test_case fn##_case = {#fn, fn, NULL};                                                               \
    __attribute__((constructor)) static void fn##_register(void)                                                       \
    {                                                                                                                  \
        fn##_case.next = test_cases_;                                                                                  \
        test_cases_ = &fn##_case;                                                                                      \
    }                                                                                                                  \
    static void fn(void)

#define TEST_FAIL_(...)                                                                                                \
    (test_failures_++, fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__),                   \
     fputc('\n', stderr))
#define EXPECT(cond) ((cond) ? (void)0 : (void)TEST_FAIL_("expected %s", #cond))
#define EXPECT_INT(got, want)                                                                                          \
    do {                                                                                                               \
        long long got_ = (long long)(got), want_ = (long long)(want);                                                  \
        if (got_ != want_)                                                                                             \
            TEST_FAIL_("%s is %lld, expected %lld", #got, got_, want_);                                                \
    } while (0)
#define EXPECT_STR(got, want)                                                                                          \
    do {                                                                                                               \
        struct str got_ = (got), want_ = str_of(want);                                                                 \
        if (!str_eq(got_, want_))                                                                                      \
            TEST_FAIL_("%s is \"%.*s\", expected \"%.*s\"", #got, STR_ARG(got_), STR_ARG(want_));                      \
    } while (0)
#define REQUIRE(cond)                                                                                                  \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            TEST_FAIL_("required %s", #cond);                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)
#define SKIP(why)                                                                                                      \
    do {                                                                                                               \
        test_skip_ = (why);                                                                                            \
        return;                                                                                                        \
    } while (0)
#define TEST_MAIN()                                                                                                    \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return test_main_(argc, argv);                                                                                 \
    }

#endif
