// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reads and checks the bodies of /v1/completions and /v1/chat/completions. Unknown fields are
// ignored; known ones of the wrong type or range, and features that are not there, are refused by
// name.
#ifndef APPS_LLM_REQUEST_H
#define APPS_LLM_REQUEST_H

#include "apps/llm/stop.h"
#include "tensor/infer.h"

#include <jansson.h>

// Why a request is refused, as it goes into the answer.
struct fault {
    int status;
    const char *type;
    char message[320];
};
int fault_set(struct fault *f, int status, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5))); // returns -EINVAL
#define BAD_REQUEST   400, "invalid_request_error"
#define NOT_SUPPORTED 400, "not_supported_error"
#define UNAVAILABLE   503, "unavailable_error"

// JSON object of a body: size, depth (32) and number of values are checked before it is parsed.
// NULL: refused. Free with json_decref.
// Called about once a kilobyte while a body is parsed; NULL: nothing.
void body_set_pause(void (*fn)(void));
json_t *body_parse(const char *body, size_t bytes, struct fault *f);

struct completion {
    bool stream, include_usage, ignore_end, seed_given;
    uint32_t max_tokens; // 0: until the context is full
    struct tn_sampling sampling;
    struct stop_strings stop;
    // One of: text, ids, messages. Texts point into root.
    const char *prompt;
    size_t prompt_bytes;
    int32_t *ids;
    size_t id_count;
    struct chat_message *messages;
    size_t message_count;
    json_t *root;
};
// 0 or -EINVAL with f set. The result must be freed in either case.
int completion_parse(const char *body, size_t bytes, bool chat, struct completion *out,
                     struct fault *f);
void completion_free(struct completion *c);
// Ids of a JSON array under `field`; malloc'ed. -EINVAL with f set.
int ids_parse(const json_t *array, const char *field, int32_t **out, size_t *count,
              struct fault *f);

#endif
