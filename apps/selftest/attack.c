// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Attacks on the protections. Each must end in a crash report; with the protection off
// (`protect=-wx` …) it goes through and says ATTACK SUCCEEDED.
#include "apps/selftest/selftest.h"

#include "libos/sched.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *succeeded(void)
{
    printf("ATTACK SUCCEEDED\n");
    return NULL;
}

// Hides from the compiler what we are about to do.
static void *disguise(void *p)
{
    __asm__ volatile("" : "+r"(p)::"memory");
    return p;
}

__attribute__((noinline)) static int victim(void)
{
    __asm__ volatile("");
    return 1;
}

// protect=-wx
static const char *attack_wx(void)
{
    static const uint8_t return_2[] = {0xb8, 2, 0, 0, 0, 0xc3};
    CHECK(victim() == 1);
    volatile uint8_t *code = disguise((void *)victim);
    for (size_t i = 0; i < sizeof return_2; i++) {
        code[i] = return_2[i];
    }
    int (*call)(void) = (int (*)(void))disguise((void *)victim);
    CHECK(call() == 2);
    return succeeded();
}

// protect=-nx
static const char *attack_nx(void)
{
    static const uint8_t return_3[] = {0xb8, 3, 0, 0, 0, 0xc3};
    uint8_t *data = malloc(sizeof return_3);
    CHECK(data);
    memcpy(data, return_3, sizeof return_3);
    int (*call)(void) = (int (*)(void))disguise(data);
    CHECK(call() == 3);
    return succeeded();
}

// protect=-null
static const char *attack_null(void)
{
    volatile uint32_t *zero = disguise(NULL);
    uint32_t value = *zero;
    printf("address 0 holds %x\n", value);
    return succeeded();
}

// protect=-stack
__attribute__((noinline)) static int dig(const volatile char *until)
{
    volatile char block[256];
    memset((char *)block, 1, sizeof block);
    if (block < until) {
        return 0;
    }
    return dig(until) + block[0];
}
static struct wake dug = WAKE_INIT;
static void digger(void *arg)
{
    pthread_attr_t attr;
    void *low;
    size_t bytes;
    (void)arg;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &low, &bytes);
    dig((char *)low - 1024);
    wake_set(&dug);
}
static const char *attack_stack(void)
{
    CHECK(strand_create("digger", digger, NULL, STRAND_NORMAL, STRAND_ANY_CPU, 16384, NULL) == 0);
    wake_wait(&dug, 0);
    return succeeded();
}

// protect=-heap: a large block, stopped at the first byte outside
static const char *attack_heap(void)
{
    char *p = malloc(5000);
    CHECK(p);
    char *q = disguise(p);
    for (int i = 0; i < 5100; i++) {
        q[i] = 1;
    }
    free(p);
    return succeeded();
}

// protect=-heap: a small block, found when it is freed
static const char *attack_heap_small(void)
{
    char *p = malloc(100);
    CHECK(p);
    ((char *)disguise(p))[100] = 1;
    free(p);
    return succeeded();
}

const struct selftest attacks[] = {
    {"attack-wx", attack_wx},
    {"attack-nx", attack_nx},
    {"attack-null", attack_null},
    {"attack-stack", attack_stack},
    {"attack-heap", attack_heap},
    {"attack-heap-small", attack_heap_small},
    {NULL, NULL},
};
