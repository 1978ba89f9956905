// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Vocabularies of synthetic models: just enough of each kind that tokenizers open them.
#include "tensor/model/synthetic_private.h"

#include <stdio.h>
#include <stdlib.h>

enum { BYTES = 256, TEXT = 24, KIND_NORMAL = 1, KIND_UNKNOWN = 2, KIND_CONTROL = 3, KIND_BYTE = 6 };

struct piece {
    char text[TEXT];
    int32_t kind;
};

// Three special tokens, 256 bytes, then words nobody writes.
static void spm_piece(uint32_t i, struct piece *p)
{
    static const char *const special[] = {"<unk>", "<s>", "</s>"};
    if (i < 3) {
        snprintf(p->text, TEXT, "%s", special[i]);
        p->kind = i ? KIND_CONTROL : KIND_UNKNOWN;
    } else if (i < 3 + BYTES) {
        snprintf(p->text, TEXT, "<0x%02X>", i - 3);
        p->kind = KIND_BYTE;
    } else {
        snprintf(p->text, TEXT, "\xe2\x96\x81word%u", i);
    }
}

// The letters that stand for bytes in byte-level BPE, words, and an end.
static void bpe_piece(uint32_t i, uint32_t count, struct piece *p)
{
    uint32_t moved = 0, code = i;
    for (uint32_t b = 0; b < i && i < BYTES; b++) {
        moved += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
    }
    if (i < BYTES && !((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174)) {
        code = 256 + moved;
    }
    if (i < BYTES && code < 128) {
        snprintf(p->text, TEXT, "%c", (int)code);
    } else if (i < BYTES) {
        snprintf(p->text, TEXT, "%c%c", (int)(192 | code >> 6), (int)(128 | (code & 63)));
    } else if (i + 1 == count) {
        snprintf(p->text, TEXT, "<|endoftext|>");
        p->kind = KIND_CONTROL;
    } else {
        snprintf(p->text, TEXT, "word%u", i);
    }
}

static void wpm_piece(uint32_t i, struct piece *p)
{
    static const char *const special[] = {"[UNK]", "[CLS]", "[SEP]"};
    if (i == 0 || (i >= 100 && i < 103)) {
        snprintf(p->text, TEXT, "%s", i ? special[i - 100] : "[PAD]");
        p->kind = KIND_CONTROL;
    } else if (i > 102 && i < 102 + 27) { // letters inside words, and at their beginning
        snprintf(p->text, TEXT, "%c", 'a' + (int)(i - 103));
    } else if (i > 128 && i < 128 + 27) {
        snprintf(p->text, TEXT, "\xe2\x96\x81%c", 'a' + (int)(i - 129));
    } else {
        snprintf(p->text, TEXT, "\xe2\x96\x81word%u", i);
    }
}

static const char *tokenizer_model(const struct synthetic_options *o)
{
    return is(o, "bert")                                                           ? "bert"
           : is(o, "llama") || is(o, "phi3") || is(o, "gemma2") || is(o, "gemma3") ? "llama"
                                                                                   : "gpt2";
}

static void special_keys(struct tn_gguf_writer *w, const struct synthetic_options *o,
                         const char *model)
{
    bool spm = strcmp(model, "llama") == 0;
    uint32_t end = o->vocabulary - 1;
    if (strcmp(model, "bert") == 0) {
        tn_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 101);
        tn_gguf_put_u32(w, "tokenizer.ggml.seperator_token_id", 102);
        tn_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 100);
        tn_gguf_put_u32(w, "tokenizer.ggml.padding_token_id", 0);
        return;
    }
    tn_gguf_put_string(w, "tokenizer.ggml.pre", spm ? "default" : "gpt-2");
    tn_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", spm ? 1 : end);
    tn_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", spm ? 2 : end);
    if (!spm) {
        static const char *const merges[] = {"t h", "th e", "i n", "a n"};
        tn_gguf_put_strings(w, "tokenizer.ggml.merges", merges, 4);
    }
}

bool synthetic_vocabulary(struct tn_gguf_writer *w, const struct synthetic_options *o)
{
    uint32_t count = o->vocabulary;
    const char *model = tokenizer_model(o);
    struct piece *piece = calloc(count, sizeof *piece);
    const char **text = calloc(count, sizeof *text);
    float *score = calloc(count, sizeof *score);
    int32_t *kind = calloc(count, sizeof *kind);
    for (uint32_t i = 0; piece && text && score && kind && i < count; i++) {
        piece[i].kind = KIND_NORMAL;
        if (strcmp(model, "llama") == 0) {
            spm_piece(i, &piece[i]);
        } else if (strcmp(model, "gpt2") == 0) {
            bpe_piece(i, count, &piece[i]);
        } else {
            wpm_piece(i, &piece[i]);
        }
        text[i] = piece[i].text;
        score[i] = -(float)i;
        kind[i] = piece[i].kind;
    }
    bool made = piece && text && score && kind;
    if (made) {
        tn_gguf_put_string(w, "tokenizer.ggml.model", model);
        tn_gguf_put_strings(w, "tokenizer.ggml.tokens", text, count);
        tn_gguf_put_f32s(w, "tokenizer.ggml.scores", score, count);
        tn_gguf_put_i32s(w, "tokenizer.ggml.token_type", kind, count);
        special_keys(w, o, model);
    }
    free(kind);
    free(score);
    free(text);
    free(piece);
    return made;
}
