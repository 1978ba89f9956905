// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Writes a conversation the way each model family's published template does, up to the place where
// the assistant speaks. The first BOS is not written: encoding adds it where the model wants it.
#include "tensor/chat.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct renderer {
    struct chat_prompt p;
    size_t text_max, part_max;
    bool failed; // no memory
    char *error;
    size_t error_bytes;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct renderer *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (r->error_bytes)
        vsnprintf(r->error, r->error_bytes, format, args);
    va_end(args);
    return -EINVAL;
}

static void put(struct renderer *r, const char *text, size_t bytes, bool literal)
{
    struct chat_prompt *p = &r->p;
    if (r->failed || !bytes)
        return;
    if (p->bytes + bytes + 1 > r->text_max) {
        size_t max = (p->bytes + bytes + 1) * 2;
        char *grown = realloc(p->text, max);
        if (!grown) {
            r->failed = true;
            return;
        }
        p->text = grown;
        r->text_max = max;
    }
    memcpy(p->text + p->bytes, text, bytes);
    p->bytes += bytes;
    p->text[p->bytes] = 0;
    if (p->part_count && p->parts[p->part_count - 1].literal == literal) {
        p->parts[p->part_count - 1].bytes += bytes;
        return;
    }
    if (p->part_count == r->part_max) {
        size_t max = r->part_max ? r->part_max * 2 : 16;
        struct chat_part *grown = realloc(p->parts, max * sizeof *grown);
        if (!grown) {
            r->failed = true;
            return;
        }
        p->parts = grown;
        r->part_max = max;
    }
    p->parts[p->part_count++] = (struct chat_part){p->bytes - bytes, bytes, literal};
}

static void mark(struct renderer *r, const char *text) // the template's own words
{
    put(r, text, strlen(text), false);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

enum trim { AS_IS, END, BOTH };

static void content(struct renderer *r, const struct chat_message *m, enum trim trim)
{
    const char *text = m->content;
    size_t bytes = m->content_bytes;
    while (trim == BOTH && bytes && is_space(text[0])) {
        text++;
        bytes--;
    }
    while (trim != AS_IS && bytes && is_space(text[bytes - 1]))
        bytes--;
    put(r, text, bytes, true);
}

static bool is(const struct chat_message *m, const char *role)
{
    return !strcmp(m->role, role);
}

static bool is_system(const struct chat_message *m)
{
    return is(m, "system") || is(m, "developer");
}

// ---- formats in which each message stands for itself -------------------------------------------
static void chatml(struct renderer *r, const struct chat_message *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mark(r, "<|im_start|>");
        mark(r, is_system(&m[i]) ? "system" : m[i].role);
        mark(r, "\n");
        content(r, &m[i], AS_IS);
        mark(r, "<|im_end|>\n");
    }
    mark(r, "<|im_start|>assistant\n");
}

static void llama3(struct renderer *r, const struct chat_message *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mark(r, "<|start_header_id|>");
        mark(r, is_system(&m[i]) ? "system" : is(&m[i], "tool") ? "ipython" : m[i].role);
        mark(r, "<|end_header_id|>\n\n");
        content(r, &m[i], BOTH);
        mark(r, "<|eot_id|>");
    }
    mark(r, "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

static void phi3(struct renderer *r, const struct chat_message *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mark(r, "<|");
        mark(r, is_system(&m[i]) ? "system" : m[i].role);
        mark(r, "|>\n");
        content(r, &m[i], AS_IS);
        mark(r, "<|end|>\n");
    }
    mark(r, "<|assistant|>\n");
}

// ---- formats in which user and assistant take turns --------------------------------------------
static void gemma(struct renderer *r, const struct chat_message *system,
                  const struct chat_message *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mark(r, i % 2 ? "<start_of_turn>model\n" : "<start_of_turn>user\n");
        if (!i && system) {
            content(r, system, BOTH);
            mark(r, "\n\n");
        }
        content(r, &m[i], BOTH);
        mark(r, "<end_of_turn>\n");
    }
    mark(r, "<start_of_turn>model\n");
}

static void llama2(struct renderer *r, const struct chat_message *system,
                   const struct chat_message *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i % 2) {
            mark(r, " ");
            content(r, &m[i], BOTH);
            mark(r, " </s>");
            continue;
        }
        mark(r, i ? "<s>[INST] " : "[INST] ");
        if (!i && system) {
            mark(r, "<<SYS>>\n");
            content(r, system, AS_IS);
            mark(r, "\n<</SYS>>\n\n");
        }
        content(r, &m[i], !i && system ? END : BOTH); // the template strips mark and text as one
        mark(r, " [/INST]");
    }
}

struct inst_style {
    const char *open, *close, *before_answer;
    enum { SYSTEM_FIRST, SYSTEM_LAST, SYSTEM_APART } system;
};

static void mistral(struct renderer *r, const struct inst_style *style,
                    const struct chat_message *system, const struct chat_message *m, size_t count)
{
    if (system && style->system == SYSTEM_APART) {
        mark(r, "[SYSTEM_PROMPT] ");
        content(r, system, AS_IS);
        mark(r, "[/SYSTEM_PROMPT]");
        system = NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (i % 2) {
            mark(r, style->before_answer);
            content(r, &m[i], AS_IS);
            mark(r, "</s>");
            continue;
        }
        mark(r, style->open);
        if (system && i == (style->system == SYSTEM_FIRST ? 0 : count - 1)) {
            content(r, system, AS_IS);
            mark(r, "\n\n");
        }
        content(r, &m[i], AS_IS);
        mark(r, style->close);
    }
}

static const struct inst_style inst_styles[CHAT_FORMAT_COUNT] = {
    [CHAT_MISTRAL] = {"[INST] ", " [/INST]", "", SYSTEM_FIRST},
    [CHAT_MISTRAL_V1] = {" [INST] ", " [/INST]", " ", SYSTEM_FIRST},
    [CHAT_MISTRAL_V3] = {"[INST] ", "[/INST]", " ", SYSTEM_LAST},
    [CHAT_MISTRAL_TEKKEN] = {"[INST]", "[/INST]", "", SYSTEM_LAST},
    [CHAT_MISTRAL_V7] = {"[INST] ", "[/INST]", " ", SYSTEM_APART},
};

static int check_roles(struct renderer *r, enum chat_format f, const struct chat_message *m,
                       size_t count)
{
    bool tools = f == CHAT_CHATML || f == CHAT_LLAMA3;
    if (!count)
        return refuse(r, "messages is empty");
    for (size_t i = 0; i < count; i++) {
        if (is(&m[i], "tool") && !tools)
            return refuse(r, "messages[%zu].role: this model's chat format (%s) has no tool role",
                          i, chat_format_name(f));
        if (!is_system(&m[i]) && !is(&m[i], "user") && !is(&m[i], "assistant") &&
            !is(&m[i], "tool"))
            return refuse(r, "messages[%zu].role: '%.32s' is not system, user or assistant", i,
                          m[i].role);
    }
    return 0;
}

static int check_turns(struct renderer *r, const struct chat_message *m, size_t count, size_t base)
{
    if (!count)
        return refuse(r, "messages: a system message alone gives the assistant nothing to answer");
    for (size_t i = 0; i < count; i++)
        if (!is(&m[i], i % 2 ? "assistant" : "user"))
            return refuse(r,
                          "messages[%zu].role: after an optional system message, this model's chat "
                          "format wants user and assistant in turn; expected %s, found %.32s",
                          i + base, i % 2 ? "assistant" : "user", m[i].role);
    if (count % 2 == 0)
        return refuse(r, "messages[%zu].role: the last message must be the user's",
                      count - 1 + base);
    return 0;
}

int chat_render(enum chat_format f, const struct chat_message *messages, size_t count,
                struct chat_prompt *out, char *error, size_t error_bytes)
{
    struct renderer r = {.error = error, .error_bytes = error ? error_bytes : 0};
    *out = (struct chat_prompt){0};
    if (f == CHAT_NONE || (unsigned)f >= CHAT_FORMAT_COUNT) {
        refuse(&r, "the model has no chat template that is recognised; use /v1/completions");
        return -ENOTSUP;
    }
    int rc = check_roles(&r, f, messages, count);
    if (rc)
        return rc;
    if (f == CHAT_CHATML) {
        chatml(&r, messages, count);
    } else if (f == CHAT_LLAMA3) {
        llama3(&r, messages, count);
    } else if (f == CHAT_PHI3) {
        phi3(&r, messages, count);
    } else {
        const struct chat_message *system = is_system(messages) ? messages : NULL;
        size_t base = system != NULL;
        if ((rc = check_turns(&r, messages + base, count - base, base)))
            return rc;
        if (f == CHAT_GEMMA)
            gemma(&r, system, messages + base, count - base);
        else if (f == CHAT_LLAMA2)
            llama2(&r, system, messages + base, count - base);
        else
            mistral(&r, &inst_styles[f], system, messages + base, count - base);
    }
    if (r.failed) {
        chat_prompt_free(&r.p);
        if (r.error_bytes)
            snprintf(error, error_bytes, "no memory for the prompt");
        return -ENOMEM;
    }
    *out = r.p;
    return 0;
}

void chat_prompt_free(struct chat_prompt *p)
{
    free(p->text);
    free(p->parts);
    *p = (struct chat_prompt){0};
}
