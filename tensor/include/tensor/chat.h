// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Chat formats, recognised from the GGUF's template text.
#ifndef TENSOR_CHAT_H
#define TENSOR_CHAT_H

#include "tensor/gguf.h"

enum chat_format {
    CHAT_NONE,
    CHAT_CHATML,
    CHAT_LLAMA2,
    CHAT_LLAMA3,
    CHAT_GEMMA,
    CHAT_PHI3,
    CHAT_MISTRAL,        // 7B Instruct 0.1/0.2 as first published
    CHAT_MISTRAL_V1,     // spaces around [INST]
    CHAT_MISTRAL_V3,     // system prompt in the last user message
    CHAT_MISTRAL_TEKKEN, // as V3, no spaces
    CHAT_MISTRAL_V7,     // [SYSTEM_PROMPT]
    CHAT_FORMAT_COUNT
};

struct chat_message {
    const char
        *role; // "system" (or "developer"), "user", "assistant"; ChatML and Llama 3 also "tool"
    const char *content;
    size_t content_bytes;
};
// CHAT_NONE when the file has no template or one that is not recognised.
enum chat_format chat_recognise(const struct gguf *g);
const char *chat_format_name(enum chat_format f);
// Renders the conversation up to where the assistant speaks. Control tokens stand in the text as
// text; message contents must not be able to forge them: content is delimited in `literal`
// ranges that are to be tokenised without TOKENIZE_PARSE_SPECIAL.
struct chat_part {
    size_t offset, bytes;
    bool literal; // from the user: special tokens are not parsed in it
};
struct chat_prompt {
    char *text;
    size_t bytes;
    struct chat_part *parts;
    size_t part_count;
};
// 0, -ENOTSUP (format none), -EINVAL (roles that the format forbids; message in error), -ENOMEM.
int chat_render(enum chat_format f, const struct chat_message *messages, size_t count,
                struct chat_prompt *out, char *error, size_t error_bytes);
void chat_prompt_free(struct chat_prompt *p);
struct tokenizer;
// Tokenises a rendered prompt part by part (BOS as the model wants). Same return rule as
// tokenizer_encode.
long chat_encode(const struct tokenizer *t, const struct chat_prompt *p, int32_t *ids, size_t max);

#endif
