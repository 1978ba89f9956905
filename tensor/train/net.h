/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * A llama network for training: token table, blocks of grouped-query attention and SwiGLU with
 * RMSNorm before each, RoPE on adjacent pairs, no biases. All parameters lie in one float array.
 */
#ifndef TRAIN_NET_H
#define TRAIN_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct train_shape {
    uint32_t vocab, width, layers, heads, kv_heads, ff, context;
    uint32_t tied; /* whether the token table is also the output matrix */
    float rope_base, epsilon;
};

/* One tensor in the parameter array: `rows` by `columns`, columns contiguous; vectors: rows = 1. */
struct train_tensor {
    char name[48]; /* as in a GGUF file */
    size_t offset, rows, columns;
};

struct train_net {
    struct train_shape shape;
    struct train_tensor *tensors;
    size_t tensor_count;
    size_t parameters;
    float *rope; /* cosine and sine for each position and pair */
};

/* Sequences side by side: sequence s holds tokens starts[s] up to starts[s + 1]. */
struct train_batch {
    size_t tokens, sequences;
    uint32_t *token;    /* [tokens] */
    int32_t *target;    /* [tokens] the token that should follow; negative: not part of the loss */
    uint32_t *position; /* [tokens] place within the sequence */
    uint32_t *starts;   /* [sequences + 1] */
};

/* What a thread needs to run a batch of up to `capacity` tokens; private to net.c. */
struct train_workspace;

/*
 * Lays the parameters out. Returns 0, -EINVAL for a shape that cannot be (heads must divide the
 * width, kv_heads the heads, the head width must be even), or -ENOMEM.
 */
int train_net_open(struct train_net *net, const struct train_shape *shape);
void train_net_close(struct train_net *net);

/* Fills `parameters` with the random numbers that training starts from. */
void train_net_initialise(const struct train_net *net, uint64_t seed, float *parameters);

/* Floats that a workspace takes. */
size_t train_workspace_floats(const struct train_shape *shape, size_t capacity);
/* Returns NULL when memory is short. */
struct train_workspace *train_workspace_new(const struct train_net *net, size_t capacity);
void train_workspace_free(struct train_workspace *workspace);

struct train_result {
    double loss;      /* the sum over all targets */
    uint32_t targets; /* how many there were */
};

/*
 * Runs the batch. With `gradient`, adds `scale` times the gradient of the summed loss to it. With
 * `best`, stores for each token with a target the most likely token that follows.
 */
struct train_result train_net_run(const struct train_net *net, const float *parameters,
                                  const struct train_batch *batch, float scale, float *gradient,
                                  uint32_t *best, struct train_workspace *workspace);

#endif
