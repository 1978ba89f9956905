// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One request with a body, between HTTP and its job. The server's strand makes it, the reader's
// makes a job of the body and hands that to the engine, the server's passes on what comes out.
#ifndef APPS_LLM_EXCHANGE_H
#define APPS_LLM_EXCHANGE_H

#include "apps/llm/llm.h"

enum exchange_kind {
    EXCHANGE_COMPLETION,
    EXCHANGE_CHAT,
    EXCHANGE_LOGITS,
    EXCHANGE_EMBEDDINGS,
    EXCHANGE_TOKENIZE, // these two never reach the engine: the reader answers
    EXCHANGE_DETOKENIZE,
};

struct exchange {
    struct llm *llm;
    struct exchange *next;
    struct http_request *http; // NULL once the client has gone or has its answer
    enum exchange_kind kind;
    char id[48];
    long created;
    bool begun;   // the stream's header is out
    bool opened;  // its first event, too
    bool starved; // a frame found no memory: the answer has a hole and ends as an error
    bool blocked; // http_write said -EAGAIN; drain will call
    bool said;    // some text has gone out
    // The reader's until the job is with the engine or finished, then the server's.
    struct exchange *next_unread;
    char *body; // a copy: the client may go at any time
    size_t body_bytes;
    struct completion request;
    struct text text;     // the whole answer
    bool base64;          // how embeddings are written
    struct fault refusal; // status 0: none
    struct job job;
};

// Hands the request's body to the reader; answers at once with an error if it cannot start.
void exchange_start(struct llm *l, struct http_request *r, enum exchange_kind kind);
// Moves every exchange on as far as it goes.
void exchange_pump(struct llm *l);

// reader.c: the reader's strand.
void reader_run(void *llm);
void reader_submit(struct llm *l, struct exchange *x);

// /v1/embeddings (embeddings.c): the reader's part, and the server's. 0 or -EINVAL with the refusal
// set.
int embeddings_read(struct exchange *x, const json_t *root);
void embeddings_frame(const struct exchange *x, struct text *out);

// Bodies and events (frames.c).
void frame_whole(const struct exchange *x, struct text *out);
void frame_first(const struct exchange *x, struct text *out); // what opens a stream; may be nothing
void frame_piece(const struct exchange *x, const char *text, size_t bytes, struct text *out);
void frame_last(const struct exchange *x, struct text *out);
void frame_error(int status, const char *type, const char *message, struct text *out);
// How a job that did not do what was asked is reported; false: it did.
bool exchange_fault(const struct exchange *x, struct fault *f);

#endif
