// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The splitters of byte-level BPE, by the name in tokenizer.ggml.pre (facts of the format), as
// PCRE2 patterns applied one after the other: each cuts the pieces the one before left; text
// between two matches is a piece of its own.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

// \s with PCRE2_UCP also knows U+180E; Unicode's White_Space does not. SPACE goes inside [].
#define SPACE                                                                                      \
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"   \
    "\\x{3000}"
#define S     "[" SPACE "]"
#define NOT_S "[^" SPACE "]"
#define TAIL  S "+(?!" NOT_S ")"
// A run of spaces is tried at its beginning only: at each of them it would be quadratic.
#define ONE_TRY   "(?<!" S ")"
#define GPT2      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|" TAIL
#define SHORTENED "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define LLAMA3_LIKE(letters, numbers)                                                              \
    SHORTENED "|[^\\r\\n\\p{L}\\p{N}]?[" letters "]+|" numbers "| ?[^" SPACE letters               \
              "\\p{N}]+[\\r\\n]*|" S "*[\\r\\n]+|" TAIL "|" S "+"
// A letter that is no lower-case (upper-case) ASCII letter.
#define NOT_LOWER "[^\\P{L}a-z]"
#define NOT_UPPER "[^\\P{L}A-Z]"
#define CASED_OF(lower, upper, after)                                                              \
    "[^\\r\\n\\p{L}\\p{N}]?" lower "*" upper "+" after "|[^\\r\\n\\p{L}\\p{N}]?" lower "+" upper   \
    "*" after "|"
#define CASED(after) CASED_OF(NOT_LOWER, NOT_UPPER, after)
#define CASED_TAIL   "| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n/]*|" S "*[\\r\\n]+|" TAIL "|" S "+"
#define PUNCTUATION  "\\p{P}\\$\\+<=>\\^~\\|"
// The cased letters that this model's splitter lists one by one.
#define DEEPSEEK_LETTERS                                                                           \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"                 \
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"         \
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"                  \
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"    \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}"                 \
    "\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"                 \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}"         \
    "\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"        \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"                 \
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}"         \
    "\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"         \
    "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"                   \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"                  \
    "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"                 \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"                 \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"             \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"         \
    "\\x{1e900}-\\x{1e943}"
// U+0800 to U+4E00 but for its spaces: those of a word stay with it.
#define DEEPSEEK_CJK "(?:(?!" S ")[\\x{4e00}-\\x{9fa5}\\x{0800}-\\x{4e00}\\x{ac00}-\\x{d7ff}])+"
#define HAN_KANA     "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define PHRASE       " ?[^(" SPACE "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define MAX_PATTERNS 6

struct recipe {
    const char *names; // "|a|b|"
    bool ignore_merges, add_bos;
    const char *pattern[MAX_PATTERNS];
};

static const struct recipe recipes[] = {
    {"|gpt-2|phi-2|mpt|olmo|jais|trillion|granite-docling|exaone4|gigachat|mellum|modern-bert|a.x-"
     "4.0|jina-es|jina-de|jina-v2-es|jina-v2-de|jina-v1-en|jina-v2-code|roberta-bpe|",
     false,
     false,
     {GPT2}},
    {"|llama-bpe|llama3|llama-v3|falcon3|falcon-h1|pixtral|midm-2.0|lfm2|jina-v5-nano|",
     true,
     true,
     {LLAMA3_LIKE("\\p{L}", "\\p{N}{1,3}")}},
    {"|dbrx|smaug-bpe|smaug|chatglm-bpe|chatglm4|glm4|",
     false,
     false,
     {LLAMA3_LIKE("\\p{L}", "\\p{N}{1,3}")}},
    {"|qwen2|deepseek-r1-qwen|stablelm2|megrez|hunyuan|grok-2|solar-open|kormo|f2llmv2|",
     false,
     false,
     {LLAMA3_LIKE("\\p{L}", "\\p{N}")}},
    {"|qwen35|", false, false, {LLAMA3_LIKE("\\p{L}\\p{M}", "\\p{N}")}},
    {"|starcoder|smollm|refact|command-r|codeshell|exaone|minerva-7b|mellum2|",
     false,
     false,
     {"\\p{N}", GPT2}},
    {"|falcon|", false, false, {"[" PUNCTUATION "`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"|default|", false, false, {"[" PUNCTUATION "]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"|tekken|", true, true, {CASED("") "\\p{N}" CASED_TAIL}},
    {"|gpt-4o|llama4|kanana2|minimax-m2|talkie|",
     false,
     false,
     {CASED(SHORTENED "?") "\\p{N}{1,3}" CASED_TAIL}},
    {"|deepseek-coder|",
     false,
     false,
     {"[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", DEEPSEEK_CJK, "\\p{N}"}},
    {"|deepseek-v3|hunyuan-dense|joyai-llm|hy_v4|",
     false,
     false,
     {"\\p{N}{1,3}", HAN_KANA,
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}"
      "\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" S "*[\\r\\n]+|" TAIL "|" S "+"}},
    {"|deepseek-llm|",
     false,
     false,
     {"[\\r\\n]", S "?[" DEEPSEEK_LETTERS "]+",
      S "?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3001}-\\x{3002}]+",
      ONE_TRY S "+$", DEEPSEEK_CJK, "\\p{N}+"}},
    {"|spark2_5|",
     false,
     false,
     {"\\p{N}{1,3}", HAN_KANA,
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}"
      "\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|" TAIL "|" S "+",
      "\\p{N}"}},
    {"|minicpm5|", true, false, {"\\p{N}{1,3}", LLAMA3_LIKE("\\p{L}", "\\p{N}+")}},
    {"|laguna|", false, false, {"[^\\n]+|[\\n]+", LLAMA3_LIKE("\\p{L}", "\\p{N}")}},
    {"|ufakzeka|",
     false,
     false,
     {"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*|" S
      "*[\\r\\n]+|" TAIL "|" S "+"}},
    {"|seed-coder|",
     false,
     false,
     {SHORTENED "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" SPACE "\\p{L}\\p{N}\\r\\n]+|" S
                "*[\\r\\n]+|" TAIL "|" S "+"}},
    {"|bailingmoe|bailingmoe2|llada-moe|",
     false,
     false,
     {SHORTENED "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" SPACE "\\p{L}\\p{N}]+[\\r\\n]*|" S
                "*[\\r\\n]|" TAIL "|" S "+"}},
    {"|granite-embed-multi-97m|",
     true,
     false,
     {CASED_OF("(?:(?=[\\p{L}\\p{M}])[^a-z])", "(?:(?=[\\p{L}\\p{M}])[^A-Z])",
               SHORTENED "?") "\\p{N}{1,3}" CASED_TAIL}},
    {"|poro-chat|bloom|gpt3-finnish|", false, false, {PHRASE}},
    {"|viking|", false, false, {PHRASE, "\\p{N}"}},
};

struct pretokenizer {
    size_t count;
    pcre2_code *pattern[MAX_PATTERNS];
};

static const struct recipe *find_recipe(struct gguf_string name)
{
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        for (const char *at = recipes[i].names; at[1]; at = strchr(at + 1, '|')) {
            size_t n = strcspn(at + 1, "|");
            if (n == name.bytes && !memcmp(at + 1, name.data, n))
                return &recipes[i];
        }
    return NULL;
}

int pretokenizer_open(struct gguf_string name, struct pretokenizer **out, bool *ignore_merges,
                      bool *add_bos)
{
    const struct recipe *r = find_recipe(name);
    if (!r)
        return -ENOTSUP;
    struct pretokenizer *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    for (; p->count < MAX_PATTERNS && r->pattern[p->count]; p->count++) {
        int code;
        PCRE2_SIZE offset;
        p->pattern[p->count] =
            pcre2_compile((PCRE2_SPTR)r->pattern[p->count], PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
                          &code, &offset, NULL);
        if (!p->pattern[p->count]) {
            pretokenizer_close(p);
            return -ENOMEM; // the patterns are ours and compile (tested), so this is memory
        }
    }
    *ignore_merges = r->ignore_merges;
    *add_bos = r->add_bos;
    *out = p;
    return 0;
}

void pretokenizer_close(struct pretokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < MAX_PATTERNS; i++)
        if (p->pattern[i])
            pcre2_code_free(p->pattern[i]);
    free(p);
}

struct run {
    const struct pretokenizer *p;
    pcre2_match_data *match[MAX_PATTERNS];
    int (*word)(void *ctx, const char *text, size_t bytes);
    void *ctx;
};

// Cuts text with pattern `level` and hands the pieces to the next. Each piece is matched as a
// text of its own, so that look-ahead does not see past it. Depth is bounded by MAX_PATTERNS.
static int cut(struct run *r, size_t level, const char *text, size_t bytes)
{
    if (!bytes)
        return 0;
    if (level == r->p->count)
        return r->word(r->ctx, text, bytes);
    pcre2_match_data *match = r->match[level];
    size_t at = 0;
    int rc = 0;
    while (!rc && at < bytes) {
        int found = pcre2_match(r->p->pattern[level], (PCRE2_SPTR)text, bytes, at,
                                PCRE2_NO_UTF_CHECK, match, NULL);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0)
            return found == PCRE2_ERROR_NOMEMORY || found == PCRE2_ERROR_HEAPLIMIT ? -ENOMEM
                                                                                   : -E2BIG;
        PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
        size_t from = span[0], to = span[1];
        if (to <= from) // an empty match would not move on
            break;
        rc = cut(r, level + 1, text + at, from - at);
        if (!rc)
            rc = cut(r, level + 1, text + from, to - from);
        at = to;
    }
    return rc ? rc : cut(r, level + 1, text + at, bytes - at);
}

// Broken bytes are pieces of their own; what lies between them is checked here, once, because PCRE2
// would otherwise check the whole rest of the text at every match.
static int cut_valid(struct run *r, const char *text, size_t bytes)
{
    size_t start = 0, at = 0;
    int rc = 0;
    while (!rc && at < bytes) {
        size_t n = utf8_character(text + at, bytes - at);
        if (n) {
            at += n;
            continue;
        }
        rc = cut(r, 0, text + start, at - start);
        start = at;
        while (at < bytes && !utf8_character(text + at, bytes - at))
            at++;
        if (!rc)
            rc = r->word(r->ctx, text + start, at - start);
        start = at;
    }
    return rc ? rc : cut(r, 0, text + start, bytes - start);
}

int pretokenizer_run(const struct pretokenizer *p, const char *text, size_t bytes,
                     int (*word)(void *ctx, const char *text, size_t bytes), void *ctx)
{
    struct run r = {.p = p, .word = word, .ctx = ctx};
    int rc = 0;
    for (size_t i = 0; i < p->count; i++) {
        r.match[i] = pcre2_match_data_create(1, NULL);
        if (!r.match[i])
            rc = -ENOMEM;
    }
    if (!rc)
        rc = cut_valid(&r, text, bytes);
    for (size_t i = 0; i < p->count; i++)
        pcre2_match_data_free(r.match[i]);
    return rc;
}
