// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// WordPiece, unigram and marked BPE on small vocabularies whose ids are worked out by hand; what is
// known of tokens by their text.
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

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

#define KEY(name) "tokenizer.ggml." name
#define MARK      "\xe2\x96\x81"

static char error[300];
static struct maker file;
static struct gguf *g;
static struct tokenizer *t;

static int try_open(void)
{
    assert_int_equal(gguf_open(file.data, file.bytes, &g, error, sizeof error), 0);
    return tokenizer_open(g, &t, error, sizeof error);
}

static void open_file(void)
{
    if (try_open())
        fail_msg("%s", error);
}

static int close_file(void **state)
{
    (void)state;
    tokenizer_close(t);
    gguf_close(g);
    free(file.data);
    t = NULL;
    g = NULL;
    file = (struct maker){0};
    return 0;
}

static void is_refused(int code, const char *words)
{
    assert_int_equal(try_open(), code);
    if (!strstr(error, words))
        fail_msg("'%s' does not say '%s'", error, words);
    close_file(NULL);
}

static void encodes_to(const char *text, size_t bytes, unsigned flags, const char *want)
{
    int32_t ids[512];
    char got[2048] = "";
    long n = tokenizer_encode(t, text, bytes, flags, ids, 512);
    for (long i = 0; i < n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%d", i ? "," : "", ids[i]);
    if (n < 0 || strcmp(got, want))
        fail_msg("'%s': %ld ids %s, wanted %s", text, n, got, want);
}
#define ENCODES(text, flags, want) encodes_to(text, sizeof(text) - 1, flags, want)

static void decodes_to(const int32_t *ids, size_t n, const char *want)
{
    char got[256];
    long bytes = tokenizer_decode(t, ids, n, false, got, sizeof got);
    assert_int_equal(bytes, strlen(want));
    assert_memory_equal(got, want, strlen(want));
}

static double seconds(void)
{
    struct timespec s;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &s);
    return (double)s.tv_sec + 1e-9 * (double)s.tv_nsec;
}

// ---- WordPiece ---------------------------------------------------------------------------------

static const struct test_token word_tokens[] = {{"[PAD]", 0, 3},
                                                {"[UNK]", 0, 3},
                                                {"[CLS]", 0, 3},
                                                {"[SEP]", 0, 3},
                                                {MARK "play", 0, 1},
                                                {"ing", 0, 1},
                                                {"s", 0, 1},
                                                {MARK ",", 0, 1},
                                                {MARK "\xe4\xb8\x96", 0, 1},
                                                {MARK "caf", 0, 1},
                                                {"e", 0, 1},
                                                {MARK "player", 0, 1},
                                                {MARK "[", 0, 1},
                                                {MARK "\xe1\x84\x92", 0, 1}};
enum { WORD_TOKENS = sizeof word_tokens / sizeof *word_tokens };

static void wpm(int lowercase)
{
    make_header(&file, 3, 0, 7 + (lowercase >= 0));
    make_key_string(&file, KEY("model"), "bert");
    make_key_u32(&file, KEY("unknown_token_id"), 1);
    make_key_u32(&file, KEY("cls_token_id"), 2);
    make_key_u32(&file, KEY("seperator_token_id"), 3);
    if (lowercase >= 0)
        make_key_bool(&file, KEY("normalizer.lowercase"), lowercase);
    make_tokens(&file, word_tokens, WORD_TOKENS);
    open_file();
}

static void words_take_the_longest_pieces(void **state)
{
    (void)state;
    wpm(-1);
    ENCODES("playing plays", 0, "4,5,4,6");
    ENCODES("player", 0, "11");
    ENCODES("players playe", 0, "11,6,4,10");
    ENCODES("play", TOKENIZE_ADD_SPECIAL, "2,4,3");
    ENCODES("", TOKENIZE_ADD_SPECIAL, "2,3");
    ENCODES("  \t\n ", 0, "");
    assert_true(tokenizer_adds_bos(t));
    assert_int_equal(tokenizer_bos(t), 2);
    assert_int_equal(tokenizer_eos(t), -1);
}

static void a_word_with_a_gap_is_unknown_as_a_whole(void **state)
{
    (void)state;
    wpm(-1);
    ENCODES("playingx play", 0, "1,4");
    ENCODES("x", 0, "1");
    ENCODES("ing", 0, "1"); // a piece from inside a word does not begin one
}

static void text_is_cleaned_before_it_is_cut(void **state)
{
    (void)state;
    wpm(-1);
    ENCODES("PLAY,PLAYS", 0, "4,7,4,6");
    ENCODES("Caf\xc3\x89s", 0, "9,10,6");        // U+00C9
    ENCODES("cafe\xcc\x81s", 0, "9,10,6");       // a combining accent
    ENCODES("play\xe4\xb8\x96play", 0, "4,8,4"); // an ideograph stands alone
    ENCODES("pl\x01"                             // control, format characters, U+FFFD and
            "a\xe2\x80\x8b\xef\xbf\xbdy\xff",    // broken bytes vanish
            0, "4");
    ENCODES("play\xc2\xa0play\xe3\x80\x80play", 0, "4,4,4"); // spaces of all kinds
    ENCODES("\xed\x95\x9c", 0, "13");                        // Hangul: its first letter
    ENCODES("[CLS] play", 0, "12,1,1,4");
    ENCODES("[CLS] play", TOKENIZE_PARSE_SPECIAL, "2,4");
}

static void a_cased_vocabulary_keeps_case_and_accents(void **state)
{
    (void)state;
    wpm(0);
    ENCODES("play Play caf\xc3\xa9", 0, "4,1,1");
}

static void words_come_back_with_single_spaces(void **state)
{
    (void)state;
    wpm(-1);
    decodes_to((const int32_t[]){2, 4, 5, 7, 4, 3}, 6, "playing , play");
}

static void wpm_needs_its_unknown_token(void **state)
{
    (void)state;
    make_header(&file, 3, 0, 4);
    make_key_string(&file, KEY("model"), "bert");
    make_tokens(&file, word_tokens, WORD_TOKENS);
    is_refused(-EINVAL, KEY("unknown_token_id"));
}

// ---- unigram -----------------------------------------------------------------------------------

// A charsmap of our own: every node of the double array has a block of 256 units to itself.
struct map_maker {
    uint32_t unit[256 * 32];
    uint32_t blocks;
    char replacement[256];
    size_t replacement_bytes;
};

static void map_to(struct map_maker *m, const char *from, const char *to)
{
    uint32_t at = 0; // a node; its block is the one its offset leads to
    if (!m->blocks) {
        m->blocks = 2;
        m->unit[0] = 256 << 10;
    }
    for (size_t i = 0; from[i]; i++) {
        uint32_t child = (at ^ m->unit[at] >> 10) ^ (uint8_t)from[i];
        if (!m->unit[child])
            m->unit[child] = (child ^ 256 * m->blocks++) << 10 | (uint8_t)from[i];
        at = child;
    }
    m->unit[at ^ m->unit[at] >> 10] = 0x80000000u | (uint32_t)m->replacement_bytes;
    m->unit[at] |= 1 << 8;
    memcpy(m->replacement + m->replacement_bytes, to, strlen(to) + 1);
    m->replacement_bytes += strlen(to) + 1;
}

static size_t map_bytes(const struct map_maker *m)
{
    return 4 + 1024 * (size_t)m->blocks + m->replacement_bytes;
}

static void put_map(const struct map_maker *m, size_t bytes)
{
    struct maker all = {0};
    make_u32(&all, 1024 * m->blocks);
    make_bytes(&all, m->unit, 1024 * (size_t)m->blocks);
    make_bytes(&all, m->replacement, m->replacement_bytes);
    make_key_array(&file, KEY("precompiled_charsmap"), GGUF_U8, bytes);
    make_bytes(&file, all.data, bytes);
    free(all.data);
}

static const struct test_token best_tokens[] = {
    {"<pad>", 0, 3},    {"</s>", 0, 3},   {"<unk>", 0, 2}, {MARK, -3, 1},        {"a", -4, 1},
    {"b", -4, 1},       {"ab", -7, 1},    {"abc", -2, 1},  {MARK "a", -5, 1},    {"c", -9, 1},
    {"[user]", -50, 4}, {"fi", -2.5f, 1}, {"bc", -1, 1},   {"<unused>", -20, 5},
};
enum { BEST_TOKENS = sizeof best_tokens / sizeof *best_tokens };

static void unigram(const struct map_maker *map, size_t bytes, bool collapse)
{
    make_header(&file, 3, 0, 6 + (map != NULL));
    make_key_string(&file, KEY("model"), "t5");
    make_key_bool(&file, KEY("add_space_prefix"), true);
    make_key_bool(&file, KEY("remove_extra_whitespaces"), collapse);
    if (map)
        put_map(map, bytes);
    make_tokens(&file, best_tokens, BEST_TOKENS);
}

static void the_dearest_cut_is_taken(void **state)
{
    (void)state;
    unigram(NULL, 0, false);
    open_file();
    ENCODES("abc", 0, "3,7");      // -3 -2; "_a" + "bc" is -6
    ENCODES("ab", 0, "8,5");       // -5 -4; "_" + "ab" is -10
    ENCODES("abcbc", 0, "3,7,12"); // not "_a" "bc" "bc" (-7)
    ENCODES("a", TOKENIZE_ADD_SPECIAL, "8,1");
    ENCODES("", 0, "");
    decodes_to((const int32_t[]){8, 12, 3, 7}, 4, "abc abc");
    assert_true(tokenizer_is_end(t, 1));
}

static void runs_of_unknown_characters_are_one_token(void **state)
{
    (void)state;
    unigram(NULL, 0, false);
    open_file();
    ENCODES("xyz", 0, "3,2");
    ENCODES("axya", 0, "8,2,4");
    ENCODES("a\xe4\xb8\x96\xf0\x9f\x98\x80"
            "b\xff",
            0, "8,2,5,2");
}

static void spaces_are_marked_and_collapsed_when_wanted(void **state)
{
    (void)state;
    unigram(NULL, 0, false);
    open_file();
    ENCODES("a  a", 0, "8,3,8");
    ENCODES(" a", 0, "3,8"); // the prefix goes before the word, as the reference has it
    ENCODES("  ", 0, "3,3");
    close_file(NULL);
    unigram(NULL, 0, true);
    open_file();
    ENCODES("  a   a  ", 0, "8,8");
    ENCODES("   ", 0, "");
}

static void user_defined_tokens_cost_nothing(void **state)
{
    (void)state;
    unigram(NULL, 0, false);
    open_file();
    ENCODES("a[user]b", 0, "8,10,3,5");
}

static struct map_maker *ligatures(void)
{
    static struct map_maker m;
    m = (struct map_maker){0};
    map_to(&m, "\xef\xac\x81", "fi"); // U+FB01
    map_to(&m, "\xc3\x84", "a");
    map_to(&m, "\t", " ");
    map_to(&m,
           "\xef\xac\x81"
           "b",
           "bc"); // the longest match wins
    return &m;
}

static void the_charsmap_replaces_the_longest_match(void **state)
{
    (void)state;
    struct map_maker *m = ligatures();
    unigram(m, map_bytes(m), false);
    open_file();
    ENCODES("\xef\xac\x81", 0, "3,11");
    ENCODES("\xc3\x84", 0, "8");
    ENCODES("a\ta", 0, "8,8");
    ENCODES("\xef\xac\x81"
            "b",
            0, "3,12");
    ENCODES("\xef\xac", 0, "3,2"); // half of it is no match
}

static void an_unsound_charsmap_is_refused_or_an_error(void **state)
{
    (void)state;
    struct map_maker *m = ligatures();
    unigram(m, map_bytes(m) - 1, false); // the last replacement has no end
    is_refused(-EINVAL, KEY("precompiled_charsmap"));
    unigram(m, 100, false);
    is_refused(-EINVAL, KEY("precompiled_charsmap"));
    unigram(m, 3, false);
    is_refused(-EINVAL, KEY("precompiled_charsmap"));
    m->unit[0] = 0x1fffffu << 10; // children far outside
    unigram(m, map_bytes(m), false);
    open_file();
    assert_int_equal(tokenizer_encode(t, "a", 1, 0, NULL, 0), -EINVAL);
    close_file(NULL);
    m = ligatures();
    for (size_t i = 0; i < 256 * 32; i++)
        if (m->unit[i] >> 31)
            m->unit[i] = 0x80001000u; // replacements outside
    unigram(m, map_bytes(m), false);
    open_file();
    assert_int_equal(tokenizer_encode(t, "\xc3\x84", 2, 0, NULL, 0), -EINVAL);
}

static void unigram_needs_finite_scores(void **state)
{
    (void)state;
    struct test_token tokens[BEST_TOKENS];
    memcpy(tokens, best_tokens, sizeof tokens);
    tokens[5].score = NAN;
    make_header(&file, 3, 0, 4);
    make_key_string(&file, KEY("model"), "t5");
    make_tokens(&file, tokens, BEST_TOKENS);
    is_refused(-EINVAL, KEY("scores") ": that of token 5");
    for (int kind = 0; kind < 2; kind++) {
        make_header(&file, 3, 0, 2);
        make_key_string(&file, KEY("model"), kind ? "t5" : "llama");
        make_key_array(&file, KEY("tokens"), GGUF_STRING, 1);
        make_string(&file, "a");
        is_refused(-EINVAL, KEY("scores") " is missing");
    }
    make_header(&file, 3, 0, 2);
    make_key_string(&file, KEY("model"), "gemma4");
    make_key_array(&file, KEY("tokens"), GGUF_STRING, 1);
    make_string(&file, "a");
    is_refused(-EINVAL, KEY("merges") " is missing");
}

static void byte_tokens_make_every_text_whole(void **state)
{
    (void)state;
    static struct test_token tokens[5 + 256];
    static char names[256][8];
    tokens[0] = (struct test_token){"<pad>", 0, 3};
    tokens[1] = (struct test_token){"</s>", 0, 3};
    tokens[2] = (struct test_token){"<unk>", 0, 2};
    tokens[3] = (struct test_token){"a", -1, 1};
    for (int i = 0; i < 256; i++) {
        snprintf(names[i], 8, "<0x%02X>", i);
        tokens[4 + i] = (struct test_token){names[i], 0, 6};
    }
    tokens[260] = (struct test_token){MARK, -1, 1};
    make_header(&file, 3, 0, 4);
    make_key_string(&file, KEY("model"), "t5");
    make_tokens(&file, tokens, 261);
    open_file();
    ENCODES("ab\xc3\xa9", 0, "3,102,199,173");
    const char text[] = "a b\n\x01\xe4\xb8\x96";
    int32_t ids[64];
    long n = tokenizer_encode(t, text, sizeof text - 1, 0, ids, 64);
    decodes_to(ids, (size_t)n, text);
}

// ---- BPE over marked text ----------------------------------------------------------------------

static void marked_bpe_merges_across_words(void **state)
{
    (void)state;
    static const struct test_token tokens[] = {
        {"<pad>", 0, 3}, {"<eos>", 0, 3},      {"<bos>", 0, 3},  {"a", 0, 1},
        {MARK, 0, 1},    {"b", 0, 1},          {"a" MARK, 0, 1}, {"\n", 0, 1},
        {"\n\n", 0, 1},  {"a" MARK "b", 0, 1}, {"<0xC3>", 0, 6}, {"<0xFF>", 0, 6}};
    make_header(&file, 3, 0, 6);
    make_key_string(&file, KEY("model"), "gemma4");
    make_key_u32(&file, KEY("bos_token_id"), 2);
    make_tokens(&file, tokens, 12);
    make_key_array(&file, KEY("merges"), GGUF_STRING, 2);
    make_string(&file, "a " MARK);
    make_string(&file, "a" MARK " b");
    open_file();
    ENCODES("a b", 0, "9");
    ENCODES("a a", TOKENIZE_ADD_SPECIAL, "2,6,3");
    ENCODES("a\n\na\n\n\n", 0, "3,8,3,7,7,7"); // a run of feeds is one token or none of them merge
    ENCODES("a\xff", 0, "3,11");
    ENCODES("\xc3\xa9", 0, "10"); // what the vocabulary lacks is left out
    decodes_to((const int32_t[]){2, 9, 7}, 3, "a b\n");
}

// ---- known by text -----------------------------------------------------------------------------

static void a_turn_that_ends_with_call_goes_on_after_end(void **state)
{
    (void)state;
    static const struct test_token tokens[] = {
        {"<unk>", 0, 2}, {"<|end|>", 0, 3},     {"<|call|>", 0, 3},   {"<|return|>", 0, 3},
        {"a", 0, 1},     {"<|channel|>", 0, 3}, {"<|fim_pad|>", 0, 4}};
    for (size_t count = 3; count <= 7; count += 4) {
        make_header(&file, 3, 0, 4);
        make_key_string(&file, KEY("model"), "llama");
        make_tokens(&file, tokens, count);
        open_file();
        assert_int_equal(tokenizer_is_end(t, 1), count == 3);
        assert_true(tokenizer_is_end(t, 2));
        if (count == 7) {
            assert_true(tokenizer_is_end(t, 3));
            assert_false(tokenizer_is_control(t, 1));
            assert_false(tokenizer_is_control(t, 5));
            assert_true(tokenizer_is_control(t, 6));
            assert_true(tokenizer_is_end(t, 6));
        }
        close_file(NULL);
    }
}

static void some_models_marks_take_the_blanks_beside_them(void **state)
{
    (void)state;
    static const struct test_token tokens[] = {{"<unk>", 0, 2},    {"<s>", 0, 3}, {"</s>", 0, 3},
                                               {"<|user|>", 0, 3}, {"a", 0, 1},   {MARK, 0, 1}};
    make_header(&file, 3, 0, 6);
    make_key_string(&file, KEY("model"), "llama");
    make_key_string(&file, "general.name", "Phi-3 mini");
    make_key_bool(&file, KEY("add_space_prefix"), false);
    make_tokens(&file, tokens, 6);
    open_file();
    ENCODES("<|user|> \n a<s> a", TOKENIZE_PARSE_SPECIAL, "3,4,1,5,4");
    close_file(NULL);
    static const struct test_token masked[] = {{"<pad>", 0, 3},  {"</s>", 0, 3}, {"<unk>", 0, 2},
                                               {"<mask>", 0, 3}, {"a", -1, 1},   {MARK, -1, 1}};
    make_header(&file, 3, 0, 6);
    make_key_string(&file, KEY("model"), "t5");
    make_key_string(&file, "general.architecture", "nomic-bert-moe");
    make_key_bool(&file, KEY("remove_extra_whitespaces"), false);
    make_tokens(&file, masked, 6);
    open_file();
    ENCODES("a  <mask> a", TOKENIZE_PARSE_SPECIAL, "4,3,5,4");
}

// ---- time --------------------------------------------------------------------------------------

static void long_texts_take_linear_time(void **state)
{
    (void)state;
    enum { N = 300000 };
    char *text = malloc(N);
    for (int kind = 0; kind < 2; kind++) {
        if (kind) {
            struct map_maker *m = ligatures();
            unigram(m, map_bytes(m), true);
            open_file();
        } else {
            wpm(-1);
        }
        for (const char *c = "a e\n,x\xff"; *c; c++) {
            double from = seconds();
            memset(text, *c, N);
            assert_true(tokenizer_encode(t, text, N, TOKENIZE_PARSE_SPECIAL, NULL, 0) >= 0);
            if (seconds() - from > 3)
                fail_msg("kind %d: a run of 0x%02x takes %.1f s", kind, *c, seconds() - from);
        }
        close_file(NULL);
    }
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, close_file)
    const struct CMUnitTest tests[] = {
        TEST(words_take_the_longest_pieces),
        TEST(a_word_with_a_gap_is_unknown_as_a_whole),
        TEST(text_is_cleaned_before_it_is_cut),
        TEST(a_cased_vocabulary_keeps_case_and_accents),
        TEST(words_come_back_with_single_spaces),
        TEST(wpm_needs_its_unknown_token),
        TEST(the_dearest_cut_is_taken),
        TEST(runs_of_unknown_characters_are_one_token),
        TEST(spaces_are_marked_and_collapsed_when_wanted),
        TEST(user_defined_tokens_cost_nothing),
        TEST(the_charsmap_replaces_the_longest_match),
        TEST(an_unsound_charsmap_is_refused_or_an_error),
        TEST(unigram_needs_finite_scores),
        TEST(byte_tokens_make_every_text_whole),
        TEST(marked_bpe_merges_across_words),
        TEST(a_turn_that_ends_with_call_goes_on_after_end),
        TEST(some_models_marks_take_the_blanks_beside_them),
        TEST(long_texts_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
