// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any template text is recognised as something, any conversation is rendered or refused, and what
// is rendered consists of parts that cover it, the users' text literal.
//
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
// Links: tensor/text/known.c tensor/text/trie.c tensor/text/wpm.c tensor/text/unigram.c
// Links: tensor/text/charsmap.c
// Links: tensor/text/vocabulary.c tensor/text/strings.c tensor/text/special.c tensor/text/merge.c
// Links: tensor/text/spm.c tensor/text/bpe.c tensor/text/pretokenize.c tensor/text/encode.c
// Links: tensor/text/decode.c tensor/text/utf8.c tensor/text/chat.c tensor/text/chat_render.c
// Libs: -lpcre2-8 -lutf8proc
#include "tensor/chat.h"
#include "tensor/format/test_gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void recognise(const uint8_t *data, size_t bytes)
{
    struct maker m;
    struct gguf *g;
    char error[100];
    make_header(&m, 3, 0, 1);
    make_key(&m, "tokenizer.chat_template", GGUF_STRING);
    make_u64(&m, bytes);
    make_bytes(&m, data, bytes);
    uint8_t *exact = make_exact(&m, m.bytes);
    if (gguf_open(exact, m.bytes, &g, error, sizeof error))
        abort();
    chat_recognise(g);
    gguf_close(g);
    free(exact);
    free(m.data);
}

// First byte: format; then messages: a byte for the role, a byte for the length, the content.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "x"};
    struct chat_message messages[32];
    struct chat_prompt p;
    char error[300] = "";
    size_t n = 0, content = 0;
    recognise(data, bytes);
    if (!bytes)
        return 0;
    enum chat_format f = (enum chat_format)(data[0] % (CHAT_FORMAT_COUNT + 1));
    for (size_t at = 1; at + 2 <= bytes && n < 32; n++) {
        size_t length = data[at + 1] < bytes - at - 2 ? data[at + 1] : bytes - at - 2;
        messages[n] =
            (struct chat_message){roles[data[at] % 6], (const char *)data + at + 2, length};
        content += length;
        at += 2 + length;
    }
    if (chat_render(f, messages, n, &p, error, sizeof error)) {
        if (!error[0] || p.text)
            abort();
        return 0;
    }
    size_t at = 0, literal = 0;
    for (size_t i = 0; i < p.part_count; i++) {
        if (p.parts[i].offset != at)
            abort();
        at += p.parts[i].bytes;
        literal += p.parts[i].literal ? p.parts[i].bytes : 0;
    }
    if (at != p.bytes || literal > content) // content is trimmed, never grown
        abort();
    chat_prompt_free(&p);
    return 0;
}
