// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The fields of completion requests: a table of plain values, and the few that need more.
#include "apps/llm/request.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum shape { A_BOOL, A_FLOAT, A_COUNT, A_SEED };

struct field {
    const char *name;
    enum shape shape;
    size_t offset; // in struct completion
    double low, high;
    uint32_t unlimited; // A_COUNT: what -1 becomes
};
#define AT(member)       offsetof(struct completion, member)
#define SAMPLING(member) offsetof(struct completion, sampling.member)

static const struct field fields[] = {
    {"stream", A_BOOL, AT(stream), 0, 0, 0},
    {"ignore_eos", A_BOOL, AT(ignore_end), 0, 0, 0},
    {"temperature", A_FLOAT, SAMPLING(temperature), 0, 10, 0},
    {"top_p", A_FLOAT, SAMPLING(top_p), 0, 1, 0},
    {"min_p", A_FLOAT, SAMPLING(min_p), 0, 1, 0},
    {"top_k", A_COUNT, SAMPLING(top_k), 0, 1e9, 0},
    {"repeat_penalty", A_FLOAT, SAMPLING(repeat_penalty), 0.01, 10, 0},
    {"repeat_last_n", A_COUNT, SAMPLING(repeat_last), 0, 1e9, UINT32_MAX},
    {"presence_penalty", A_FLOAT, SAMPLING(presence_penalty), -2, 2, 0},
    {"frequency_penalty", A_FLOAT, SAMPLING(frequency_penalty), -2, 2, 0},
    {"n_predict", A_COUNT, AT(max_tokens), 1, 1e9, 0},
    {"max_tokens", A_COUNT, AT(max_tokens), 1, 1e9, 0},
    {"max_completion_tokens", A_COUNT, AT(max_tokens), 1, 1e9, 0},
    {"seed", A_SEED, SAMPLING(seed), 0, 0, 0},
};

// A field that is null counts as absent, as the OpenAI API has it.
static const json_t *get(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_null(v) ? NULL : v;
}

static int take_field(struct completion *c, const struct field *d, struct fault *f)
{
    char *where = (char *)c + d->offset;
    const json_t *v = get(c->root, d->name);
    if (!v)
        return 0;
    switch (d->shape) {
    case A_BOOL: {
        bool value = json_is_true(v);
        if (!json_is_boolean(v))
            return fault_set(f, BAD_REQUEST, "%s must be true or false", d->name);
        memcpy(where, &value, sizeof value);
        return 0;
    }
    case A_FLOAT: {
        double x = json_number_value(v);
        float value = (float)x;
        if (!json_is_number(v) || !isfinite(x) || x < d->low || x > d->high)
            return fault_set(f, BAD_REQUEST, "%s must be a number from %g to %g", d->name, d->low,
                             d->high);
        memcpy(where, &value, sizeof value);
        return 0;
    }
    case A_COUNT: {
        double x = (double)json_integer_value(v);
        if (!json_is_integer(v) || ((x < d->low || x > d->high) && x != -1))
            return fault_set(f, BAD_REQUEST,
                             "%s must be a whole number of at least %g (or -1: no limit)", d->name,
                             d->low);
        uint32_t value = x >= 0 ? (uint32_t)x : d->unlimited;
        memcpy(where, &value, sizeof value);
        return 0;
    }
    default: {
        json_int_t x = json_integer_value(v);
        uint64_t value = (uint64_t)x;
        if (!json_is_integer(v))
            return fault_set(f, BAD_REQUEST, "%s must be a whole number", d->name);
        if (x == -1) // "choose one"
            return 0;
        c->seed_given = true;
        memcpy(where, &value, sizeof value);
        return 0;
    }
    }
}

// What is not there yet is refused rather than ignored: the answer would not be what was asked for.
static int refuse_missing(const json_t *root, struct fault *f)
{
    static const char *const ones[] = {"n", "best_of"};
    static const char *const lists[] = {"tools", "functions", "logit_bias", "json_schema"};
    static const char *const texts[] = {"suffix", "grammar"};
    static const struct {
        const char *name;
        double off;
    } filters[] = {{"typical_p", 1},       {"mirostat", 0},       {"dry_multiplier", 0},
                   {"xtc_probability", 0}, {"dynatemp_range", 0}, {"top_n_sigma", -1},
                   {"n_probs", 0}};
    const json_t *v;
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        if ((v = get(root, ones[i])) && (!json_is_integer(v) || json_integer_value(v) != 1))
            return fault_set(f, NOT_SUPPORTED, "%s: only 1 is supported", ones[i]);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if ((v = get(root, lists[i])) &&
            (json_array_size(v) || json_object_size(v) || !(json_is_array(v) || json_is_object(v))))
            return fault_set(f, NOT_SUPPORTED, "%s is not supported", lists[i]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if ((v = get(root, texts[i])) && (json_string_length(v) || !json_is_string(v)))
            return fault_set(f, NOT_SUPPORTED, "%s is not supported", texts[i]);
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if ((v = get(root, filters[i].name)) &&
            (!json_is_number(v) || json_number_value(v) < filters[i].off ||
             json_number_value(v) > filters[i].off))
            return fault_set(f, NOT_SUPPORTED, "%s is not supported (%g: off)", filters[i].name,
                             filters[i].off);
    if ((v = get(root, "logprobs")) && !json_is_false(v) &&
        !(json_is_integer(v) && json_integer_value(v) == 0))
        return fault_set(f, NOT_SUPPORTED, "logprobs is not supported");
    if ((v = get(root, "top_logprobs")) && !(json_is_integer(v) && json_integer_value(v) == 0))
        return fault_set(f, NOT_SUPPORTED, "top_logprobs is not supported");
    if ((v = get(root, "echo")) && !json_is_false(v))
        return fault_set(f, NOT_SUPPORTED, "echo is not supported");
    if ((v = get(root, "response_format"))) {
        const char *type = json_string_value(get(v, "type"));
        if (!json_is_object(v) || !type)
            return fault_set(f, BAD_REQUEST, "response_format must be an object with a type");
        if (strcmp(type, "text"))
            return fault_set(f, NOT_SUPPORTED, "response_format: only \"text\" is supported");
    }
    if ((v = get(root, "model")) && !json_is_string(v))
        return fault_set(f, BAD_REQUEST, "model must be a string");
    return 0;
}

static int take_stream_options(struct completion *c, struct fault *f)
{
    const json_t *v = get(c->root, "stream_options");
    if (!v)
        return 0;
    if (!json_is_object(v))
        return fault_set(f, BAD_REQUEST, "stream_options must be an object");
    v = get(v, "include_usage");
    if (v && !json_is_boolean(v))
        return fault_set(f, BAD_REQUEST, "stream_options.include_usage must be true or false");
    c->include_usage = json_is_true(v);
    return 0;
}

static int take_stop(struct completion *c, struct fault *f)
{
    const json_t *v = get(c->root, "stop");
    if (!v)
        return 0;
    size_t n = json_is_string(v) ? 1 : json_array_size(v);
    if (!json_is_string(v) && !json_is_array(v))
        return fault_set(f, BAD_REQUEST, "stop must be a string or an array of strings");
    if (n > STOP_MAX)
        return fault_set(f, BAD_REQUEST, "stop has %zu strings, at most %d", n, STOP_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_string(v) ? v : json_array_get(v, i);
        if (!json_is_string(s))
            return fault_set(f, BAD_REQUEST, "stop[%zu] must be a string", i);
        size_t bytes = json_string_length(s);
        if (!bytes || bytes > STOP_MAX_BYTES)
            return fault_set(f, BAD_REQUEST, "stop[%zu] must have 1 to %d bytes, it has %zu", i,
                             STOP_MAX_BYTES, bytes);
        c->stop.string[i].text = json_string_value(s);
        c->stop.string[i].bytes = bytes;
    }
    c->stop.count = n;
    return 0;
}

static int take_prompt(struct completion *c, struct fault *f)
{
    const json_t *v = get(c->root, "prompt");
    if (!v)
        return fault_set(f, BAD_REQUEST, "prompt is missing: a string or an array of token ids");
    if (json_is_array(v) && json_array_size(v) == 1 && json_is_string(json_array_get(v, 0)))
        v = json_array_get(v, 0);
    if (json_is_string(v)) {
        c->prompt = json_string_value(v);
        c->prompt_bytes = json_string_length(v);
        return 0;
    }
    if (!json_is_array(v))
        return fault_set(f, BAD_REQUEST, "prompt must be a string or an array of token ids");
    if (json_is_string(json_array_get(v, 0)) || json_is_array(json_array_get(v, 0)))
        return fault_set(f, NOT_SUPPORTED, "prompt: only one prompt a request is supported");
    if (!json_array_size(v))
        return fault_set(f, BAD_REQUEST, "prompt is an empty array");
    return ids_parse(v, "prompt", &c->ids, &c->id_count, f);
}

// content: [{"type":"text","text":…}, …] becomes one string, in place.
static int join_parts(json_t *message, size_t index, struct fault *f)
{
    const json_t *parts = json_object_get(message, "content");
    size_t bytes = 0, n = json_array_size(parts);
    for (size_t i = 0; i < n; i++) {
        const json_t *part = json_array_get(parts, i), *text = get(part, "text");
        const char *type = json_string_value(get(part, "type"));
        if (!json_is_object(part) || !type)
            return fault_set(f, BAD_REQUEST,
                             "messages[%zu].content[%zu] must be an object with a type", index, i);
        if (strcmp(type, "text"))
            return fault_set(f, NOT_SUPPORTED,
                             "messages[%zu].content[%zu].type: only \"text\" is supported", index,
                             i);
        if (!json_is_string(text))
            return fault_set(f, BAD_REQUEST, "messages[%zu].content[%zu].text must be a string",
                             index, i);
        bytes += json_string_length(text);
    }
    char *joined = malloc(bytes + 1);
    if (!joined)
        return fault_set(f, UNAVAILABLE, "not enough memory for messages[%zu].content", index);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *text = get(json_array_get(parts, i), "text");
        memcpy(joined + at, json_string_value(text), json_string_length(text));
        at += json_string_length(text);
    }
    int failed = json_object_set_new(message, "content", json_stringn_nocheck(joined, bytes));
    free(joined);
    return failed ? fault_set(f, UNAVAILABLE, "not enough memory for messages[%zu].content", index)
                  : 0;
}

static int take_message(struct completion *c, json_t *m, size_t i, struct fault *f)
{
    if (!json_is_object(m))
        return fault_set(f, BAD_REQUEST, "messages[%zu] must be an object", i);
    const json_t *role = get(m, "role"), *content = get(m, "content");
    if (!json_is_string(role))
        return fault_set(f, BAD_REQUEST, "messages[%zu].role must be a string", i);
    if (json_is_array(content)) {
        int rc = join_parts(m, i, f);
        if (rc)
            return rc;
        content = get(m, "content");
    }
    if (!json_is_string(content))
        return fault_set(f, BAD_REQUEST,
                         "messages[%zu].content must be a string or an array of parts", i);
    c->messages[i] = (struct chat_message){json_string_value(role), json_string_value(content),
                                           json_string_length(content)};
    return 0;
}

static int take_messages(struct completion *c, struct fault *f)
{
    const json_t *v = get(c->root, "messages");
    if (!json_is_array(v))
        return fault_set(f, BAD_REQUEST,
                         v ? "messages must be an array"
                           : "messages is missing: an array of messages");
    size_t n = json_array_size(v);
    if (!n)
        return fault_set(f, BAD_REQUEST, "messages is empty");
    c->messages = calloc(n, sizeof *c->messages);
    if (!c->messages)
        return fault_set(f, UNAVAILABLE, "not enough memory for %zu messages", n);
    c->message_count = n;
    for (size_t i = 0; i < n; i++) {
        int rc = take_message(c, json_array_get(v, i), i, f);
        if (rc)
            return rc;
    }
    return 0;
}

int completion_parse(const char *body, size_t bytes, bool chat, struct completion *out,
                     struct fault *f)
{
    *out = (struct completion){.sampling = tn_sampling_default()};
    out->root = body_parse(body, bytes, f);
    if (!out->root)
        return -EINVAL;
    int rc = refuse_missing(out->root, f);
    for (size_t i = 0; !rc && i < sizeof fields / sizeof *fields; i++)
        rc = take_field(out, &fields[i], f);
    if (!rc)
        rc = take_stream_options(out, f);
    if (!rc)
        rc = take_stop(out, f);
    if (!rc)
        rc = chat ? take_messages(out, f) : take_prompt(out, f);
    return rc;
}

void completion_free(struct completion *c)
{
    json_decref(c->root);
    free(c->ids);
    free(c->messages);
    *c = (struct completion){0};
}
