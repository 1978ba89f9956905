// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The JIT's kernels beside those the compiler made, in cache, one thread: nanoseconds a call by the
// thread's CPU time, medians of pairs in turn. `build/bin/bench-jit [avx2|avx512] [LENGTH...]`.
#include "tensor/cpu/row_kernels.h"
#include "tensor/jit.h"

#include <immintrin.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 16384, PAIRS = 21, MOST_LENGTHS = 16 };

static float room[5][MOST + 16] __attribute__((aligned(64)));
static float *const x = room[0], *const y = room[1], *const z = room[2], *const out = room[3];
static const struct tn_row_kernels *k;
static volatile float keep;

// ---- dot and axpy as the compiler makes them (the executor has no use for them)
// ------------------

__attribute__((target("avx512f"))) static float dot_512(const float *a, const float *b, size_t n)
{
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                   _mm512_setzero_ps()};
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (size_t l = 0; l < 4; l++) {
            s[l] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16 * l), _mm512_loadu_ps(b + i + 16 * l),
                                   s[l]);
        }
    }
    for (; i < n; i += 16) {
        __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
        s[0] =
            _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), s[0]);
    }
    return _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(s[0], s[2]), _mm512_add_ps(s[1], s[3])));
}

__attribute__((target("avx2,fma"))) static float dot_256(const float *a, const float *b, size_t n)
{
    __m256 s[8];
    size_t i = 0;
    for (size_t l = 0; l < 8; l++) {
        s[l] = _mm256_setzero_ps();
    }
    for (; i + 64 <= n; i += 64) {
        for (size_t l = 0; l < 8; l++) {
            s[l] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8 * l), _mm256_loadu_ps(b + i + 8 * l),
                                   s[l]);
        }
    }
    float f[8], sum = 0;
    for (size_t l = 1; l < 8; l++) {
        s[0] = _mm256_add_ps(s[0], s[l]);
    }
    _mm256_storeu_ps(f, s[0]);
    for (size_t l = 0; l < 8; l++) {
        sum += f[l];
    }
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

__attribute__((target("avx512f"), optimize("O3"))) static void axpy_512(float *to, const float *a,
                                                                        float f, size_t n)
{
    __m512 v = _mm512_set1_ps(f);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        _mm512_storeu_ps(to + i,
                         _mm512_fmadd_ps(_mm512_loadu_ps(a + i), v, _mm512_loadu_ps(to + i)));
    }
    if (i < n) {
        __mmask16 m = (__mmask16)((1u << (n - i)) - 1);
        _mm512_mask_storeu_ps(
            to + i, m,
            _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + i), v, _mm512_maskz_loadu_ps(m, to + i)));
    }
}

__attribute__((target("avx2,fma"))) static void axpy_256(float *to, const float *a, float f,
                                                         size_t n)
{
    __m256 v = _mm256_set1_ps(f);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(to + i,
                         _mm256_fmadd_ps(_mm256_loadu_ps(a + i), v, _mm256_loadu_ps(to + i)));
    }
    for (; i < n; i++) {
        to[i] = __builtin_fmaf(a[i], f, to[i]);
    }
}

// ---- what is compared --------------------------------------------------------------------------

static bool wide;
static size_t length_now;

static void c_add(size_t n)
{
    k->add(out, x, y, n);
}
static void c_dot(size_t n)
{
    keep = wide ? dot_512(x, y, n) : dot_256(x, y, n);
}
static void c_axpy(size_t n)
{
    (wide ? axpy_512 : axpy_256)(out, x, 0.001f, n);
}
static void c_silu_mul(size_t n) // in place again and again the values would become subnormal
{
    memcpy(out, x, n * sizeof *out);
    k->gate(IR_SILU, out, y, n);
}
static void c_rope(size_t n)
{
    k->turn_halves(out, x, z, n / 2);
}
static void c_norm(size_t n)
{
    k->rms_norm(out, x, y, n, 1e-5f);
}
static void c_add_scaled(size_t n) // x + 0.5 y
{
    memcpy(out, y, n * sizeof *out);
    k->scale(out, n, 0.5f);
    k->add(out, x, out, n);
}
static void c_add_three(size_t n)
{
    k->add(out, x, y, n);
    k->add(out, out, z, n);
}
static void c_gelu_chain(size_t n) // gelu(x + y) z + x
{
    k->add(out, x, y, n);
    k->gate(IR_GELU, out, z, n);
    k->add(out, out, x, n);
}

static void j_add(const struct jit_code *c)
{
    c->run.add(out, x, y);
}
static void j_dot(const struct jit_code *c)
{
    keep = c->run.dot(x, y);
}
static void j_axpy(const struct jit_code *c)
{
    c->run.axpy(out, x, 0.001f);
}
static void j_silu_mul(const struct jit_code *c)
{
    memcpy(out, x, length_now * sizeof *out);
    c->run.silu_mul(out, y);
}
static void j_rope(const struct jit_code *c)
{
    c->run.rope(out, x, z);
}
static void j_norm(const struct jit_code *c)
{
    c->run.rms_norm(out, x, y);
}
static void j_chain(const struct jit_code *c)
{
    c->run.chain(out, (const float *const[]){x, y, z});
}

static const struct row {
    const char *name;
    void (*c)(size_t n);
    void (*j)(const struct jit_code *code);
    struct jit_shape shape;
} rows[] = {
    {"add", c_add, j_add, {.kind = JIT_ADD}},
    {"dot", c_dot, j_dot, {.kind = JIT_DOT}},
    {"axpy", c_axpy, j_axpy, {.kind = JIT_AXPY}},
    {"silu mul", c_silu_mul, j_silu_mul, {.kind = JIT_SILU_MUL}},
    {"rope", c_rope, j_rope, {.kind = JIT_ROPE_HALVES}},
    {"rms norm", c_norm, j_norm, {.kind = JIT_RMS_NORM, .epsilon = 1e-5f}},
    {"x + 0.5 y",
     c_add_scaled,
     j_chain,
     {.kind = JIT_CHAIN,
      .inputs = 2,
      .steps = 2,
      .step = {{JIT_STEP_SCALE, 1, 0, 0, 0.5f}, {JIT_STEP_ADD, 0, 2, 0, 0}}}},
    {"x + y + z",
     c_add_three,
     j_chain,
     {.kind = JIT_CHAIN,
      .inputs = 3,
      .steps = 2,
      .step = {{JIT_STEP_ADD, 0, 1, 0, 0}, {JIT_STEP_ADD, 3, 2, 0, 0}}}},
    {"gelu(x + y) z + x",
     c_gelu_chain,
     j_chain,
     {.kind = JIT_CHAIN,
      .inputs = 3,
      .steps = 4,
      .step = {{JIT_STEP_ADD, 0, 1, 0, 0},
               {JIT_STEP_GELU, 3, 0, 0, 0},
               {JIT_STEP_MUL, 4, 2, 0, 0},
               {JIT_STEP_ADD, 5, 0, 0, 0}}}},
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

static void fill(void)
{
    for (size_t i = 0; i < MOST; i++) {
        x[i] = (float)(i % 17) * 0.25f - 2;
        y[i] = (float)(i % 13) * 0.25f - 1.5f;
        z[i] = (float)(i % 11) * 0.125f - 0.5f;
        out[i] = (float)(i % 19) * 0.25f - 2;
    }
}

static void measure(const struct row *r, size_t n, const struct jit_code *code, double ns[2])
{
    double times[2][PAIRS];
    size_t turns = 400000 / (n + 100) + 1;
    length_now = n;
    for (int pair = -2; pair < PAIRS; pair++) { // two to warm up
        for (int side = 0; side < 2; side++) {
            fill();
            double from = now_ns();
            for (size_t i = 0; i < turns; i++) {
                if (side) {
                    r->j(code);
                } else {
                    r->c(n);
                }
            }
            if (pair >= 0) {
                times[side][pair] = (now_ns() - from) / (double)turns;
            }
        }
    }
    for (int side = 0; side < 2; side++) {
        qsort(times[side], PAIRS, sizeof *times[side], by_size);
        ns[side] = times[side][PAIRS / 2];
    }
}

static int run_level(enum tn_isa isa, const size_t *lengths, size_t count)
{
    struct jit *j;
    char error[200];
    double compile_ns = 0;
    int kernels = 0;
    if (jit_open(jit_host_memory(), isa, &j, error, sizeof error)) {
        fprintf(stderr, "bench-jit: %s\n", error);
        return 1;
    }
    k = tn_row_kernels_of(isa);
    wide = isa >= TN_ISA_AVX512;
    printf("%s: ns a call, compiled C / JIT (C as a multiple of JIT)\n%-18s", tn_isa_name(isa), "");
    for (size_t i = 0; i < count; i++) {
        printf(" %20zu", lengths[i]);
    }
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        printf("\n%-18s", rows[r].name);
        for (size_t i = 0; i < count; i++) {
            struct jit_shape s = rows[r].shape;
            const struct jit_code *code;
            double ns[2], from = now_ns();
            s.length = (uint32_t)(s.kind == JIT_ROPE_HALVES ? lengths[i] / 2 : lengths[i]);
            if (jit_get(j, &s, &code)) {
                printf(" %20s", "none");
                continue;
            }
            compile_ns += now_ns() - from;
            kernels++;
            measure(&rows[r], lengths[i], code, ns);
            printf(" %6.0f /%6.0f (%3.2f)", ns[0], ns[1], ns[0] / ns[1]);
            fflush(stdout);
            jit_put(j, code);
        }
    }
    printf("\n%d kernels, %.0f us each to make\n", kernels, compile_ns / kernels * 1e-3);
    jit_close(j);
    return 0;
}

int main(int argc, char **argv)
{
    size_t lengths[MOST_LENGTHS] = {64, 100, 256, 1000, 1024, 4096, 8192}, count = 7;
    enum tn_isa from = TN_ISA_AVX2, to = TN_ISA_AVX512, given;
    int at = 1;
    if (at < argc && tn_isa_parse(argv[at], &given) == 0) {
        from = to = given;
        at++;
    }
    for (count = at < argc ? 0 : count; at < argc && count < MOST_LENGTHS; at++) {
        lengths[count] = strtoul(argv[at], NULL, 10);
        if (!lengths[count] || lengths[count] > MOST) {
            fprintf(stderr, "bench-jit: lengths are 1 to %d\n", MOST);
            return 2;
        }
        count++;
    }
    int status = 0;
    for (enum tn_isa isa = from; isa <= to; isa++) {
        if (isa > tn_isa_best()) {
            break;
        }
        status |= run_level(isa, lengths, count);
    }
    return status;
}
