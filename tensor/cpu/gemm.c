// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Blocked matrix products: a slice of k at a time, the operands are packed into slivers, then each
// sliver of A, which the first-level cache holds, meets the slivers of a part of B, which the
// second-level cache holds. Source: Goto, van de Geijn, Anatomy of High-Performance Matrix
// Multiplication, ACM TOMS 34 (2008).
#include "tensor/cpu/gemm.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    WORD_BYTES = 4,
    ALIGNMENT = 64,
    ROWS_MOST = 3072,      // of A packed at a time
    COLUMNS_MOST = 640,    // of B packed at a time: what the second-level cache holds
    STAYING_STRIDE = 1024, // floats between rows of B that need not be packed, at most
    SPLIT_COLUMNS = 256,   // a worker's own, at least; floats twice that (measured)
    TOGETHER = 4           // slivers of A that one task packs
};

// One product under way.
struct work {
    const struct tn_gemm *g;
    const struct tn_gemm_kernels *kernels;
    uint8_t *a, *b;          // packed slivers
    size_t a_bytes, b_bytes; // of a sliver of full depth
    size_t row, rows;        // the part of C
    size_t column, columns;
    size_t k, values;       // the slice of k
    size_t a_tasks;         // groups of slivers of A
    size_t b_tasks, b_task; // tasks that pack B, slivers each
    size_t parts, part;     // into which tasks cut B, slivers each
    bool a_late;            // a sliver of A is packed just before it is multiplied
    bool b_stays;           // B is multiplied where it lies
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}
static size_t pieces(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

static void pack_a_sliver(const struct work *w, size_t sliver, void *out)
{
    size_t first = sliver * w->kernels->rows;
    w->kernels->pack_a(w->g, w->row + first, least(w->kernels->rows, w->rows - first), w->k,
                       w->values, out);
}

// Packs some of B, or of A.
static void pack_task(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct work *w = arg;
    const struct tn_gemm_kernels *kernels = w->kernels;
    if (i < w->b_tasks) {
        size_t first = i * w->b_task * kernels->lanes;
        kernels->pack_b(w->g, w->column + first,
                        least(w->b_task * kernels->lanes, w->columns - first), w->k, w->values,
                        w->b + i * w->b_task * w->b_bytes, w->b_bytes);
        return;
    }
    i = (i - w->b_tasks) * TOGETHER;
    size_t to = least(i + TOGETHER, pieces(w->rows, kernels->rows));
    for (; i < to; i++) {
        pack_a_sliver(w, i, w->a + i * w->a_bytes);
    }
}

// A sliver of A times a part of B.
static void multiply_task(void *arg, size_t i, unsigned worker)
{
    const struct work *w = arg;
    const struct tn_gemm *g = w->g;
    const size_t height = w->kernels->rows, lanes = w->kernels->lanes;
    const size_t from = i % w->parts * w->part, a_sliver = i / w->parts;
    const size_t to = least(from + w->part, pieces(w->columns, lanes));
    struct tn_gemm_block t = {.depth = pieces(w->values, w->kernels->word),
                              .c_stride = g->c_stride,
                              .alpha = g->alpha,
                              .beta = w->k == 0 ? g->beta : 1,
                              .accumulate = w->k != 0 || g->accumulate};
    const uint8_t *b = w->b;
    size_t b_bytes = w->b_bytes;
    t.b_step = lanes;
    if (w->b_stays) {
        b = (const uint8_t *)g->b.data + (w->k * g->b.stride + w->column) * WORD_BYTES;
        b_bytes = lanes * WORD_BYTES;
        t.b_step = g->b.stride;
    }
    t.a = w->a + (w->a_late ? worker : a_sliver) * w->a_bytes;
    if (w->a_late) {
        pack_a_sliver(w, a_sliver, w->a + worker * w->a_bytes);
    }
    t.rows = least(height, w->rows - a_sliver * height);
    size_t c_row = (w->row + a_sliver * height) * g->c_stride + w->column;
    for (size_t sliver = from; sliver < to; sliver++) {
        t.b = b + sliver * b_bytes;
        t.columns = least(lanes, w->columns - sliver * lanes);
        t.c = (uint8_t *)g->c + (c_row + sliver * lanes) * WORD_BYTES;
        w->kernels->multiply(&t);
    }
}

// One slice of k of a part of C. The slice's A is packed with the first columns, or late.
static void multiply_slice(struct work *w)
{
    struct tn_pool *pool = w->g->pool ? w->g->pool : &tn_pool_single;
    const size_t slivers = pieces(w->columns, w->kernels->lanes);
    const size_t a_slivers = pieces(w->rows, w->kernels->rows);
    const size_t enough = pool->width > 1 ? 12 * (size_t)pool->width : 1; // tasks
    w->a_tasks = pieces(a_slivers, TOGETHER);
    w->b_task = pieces(slivers, pool->width);
    w->b_tasks = w->b_stays ? 0 : pieces(slivers, w->b_task);
    // A sliver that meets all of B at once needs to be packed once only.
    w->a_late = w->columns == w->g->n && a_slivers >= enough;
    w->parts = w->a_late ? 1 : least(pieces(4 * enough, a_slivers), slivers);
    w->part = pieces(slivers, w->parts);
    w->parts = pieces(slivers, w->part);
    size_t packing = w->b_tasks + (w->column == 0 && !w->a_late ? w->a_tasks : 0);
    if (packing) {
        pool->run(pool, pack_task, w, packing);
    }
    pool->run(pool, multiply_task, w, w->parts * a_slivers);
}

// Slices of k of equal length, a multiple of a word.
static size_t slice_values(const struct tn_gemm_kernels *kernels, size_t k)
{
    size_t words = pieces(k, kernels->word);
    return pieces(words, pieces(words, TN_GEMM_DEPTH)) * kernels->word;
}

// The parts of A and B that are packed at a time: as much as fits.
static void choose_parts(const struct tn_gemm_kernels *kernels, const struct tn_gemm *g,
                         size_t bytes, size_t *rows, size_t *columns)
{
    // Columns in equal parts.
    size_t part = g->n ? pieces(g->n, pieces(g->n, COLUMNS_MOST)) : 1;
    *rows = pieces(least(g->m, ROWS_MOST), kernels->rows) * kernels->rows;
    *columns = pieces(part, kernels->lanes) * kernels->lanes;
    const size_t depth = (TN_GEMM_DEPTH + 1) * WORD_BYTES;
    while ((*rows + *columns) * depth > bytes) {
        size_t *larger = *rows > *columns ? rows : columns;
        size_t unit = larger == rows ? kernels->rows : kernels->lanes;
        *larger = pieces(*larger / 2, unit) * unit;
        if (*rows == kernels->rows && *columns == kernels->lanes) {
            return;
        }
    }
}

static bool operand_is_sound(const struct tn_operand *o, size_t rows, size_t columns)
{
    return o->data && o->stride >= (o->transposed ? rows : columns);
}

// The whole product in one workspace.
static void multiply_all(const struct tn_gemm *g, const struct tn_gemm_kernels *kernels,
                         void *workspace, size_t bytes)
{
    struct work w = {.g = g, .kernels = kernels, .a = workspace};
    // Short rows that lie close together are as good as slivers.
    w.b_stays = kernels->unpacked && !g->b.transposed && g->n % 16 == 0 &&
                g->b.stride <= STAYING_STRIDE && g->n <= COLUMNS_MOST;
    size_t rows, columns, slice = slice_values(kernels, g->k ? g->k : 1);
    choose_parts(kernels, g, bytes, &rows, &columns);
    w.a_bytes = kernels->rows * TN_GEMM_DEPTH * WORD_BYTES;
    w.b_bytes = kernels->lanes * (TN_GEMM_DEPTH + 1) * WORD_BYTES;
    w.b = w.a + rows * TN_GEMM_DEPTH * WORD_BYTES;
    for (w.row = 0; w.row < g->m; w.row += rows) {
        w.rows = least(rows, g->m - w.row);
        // Without any k there is one empty slice: C still becomes beta C.
        for (w.k = 0; w.k == 0 || w.k < g->k; w.k += slice) {
            w.values = least(slice, g->k - w.k);
            for (w.column = 0; w.column < g->n; w.column += columns) {
                w.columns = least(columns, g->n - w.column);
                multiply_slice(&w);
            }
        }
    }
}

// Wide products: each worker makes columns of C of its own, so that nothing it packs or adds to
// wanders between the cores' caches. A is packed once a task, which wide ones can afford.
struct split {
    const struct tn_gemm *g;
    const struct tn_gemm_kernels *kernels;
    uint8_t *workspace;
    size_t bytes;   // of a worker's part of it
    size_t columns; // of a task
};

static void split_task(void *arg, size_t i, unsigned worker)
{
    const struct split *s = arg;
    const size_t first = i * s->columns, element = WORD_BYTES / s->kernels->word;
    struct tn_gemm g = *s->g;
    g.pool = NULL;
    g.n = least(s->columns, g.n - first);
    g.c = (uint8_t *)g.c + first * WORD_BYTES;
    g.b.data = (const uint8_t *)g.b.data + first * (g.b.transposed ? g.b.stride : 1) * element;
    multiply_all(&g, s->kernels, s->workspace + worker * s->bytes, s->bytes);
}

static size_t pool_width(const struct tn_gemm *g)
{
    return g->pool && g->n >= 2 * SPLIT_COLUMNS ? g->pool->width : 1;
}

static int run(const struct tn_gemm *g, const struct tn_gemm_kernels *kernels)
{
    if (g->m == 0 || g->n == 0) {
        return 0;
    }
    if (!g->c || g->c_stride < g->n ||
        (g->k && (!operand_is_sound(&g->a, g->m, g->k) || !operand_is_sound(&g->b, g->k, g->n)))) {
        return -EINVAL;
    }
    void *workspace = g->workspace, *taken = NULL;
    size_t bytes = g->workspace_bytes;
    if (!workspace) {
        bytes = tn_gemm_workspace(g);
        workspace = taken = aligned_alloc(ALIGNMENT, bytes);
        if (!taken) {
            return -ENOMEM;
        }
    }
    if (bytes < TN_GEMM_WORKSPACE_LEAST || (uintptr_t)workspace % ALIGNMENT) {
        return -EINVAL;
    }
    const bool wide = kernels->word > 1 || g->n >= 4 * SPLIT_COLUMNS;
    const size_t width = wide ? pool_width(g) : 1;
    struct split s = {g, kernels, workspace, bytes / width / ALIGNMENT * ALIGNMENT, 0};
    if (width > 1 && s.bytes >= TN_GEMM_WORKSPACE_LEAST) {
        // As many tasks for each worker, none wider than what the cache holds.
        size_t tasks = width * pieces(g->n, width * COLUMNS_MOST);
        s.columns = pieces(pieces(g->n, tasks), TN_GEMM_LANES_MOST) * TN_GEMM_LANES_MOST;
        g->pool->run(g->pool, split_task, &s, pieces(g->n, s.columns));
    } else {
        multiply_all(g, kernels, workspace, bytes);
    }
    free(taken);
    return 0;
}

size_t tn_gemm_workspace(const struct tn_gemm *g)
{
    size_t rows = least(g->m, ROWS_MOST) + TN_GEMM_ROWS_MOST;
    size_t columns = least(g->n, COLUMNS_MOST) + TN_GEMM_LANES_MOST;
    size_t bytes = (rows + columns) * (TN_GEMM_DEPTH + 1) * WORD_BYTES;
    bytes = pieces(bytes, ALIGNMENT) * ALIGNMENT;
    return pool_width(g) * (bytes > TN_GEMM_WORKSPACE_LEAST ? bytes : TN_GEMM_WORKSPACE_LEAST);
}

int tn_gemm(const struct tn_gemm *g)
{
    static const struct tn_gemm_kernels *const levels[TN_ISA_COUNT] = {
        &tn_gemm_scalar, &tn_gemm_avx2, &tn_gemm_avx512, &tn_gemm_avx512};
    return (unsigned)g->isa < TN_ISA_COUNT ? run(g, levels[g->isa]) : -EINVAL;
}

int tn_gemm_int8(const struct tn_gemm *g)
{
    static const struct tn_gemm_kernels *const levels[TN_ISA_COUNT] = {
        &tn_gemm8_scalar, &tn_gemm8_avx2, &tn_gemm8_avx2, &tn_gemm8_avx512vnni};
    enum { LONGEST = 65536 }; // 65536 * 255 * 128 < 2^31
    return (unsigned)g->isa < TN_ISA_COUNT && g->k <= LONGEST ? run(g, levels[g->isa]) : -EINVAL;
}
