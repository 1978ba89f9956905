// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What this machine can do at most, on so many threads at once: f32 fused multiply-adds (GFLOP/s),
// 8-bit dot products (GOP/s; 0: no AVX-512 VNNI) and reading so many bytes again and again (GB/s).
// Prints the three, the best of several short runs each. Intel SDM vol. 2: VFMADD, VPDPBUSD.
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_THREADS = 64, RUNS = 7, TURNS = 2000000, CHAINS = 12 };

struct part {
    double (*run)(struct part *p); // returns the work done
    const char *data;
    size_t bytes;
    unsigned passes;
    pthread_barrier_t *start;
    double begun, ended, work;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Twelve chains hide the latency of four on two ports; register operands only.
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

static double fma_512(struct part *p)
{
    (void)p;
    for (unsigned i = 0; i < TURNS; i++) {
#define STEP(n) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #n "\n\t"
        __asm__ volatile(TWELVE(STEP)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
#undef STEP
    }
    return (double)TURNS * CHAINS * 16 * 2;
}

static double fma_256(struct part *p)
{
    (void)p;
    for (unsigned i = 0; i < TURNS; i++) {
#define STEP(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n\t"
        __asm__ volatile(TWELVE(STEP)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
#undef STEP
    }
    return (double)TURNS * CHAINS * 8 * 2;
}

static double dot_512(struct part *p)
{
    (void)p;
    for (unsigned i = 0; i < TURNS; i++) {
#define STEP(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n\t"
        __asm__ volatile(TWELVE(STEP)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
#undef STEP
    }
    return (double)TURNS * CHAINS * 64 * 2;
}

static double read_512(struct part *p)
{
    for (unsigned pass = 0; pass < p->passes; pass++) {
        for (const char *at = p->data, *end = at + p->bytes; at < end; at += 512) {
            __asm__ volatile(
                "vporq (%0), %%zmm0, %%zmm0\n\tvporq 64(%0), %%zmm1, %%zmm1\n\t"
                "vporq 128(%0), %%zmm2, %%zmm2\n\tvporq 192(%0), %%zmm3, %%zmm3\n\t"
                "vporq 256(%0), %%zmm4, %%zmm4\n\tvporq 320(%0), %%zmm5, %%zmm5\n\t"
                "vporq 384(%0), %%zmm6, %%zmm6\n\tvporq 448(%0), %%zmm7, %%zmm7" ::"r"(at)
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
        }
    }
    return (double)p->bytes * p->passes;
}

static double read_256(struct part *p)
{
    for (unsigned pass = 0; pass < p->passes; pass++) {
        for (const char *at = p->data, *end = at + p->bytes; at < end; at += 128) {
            __asm__ volatile("vpor (%0), %%ymm0, %%ymm0\n\tvpor 32(%0), %%ymm1, %%ymm1\n\t"
                             "vpor 64(%0), %%ymm2, %%ymm2\n\tvpor 96(%0), %%ymm3, %%ymm3" ::"r"(at)
                             : "xmm0", "xmm1", "xmm2", "xmm3");
        }
    }
    return (double)p->bytes * p->passes;
}

static void *run_part(void *arg)
{
    struct part *p = arg;
    pthread_barrier_wait(p->start);
    p->begun = now();
    p->work = p->run(p);
    p->ended = now();
    return NULL;
}

// Work a second of all threads together, in units of 1e9; the best run.
static double best(struct part *parts, unsigned threads, double (*run)(struct part *p))
{
    double most = 0;
    for (int r = 0; r < RUNS; r++) {
        pthread_t ids[MOST_THREADS];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, threads);
        for (unsigned i = 0; i < threads; i++) {
            parts[i].run = run;
            parts[i].start = &start;
            if (pthread_create(&ids[i], NULL, run_part, &parts[i]) != 0) {
                fputs("limits: no thread\n", stderr);
                exit(1);
            }
        }
        double begun = 1e300, ended = 0, work = 0;
        for (unsigned i = 0; i < threads; i++) {
            pthread_join(ids[i], NULL);
            begun = parts[i].begun < begun ? parts[i].begun : begun;
            ended = parts[i].ended > ended ? parts[i].ended : ended;
            work += parts[i].work;
        }
        pthread_barrier_destroy(&start);
        double speed = work / (ended - begun) * 1e-9;
        most = speed > most ? speed : most;
    }
    return most;
}

int main(int argc, char **argv)
{
    long threads = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
    double megabytes = argc == 3 ? strtod(argv[2], NULL) : 0;
    if (threads < 1 || threads > MOST_THREADS || !(megabytes >= 1 && megabytes < 1e6)) {
        puts("Usage: limits THREADS MEGABYTES");
        return 2;
    }
    unsigned count = (unsigned)threads;
    static struct part parts[MOST_THREADS];
    bool wide = __builtin_cpu_supports("avx512f");
    if (!wide && !__builtin_cpu_supports("fma")) {
        fputs("limits: neither AVX-512 nor FMA here\n", stderr);
        return 1;
    }
    size_t each = (size_t)(megabytes * 1e6 / (double)count) / 4096 * 4096;
    for (unsigned i = 0; i < count; i++) {
        void *data = mmap(NULL, each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED) {
            fputs("limits: no memory\n", stderr);
            return 1;
        }
        madvise(data, each, MADV_HUGEPAGE);
        memset(data, 1, each);
        parts[i].data = data;
        parts[i].bytes = each;
        parts[i].passes = each < 500000000 ? (unsigned)(500000000 / each) : 1;
    }
    double fma = best(parts, count, wide ? fma_512 : fma_256);
    double dot = __builtin_cpu_supports("avx512vnni") ? best(parts, count, dot_512) : 0;
    double reading = best(parts, count, wide ? read_512 : read_256);
    printf("%.1f %.1f %.2f\n", fma, dot, reading);
    return 0;
}
