// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Matrix products of tensor/gemm.h beside oneDNN's and OpenBLAS's, in turn in one run: medians,
// ratios, the share of what multiply-add loops in registers reach, and how much else ran. Libraries
// are loaded at run time; one that is missing is named and left out.
// Use: gemm [--threads 1,2] [--rounds 7] [--only f32|int8|part of a shape's name]
#include "tensor/gemm.h"

#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef void cblas_sgemm_fn(int order, int turn_a, int turn_b, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c,
                            int ldc);
typedef int dnnl_sgemm_fn(char turn_a, char turn_b, int64_t m, int64_t n, int64_t k, float alpha,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                          float *c, int64_t ldc);
typedef int dnnl_u8s8s32_fn(char turn_a, char turn_b, char offset, int64_t m, int64_t n, int64_t k,
                            float alpha, const uint8_t *a, int64_t lda, uint8_t ao, const int8_t *b,
                            int64_t ldb, int8_t bo, float beta, int32_t *c, int64_t ldc,
                            const int32_t *co);

enum side { OURS, ONEDNN, OPENBLAS, PEAK, SIDES };
enum { MOST_ROUNDS = 99, MOST_ELEMENTS = 8192 * 2048, CHECKED = 48 };

static const char *const side_names[] = {"tessera", "oneDNN", "OpenBLAS", "peak"};
static const struct shape {
    const char *name;
    size_t m, n, k;
    bool b_transposed;
} shapes[] = {
    {"512x512x512", 512, 512, 512, false},        {"1024x1024x1024", 1024, 1024, 1024, false},
    {"2048x2048x2048", 2048, 2048, 2048, false},  {"512x2048x8192", 512, 2048, 8192, false},
    {"512x2048x8192 B^T", 512, 2048, 8192, true},
};

static struct {
    cblas_sgemm_fn *openblas;
    dnnl_sgemm_fn *dnnl;
    dnnl_u8s8s32_fn *dnnl_int8;
    void (*openblas_threads)(int);
    void (*omp_threads)(int);
} peer;
static enum tn_isa isa;
static float *a, *b, *c;
static uint8_t *a8;
static int8_t *b8;
static void *workspace;
static size_t workspace_bytes;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// ---- peers -------------------------------------------------------------------------------------

static void *load(const char *const *names, const char *package)
{
    for (; *names; names++) {
        void *library = dlopen(*names, RTLD_NOW | RTLD_GLOBAL);
        if (library) {
            return library;
        }
    }
    printf("%s is not installed: compared without it\n", package);
    return NULL;
}

// A function of a library, as a bit copy: ISO C has no conversion from void *.
static void find(void *library, const char *name, void *function)
{
    void *at = library ? dlsym(library, name) : NULL;
    memcpy(function, &at, sizeof at);
}

static void load_peers(void)
{
    static const char *const dnnl[] = {"libdnnl.so.3", "libdnnl.so.2", NULL};
    static const char *const openblas[] = {"libopenblas.so.0", NULL};
    // Old releases take new processors for ones without AVX-512.
    if (isa >= TN_ISA_AVX512) {
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
    }
    void *library = load(dnnl, "oneDNN (libdnnl-dev)");
    find(library, "dnnl_sgemm", &peer.dnnl);
    find(library, "dnnl_gemm_u8s8s32", &peer.dnnl_int8);
    find(library, "omp_set_num_threads", &peer.omp_threads); // its OpenMP library's
    library = load(openblas, "OpenBLAS (libopenblas-dev)");
    find(library, "cblas_sgemm", &peer.openblas);
    find(library, "openblas_set_num_threads", &peer.openblas_threads);
}

// ---- the machine's peak ------------------------------------------------------------------------

#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CLOBBERS                                                                                   \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11"

struct peak {
    bool integers;
    size_t turns;
};

static void peak_task(void *arg, size_t i, unsigned worker)
{
    (void)i;
    (void)worker;
    const struct peak *p = arg;
    for (size_t t = 0; t < p->turns; t++) {
#define FMA512(n) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #n "\n\t"
#define FMA256(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n\t"
#define DOT512(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n\t"
#define DOT256(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm" #n "\n\t"
        if (p->integers && isa >= TN_ISA_AVX512_VNNI) {
            __asm__ volatile(TWELVE(DOT512)::: CLOBBERS);
        } else if (p->integers) {
            __asm__ volatile(TWELVE(DOT256)::: CLOBBERS);
        } else if (isa >= TN_ISA_AVX512) {
            __asm__ volatile(TWELVE(FMA512)::: CLOBBERS);
        } else {
            __asm__ volatile(TWELVE(FMA256)::: CLOBBERS);
        }
    }
}

static double peak_work(const struct peak *p)
{
    double lanes =
        p->integers ? (isa >= TN_ISA_AVX512_VNNI ? 64 : 16) : (isa >= TN_ISA_AVX512 ? 16 : 8);
    return (double)p->turns * 12 * lanes * 2;
}

// ---- one measurement ---------------------------------------------------------------------------

static void multiply(enum side side, const struct shape *s, bool integers, struct tn_pool *pool)
{
    int m = (int)s->m, n = (int)s->n, k = (int)s->k, ldb = s->b_transposed ? k : n;
    char turn = s->b_transposed ? 'T' : 'N';
    int32_t zero = 0;
    if (side == OURS) {
        const struct tn_gemm g = {.m = s->m,
                                  .n = s->n,
                                  .k = s->k,
                                  .a = {integers ? (void *)a8 : a, s->k, false},
                                  .b = {integers ? (void *)b8 : b, (size_t)ldb, s->b_transposed},
                                  .c = c,
                                  .c_stride = s->n,
                                  .alpha = 1,
                                  .isa = isa,
                                  .pool = pool,
                                  .workspace = workspace,
                                  .workspace_bytes = workspace_bytes};
        if ((integers ? tn_gemm_int8(&g) : tn_gemm(&g)) != 0) {
            fprintf(stderr, "gemm: tn_gemm refused its arguments\n");
            exit(1);
        }
    } else if (side == OPENBLAS) {
        peer.openblas(101, 111, s->b_transposed ? 112 : 111, m, n, k, 1, a, k, b, ldb, 0, c, n);
    } else if (integers) {
        peer.dnnl_int8('N', turn, 'F', m, n, k, 1, a8, k, 0, b8, ldb, 0, 0, (int32_t *)c, n, &zero);
    } else {
        peer.dnnl('N', turn, m, n, k, 1, a, k, b, ldb, 0, c, n);
    }
}

// The largest error among some elements of C, relative to what rounding may do.
static double error_of(const struct shape *s, bool integers)
{
    double worst = 0;
    for (size_t t = 0; t < CHECKED; t++) {
        size_t i = t * 7919 % s->m, j = t * 104729 % s->n;
        double right = 0, size = 1e-30;
        for (size_t l = 0; l < s->k; l++) {
            size_t at_b = s->b_transposed ? j * s->k + l : l * s->n + j;
            double x = integers ? (double)a8[i * s->k + l] * b8[at_b]
                                : (double)a[i * s->k + l] * (double)b[at_b];
            right += x;
            size += fabs(x);
        }
        double got = integers ? (double)((int32_t *)c)[i * s->n + j] : (double)c[i * s->n + j];
        double error = fabs(got - right) / size;
        worst = error > worst ? error : worst;
    }
    return worst;
}

static double one_run(enum side side, const struct shape *s, bool integers, struct tn_pool *pool,
                      size_t times)
{
    struct peak p = {integers, 4000000};
    double work = 2.0 * (double)s->m * (double)s->n * (double)s->k * (double)times;
    // One thread's own time is untouched by what else runs; with more, the clock on the wall.
    clockid_t clock = pool->width == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    // The last side's threads stop spinning (OpenBLAS's after some 30 ms), then this side's wake
    // up.
    usleep(pool->width == 1 ? 3000 : 100000);
    if (pool->width > 1 && side == PEAK) {
        pool->run(pool, peak_task, &p, pool->width);
    } else if (pool->width > 1) {
        multiply(side, s, integers, pool);
    }
    double start = seconds(clock);
    if (side == PEAK) {
        pool->run(pool, peak_task, &p, pool->width);
        work = peak_work(&p) * pool->width;
    } else {
        for (size_t i = 0; i < times; i++) {
            multiply(side, s, integers, pool);
        }
    }
    return work / (seconds(clock) - start) * 1e-9;
}

// Seconds of processor time used by everything on the machine.
static double machine_busy(void)
{
    double t[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    if (!f) {
        return 0;
    }
    if (fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", t, t + 1, t + 2, t + 3, t + 4, t + 5,
               t + 6, t + 7) != 8) {
        t[0] = 0;
    }
    fclose(f);
    return (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
}

static int ascending(const void *x, const void *y)
{
    double d = *(const double *)x - *(const double *)y;
    return (d > 0) - (d < 0);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, ascending);
    return v[n / 2];
}

// Prints one line; returns ours by the better peer's, 0 without one.
static double compare(const struct shape *s, bool integers, struct tn_pool *pool, size_t rounds)
{
    const bool there[SIDES] = {true, integers ? peer.dnnl_int8 != NULL : peer.dnnl != NULL,
                               !integers && peer.openblas, isa > TN_ISA_SCALAR};
    static double speed[SIDES][MOST_ROUNDS];
    double work = 2.0 * (double)s->m * (double)s->n * (double)s->k, middle[SIDES] = {0};
    size_t times = (size_t)((integers ? 4e10 : 1e10) * pool->width / work) + 1;
    if (peer.omp_threads) {
        peer.omp_threads((int)pool->width);
    }
    if (peer.openblas_threads) {
        peer.openblas_threads((int)pool->width);
    }
    for (enum side side = 0; side < PEAK; side++) {
        if (there[side]) { // once for the caches, and to see that it is right
            memset(c, 0x7f, s->m * s->n * sizeof *c);
            multiply(side, s, integers, pool);
            double error = error_of(s, integers);
            if (!(error <= (integers ? 0 : 1e-6))) {
                printf("%s: %s is wrong by %g\n", s->name, side_names[side], error);
                exit(1);
            }
        }
    }
    double busy = machine_busy(), own = seconds(CLOCK_PROCESS_CPUTIME_ID);
    double wall = seconds(CLOCK_MONOTONIC);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < SIDES; i++) {
            enum side side = (enum side)((i + round) % SIDES);
            if (there[side]) {
                speed[side][round] = one_run(side, s, integers, pool, times);
            }
        }
    }
    own = seconds(CLOCK_PROCESS_CPUTIME_ID) - own;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    double others = (machine_busy() - busy - own) / wall;
    double best = 0, spread = 0;
    printf("%-5s %-18s %zu", integers ? "int8" : "f32", s->name, (size_t)pool->width);
    for (enum side side = 0; side < SIDES; side++) {
        if (there[side]) {
            middle[side] = median(speed[side], rounds);
        }
        if (side != OURS && side != PEAK && middle[side] > best) {
            best = middle[side];
        }
        printf(there[side] ? "  %8.1f" : "         -", middle[side]);
    }
    spread = (speed[OURS][rounds * 3 / 4] - speed[OURS][rounds / 4]) / middle[OURS];
    printf(best > 0 ? "  %5.2f" : "      -", middle[OURS] / (best > 0 ? best : 1));
    printf(there[PEAK] ? "  %4.0f %%" : "       -", 100 * middle[OURS] / middle[PEAK]);
    printf("  %4.1f %%  %.2f\n", 100 * spread, others > 0 ? others : 0);
    fflush(stdout);
    return best > 0 ? middle[OURS] / best : 0;
}

// ---- the program -------------------------------------------------------------------------------

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "gemm: no memory\n");
        exit(1);
    }
    return p;
}

static void prepare(void)
{
    static const struct tn_gemm largest = {.m = SIZE_MAX / 2, .n = SIZE_MAX / 2};
    uint64_t state = 1;
    a = room(MOST_ELEMENTS * sizeof *a);
    b = room(MOST_ELEMENTS * sizeof *b);
    c = room(MOST_ELEMENTS * sizeof *c);
    a8 = room(MOST_ELEMENTS);
    b8 = room(MOST_ELEMENTS);
    workspace_bytes = tn_gemm_workspace(&largest);
    workspace = room(workspace_bytes);
    memset(workspace, 0, workspace_bytes);
    for (size_t i = 0; i < MOST_ELEMENTS; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        a[i] = (float)(int)(state >> 40 & 255) / 128 - 1;
        b[i] = (float)(int)(state >> 50 & 255) / 128 - 1;
        a8[i] = (uint8_t)(state >> 40 & 255);
        b8[i] = (int8_t)((int)(state >> 50 & 255) - 128);
    }
    isa = !__builtin_cpu_supports("fma")          ? TN_ISA_SCALAR
          : !__builtin_cpu_supports("avx512bw")   ? TN_ISA_AVX2
          : !__builtin_cpu_supports("avx512vnni") ? TN_ISA_AVX512
                                                  : TN_ISA_AVX512_VNNI;
}

int main(int argc, char **argv)
{
    const char *threads = "1,2", *only = "";
    size_t rounds = 7;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) {
            threads = argv[i + 1];
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = (size_t)atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--only") == 0) {
            only = argv[i + 1];
        }
    }
    if (argc % 2 == 0 || rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "use: gemm [--threads 1,2] [--rounds 1..99] [--only NAME]\n");
        return 2;
    }
    prepare();
    load_peers();
    printf("GFLOP/s (f32), GOP/s (int8): medians of %zu rounds, sides in turn\n", rounds);
    printf("%-5s %-18s %s  %8s  %8s  %8s  %8s  %5s  %6s  %6s  %s\n", "type", "m x n x k", "t",
           "tessera", "oneDNN", "OpenBLAS", "peak", "ratio", "share", "spread", "others");
    double least = 1e9;
    for (const char *t = threads; *t; t += strcspn(t, ","), t += *t == ',') {
        struct tn_pool *pool = tn_pool_threads((unsigned)atoi(t));
        if (!pool) {
            fprintf(stderr, "gemm: no threads\n");
            return 1;
        }
        for (int integers = 0; integers < 2; integers++) {
            for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
                if (!strstr(integers ? "int8" : "f32", only) && !strstr(shapes[i].name, only)) {
                    continue;
                }
                double ratio = compare(&shapes[i], integers, pool, rounds);
                least = ratio > 0 && ratio < least ? ratio : least;
            }
        }
        tn_pool_free(pool);
    }
    if (least < 1e9) {
        printf("least ratio to the better of the others: %.2f\n", least);
    }
    return 0;
}
