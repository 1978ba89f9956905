// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Two kinds of input: any bytes as a GGUF whose vocabulary is opened and used, and any text through
// small vocabularies of ours, where nothing of it may get lost.
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
// Links: tensor/text/vocabulary.c tensor/text/strings.c tensor/text/special.c tensor/text/merge.c
// Links: tensor/text/spm.c tensor/text/bpe.c tensor/text/pretokenize.c tensor/text/encode.c
// Links: tensor/text/decode.c tensor/text/utf8.c
// Libs: -lpcre2-8
#include "tensor/format/test_gguf.h"
#include "tensor/text/tokenizer_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST_TEXT = 2048 }; // longer texts are slow and show nothing new

static struct tokenizer *spm, *bpe;
static struct gguf *kept[2]; // they stay open, and the files they point into
static uint8_t *kept_data[2];

static struct tokenizer *open_maker(struct maker *m, int which)
{
    struct gguf *g;
    struct tokenizer *t;
    char error[200];
    if (gguf_open(m->data, m->bytes, &g, error, sizeof error) ||
        tokenizer_open(g, &t, error, sizeof error))
        abort();
    kept[which] = g;
    kept_data[which] = m->data;
    return t;
}

static void open_ours(void)
{
    static char store[TEST_MODEL_VOCABULARY][16];
    struct test_token tokens[TEST_MODEL_VOCABULARY];
    struct maker m;
    test_model_tokens(tokens, store);
    make_header(&m, 3, 0, 4);
    make_key_string(&m, "tokenizer.ggml.model", "llama");
    make_tokens(&m, tokens, TEST_MODEL_VOCABULARY);
    spm = open_maker(&m, 0);
    for (int i = 0; i < 256; i++) {
        store[i][put_utf8(byte_to_character((uint8_t)i), store[i])] = 0;
        tokens[i] = (struct test_token){store[i], 0, 1};
    }
    tokens[256] = (struct test_token){"ab", 0, 1};
    tokens[257] = (struct test_token){"abc", 0, 1};
    tokens[258] = (struct test_token){"<|x|>", 0, 3};
    make_header(&m, 3, 0, 6);
    make_key_string(&m, "tokenizer.ggml.model", "gpt2");
    make_key_string(&m, "tokenizer.ggml.pre", "llama-bpe");
    make_tokens(&m, tokens, 259);
    make_key_array(&m, "tokenizer.ggml.merges", GGUF_STRING, 2);
    make_string(&m, "a b");
    make_string(&m, "ab c");
    bpe = open_maker(&m, 1);
}

static void round_trip(const struct tokenizer *t, const char *text, size_t bytes, bool marks)
{
    size_t room = bytes + 8;
    int32_t *ids = malloc(room * sizeof *ids);
    char *back = malloc(bytes + 8);
    long n = tokenizer_encode(t, text, bytes, 0, ids, room);
    if (n < 0 || (size_t)n > room)
        abort();
    long length = tokenizer_decode(t, ids, (size_t)n, false, back, bytes + 8);
    // SPM cannot tell its own space mark in a text from a space.
    if (!marks && (length != (long)bytes || memcmp(text, back, bytes)))
        abort();
    tokenizer_encode(t, text, bytes, TOKENIZE_PARSE_SPECIAL | TOKENIZE_ADD_SPECIAL, ids, 3);
    free(ids);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = bytes ? (const char *)data : "";
    char error[200];
    struct gguf *g;
    struct tokenizer *t;
    if (!spm)
        open_ours();
    if (bytes < 4 || memcmp(data, "GGUF", 4)) {
        bytes = bytes < MOST_TEXT ? bytes : MOST_TEXT;
        bool marks = memmem(text, bytes, "\xe2\x96\x81", 3) != NULL;
        round_trip(spm, text, bytes, marks);
        round_trip(bpe, text, bytes, false);
        return 0;
    }
    if (gguf_open(data, bytes, &g, error, sizeof error))
        return 0;
    if (!tokenizer_open(g, &t, error, sizeof error)) {
        int32_t ids[64];
        char piece[64];
        tokenizer_encode(t, text, bytes < 200 ? bytes : 200, 3, ids, 64);
        for (int32_t i = -1; i < 64; i++)
            tokenizer_piece(t, i, true, piece, sizeof piece);
        tokenizer_close(t);
    }
    gguf_close(g);
    return 0;
}
