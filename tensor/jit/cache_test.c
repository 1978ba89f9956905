// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The JIT's cache, its pool and their limits; W^X attacked.
//
// Links: @tensor tensor/jit/jit_host.c
#include "tensor/jit/jit_private.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static struct jit *j;
static float a[128], b[128], got[128];

static void best_level(void)
{
    char error[200];
    enum tn_isa isa = tn_isa_best() > TN_ISA_AVX512 ? TN_ISA_AVX512 : tn_isa_best();
    if (isa < TN_ISA_AVX2) {
        skip();
    }
    for (int i = 0; i < 128; i++) {
        a[i] = (float)i;
        b[i] = 0.5f * (float)i - 7;
    }
    if (jit_open(jit_host_memory(), isa, &j, error, sizeof error)) {
        fail_msg("%s", error);
    }
}

static const struct jit_code *get(const struct jit_shape *s)
{
    const struct jit_code *code;
    int rc = jit_get(j, s, &code);
    if (rc) {
        fail_msg("kind %d, length %u: %d", (int)s->kind, s->length, rc);
    }
    return code;
}

static struct jit_statistics counted(void)
{
    struct jit_statistics s;
    jit_count(j, &s);
    return s;
}

static void the_kernel_used_longest_ago_leaves(void **state)
{
    (void)state;
    best_level();
    for (uint32_t n = 1; n <= JIT_CACHE_ENTRIES; n++) {
        jit_put(j, get(&(struct jit_shape){.kind = JIT_ADD, .length = n}));
    }
    jit_put(j, get(&(struct jit_shape){.kind = JIT_ADD, .length = 1})); // 2 is the oldest now
    assert_int_equal(counted().compiled, JIT_CACHE_ENTRIES);
    assert_int_equal(counted().found, 1);
    jit_put(j, get(&(struct jit_shape){.kind = JIT_ADD, .length = 100}));
    assert_int_equal(counted().evicted, 1);
    assert_int_equal(counted().cached, JIT_CACHE_ENTRIES);
    assert_int_equal(counted().live_buffers, JIT_CACHE_ENTRIES);
    jit_put(j, get(&(struct jit_shape){.kind = JIT_ADD, .length = 1}));
    assert_int_equal(counted().found, 2);
    jit_put(j, get(&(struct jit_shape){.kind = JIT_ADD, .length = 2}));
    assert_int_equal(counted().compiled, JIT_CACHE_ENTRIES + 2);
    // What a kind does not use does not tell kernels apart.
    jit_put(j, get(&(struct jit_shape){.kind = JIT_ADD, .length = 2, .epsilon = 3, .inputs = 9}));
    assert_int_equal(counted().compiled, JIT_CACHE_ENTRIES + 2);
    jit_close(j);
}

static void a_held_kernel_outlives_its_eviction(void **state)
{
    (void)state;
    best_level();
    const struct jit_code *held[JIT_POOL_BUFFERS], *more;
    for (uint32_t n = 0; n < JIT_POOL_BUFFERS; n++) {
        held[n] = get(&(struct jit_shape){.kind = JIT_ADD, .length = n + 1});
    }
    assert_int_equal(counted().live_buffers, JIT_POOL_BUFFERS);
    assert_int_equal(counted().cached, JIT_CACHE_ENTRIES);
    held[9]->run.add(got, a, b); // evicted long ago
    assert_true(got[9] == a[9] + b[9]);
    struct jit_shape another = {.kind = JIT_ADD, .length = 1000};
    assert_int_equal(jit_get(j, &another, &more), -ENOMEM); // all 64 are held
    jit_put(j, held[0]);
    assert_int_equal(jit_get(j, &another, &more), 0);
    jit_put(j, more);
    for (uint32_t n = 1; n < JIT_POOL_BUFFERS; n++) {
        jit_put(j, held[n]);
    }
    assert_true(counted().live_buffers <= JIT_CACHE_ENTRIES);
    jit_close(j);
}

static void the_pool_has_a_size(void **state)
{
    (void)state;
    struct code_pool p = {.memory = *jit_host_memory()};
    static uint8_t code[600 << 10];
    struct pool_buffer *first = pool_place(&p, code, sizeof code), *second, *third;
    second = pool_place(&p, code, sizeof code);
    third = pool_place(&p, code, sizeof code);
    assert_true(first && second && third);
    assert_null(pool_place(&p, code, sizeof code)); // 2.4 MB
    pool_release(&p, second);
    second = pool_place(&p, code, sizeof code);
    assert_non_null(second);
    assert_null(pool_place(&p, code, 0));
    pool_release(&p, first);
    pool_release(&p, second);
    pool_release(&p, third);
    assert_int_equal(p.bytes, 0);
}

static void wrong_shapes_are_refused(void **state)
{
    (void)state;
    const struct jit_code *code;
    best_level();
    static const struct jit_shape wrong[] = {
        {.kind = JIT_ADD, .length = 0},
        {.kind = JIT_ADD, .length = JIT_MAX_LENGTH + 1},
        {.kind = JIT_KIND_COUNT, .length = 1},
        {.kind = JIT_CHAIN, .length = 1, .inputs = 1},
        {.kind = JIT_CHAIN, .length = 1, .steps = 1},
        {.kind = JIT_CHAIN, .length = 1, .inputs = JIT_MAX_INPUTS + 1, .steps = 1},
        {.kind = JIT_CHAIN, .length = 1, .inputs = 1, .steps = JIT_MAX_STEPS + 1},
        {.kind = JIT_CHAIN,
         .length = 1,
         .inputs = 1,
         .steps = 1,
         .step = {{JIT_STEP_ADD, 0, 1, 0, 0}}},
        {.kind = JIT_CHAIN,
         .length = 1,
         .inputs = 1,
         .steps = 1,
         .step = {{JIT_STEP_COUNT, 0, 0, 0, 0}}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(jit_get(j, &wrong[i], &code), -EINVAL);
        assert_null(code);
    }
    jit_close(j);
}

// ---- threads -----------------------------------------------------------------------------------

static void *use_kernels(void *seed)
{
    uint32_t r = (uint32_t)(uintptr_t)seed;
    float x[64], out[64];
    for (int i = 0; i < 64; i++) {
        x[i] = (float)i;
    }
    for (int round = 0; round < 2000; round++) {
        const struct jit_code *code;
        r = r * 1664525 + 1013904223;
        uint32_t n = 1 + (r >> 16) % 60; // more shapes than the cache holds
        if (jit_get(j, &(struct jit_shape){.kind = JIT_ADD, .length = n}, &code)) {
            return "no kernel";
        }
        code->run.add(out, x, x);
        bool right = out[n - 1] == 2 * x[n - 1];
        jit_put(j, code);
        if (!right) {
            return "a wrong sum";
        }
    }
    return NULL;
}

static void threads_may_share_it(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    best_level();
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&thread[i], NULL, use_kernels, (void *)(i + 1));
    }
    for (int i = 0; i < THREADS; i++) {
        void *what;
        pthread_join(thread[i], &what);
        if (what) {
            fail_msg("%s", (char *)what);
        }
    }
    assert_true(counted().evicted > 0);
    assert_true(counted().live_buffers <= JIT_CACHE_ENTRIES);
    jit_close(j);
}

static void without_memory_there_is_no_jit(void **state)
{
    (void)state;
    char error[200];
    assert_int_equal(jit_open(NULL, tn_isa_best(), &j, error, sizeof error), -ENOTSUP);
    assert_non_null(strstr(error, "not available"));
    assert_int_equal(jit_open(jit_host_memory(), TN_ISA_SCALAR, &j, error, sizeof error), -ENOTSUP);
    assert_non_null(strstr(error, "scalar"));
    assert_null(j);
}

static int refused_seals;
static int refuse_to_seal(void *ctx, void *code, size_t bytes)
{
    (void)ctx;
    (void)code;
    (void)bytes;
    refused_seals++;
    return -EPERM;
}

static void code_that_cannot_be_sealed_never_runs(void **state)
{
    (void)state;
    char error[200];
    struct jit_memory memory = *jit_host_memory();
    const struct jit_code *code;
    memory.seal = refuse_to_seal;
    if (tn_isa_best() < TN_ISA_AVX2) {
        skip();
    }
    assert_int_equal(jit_open(&memory, TN_ISA_AVX2, &j, error, sizeof error), 0);
    assert_int_equal(jit_get(j, &(struct jit_shape){.kind = JIT_ADD, .length = 1}, &code), -ENOMEM);
    assert_int_equal(refused_seals, 1);
    assert_int_equal(counted().live_buffers, 0);
    jit_close(j);
}

// ---- W^X ---------------------------------------------------------------------------------------

static int signal_of_child(void (*attack)(const struct jit_code *), const struct jit_code *code)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        attack(code);
        _exit(0);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void write_code(const struct jit_code *code)
{
    *(volatile uint8_t *)code->run.code = 0xc3;
}

static void run_unsealed(const struct jit_code *code)
{
    struct jit_memory m = *jit_host_memory();
    union jit_entry e = {.code = m.alloc(m.ctx, 4096)};
    (void)code;
    memset(e.code, 0xc3, 4096);
    e.add(NULL, NULL, NULL);
}

static int leave_open(void *ctx, void *code, size_t bytes)
{
    (void)ctx;
    return mprotect(code, bytes, PROT_READ | PROT_WRITE | PROT_EXEC);
}

// The same attack where sealing protects nothing: it must get through, or the test below shows
// nothing.
static void without_sealing_the_attack_succeeds(void **state)
{
    (void)state;
    char error[200];
    struct jit_memory open = *jit_host_memory();
    open.seal = leave_open;
    if (tn_isa_best() < TN_ISA_AVX2) {
        skip();
    }
    assert_int_equal(jit_open(&open, TN_ISA_AVX2, &j, error, sizeof error), 0);
    const struct jit_code *code = get(&(struct jit_shape){.kind = JIT_ADD, .length = 64});
    assert_int_equal(signal_of_child(write_code, code), 0);
    jit_put(j, code);
    jit_close(j);
}

static void code_is_never_writable_and_executable(void **state)
{
    (void)state;
    best_level();
    const struct jit_code *code = get(&(struct jit_shape){.kind = JIT_ADD, .length = 64});
    assert_int_equal(signal_of_child(write_code, code), SIGSEGV);
    assert_int_equal(signal_of_child(run_unsealed, code), SIGSEGV);
    jit_put(j, code);
    jit_close(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_used_longest_ago_leaves),
        cmocka_unit_test(a_held_kernel_outlives_its_eviction),
        cmocka_unit_test(the_pool_has_a_size),
        cmocka_unit_test(wrong_shapes_are_refused),
        cmocka_unit_test(threads_may_share_it),
        cmocka_unit_test(without_memory_there_is_no_jit),
        cmocka_unit_test(code_that_cannot_be_sealed_never_runs),
        cmocka_unit_test(without_sealing_the_attack_succeeds),
        cmocka_unit_test(code_is_never_writable_and_executable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
