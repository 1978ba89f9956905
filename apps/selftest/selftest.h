// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The self-test image: each test is a function that returns NULL or why it failed.
#ifndef APPS_SELFTEST_H
#define APPS_SELFTEST_H

#include <stddef.h>
#include <stdint.h>

typedef const char *(*test_function)(void);
struct selftest {
    const char *name;
    test_function run;
};
extern const struct selftest memory_tests[], thread_tests[], time_tests[], file_tests[];
// Only run by name: they do not end with a verdict of ours.
extern const struct selftest attacks[], endings[], weights[];

// Fails the test with the condition and its place.
#define STR2(x) #x
#define STR(x)  STR2(x)
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return __FILE__ ":" STR(__LINE__) ": " #condition;                                     \
        }                                                                                          \
    } while (0)

// A random sequence that is the same in every run.
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
