// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A conversation over an OpenAI-compatible endpoint: each question streams its answer.
//
// Error handling: 0 or a negative errno and a message for people in `error`. Threads: one a chat.
#ifndef TESSERA_TALK_CHAT_H
#define TESSERA_TALK_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Texts are borrowed; NULL and negative: the server's.
struct chat_settings {
    const char *url; // "http://HOST:PORT", without a path
    const char *key, *model, *system;
    const char *ca_file;
    bool any_certificate;
    double temperature, top_p;
    int64_t seed;
    uint32_t max_tokens; // 0: the server's
    uint32_t first_s;    // seconds for the first token; and between two
    void (*piece)(void *context, const char *text, size_t bytes); // of an answer, UTF-8
    void *context;
    const volatile int *stop; // not 0: ends the answer that runs
};

struct chat_stats {
    double first_ms, whole_ms; // since the question was sent
    uint32_t prompt_tokens, tokens;
    bool counted; // by the server; otherwise pieces are counted
};

struct chat;
// -EINVAL: a setting that cannot work.
int chat_new(const struct chat_settings *s, struct chat **out, char *error, size_t error_bytes);
void chat_free(struct chat *c);
// Asks and hands the answer on as it comes. An answer becomes part of the conversation; one that
// was stopped (-EINTR) as far as it came. After another error the question is forgotten:
// -ECONNREFUSED, -ETIMEDOUT, -EPROTO (no such server), -EIO (the server refuses, or the answer
// broke off).
int chat_ask(struct chat *c, const char *question, struct chat_stats *stats, char *error,
             size_t error_bytes);
// Forgets all but the system's text.
void chat_reset(struct chat *c);

#endif
