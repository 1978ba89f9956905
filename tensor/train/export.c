/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * From a trained network to a GGUF file: the keys of the llama architecture, the vocabulary, the
 * chat template, the tensors.
 */
#include "tensor/train/export.h"

#include "tensor/gguf_write.h"
#include "tensor/train/q8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char chat_template[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ "
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' "
    "}}{% endif %}";

void train_round_to_q8(const struct train_net *net, const float *parameters, float *rounded)
{
    for (size_t t = 0; t < net->tensor_count; t++) {
        const struct train_tensor *tensor = &net->tensors[t];
        const float *from = parameters + tensor->offset;
        float *to = rounded + tensor->offset;
        uint8_t block[TRAIN_Q8_BYTES];

        if (tensor->rows == 1) {
            memcpy(to, from, tensor->columns * sizeof *to);
            continue;
        }
        for (size_t i = 0; i < tensor->rows * tensor->columns; i += TRAIN_Q8_BLOCK) {
            train_q8_encode(TRAIN_Q8_BLOCK, from + i, block);
            train_q8_decode(TRAIN_Q8_BLOCK, block, to + i);
        }
    }
}

static void put_shape(struct tn_gguf_writer *w, const struct train_shape *s)
{
    tn_gguf_put_u32(w, "llama.context_length", s->context);
    tn_gguf_put_u32(w, "llama.embedding_length", s->width);
    tn_gguf_put_u32(w, "llama.block_count", s->layers);
    tn_gguf_put_u32(w, "llama.feed_forward_length", s->ff);
    tn_gguf_put_u32(w, "llama.attention.head_count", s->heads);
    tn_gguf_put_u32(w, "llama.attention.head_count_kv", s->kv_heads);
    tn_gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", s->epsilon);
    tn_gguf_put_u32(w, "llama.rope.dimension_count", s->width / s->heads);
    tn_gguf_put_f32(w, "llama.rope.freq_base", s->rope_base);
    tn_gguf_put_u32(w, "llama.vocab_size", s->vocab);
}

static int put_vocab(struct tn_gguf_writer *w, const struct train_vocab *vocab)
{
    const char **texts = malloc(vocab->size * sizeof *texts);

    if (!texts)
        return -ENOMEM;
    for (size_t i = 0; i < vocab->size; i++)
        texts[i] = vocab->text[i];
    tn_gguf_put_string(w, "tokenizer.ggml.model", "llama");
    tn_gguf_put_string(w, "tokenizer.ggml.pre", "default");
    tn_gguf_put_strings(w, "tokenizer.ggml.tokens", texts, vocab->size);
    tn_gguf_put_f32s(w, "tokenizer.ggml.scores", vocab->score, vocab->size);
    tn_gguf_put_i32s(w, "tokenizer.ggml.token_type", vocab->kind, vocab->size);
    tn_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", TRAIN_BEGIN);
    tn_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", TRAIN_TURN_END);
    tn_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", TRAIN_UNKNOWN);
    tn_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    tn_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", false);
    tn_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", false);
    tn_gguf_put_string(w, "tokenizer.chat_template", chat_template);
    free(texts);
    return 0;
}

/* Encodes the matrices into `blocks` and names every tensor. */
static void put_tensors(struct tn_gguf_writer *w, const struct train_net *net,
                        const float *parameters, uint8_t *blocks)
{
    for (size_t t = 0; t < net->tensor_count; t++) {
        const struct train_tensor *tensor = &net->tensors[t];
        const float *data = parameters + tensor->offset;
        const uint64_t dims[2] = {tensor->columns, tensor->rows};
        const size_t count = tensor->rows * tensor->columns;

        if (tensor->rows == 1) {
            tn_gguf_put_tensor(w, tensor->name, TN_F32, dims, 1, data, count * sizeof *data);
            continue;
        }
        train_q8_encode(count, data, blocks);
        tn_gguf_put_tensor(w, tensor->name, TN_Q8_0, dims, 2, blocks,
                           count / TRAIN_Q8_BLOCK * TRAIN_Q8_BYTES);
        blocks += count / TRAIN_Q8_BLOCK * TRAIN_Q8_BYTES;
    }
}

int train_export_gguf(const struct train_net *net, const float *parameters,
                      const struct train_vocab *vocab, const char *name, const char *path)
{
    struct tn_gguf_writer *w;
    uint8_t *blocks;
    int rc = -ENOMEM;

    if (net->shape.width % TRAIN_Q8_BLOCK || net->shape.ff % TRAIN_Q8_BLOCK)
        return -EINVAL;
    w = tn_gguf_writer_new();
    blocks = malloc(net->parameters / TRAIN_Q8_BLOCK * TRAIN_Q8_BYTES);
    if (!w || !blocks)
        goto out;
    tn_gguf_put_string(w, "general.architecture", "llama");
    tn_gguf_put_string(w, "general.name", name);
    tn_gguf_put_string(w, "general.license", "apache-2.0");
    tn_gguf_put_u32(w, "general.file_type", 7); /* mostly Q8_0 */
    tn_gguf_put_u32(w, "general.quantization_version", 2);
    put_shape(w, &net->shape);
    rc = put_vocab(w, vocab);
    if (rc)
        goto out;
    put_tensors(w, net, parameters, blocks);
    rc = tn_gguf_save(w, path, 4096);
out:
    tn_gguf_writer_free(w);
    free(blocks);
    return rc;
}
