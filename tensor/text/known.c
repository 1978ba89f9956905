// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What GGUF files do not say about their tokens and readers know by the tokens' text or the model's
// name: which end generation, which are control tokens whatever the file calls them, and which take
// the white space beside them.
#include "tensor/text/tokenizer_private.h"

#include <string.h>

enum { ENDS = 1, PLAIN = 2 };

static const struct {
    const char *text;
    int what;
} known[] = {
    {"<|eot_id|>", ENDS},
    {"<|im_end|>", ENDS},
    {"<|end|>", ENDS},
    {"<end_of_turn>", ENDS},
    {"<|endoftext|>", ENDS},
    {"<|eom_id|>", ENDS},
    {"</s>", ENDS},
    {"<|return|>", ENDS},
    {"<|call|>", ENDS},
    {"<|calls|>", ENDS},
    {"<|flush|>", ENDS},
    {"<|end_of_text|>", ENDS},
    {"<EOT>", ENDS},
    {"_<EOT>", ENDS},
    {"[EOT]", ENDS},
    {"[EOS]", ENDS},
    {"<eos>", ENDS},
    {"<turn|>", ENDS},
    {"<|tool_response>", ENDS},
    {"[e~[", ENDS},
    {"<end_of_utterance>", ENDS},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     ENDS},
    // Filling in the middle: padding, repository and file marks end a text, too.
    {"<|fim_pad|>", ENDS},
    {"<fim-pad>", ENDS},
    {"<fim_pad>", ENDS},
    {"<PAD>", ENDS},
    {"[PAD]", ENDS},
    {"<|fim_repo|>", ENDS},
    {"<|repo_name|>", ENDS},
    {"<fim-repo>", ENDS},
    {"<REPO>", ENDS},
    {"<reponame>", ENDS},
    {"<|file_sep|>", ENDS},
    {"<|fim_prefix|>", 0},
    {"<fim-prefix>", 0},
    {"<fim_prefix>", 0},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "begin\xef\xbd\x9c>",
     0},
    {"<PRE>", 0},
    {"\xe2\x96\x81<PRE>", 0},
    {"<|code_prefix|>", 0},
    {"<|prefix|>", 0},
    {"<|fim_suffix|>", 0},
    {"<fim-suffix>", 0},
    {"<fim_suffix>", 0},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81hole\xef\xbd\x9c>",
     0},
    {"<SUF>", 0},
    {"\xe2\x96\x81<SUF>", 0},
    {"<|code_suffix|>", 0},
    {"<|suffix|>", 0},
    {"<|fim_middle|>", 0},
    {"<fim-middle>", 0},
    {"<fim_middle>", 0},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "end\xef\xbd\x9c>",
     0},
    {"<MID>", 0},
    {"\xe2\x96\x81<MID>", 0},
    {"<|code_middle|>", 0},
    {"<|middle|>", 0},
    // The marks of gpt-oss's answers are part of its text.
    {"<|channel|>", PLAIN},
    {"<|message|>", PLAIN},
    {"<|start|>", PLAIN},
    {"<|constrain|>", PLAIN},
};

static bool is(struct gguf_string s, const char *text)
{
    return s.bytes == strlen(text) && !memcmp(s.data, text, s.bytes);
}

static void add_end(struct tokenizer *t, int32_t id)
{
    if (id >= 0 && !tokenizer_is_end(t, id) && t->end_count < TOKENIZER_MAX_ENDS)
        t->end[t->end_count++] = id;
}

void known_token(struct tokenizer *t, uint32_t id)
{
    struct gguf_string s = string_at(&t->tokens, id);
    if (s.bytes < 4 || !memchr("<[_\xe2", s.data[0], 4))
        return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!is(s, known[i].text))
            continue;
        if (known[i].what == PLAIN) {
            t->token_kind[id] = TOKEN_USER_DEFINED;
            return;
        }
        t->token_kind[id] = TOKEN_CONTROL; // some files mark them as ordinary text
        if (known[i].what == ENDS)
            add_end(t, (int32_t)id);
        return;
    }
}

static int32_t find_end(const struct tokenizer *t, const char *text)
{
    for (uint32_t i = 0; i < t->end_count; i++)
        if (is(string_at(&t->tokens, (uint32_t)t->end[i]), text))
            return t->end[i];
    return -1;
}

static void is_no_end(struct tokenizer *t, int32_t id, enum token_kind kind)
{
    for (uint32_t i = 0; i < t->end_count; i++)
        if (t->end[i] == id) {
            t->end[i] = t->end[--t->end_count];
            t->token_kind[id] = (uint8_t)kind;
            return;
        }
}

void known_ends(struct tokenizer *t)
{
    add_end(t, t->eos);
    add_end(t, t->eot);
    add_end(t, t->eom);
    int32_t end = find_end(t, "<|end|>"), sentence = find_end(t, "</s>");
    bool call = find_end(t, "<|call|>") >= 0 || find_end(t, "<|calls|>") >= 0;
    // Where calls and returns end a turn, <|end|> only ends one of its messages.
    if (end >= 0 && call && (find_end(t, "<|return|>") >= 0 || find_end(t, "<|flush|>") >= 0))
        is_no_end(t, end, TOKEN_USER_DEFINED);
    // Vocabularies with this mark hold </s> as an HTML tag.
    if (sentence >= 0 && find_end(t, "<|tool_response>") >= 0)
        is_no_end(t, sentence, TOKEN_NORMAL);
}

static bool names(const struct gguf *g, const char *key, const char *const *words, size_t count)
{
    struct gguf_string s;
    char name[256] = "";
    if (gguf_str(g, key, &s))
        return false;
    for (size_t i = 0; i < s.bytes && i + 1 < sizeof name; i++)
        name[i] = (char)(s.data[i] >= 'A' && s.data[i] <= 'Z' ? s.data[i] | 0x20 : s.data[i]);
    for (size_t i = 0; i < count; i++)
        if (strstr(name, words[i]))
            return true;
    return false;
}

void known_blanks(const struct gguf *g, struct tokenizer *t)
{
    static const char *const jina[] = {"jina-v2-de", "jina-v2-es", "jina-v2-code"};
    static const char *const masked[] = {"nomic-bert-moe", "jina-bert-v3"};
    static const char *const phi[] = {"phi-3", "phi3"}, *const modern[] = {"modern-bert"};
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    const char *mask = NULL;
    bool phi3 = false;
    t->strip_left = t->keep_right[0] = t->keep_right[1] = t->keep_right[2] = -1;
    if (names(g, "tokenizer.ggml.pre", jina, 3) || names(g, "general.architecture", masked, 2))
        mask = "<mask>";
    else if (names(g, "general.name", phi, 2))
        phi3 = true;
    else if (names(g, "general.name", modern, 1))
        mask = "[MASK]";
    t->strip_right = phi3;
    for (uint32_t id = 0; (phi3 || mask) && id < t->tokens.count; id++) {
        struct gguf_string s = string_at(&t->tokens, id);
        if (mask && is(s, mask))
            t->strip_left = (int32_t)id;
        for (size_t i = 0; phi3 && i < 3; i++)
            if (is(s, kept[i]))
                t->keep_right[i] = (int32_t)id;
    }
}
