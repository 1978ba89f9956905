// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Three kinds of input: any bytes as a GGUF whose vocabulary is opened and used; "MAP" and a
// charsmap and a text for it; and any text through small vocabularies of ours of every kind, where
// nothing of it may get lost if the kind can hold it.
//
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
// Links: tensor/text/known.c tensor/text/trie.c tensor/text/wpm.c tensor/text/unigram.c
// Links: tensor/text/charsmap.c
// Links: tensor/text/vocabulary.c tensor/text/strings.c tensor/text/special.c tensor/text/merge.c
// Links: tensor/text/spm.c tensor/text/bpe.c tensor/text/pretokenize.c tensor/text/encode.c
// Links: tensor/text/decode.c tensor/text/utf8.c
// Libs: -lpcre2-8 -lutf8proc
#include "tensor/format/test_gguf.h"
#include "tensor/text/tokenizer_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST_TEXT = 2048 }; // longer texts are slow and show nothing new

enum { SPM, BPE, MARKED, WORDS, BEST, KINDS };
static struct tokenizer *ours[KINDS];
static struct gguf *kept[KINDS]; // they stay open, and the files they point into
static uint8_t *kept_data[KINDS];

static void open_maker(struct maker *m, int which)
{
    char error[200];
    if (gguf_open(m->data, m->bytes, &kept[which], error, sizeof error) ||
        tokenizer_open(kept[which], &ours[which], error, sizeof error))
        abort();
    kept_data[which] = m->data;
}

static void open_bpe(void)
{
    static char store[256][8];
    struct test_token tokens[260];
    struct maker m;
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
    open_maker(&m, BPE);
}

// The other kinds share one vocabulary: that of the test model.
static void open_ours(void)
{
    static const char *const models[] = {
        [SPM] = "llama", [MARKED] = "gemma4", [WORDS] = "bert", [BEST] = "t5"};
    static char store[TEST_MODEL_VOCABULARY][16];
    struct test_token tokens[TEST_MODEL_VOCABULARY];
    test_model_tokens(tokens, store);
    for (int kind = 0; kind < KINDS; kind++) {
        struct maker m;
        if (kind == BPE)
            continue;
        make_header(&m, 3, 0, 6 + (kind == MARKED));
        make_key_string(&m, "tokenizer.ggml.model", models[kind]);
        make_key_u32(&m, "tokenizer.ggml.unknown_token_id", 0);
        make_key_bool(&m, "tokenizer.ggml.add_space_prefix", kind == SPM);
        make_tokens(&m, tokens, TEST_MODEL_VOCABULARY);
        if (kind == MARKED) {
            make_key_array(&m, "tokenizer.ggml.merges", GGUF_STRING, 2);
            make_string(&m, "t h");
            make_string(&m, "th e");
        }
        open_maker(&m, kind);
    }
    open_bpe();
}

static void round_trip(const struct tokenizer *t, const char *text, size_t bytes, bool marks)
{
    size_t room = 3 * bytes + 8; // U+FFFD has three bytes
    int32_t *ids = malloc(room * sizeof *ids);
    char *back = malloc(room);
    long n = tokenizer_encode(t, text, bytes, 0, ids, room);
    if (n < 0 || (size_t)n > room)
        abort();
    long length = tokenizer_decode(t, ids, (size_t)n, false, back, room);
    // SPM cannot tell its own space mark in a text from a space.
    if (!marks && (length != (long)bytes || memcmp(text, back, bytes)))
        abort();
    tokenizer_encode(t, text, bytes, TOKENIZE_PARSE_SPECIAL | TOKENIZE_ADD_SPECIAL, ids, 3);
    free(ids);
    free(back);
}

static void use(const struct tokenizer *t, const char *text, size_t bytes)
{
    int32_t ids[64];
    char piece[64];
    long n = tokenizer_encode(t, text, bytes, 3, ids, 64);
    for (long i = 0; i < n && i < 64; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= tokenizer_size(t))
            abort();
    if (n > 0)
        tokenizer_decode(t, ids, n < 64 ? (size_t)n : 64, true, piece, sizeof piece);
}

static void with_map(const uint8_t *data, size_t bytes)
{
    struct tokenizer t = *ours[BEST]; // its trie is shared
    size_t map = bytes / 2;
    if (charsmap_open(&t.charsmap, data, map))
        return;
    use(&t, (const char *)data + map, bytes - map);
}

static void open_any(const uint8_t *data, size_t bytes)
{
    char error[200], piece[64];
    struct gguf *g;
    struct tokenizer *t;
    if (gguf_open(data, bytes, &g, error, sizeof error))
        return;
    if (!tokenizer_open(g, &t, error, sizeof error)) {
        use(t, (const char *)data, bytes < 200 ? bytes : 200);
        for (int32_t i = -1; i < 64; i++)
            tokenizer_piece(t, i, true, piece, sizeof piece);
        tokenizer_close(t);
    }
    gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = bytes ? (const char *)data : "";
    if (!ours[BPE])
        open_ours();
    if (bytes >= 4 && !memcmp(data, "GGUF", 4)) {
        open_any(data, bytes);
        return 0;
    }
    if (bytes >= 3 && !memcmp(data, "MAP", 3)) {
        with_map(data + 3, bytes - 3);
        return 0;
    }
    bytes = bytes < MOST_TEXT ? bytes : MOST_TEXT;
    // Their own space mark in a text they cannot tell from a space.
    bool marks = memmem(text, bytes, "\xe2\x96\x81", 3) != NULL;
    round_trip(ours[SPM], text, bytes, marks);
    round_trip(ours[BPE], text, bytes, false);
    round_trip(ours[MARKED], text, bytes, marks);
    round_trip(ours[WORDS], text, bytes, true);
    // Its normal form has U+FFFD for each broken byte.
    bool whole = true;
    for (size_t at = 0, n; at < bytes && whole; at += n)
        whole = (n = utf8_character(text + at, bytes - at)) > 0;
    round_trip(ours[BEST], text, bytes, marks || !whole);
    return 0;
}
