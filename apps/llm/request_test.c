// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tests of request checking: each wrong body is refused with its field's name, each right one is
// read as it says.
// Links: apps/llm/request.c apps/llm/body.c @tensor
// Libs: -ljansson
#include "apps/llm/request.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void refused(bool chat, const char *body, size_t bytes, int status, const char *what)
{
    struct completion c;
    struct fault f = {0};
    if (!completion_parse(body, bytes, chat, &c, &f))
        fail_msg("taken: %s", body);
    completion_free(&c);
    if (f.status != status || !strstr(f.message, what))
        fail_msg("%.80s: %d '%s', wanted %d '%s'", body, f.status, f.message, status, what);
}

static void wrong_fields_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *body, *what;
    } text[] = {
        {"", "empty"},
        {"[]", "JSON object"},
        {"5", "not valid JSON"},
        {"{\"prompt\":", "not valid JSON"},
        {"{\"prompt\":\"a\"} x", "not valid JSON"},
        {"{}", "prompt is missing"},
        {"{\"prompt\":null}", "prompt is missing"},
        {"{\"prompt\":5}", "prompt must be"},
        {"{\"prompt\":[]}", "prompt is an empty array"},
        {"{\"prompt\":[1,\"a\"]}", "prompt[1]"},
        {"{\"prompt\":[-1]}", "prompt[0]"},
        {"{\"prompt\":[1.5]}", "prompt[0]"},
        {"{\"prompt\":[99999999999]}", "prompt[0]"},
        {"{\"prompt\":[\"a\",\"b\"]}", "only one prompt"},
        {"{\"prompt\":\"a\",\"max_tokens\":\"many\"}", "max_tokens"},
        {"{\"prompt\":\"a\",\"max_tokens\":0}", "max_tokens"},
        {"{\"prompt\":\"a\",\"max_tokens\":-2}", "max_tokens"},
        {"{\"prompt\":\"a\",\"max_tokens\":1.5}", "max_tokens"},
        {"{\"prompt\":\"a\",\"max_completion_tokens\":[]}", "max_completion_tokens"},
        {"{\"prompt\":\"a\",\"temperature\":\"hot\"}", "temperature"},
        {"{\"prompt\":\"a\",\"temperature\":-1}", "temperature"},
        {"{\"prompt\":\"a\",\"temperature\":1e9}", "temperature"},
        {"{\"prompt\":\"a\",\"top_p\":1.1}", "top_p"},
        {"{\"prompt\":\"a\",\"top_k\":1.5}", "top_k"},
        {"{\"prompt\":\"a\",\"min_p\":true}", "min_p"},
        {"{\"prompt\":\"a\",\"repeat_penalty\":0}", "repeat_penalty"},
        {"{\"prompt\":\"a\",\"presence_penalty\":3}", "presence_penalty"},
        {"{\"prompt\":\"a\",\"frequency_penalty\":-3}", "frequency_penalty"},
        {"{\"prompt\":\"a\",\"seed\":\"x\"}", "seed"},
        {"{\"prompt\":\"a\",\"stream\":1}", "stream"},
        {"{\"prompt\":\"a\",\"ignore_eos\":0}", "ignore_eos"},
        {"{\"prompt\":\"a\",\"stream_options\":true}", "stream_options"},
        {"{\"prompt\":\"a\",\"stream_options\":{\"include_usage\":2}}", "include_usage"},
        {"{\"prompt\":\"a\",\"stop\":5}", "stop"},
        {"{\"prompt\":\"a\",\"stop\":[\"a\",5]}", "stop[1]"},
        {"{\"prompt\":\"a\",\"stop\":\"\"}", "stop[0]"},
        {"{\"prompt\":\"a\",\"model\":5}", "model"},
        {"{\"prompt\":\"a\",\"response_format\":\"json\"}", "response_format"},
        {"{\"prompt\":\"\xff\"}", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        refused(false, text[i].body, strlen(text[i].body), 400, text[i].what);
}

static void wrong_messages_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *body, *what;
    } chat[] = {
        {"{}", "messages is missing"},
        {"{\"messages\":5}", "messages must be an array"},
        {"{\"messages\":[]}", "messages is empty"},
        {"{\"messages\":[5]}", "messages[0]"},
        {"{\"messages\":[{\"content\":\"x\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":5}]}", "messages[0].content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[5]}]}", "messages[0].content[0]"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
         "messages[0].content[0].text"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
         "messages[0].content[0].type"},
    };
    for (size_t i = 0; i < sizeof chat / sizeof *chat; i++)
        refused(true, chat[i].body, strlen(chat[i].body), 400, chat[i].what);
}

static void a_quoted_text_is_cut_at_a_whole_character(void **state)
{
    (void)state;
    struct fault f;
    // 31 bytes and the first of an é, which %.32s would cut in two.
    fault_set(&f, BAD_REQUEST, "'%.32s'", "0123456789012345678901234567890\xc3\xa9");
    assert_string_equal(f.message, "'0123456789012345678901234567890\xef\xbf\xbd'");
    char longer[1000];
    for (size_t i = 0; i + 3 <= sizeof longer; i += 2)
        memcpy(longer + i, "\xc3\xa9", 3);
    fault_set(&f, BAD_REQUEST, "x%.999s", longer);
    struct utf8_stream u = {0};
    char out[3 * (sizeof f.message + 4)];
    size_t n = utf8_stream_push(&u, f.message, strlen(f.message), true, out);
    assert_true(n > 300 && n < sizeof f.message + 2);
    assert_int_equal(u.count, 0);
}

static void what_is_not_there_is_refused_not_ignored(void **state)
{
    (void)state;
    static const char *const fields[] = {"\"n\":2",
                                         "\"best_of\":3",
                                         "\"logprobs\":5",
                                         "\"logprobs\":true",
                                         "\"top_logprobs\":2",
                                         "\"echo\":true",
                                         "\"suffix\":\"x\"",
                                         "\"tools\":[{}]",
                                         "\"functions\":[1]",
                                         "\"logit_bias\":{\"1\":2}",
                                         "\"logit_bias\":5",
                                         "\"json_schema\":{\"type\":\"object\"}",
                                         "\"suffix\":5",
                                         "\"mirostat\":2",
                                         "\"typical_p\":0.5",
                                         "\"xtc_probability\":\"x\"",
                                         "\"grammar\":\"x\"",
                                         "\"response_format\":{\"type\":\"json_object\"}"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char body[128], name[32];
        snprintf(body, sizeof body, "{\"prompt\":\"a\",%s}", fields[i]);
        snprintf(name, sizeof name, "%.*s", (int)(strchr(fields[i] + 1, '"') - fields[i] - 1),
                 fields[i] + 1);
        refused(false, body, strlen(body), 400, name);
    }
}

static void hostile_shapes_are_refused_before_parsing(void **state)
{
    (void)state;
    size_t n = 1u << 20;
    char *body = malloc(n);
    memset(body, '[', n);
    refused(false, body, n, 400, "nests deeper");
    memset(body, ',', n);
    refused(false, body, n, 413, "values");
    memset(body, '"', n);
    refused(false, body, n, 400, "JSON");
    memset(body, '\\', n);
    refused(false, body, n, 400, "JSON");
    free(body);
}

static void fields_are_read(void **state)
{
    (void)state;
    static const char body[] =
        "{\"prompt\":\"h\\u00e9\\u0000!\",\"max_tokens\":7,\"temperature\":0,\"top_p\":0.5,"
        "\"top_k\":3,\"min_p\":0.1,\"repeat_penalty\":1.2,\"presence_penalty\":-1,"
        "\"frequency_penalty\":0.5,\"seed\":42,\"stream\":true,\"ignore_eos\":true,"
        "\"stream_options\":{\"include_usage\":true},\"stop\":[\"x\",\"yy\"],\"unknown\":{\"a\":[1]"
        "},"
        "\"n\":1,\"logprobs\":null,\"tools\":[],\"mirostat\":0,\"typical_p\":1.0,\"user\":5}";
    struct completion c;
    struct fault f;
    assert_int_equal(completion_parse(body, sizeof body - 1, false, &c, &f), 0);
    assert_int_equal(c.prompt_bytes, 5);
    assert_memory_equal(c.prompt, "h\xc3\xa9\0!", 5);
    assert_int_equal(c.max_tokens, 7);
    assert_true(c.sampling.temperature == 0.f && c.sampling.top_p == 0.5f);
    assert_int_equal(c.sampling.top_k, 3);
    assert_true(c.sampling.presence_penalty == -1.f);
    assert_true(c.seed_given && c.sampling.seed == 42);
    assert_true(c.stream && c.ignore_end && c.include_usage);
    assert_int_equal(c.stop.count, 2);
    assert_string_equal(c.stop.string[1].text, "yy");
    completion_free(&c);
}

static void absent_fields_have_their_defaults(void **state)
{
    (void)state;
    struct completion c;
    struct fault f;
    struct tn_sampling d = tn_sampling_default();
    static const char body[] =
        "{\"prompt\":[5,6],\"temperature\":null,\"max_tokens\":-1,\"seed\":-1,\"top_k\":-1,"
        "\"repeat_last_n\":-1}";
    assert_int_equal(completion_parse(body, sizeof body - 1, false, &c, &f), 0);
    assert_int_equal(c.id_count, 2);
    assert_int_equal(c.ids[1], 6);
    assert_true(c.sampling.temperature == d.temperature && c.sampling.top_p == d.top_p);
    assert_int_equal(c.max_tokens, 0);
    assert_int_equal(c.sampling.top_k, 0);
    assert_int_equal(c.sampling.repeat_last, UINT32_MAX); // all there is, not nothing
    assert_false(c.seed_given || c.stream);
    completion_free(&c);
}

static void message_parts_are_joined(void **state)
{
    (void)state;
    struct completion c;
    struct fault f;
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one \"},"
        "{\"type\":\"text\",\"text\":\"two\"}]},{\"role\":\"assistant\",\"content\":\"x\"}]}";
    assert_int_equal(completion_parse(body, sizeof body - 1, true, &c, &f), 0);
    assert_int_equal(c.message_count, 2);
    assert_int_equal(c.messages[0].content_bytes, 7);
    assert_string_equal(c.messages[0].content, "one two");
    assert_string_equal(c.messages[1].role, "assistant");
    completion_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_fields_are_named),
        cmocka_unit_test(wrong_messages_are_named),
        cmocka_unit_test(a_quoted_text_is_cut_at_a_whole_character),
        cmocka_unit_test(what_is_not_there_is_refused_not_ignored),
        cmocka_unit_test(hostile_shapes_are_refused_before_parsing),
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(absent_fields_have_their_defaults),
        cmocka_unit_test(message_parts_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
