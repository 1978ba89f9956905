// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Recognises the chat format by marks in the template's text, and tokenises rendered prompts.
#include "tensor/text/tokenizer_private.h"

#include <string.h>

static bool has(struct gguf_string text, const char *mark)
{
    return memmem(text.data, text.bytes, mark, strlen(mark)) != NULL;
}

static enum chat_format recognise_inst(struct gguf_string t)
{
    if (has(t, "[SYSTEM_PROMPT]"))
        return CHAT_MISTRAL_V7;
    if (has(t, "<<SYS>>"))
        return CHAT_LLAMA2;
    if (has(t, "\" [INST] \"") || has(t, "' [INST] '"))
        return CHAT_MISTRAL_V1;
    if (has(t, "\"[INST]\"") || has(t, "'[INST]'"))
        return CHAT_MISTRAL_TEKKEN;
    return has(t, "[AVAILABLE_TOOLS]") || has(t, "\"[/INST]\"") ? CHAT_MISTRAL_V3 : CHAT_MISTRAL;
}

enum chat_format chat_recognise(const struct gguf *g)
{
    struct gguf_string t;
    if (gguf_str(g, "tokenizer.chat_template", &t))
        return CHAT_NONE;
    if (has(t, "<|im_start|>"))
        return CHAT_CHATML;
    if (has(t, "<|start_header_id|>") && has(t, "<|end_header_id|>"))
        return CHAT_LLAMA3;
    if (has(t, "<start_of_turn>"))
        return CHAT_GEMMA;
    if (has(t, "<|end|>") && (has(t, "<|assistant|>") || has(t, "<|user|>")))
        return CHAT_PHI3;
    return has(t, "[INST]") ? recognise_inst(t) : CHAT_NONE;
}

const char *chat_format_name(enum chat_format f)
{
    static const char *const name[CHAT_FORMAT_COUNT] = {
        "none",      "chatml",  "llama2",     "llama3",     "gemma",
        "phi3",      "mistral", "mistral-v1", "mistral-v3", "mistral-v3-tekken",
        "mistral-v7"};
    return (unsigned)f < CHAT_FORMAT_COUNT ? name[f] : "none";
}

long chat_encode(const struct tokenizer *t, const struct chat_prompt *p, int32_t *ids, size_t max)
{
    return tokenizer_encode_parts(t, p->text, p->bytes,
                                  TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, p->parts,
                                  p->part_count, ids, max);
}
