// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Training sessions of tensor/train.h: the trainer behind checked options, on batches that are
// copied before they are looked at.
#include "tensor/train.h"

#include "tensor/train/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tn_train {
    struct train_run run;
    uint64_t memory;
    uint32_t *lengths; // [most_tokens], of the batch under way
    int32_t *ids;      // [2 * most_tokens]: its tokens, its targets
    uint32_t most_tokens;
};

static int failed(int rc, char *error, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int failed(int rc, char *error, size_t bytes, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(error, bytes, format, list);
    va_end(list);
    return rc;
}

// ---- options
// -------------------------------------------------------------------------------------

static int check_sizes(const struct tn_train_options *o, char *error, size_t bytes)
{
    const struct {
        const char *name;
        uint32_t is, least, most;
    } sizes[] = {
        {"vocabulary", o->vocabulary, 1, 1 << 20},
        {"width", o->width, 2, 1 << 14},
        {"layers", o->layers, 1, 512},
        {"heads", o->heads, 1, 1 << 10},
        {"kv_heads", o->kv_heads, 1, o->heads},
        {"feed_forward", o->feed_forward, 1, 1 << 17},
        {"context", o->context, 1, 1 << 16},
        {"shards", o->shards, 1, 1 << 10},
        {"shard_tokens", o->shard_tokens, o->context, 1 << 16},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].is < sizes[i].least || sizes[i].is > sizes[i].most) {
            return failed(-EINVAL, error, bytes, "train: %s is %u, expected %u to %u",
                          sizes[i].name, sizes[i].is, sizes[i].least, sizes[i].most);
        }
    }
    if (o->width % o->heads || o->width / o->heads % 2 || o->heads % o->kv_heads) {
        return failed(-EINVAL, error, bytes,
                      "train: %u heads must divide the width, %u, into even parts, and %u kv_heads "
                      "the heads",
                      o->heads, o->width, o->kv_heads);
    }
    return 0;
}

static int check_numbers(const struct tn_train_options *o, char *error, size_t bytes)
{
    const struct {
        const char *name;
        float is, least;
    } numbers[] = {
        {"rope_base", o->rope_base, 1}, {"epsilon", o->epsilon, 0}, {"rate", o->rate, 0},
        {"decay", o->decay, 0},         {"clip", o->clip, 1e-30f},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!isfinite(numbers[i].is) || numbers[i].is < numbers[i].least) {
            return failed(-EINVAL, error, bytes, "train: %s is %g, expected a number from %g on",
                          numbers[i].name, (double)numbers[i].is, (double)numbers[i].least);
        }
    }
    if (o->steps && o->warmup >= o->steps) {
        return failed(-EINVAL, error, bytes, "train: %u warmup steps, expected less than %u",
                      o->warmup, o->steps);
    }
    return 0;
}

// All sizes are bounded, so that nothing here exceeds 2^60.
static uint64_t parameters_of(const struct tn_train_options *o)
{
    uint64_t w = o->width, kv = w / o->heads * o->kv_heads;
    uint64_t layer = 2 * w + 2 * w * w + 2 * kv * w + 3 * w * o->feed_forward;
    return (o->tied ? 1 : 2) * w * o->vocabulary + w + o->layers * layer;
}

static uint64_t memory_of(const struct tn_train_options *o, const struct train_shape *shape,
                          unsigned width)
{
    enum { STEP_BYTES_A_TOKEN = 16 + 12 }; // a batch, and what is copied of the caller's
    uint64_t floats = parameters_of(o) * (3 + (uint64_t)o->shards) +
                      width * train_workspace_floats(shape, o->shard_tokens) +
                      (uint64_t)o->context * (o->width / o->heads);
    return floats * sizeof(float) + (uint64_t)o->shards * o->shard_tokens * STEP_BYTES_A_TOKEN;
}

static struct train_options options_of(const struct tn_train_options *o)
{
    return (struct train_options){
        .shape = {.vocab = o->vocabulary,
                  .width = o->width,
                  .layers = o->layers,
                  .heads = o->heads,
                  .kv_heads = o->kv_heads,
                  .ff = o->feed_forward,
                  .context = o->context,
                  .tied = o->tied,
                  .rope_base = o->rope_base,
                  .epsilon = o->epsilon},
        .seed = o->seed,
        // The cosine of a run without an end never falls.
        .steps = o->steps ? o->steps : UINT32_MAX,
        .warmup = o->warmup,
        .shards = o->shards,
        .shard_tokens = o->shard_tokens,
        .rate = o->rate,
        .decay = o->decay,
        .clip = o->clip,
    };
}

static struct tn_train *take_memory(const struct train_options *options, struct tn_pool *pool,
                                    int *rc)
{
    struct tn_train *t = calloc(1, sizeof *t);
    *rc = -ENOMEM;
    if (!t) {
        return NULL;
    }
    *rc = train_run_open(&t->run, options, pool);
    if (*rc) { // it has closed itself
        free(t);
        return NULL;
    }
    t->most_tokens = options->shards * options->shard_tokens;
    t->lengths = calloc(t->most_tokens, sizeof *t->lengths);
    t->ids = calloc(2 * (size_t)t->most_tokens, sizeof *t->ids);
    if (!t->lengths || !t->ids) {
        *rc = -ENOMEM;
        tn_train_close(t);
        return NULL;
    }
    return t;
}

int tn_train_open(const struct tn_train_options *options, struct tn_pool *pool,
                  struct tn_train **out, char *error, size_t error_bytes)
{
    struct tn_train_options o;
    memcpy(&o, options, sizeof o);
    if (!pool || pool->width == 0 || pool->width > 256) {
        return failed(-EINVAL, error, error_bytes, "train: the pool must have 1 to 256 workers");
    }
    int rc = check_sizes(&o, error, error_bytes);
    rc = rc ? rc : check_numbers(&o, error, error_bytes);
    if (rc) {
        return rc;
    }
    const struct train_options inner = options_of(&o);
    uint64_t memory = memory_of(&o, &inner.shape, pool->width);
    if (memory > o.memory_most) {
        return failed(-ENOMEM, error, error_bytes,
                      "train: %llu parameters in %u shards take %llu bytes, %llu are allowed",
                      (unsigned long long)parameters_of(&o), o.shards, (unsigned long long)memory,
                      (unsigned long long)o.memory_most);
    }
    struct tn_train *t = take_memory(&inner, pool, &rc);
    if (!t) {
        return failed(rc, error, error_bytes, "train: %s: %llu bytes",
                      rc == -ENOMEM ? "no memory" : "a shape that cannot be",
                      (unsigned long long)memory);
    }
    t->memory = memory;
    *out = t;
    return 0;
}

void tn_train_close(struct tn_train *t)
{
    if (t) {
        train_run_close(&t->run);
        free(t->lengths);
        free(t->ids);
        free(t);
    }
}

// ---- batches
// -------------------------------------------------------------------------------------

// One copy of all that the caller gave; nothing of the caller's is read after it.
static int copy_batch(struct tn_train *t, const struct tn_train_batch *b, bool *targets,
                      char *error, size_t bytes)
{
    if (b->token_count == 0 || b->token_count > t->most_tokens || b->sequence_count == 0 ||
        b->sequence_count > b->token_count) {
        return failed(-EINVAL, error, bytes, "train: %u tokens in %u sequences, expected 1 to %u",
                      b->token_count, b->sequence_count, t->most_tokens);
    }
    *targets = b->targets != NULL;
    memcpy(t->lengths, b->lengths, b->sequence_count * sizeof *t->lengths);
    memcpy(t->ids, b->tokens, b->token_count * sizeof *t->ids);
    if (*targets) {
        memcpy(t->ids + t->most_tokens, b->targets, b->token_count * sizeof *t->ids);
    }
    __asm__ volatile("" ::: "memory");
    return 0;
}

// Sequences as they come, each into the first shard from the last used one on that has room.
static bool put(struct tn_train *t, uint32_t *shard, uint32_t first, uint32_t length, bool targets)
{
    const uint32_t shards = t->run.options.shards, room = t->run.options.shard_tokens;
    while (*shard < shards && t->run.batches[*shard].tokens + length > room) {
        ++*shard;
    }
    if (*shard == shards) {
        return false;
    }
    struct train_batch *b = &t->run.batches[*shard];
    for (uint32_t i = 0; i < length; i++) {
        const int32_t *id = t->ids + first + i;
        int32_t next = i + 1 < length ? id[1] : -1;
        b->token[b->tokens + i] = (uint32_t)*id;
        b->target[b->tokens + i] = targets ? id[t->most_tokens] : next;
        b->position[b->tokens + i] = i;
    }
    b->tokens += length;
    b->starts[++b->sequences] = (uint32_t)b->tokens;
    return true;
}

static int load(struct tn_train *t, const struct tn_train_batch *batch, char *error, size_t bytes)
{
    struct tn_train_batch b; // its counts and pointers are read once, too
    memcpy(&b, batch, sizeof b);
    bool targets = false;
    int rc = copy_batch(t, &b, &targets, error, bytes);
    if (rc) {
        return rc;
    }
    const uint32_t vocabulary = t->run.options.shape.vocab, context = t->run.options.shape.context;
    for (uint32_t i = 0; i < b.token_count; i++) {
        if ((uint32_t)t->ids[i] >= vocabulary) { // negative ones, too
            return failed(-EINVAL, error, bytes, "train: token %u is %d, expected 0 to %u", i,
                          t->ids[i], vocabulary - 1);
        }
        if (targets && t->ids[t->most_tokens + i] >= (int32_t)vocabulary) {
            return failed(-EINVAL, error, bytes, "train: target %u is %d, expected below %u", i,
                          t->ids[t->most_tokens + i], vocabulary);
        }
    }
    for (uint32_t i = 0; i < t->run.options.shards; i++) {
        t->run.batches[i].tokens = t->run.batches[i].sequences = 0;
    }
    uint32_t first = 0, shard = 0;
    for (uint32_t s = 0; s < b.sequence_count; s++) {
        uint32_t length = t->lengths[s];
        if (length == 0 || length > context || length > b.token_count - first) {
            return failed(-EINVAL, error, bytes,
                          "train: sequence %u has %u tokens, expected 1 to "
                          "%u, and %u in all",
                          s, length, context, b.token_count);
        }
        if (!put(t, &shard, first, length, targets)) {
            return failed(-EINVAL, error, bytes,
                          "train: sequence %u does not fit into %u shards of "
                          "%u tokens",
                          s, t->run.options.shards, t->run.options.shard_tokens);
        }
        first += length;
    }
    return first == b.token_count
               ? 0
               : failed(-EINVAL, error, bytes, "train: the sequences have %u tokens, not %u", first,
                        b.token_count);
}

static int explain(int rc, char *error, size_t bytes)
{
    switch (rc) {
    case 0:
        return 0;
    case -EDOM:
        return failed(rc, error, bytes, "train: the batch has no targets");
    case -ERANGE:
        return failed(rc, error, bytes, "train: the loss or its gradient is no finite number");
    default:
        return failed(rc, error, bytes, "train: no memory for a step");
    }
}

int tn_train_step(struct tn_train *t, const struct tn_train_batch *batch,
                  struct tn_train_report *report, char *error, size_t error_bytes)
{
    struct train_report r;
    int rc = load(t, batch, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = train_run_learn(&t->run, &r);
    if (rc == 0) {
        *report = (struct tn_train_report){.loss = r.loss,
                                           .norm = r.norm,
                                           .rate = r.rate,
                                           .step = t->run.step,
                                           .tokens = r.tokens,
                                           .targets = r.targets};
    }
    return explain(rc, error, error_bytes);
}

static void evaluate_shard(void *context, size_t shard, unsigned worker)
{
    struct train_run *run = context;
    run->results[shard] = (struct train_result){0, 0};
    if (run->batches[shard].tokens) {
        run->results[shard] = train_net_run(&run->net, run->parameters, &run->batches[shard], 1,
                                            NULL, NULL, run->workspaces[worker]);
    }
}

int tn_train_evaluate(struct tn_train *t, const struct tn_train_batch *batch, double *loss,
                      char *error, size_t error_bytes)
{
    struct train_run *run = &t->run;
    double sum = 0;
    uint64_t targets = 0;
    int rc = load(t, batch, error, error_bytes);
    if (rc) {
        return rc;
    }
    run->pool->run(run->pool, evaluate_shard, run, run->options.shards);
    for (uint32_t i = 0; i < run->options.shards; i++) {
        sum += run->results[i].loss;
        targets += run->results[i].targets;
    }
    if (targets == 0 || !isfinite(sum)) {
        return explain(targets ? -ERANGE : -EDOM, error, error_bytes);
    }
    *loss = sum / (double)targets;
    return 0;
}

// ---- parameters
// ----------------------------------------------------------------------------------

uint64_t tn_train_parameters(const struct tn_train *t)
{
    return t->run.net.parameters;
}

static bool is_within(const struct tn_train *t, uint64_t first, uint64_t count)
{
    return first <= t->run.net.parameters && count <= t->run.net.parameters - first;
}

int tn_train_read(const struct tn_train *t, uint64_t first, uint64_t count, float *out)
{
    if (!is_within(t, first, count)) {
        return -EINVAL;
    }
    memcpy(out, t->run.parameters + first, count * sizeof *out);
    return 0;
}

int tn_train_write(struct tn_train *t, uint64_t first, uint64_t count, const float *in)
{
    if (!is_within(t, first, count)) {
        return -EINVAL;
    }
    memcpy(t->run.parameters + first, in, count * sizeof *in);
    return 0;
}

int tn_train_tensor_at(const struct tn_train *t, uint32_t index, struct tn_train_tensor *out)
{
    if (index >= t->run.net.tensor_count) {
        return -EINVAL;
    }
    const struct train_tensor *tensor = &t->run.net.tensors[index];
    *out = (struct tn_train_tensor){
        .offset = tensor->offset, .rows = tensor->rows, .columns = tensor->columns};
    memcpy(out->name, tensor->name, sizeof out->name);
    return 0;
}

uint64_t tn_train_work(const struct tn_train *t)
{
    // Each parameter once forwards and twice backwards; scores and mixes likewise, of all
    // positions.
    const struct train_shape *s = &t->run.options.shape;
    uint64_t a_token = t->run.net.parameters + 2 * (uint64_t)s->layers * s->width * s->context;
    return 3 * a_token * t->most_tokens;
}

uint64_t tn_train_memory(const struct tn_train *t)
{
    return t->memory;
}
