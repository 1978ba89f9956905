// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One completion between an HTTP request and its job. The server's strand only.
#ifndef APPS_LLM_EXCHANGE_H
#define APPS_LLM_EXCHANGE_H

#include "apps/llm/llm.h"

enum exchange_kind { EXCHANGE_COMPLETION, EXCHANGE_CHAT, EXCHANGE_LOGITS };

struct exchange {
    struct llm *llm;
    struct exchange *next;
    struct http_request *http; // NULL once the client has gone or has its answer
    enum exchange_kind kind;
    struct completion request;
    char id[48];
    long created;
    bool begun;   // the stream's header is out
    bool blocked; // http_write said -EAGAIN; drain will call
    bool said;    // some text has gone out
    struct text text;
    struct job job;
};

// Takes over the completion and the ids; answers at once with an error if it cannot start.
void exchange_start(struct llm *l, struct http_request *r, enum exchange_kind kind,
                    struct completion *c, int32_t *ids, size_t count);
// Moves every exchange on as far as it goes.
void exchange_pump(struct llm *l);

// Bodies and events (frames.c).
void frame_whole(const struct exchange *x, struct text *out);
void frame_first(const struct exchange *x, struct text *out); // what opens a stream; may be nothing
void frame_piece(const struct exchange *x, const char *text, size_t bytes, struct text *out);
void frame_last(const struct exchange *x, struct text *out);
void frame_error(int status, const char *type, const char *message, struct text *out);
// How a job that did not do what was asked is reported; false: it did.
bool exchange_fault(const struct exchange *x, struct fault *f);

#endif
