// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The kernels made so far, by shape: at most JIT_CACHE_ENTRIES, of which the one used longest ago
// makes room. One that leaves while it is held lives on until it is put back.
#include "tensor/jit/jit_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CODE = 256 << 10 }; // of one kernel

struct entry {
    struct jit_code code; // first: callers hold its address
    struct jit_shape shape;
    struct pool_buffer *buffer; // NULL: free
    uint64_t used;              // when, by the clock below
    uint32_t held;
    bool cached;
};

struct jit {
    atomic_flag busy; // protects all below; held for the microseconds that compiling takes
    struct code_pool pool;
    const struct target *target;
    struct kernel_work *work;
    uint8_t *draft;
    struct entry entry[JIT_POOL_BUFFERS];
    uint64_t clock;
    struct jit_statistics count;
};

static void lock(struct jit *j)
{
    while (atomic_flag_test_and_set_explicit(&j->busy, memory_order_acquire)) {
        __builtin_ia32_pause();
    }
}

static void unlock(struct jit *j)
{
    atomic_flag_clear_explicit(&j->busy, memory_order_release);
}

__attribute__((format(printf, 4, 5))) static int refuse(int code, char *error, size_t bytes,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error && bytes) {
        vsnprintf(error, bytes, format, args);
    }
    va_end(args);
    return code;
}

int jit_open(const struct jit_memory *memory, enum tn_isa isa, struct jit **out, char *error,
             size_t error_bytes)
{
    *out = NULL;
    if (!memory) {
        return refuse(-ENOTSUP, error, error_bytes,
                      "the JIT is not available: nobody supplies memory for code here");
    }
    if (isa < TN_ISA_AVX2 || isa > tn_isa_best()) {
        return refuse(-ENOTSUP, error, error_bytes,
                      "the JIT is not available at level %s: it needs AVX2 and FMA, and this "
                      "machine to have the level",
                      tn_isa_name(isa));
    }
    struct jit *j = calloc(1, sizeof *j);
    if (j) {
        atomic_flag_clear(&j->busy);
        j->pool.memory = *memory;
        j->target = isa >= TN_ISA_AVX512 ? &target_avx512 : &target_avx2;
        j->work = malloc(sizeof *j->work);
        j->draft = malloc(MOST_CODE);
        if (j->work && j->draft) {
            *out = j;
            return 0;
        }
        jit_close(j);
    }
    return refuse(-ENOMEM, error, error_bytes, "no memory for the JIT");
}

void jit_close(struct jit *j)
{
    if (!j) {
        return;
    }
    for (size_t i = 0; i < JIT_POOL_BUFFERS; i++) {
        if (j->entry[i].buffer) {
            pool_release(&j->pool, j->entry[i].buffer);
        }
    }
    free(j->work);
    free(j->draft);
    free(j);
}

// What distinguishes kernels, and nothing else of what the caller left in the struct.
static struct jit_shape plain(const struct jit_shape *s)
{
    struct jit_shape p;
    memset(&p, 0, sizeof p); // padding too: shapes are compared as bytes
    p.kind = s->kind;
    p.length = s->length;
    if (s->kind == JIT_RMS_NORM) {
        p.epsilon = s->epsilon;
    }
    if (s->kind == JIT_CHAIN) {
        p.inputs = s->inputs;
        p.steps = s->steps;
        for (uint32_t i = 0; i < s->steps; i++) {
            const struct jit_step *from = &s->step[i];
            struct jit_step *to = &p.step[i];
            to->kind = from->kind;
            to->a = from->a;
            to->b = from->kind <= JIT_STEP_FMA ? from->b : 0;
            to->c = from->kind == JIT_STEP_FMA ? from->c : 0;
            to->number =
                from->kind == JIT_STEP_SCALE || from->kind == JIT_STEP_SHIFT ? from->number : 0;
        }
    }
    return p;
}

static struct entry *find(struct jit *j, const struct jit_shape *shape)
{
    for (size_t i = 0; i < JIT_POOL_BUFFERS; i++) {
        struct entry *e = &j->entry[i];
        if (e->cached && !memcmp(&e->shape, shape, sizeof *shape)) {
            return e;
        }
    }
    return NULL;
}

static void drop(struct jit *j, struct entry *e)
{
    pool_release(&j->pool, e->buffer);
    *e = (struct entry){0};
}

static void evict(struct jit *j)
{
    struct entry *oldest = NULL;
    for (size_t i = 0; i < JIT_POOL_BUFFERS; i++) {
        struct entry *e = &j->entry[i];
        if (e->cached && (!oldest || e->used < oldest->used)) {
            oldest = e;
        }
    }
    j->count.evicted++;
    j->count.cached--;
    oldest->cached = false;
    if (!oldest->held) {
        drop(j, oldest);
    }
}

static int compile(struct jit *j, const struct jit_shape *shape, struct entry **out)
{
    int rc = kernel_write(j->work, j->target, shape, j->draft, MOST_CODE);
    if (rc) {
        return rc;
    }
    if (j->count.cached == JIT_CACHE_ENTRIES) {
        evict(j);
    }
    size_t bytes = j->work->out.used;
    struct pool_buffer *b = pool_place(&j->pool, j->draft, bytes);
    while (!b && j->count.cached) { // cached kernels nobody holds may be in the way
        evict(j);
        b = pool_place(&j->pool, j->draft, bytes);
    }
    struct entry *e = j->entry;
    while (b && e->buffer) { // there are as many as buffers
        e++;
    }
    if (!b) {
        return -ENOMEM;
    }
    *e = (struct entry){.shape = *shape, .buffer = b, .cached = true};
    memcpy(&e->shape, shape, sizeof *shape); // with its padding
    e->code.run.code = b->code;
    e->code.bytes = bytes;
    j->count.compiled++;
    j->count.cached++;
    *out = e;
    return 0;
}

int jit_get(struct jit *j, const struct jit_shape *shape, const struct jit_code **out)
{
    int rc = kernel_check(shape);
    *out = NULL;
    if (rc) {
        return rc;
    }
    struct jit_shape wanted = plain(shape);
    lock(j);
    struct entry *e = find(j, &wanted);
    if (e) {
        j->count.found++;
    } else {
        rc = compile(j, &wanted, &e);
    }
    if (!rc) {
        e->held++;
        e->used = ++j->clock;
        *out = &e->code;
    }
    unlock(j);
    return rc;
}

void jit_put(struct jit *j, const struct jit_code *code)
{
    struct entry *e = (struct entry *)(uintptr_t)code;
    lock(j);
    e->held--;
    if (!e->held && !e->cached) {
        drop(j, e);
    }
    unlock(j);
}

void jit_count(struct jit *j, struct jit_statistics *out)
{
    lock(j);
    *out = j->count;
    out->live_buffers = j->pool.live;
    out->live_bytes = j->pool.bytes;
    unlock(j);
}
