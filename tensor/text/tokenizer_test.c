// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tests of both vocabulary kinds on small vocabularies whose ids are worked out by hand, and on a
// real file where there is one.
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
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

static char error[300];
static struct maker file;
static struct gguf *g;
static struct tokenizer *t;

static void open_file(void)
{
    assert_int_equal(gguf_open(file.data, file.bytes, &g, error, sizeof error), 0);
    if (tokenizer_open(g, &t, error, sizeof error))
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

// Ids as "1,2,3".
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

static void decodes_to(const int32_t *ids, size_t n, bool special, const char *want)
{
    char got[256];
    long bytes = tokenizer_decode(t, ids, n, special, got, sizeof got);
    assert_int_equal(bytes, strlen(want));
    assert_memory_equal(got, want, strlen(want));
}

// ---- SPM ---------------------------------------------------------------------------------------
enum { A = 3, B, C, SPACE, AB, BC, SPACE_A, ABC, EURO, MARK, USER, BYTE0 };

static void spm(bool prefix)
{
    static struct test_token tokens[BYTE0 + 256] = {{"<unk>", 0, 2},
                                                    {"<s>", 0, 3},
                                                    {"</s>", 0, 3},
                                                    {"a", -10, 1},
                                                    {"b", -10, 1},
                                                    {"c", -10, 1},
                                                    {"\xe2\x96\x81", -10, 1},
                                                    {"ab", -2, 1},
                                                    {"bc", -2, 1},
                                                    {"\xe2\x96\x81"
                                                     "a",
                                                     -3, 1},
                                                    {"abc", -5, 1},
                                                    {"\xe2\x82\xac", -9, 1},
                                                    {"<|im_end|>", 0, 1},
                                                    {"[user]", 0, 4}};
    static char names[256][8];
    for (int i = 0; i < 256; i++) {
        snprintf(names[i], 8, "<0x%02X>", i);
        tokens[BYTE0 + i] = (struct test_token){names[i], 0, 6};
    }
    make_header(&file, 3, 0, 5);
    make_key_string(&file, "tokenizer.ggml.model", "llama");
    make_key_bool(&file, "tokenizer.ggml.add_space_prefix", prefix);
    make_tokens(&file, tokens, BYTE0 + 256);
    open_file();
}

static void the_best_pair_merges_first_and_the_leftmost_on_ties(void **state)
{
    (void)state;
    spm(false);
    ENCODES("ab", 0, "7");
    ENCODES("abc", 0, "10"); // ab and bc tie: ab, then abc
    ENCODES("bca", 0, "8,3");
    ENCODES("ababc", 0, "7,10");
    ENCODES(" ab", 0, "6,7"); // ab (-2) before the space and a (-3)
    ENCODES(" a", 0, "9");
    ENCODES("", 0, "");
}

static void what_is_no_token_falls_back_to_bytes(void **state)
{
    (void)state;
    spm(false);
    ENCODES("\xe2\x82\xac", 0, "11");
    ENCODES("\xc3\xa9", 0, "209,183"); // 0xc3, 0xa9
    ENCODES("a\xff", 0, "3,269");
    ENCODES("\xe2\x82", 0, "240,144"); // cut off
    ENCODES("\xff ab", 0, "269,6,7");  // what claims more bytes takes none of the space's
    ENCODES("a\0b", 0, "3,14,4");
}

static void a_space_goes_before_the_first_text(void **state)
{
    (void)state;
    spm(true);
    ENCODES("a", 0, "9");
    ENCODES("a", TOKENIZE_ADD_SPECIAL, "1,9");
    ENCODES("", TOKENIZE_ADD_SPECIAL, "1");
    ENCODES("a</s>a", TOKENIZE_PARSE_SPECIAL, "9,2,9"); // and after each special token
    ENCODES("a[user]a", 0, "9,13,9");
}

static void special_tokens_are_cut_out_only_when_asked(void **state)
{
    (void)state;
    spm(false);
    ENCODES("<s>", TOKENIZE_PARSE_SPECIAL, "1");
    ENCODES("<s>", 0, "74,129,76");                      // bytes of '<', 's', '>'
    ENCODES("[user]", 0, "13");                          // user-defined: always
    ENCODES("<|im_end|>", TOKENIZE_PARSE_SPECIAL, "12"); // made a control token by its text
    assert_true(tokenizer_is_control(t, 12));
    assert_true(tokenizer_is_end(t, 12));
    assert_true(tokenizer_is_end(t, 2));
    assert_false(tokenizer_is_end(t, 1));
}

static void literal_parts_hold_no_control_tokens(void **state)
{
    (void)state;
    spm(false);
    const char text[] = "<s>a<s>b</s>";
    const struct chat_part parts[] = {{0, 3, false}, {3, 5, true}, {8, 4, false}};
    int32_t ids[32];
    long n = tokenizer_encode_parts(t, text, 12, TOKENIZE_PARSE_SPECIAL, parts, 3, ids, 32);
    const int32_t want[] = {1, 3, 74, 129, 76, 4, 2};
    assert_int_equal(n, 7);
    assert_memory_equal(ids, want, sizeof want);
    // A token that lies across the border is none; ordinary text merges across it.
    const struct chat_part split[] = {{0, 1, false}, {1, 2, true}};
    n = tokenizer_encode_parts(t, "<s>", 3, TOKENIZE_PARSE_SPECIAL, split, 2, ids, 32);
    assert_int_equal(n, 3);
    n = tokenizer_encode_parts(t, "abc", 3, TOKENIZE_PARSE_SPECIAL, split, 2, ids, 32);
    assert_int_equal(n, 1);
    assert_int_equal(ids[0], ABC);
}

static void ids_become_text_again(void **state)
{
    (void)state;
    spm(true);
    decodes_to((const int32_t[]){9, 7}, 2, false, "aab");
    decodes_to((const int32_t[]){1, 9, 6, 7}, 4, false, "a ab");
    decodes_to((const int32_t[]){1, 9}, 2, true, "<s>a");
    decodes_to((const int32_t[]){BYTE0 + 0xc3, BYTE0 + 0xa9}, 2, false, "\xc3\xa9");
    char piece[8];
    assert_int_equal(tokenizer_piece(t, 9, false, piece, sizeof piece), 2);
    assert_memory_equal(piece, " a", 2);
    assert_int_equal(tokenizer_piece(t, 2, false, piece, sizeof piece), 0);
    assert_int_equal(tokenizer_piece(t, -1, false, piece, sizeof piece), -EINVAL);
    assert_int_equal(tokenizer_piece(t, 100000, false, piece, sizeof piece), -EINVAL);
    assert_int_equal(tokenizer_piece(t, 10, false, piece, 1), 3); // tells the room it needs
}

static void the_count_may_exceed_the_room(void **state)
{
    (void)state;
    spm(false);
    int32_t ids[2] = {-7, -7};
    assert_int_equal(tokenizer_encode(t, "cba", 3, 0, ids, 1), 3);
    assert_int_equal(ids[0], C);
    assert_int_equal(ids[1], -7);
}

static void a_long_text_takes_n_log_n(void **state)
{
    (void)state;
    spm(false);
    size_t n = 400000;
    char *text = malloc(n);
    for (int kind = 0; kind < 3; kind++) {
        memset(text, "ab<"[kind], n);
        assert_true(tokenizer_encode(t, text, n, TOKENIZE_PARSE_SPECIAL, NULL, 0) > 0);
    }
    free(text);
}

static void wrong_vocabularies_are_named(void **state)
{
    (void)state;
    static const struct test_token one[] = {{"a", 0, 1}};
    struct tokenizer *none;
    make_header(&file, 3, 0, 1);
    make_key_string(&file, "tokenizer.ggml.model", "unheard-of");
    assert_int_equal(gguf_open(file.data, file.bytes, &g, error, sizeof error), 0);
    assert_int_equal(tokenizer_open(g, &none, error, sizeof error), -ENOTSUP);
    assert_non_null(strstr(error, "unheard-of"));
    close_file(NULL);
    make_header(&file, 3, 0, 1);
    make_key_string(&file, "tokenizer.ggml.model", "llama");
    assert_int_equal(gguf_open(file.data, file.bytes, &g, error, sizeof error), 0);
    assert_int_equal(tokenizer_open(g, &none, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "tokenizer.ggml.tokens"));
    close_file(NULL);
    make_header(&file, 3, 0, 6);
    make_key_string(&file, "tokenizer.ggml.model", "gpt2");
    make_key_string(&file, "tokenizer.ggml.pre", "no-such-pre");
    make_tokens(&file, one, 1);
    make_key_array(&file, "tokenizer.ggml.merges", GGUF_STRING, 0);
    assert_int_equal(gguf_open(file.data, file.bytes, &g, error, sizeof error), 0);
    assert_int_equal(tokenizer_open(g, &none, error, sizeof error), -ENOTSUP);
    assert_non_null(strstr(error, "no-such-pre"));
    close_file(NULL);
    make_header(&file, 3, 0, 3);
    make_key_string(&file, "tokenizer.ggml.model", "llama");
    make_key_array(&file, "tokenizer.ggml.tokens", GGUF_STRING, 1);
    make_string(&file, "a");
    make_key_array(&file, "tokenizer.ggml.scores", GGUF_F32, 2);
    make_u64(&file, 0);
    assert_int_equal(gguf_open(file.data, file.bytes, &g, error, sizeof error), 0);
    assert_int_equal(tokenizer_open(g, &none, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "scores"));
}

// ---- BPE ---------------------------------------------------------------------------------------
// Ids: the 256 byte characters by byte, then merged pieces, then a control token.
static void bpe(const char *pre, const char *const *merges, const char *const *pieces, size_t n)
{
    static struct test_token tokens[300];
    static char names[256][8];
    for (int i = 0; i < 256; i++) {
        names[i][put_utf8(byte_to_character((uint8_t)i), names[i])] = 0;
        tokens[i] = (struct test_token){names[i], 0, 1};
    }
    for (size_t i = 0; i < n; i++)
        tokens[256 + i] = (struct test_token){pieces[i], 0, 1};
    tokens[256 + n] = (struct test_token){"<|endoftext|>", 0, 3};
    size_t count = 0;
    while (merges[count])
        count++;
    make_header(&file, 3, 0, 6);
    make_key_string(&file, "tokenizer.ggml.model", "gpt2");
    make_key_string(&file, "tokenizer.ggml.pre", pre);
    make_tokens(&file, tokens, 257 + n);
    make_key_array(&file, "tokenizer.ggml.merges", GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        make_string(&file, merges[i]);
    open_file();
}

static const char *const merges[] = {"a b", "b c", "ab c", "\xc4\xa0 a", "1 2", NULL};
static const char *const pieces[] = {"ab",
                                     "bc",
                                     "abc",
                                     "\xc4\xa0"
                                     "a",
                                     "12",
                                     "whole"};

static void bytes_and_characters_are_one_to_one(void **state)
{
    (void)state;
    bool seen[512] = {false};
    for (int b = 0; b < 256; b++) {
        uint32_t c = byte_to_character((uint8_t)b);
        assert_true(c < 512 && !seen[c] && c > 32);
        seen[c] = true;
        assert_int_equal(character_to_byte(c), b);
    }
    assert_int_equal(byte_to_character(' '), 0x120);
    assert_int_equal(byte_to_character('\n'), 0x10a);
    assert_int_equal(character_to_byte(0x20), -1);
    assert_int_equal(character_to_byte(0x144), -1);
}

static void merges_go_by_rank(void **state)
{
    (void)state;
    bpe("gpt-2", merges, pieces, 6);
    ENCODES("abc", 0, "258");
    ENCODES("bc", 0, "257");
    ENCODES("a bc", 0, "97,32,257");
    ENCODES("x a", 0, "120,259");
    ENCODES("\xc3\xa9", 0, "195,169");
    ENCODES("12", 0, "260");
    ENCODES("whole", 0, "119,104,111,108,101"); // in the vocabulary, but no merges lead there
    ENCODES("a<|endoftext|>", TOKENIZE_PARSE_SPECIAL, "97,262");
    ENCODES("\xff\xfe"
            "ab",
            0, "255,254,256");
    decodes_to((const int32_t[]){120, 259, 195, 169}, 4, false, "x a\xc3\xa9");
    assert_int_equal(tokenizer_bos(t), 11); // the kind's default
    assert_false(tokenizer_adds_bos(t));
}

static void llama_bpe_takes_whole_pieces_and_adds_bos(void **state)
{
    (void)state;
    bpe("llama-bpe", merges, pieces, 6);
    ENCODES("whole", 0, "261");
    ENCODES("abc", TOKENIZE_ADD_SPECIAL, "11,258");
    ENCODES("1212", 0, "260,49,50"); // split as 121, 2
}

struct cut {
    char text[256];
};
static int note(void *ctx, const char *text, size_t bytes)
{
    struct cut *c = ctx;
    snprintf(c->text + strlen(c->text), sizeof c->text - strlen(c->text), "[%.*s]", (int)bytes,
             text);
    return 0;
}
static void cuts(const char *pre, const char *text, const char *want)
{
    struct pretokenizer *p;
    struct cut got = {""};
    bool a, b;
    assert_int_equal(pretokenizer_open((struct gguf_string){pre, strlen(pre)}, &p, &a, &b), 0);
    assert_int_equal(pretokenizer_run(p, text, strlen(text), note, &got), 0);
    pretokenizer_close(p);
    assert_string_equal(got.text, want);
}

static void splitters_cut_as_their_models_do(void **state)
{
    (void)state;
    cuts("gpt-2", "Don't  stop 123!\n", "[Don]['t][ ][ stop][ 123][!][\n]");
    cuts("llama-bpe", "Don'T  stop 12345!\n\n x", "[Don]['T][ ][ stop][ ][123][45][!\n\n][ x]");
    cuts("qwen2", "a12 b", "[a][1][2][ b]");
    cuts("smollm", "a12 b", "[a][1][2][ b]");
    cuts("falcon", "a$b 12345", "[a][$][b][ ][123][45]");
    cuts("default", "x=1", "[x][=][1]");
    cuts("tekken", "HelloWorld 42", "[Hello][World][ ][4][2]");
    cuts("gpt-4o", "it's 1234", "[it's][ ][123][4]");
    cuts("deepseek-llm", "ab  c  ", "[ab][ ][ c][  ]");
    cuts("deepseek-v3", "ab12 \xe4\xbd\xa0", "[ab][12][ ][\xe4\xbd\xa0]");
    cuts("deepseek-coder", "x\xe2\x80\x89y", "[x][\xe2\x80\x89y]"); // a thin space stays
    cuts("viking", "ab, c12", "[ab][,][ c][1][2]");
    cuts("seed-coder", "!!\n\nx", "[!!][\n\n][x]");
    cuts("ufakzeka", "don't", "[don]['t]");
    cuts("qwen35", "e\xcc\x81x", "[e\xcc\x81x]");
    cuts("qwen2", "e\xcc\x81x", "[e][\xcc\x81x]");
    cuts("gpt-2", "a\xc2\xa0 b", "[a][\xc2\xa0][ b]"); // a no-break space is a space
}

static int count_word(void *ctx, const char *text, size_t bytes)
{
    (void)text;
    *(size_t *)ctx += bytes;
    return 0;
}

static void a_long_run_of_one_character_is_no_trap(void **state)
{
    (void)state;
    static const char *const names[] = {
        "gpt-2",        "llama-bpe",      "qwen2",       "falcon",     "tekken", "gpt-4o",
        "deepseek-llm", "deepseek-coder", "deepseek-v3", "bailingmoe", "viking", "spark2_5"};
    size_t n = 100000;
    char *text = malloc(n + 2);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct pretokenizer *p;
        bool a, b;
        struct gguf_string name = {names[i], strlen(names[i])};
        assert_int_equal(pretokenizer_open(name, &p, &a, &b), 0);
        for (const char *c = " aA1\n\r<'"; *c; c++) {
            size_t bytes = 0;
            memset(text, *c, n);
            memcpy(text + n, "1", 2);
            struct timespec from, to;
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
            assert_int_equal(pretokenizer_run(p, text, n + 1, count_word, &bytes), 0);
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
            assert_int_equal(bytes, n + 1);
            double s =
                (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
            if (s > 2)
                fail_msg("%s: a run of 0x%02x takes %.1f s", names[i], *c, s);
        }
        pretokenizer_close(p);
    }
    free(text);
}

static unsigned pauses;
static void note_pause(void)
{
    pauses++;
}

static void long_work_pauses(void **state)
{
    (void)state;
    spm(false);
    size_t n = 10000;
    char *text = malloc(n);
    memset(text, 'a', n);
    pauses = 0;
    tokenizer_set_pause(note_pause);
    assert_int_equal(tokenizer_encode(t, text, n, TOKENIZE_PARSE_SPECIAL, NULL, 0), n);
    assert_true(pauses >= n / 256);
    tokenizer_set_pause(NULL);
    free(text);
}

static void every_splitter_compiles(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-2",
                                        "mpt",
                                        "olmo",
                                        "llama-bpe",
                                        "qwen2",
                                        "qwen35",
                                        "starcoder",
                                        "smollm",
                                        "refact",
                                        "command-r",
                                        "falcon",
                                        "default",
                                        "tekken",
                                        "gpt-4o",
                                        "dbrx",
                                        "smaug-bpe",
                                        "chatglm-bpe",
                                        "deepseek-llm",
                                        "deepseek-coder",
                                        "deepseek-v3",
                                        "spark2_5",
                                        "minicpm5",
                                        "laguna",
                                        "ufakzeka",
                                        "seed-coder",
                                        "bailingmoe",
                                        "viking",
                                        "bloom",
                                        "granite-embed-multi-97m"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct pretokenizer *p;
        bool a, b;
        struct gguf_string name = {names[i], strlen(names[i])};
        if (pretokenizer_open(name, &p, &a, &b))
            fail_msg("%s", names[i]);
        pretokenizer_close(p);
    }
}

// ---- UTF-8 -------------------------------------------------------------------------------------
static void streams(const char *const *pushes, bool flush, const char *want)
{
    struct utf8_stream s = {0};
    char got[128];
    size_t n = 0;
    for (; *pushes; pushes++)
        n += utf8_stream_push(&s, *pushes, strlen(*pushes), false, got + n);
    n += utf8_stream_push(&s, "", 0, flush, got + n);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(got, want, n);
}

static void only_whole_characters_come_out(void **state)
{
    (void)state;
    streams((const char *const[]){"a", "\xe2", "\x82",
                                  "\xac"
                                  "b",
                                  NULL},
            false,
            "a\xe2\x82\xac"
            "b");
    streams((const char *const[]){"\xe2\x82", NULL}, false, "");
    streams((const char *const[]){"\xe2\x82", NULL}, true, "\xef\xbf\xbd");
    streams((const char *const[]){"\xe2", "a", NULL}, false,
            "\xef\xbf\xbd"
            "a");
    streams((const char *const[]){"\xff\xc0\x80", NULL}, false,
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    streams((const char *const[]){"\xed\xa0\x80", NULL}, false, // a surrogate
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    streams((const char *const[]){"\xf0\x9f", "\x98\x80", NULL}, false, "\xf0\x9f\x98\x80");
    streams((const char *const[]){"\xf4\x90", NULL}, false, "\xef\xbf\xbd\xef\xbf\xbd");
}

static void agrees_with_the_reference_on_a_real_file(void **state)
{
    (void)state;
    const char *folder = getenv("TESSERA_TEST_DATA");
    char path[512];
    snprintf(path, sizeof path, "%s/stories260K.gguf", folder ? folder : "../shared/data");
    FILE *f = fopen(path, "rb");
    if (!f)
        skip();
    file = (struct maker){.data = malloc(2 << 20), .room = 2 << 20};
    file.bytes = fread(file.data, 1, file.room, f);
    fclose(f);
    open_file();
    ENCODES("Once upon a time", TOKENIZE_ADD_SPECIAL, "1,403,407,261,378");
    decodes_to((const int32_t[]){1, 403, 407, 261, 378}, 5, false, "Once upon a time");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, close_file)
    const struct CMUnitTest tests[] = {
        TEST(the_best_pair_merges_first_and_the_leftmost_on_ties),
        TEST(what_is_no_token_falls_back_to_bytes),
        TEST(a_space_goes_before_the_first_text),
        TEST(special_tokens_are_cut_out_only_when_asked),
        TEST(literal_parts_hold_no_control_tokens),
        TEST(ids_become_text_again),
        TEST(the_count_may_exceed_the_room),
        TEST(a_long_text_takes_n_log_n),
        TEST(wrong_vocabularies_are_named),
        TEST(bytes_and_characters_are_one_to_one),
        TEST(merges_go_by_rank),
        TEST(llama_bpe_takes_whole_pieces_and_adds_bos),
        TEST(splitters_cut_as_their_models_do),
        TEST(every_splitter_compiles),
        TEST(a_long_run_of_one_character_is_no_trap),
        TEST(long_work_pauses),
        TEST(only_whole_characters_come_out),
        TEST(agrees_with_the_reference_on_a_real_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
