// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The OpenAI API's answer objects, whole and as server-sent events.
#include "apps/llm/exchange.h"

#include <errno.h>
#include <string.h>

static const char *finish_reason(const struct exchange *x)
{
    return x->job.end == JOB_LENGTH ? "length" : "stop";
}

static void usage(const struct exchange *x, struct text *out)
{
    text_format(out, "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u}",
                x->job.prompt_tokens, x->job.made_tokens,
                x->job.prompt_tokens + x->job.made_tokens);
}

static void head(const struct exchange *x, const char *object, struct text *out)
{
    text_format(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%ld,\"model\":", x->id, object,
                x->created);
    text_json(out, x->llm->name, strlen(x->llm->name));
    text_puts(out, ",\"choices\":[");
}

void frame_whole(const struct exchange *x, struct text *out)
{
    const char *text = x->text.data ? x->text.data : "";
    bool chat = x->kind == EXCHANGE_CHAT;
    head(x, chat ? "chat.completion" : "text_completion", out);
    text_puts(out, chat ? "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
                        : "{\"index\":0,\"text\":");
    text_json(out, text, x->text.bytes);
    text_format(out, "%s,\"logprobs\":null,\"finish_reason\":\"%s\"}],\"usage\":",
                chat ? ",\"refusal\":null}" : "", finish_reason(x));
    usage(x, out);
    text_puts(out, "}");
}

static void event_head(const struct exchange *x, struct text *out)
{
    text_puts(out, "data: ");
    head(x, x->kind == EXCHANGE_CHAT ? "chat.completion.chunk" : "text_completion", out);
}

// Closes the list of choices and the event. With include_usage every event but the last says null.
static void event_tail(const struct exchange *x, struct text *out)
{
    text_puts(out, x->request.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

void frame_first(const struct exchange *x, struct text *out)
{
    if (x->kind != EXCHANGE_CHAT)
        return;
    event_head(x, out);
    text_puts(out, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                   "\"logprobs\":null,\"finish_reason\":null}");
    event_tail(x, out);
}

void frame_piece(const struct exchange *x, const char *text, size_t bytes, struct text *out)
{
    bool chat = x->kind == EXCHANGE_CHAT;
    event_head(x, out);
    text_puts(out, chat ? "{\"index\":0,\"delta\":{\"content\":" : "{\"index\":0,\"text\":");
    text_json(out, text, bytes);
    text_format(out, "%s,\"logprobs\":null,\"finish_reason\":null}", chat ? "}" : "");
    event_tail(x, out);
}

void frame_last(const struct exchange *x, struct text *out)
{
    event_head(x, out);
    text_format(out, "{\"index\":0,%s,\"logprobs\":null,\"finish_reason\":\"%s\"}",
                x->kind == EXCHANGE_CHAT ? "\"delta\":{}" : "\"text\":\"\"", finish_reason(x));
    event_tail(x, out);
    if (x->request.include_usage) {
        event_head(x, out);
        text_puts(out, "],\"usage\":");
        usage(x, out);
        text_puts(out, "}\n\n");
    }
    text_puts(out, "data: [DONE]\n\n");
}

void frame_error(int status, const char *type, const char *message, struct text *out)
{
    text_format(out, "data: {\"error\":{\"code\":%d,\"message\":", status);
    text_json(out, message, strlen(message));
    text_format(out, ",\"type\":\"%s\"}}\n\n", type);
}

bool exchange_fault(const struct exchange *x, struct fault *f)
{
    const struct job *j = &x->job;
    if (x->refusal.status) {
        *f = x->refusal;
        return true;
    }
    if (x->starved) {
        fault_set(f, UNAVAILABLE, "not enough memory for the answer");
        return true;
    }
    switch (j->end) {
    case JOB_STOPPED:
    case JOB_LENGTH:
        return false;
    case JOB_CANCELLED:
        fault_set(f, UNAVAILABLE, "the request was cancelled: the machine is shutting down");
        return true;
    case JOB_OVERRUN:
        fault_set(f, UNAVAILABLE, "the client takes the answer too slowly; it was ended");
        return true;
    case JOB_REFUSED:
        if (j->error == -EAGAIN)
            fault_set(f, UNAVAILABLE, "too many requests are waiting; try again later");
        else if (j->error == -E2BIG)
            fault_set(f, 400, "exceed_context_size_error",
                      "the request exceeds the available context size");
        else if (j->error == -ENOMEM)
            fault_set(f, UNAVAILABLE, "not enough memory for the request; try again later");
        else
            fault_set(f, BAD_REQUEST, "prompt: a token is not in the vocabulary, or it is empty");
        return true;
    default:
        fault_set(f, 500, "server_error", "the engine failed (%d)", j->error);
        return true;
    }
}
