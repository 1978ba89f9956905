// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The shell's commands of this workload: `chat TEXT` streams an answer to the console, `status`
// says what the model does.
#include "apps/llm/guest.h"
#include "apps/llm/port.h"
#include "libos/sched.h"
#include "libos/shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POLL_NS (5u * 1000 * 1000)

static struct llm *llm;

static int join(int argc, char **argv, struct text *out)
{
    for (int i = 1; i < argc; i++) {
        text_puts(out, i > 1 ? " " : "");
        text_puts(out, argv[i]);
    }
    return out->failed ? -ENOMEM : 0;
}

// Prints what the job shows until it is finished; Ctrl-C cancels it.
static int follow(struct job *j)
{
    char *waiting = malloc(JOB_RING);
    bool cancelled = false, said = false;
    if (!waiting)
        job_cancel(j);
    for (bool finished = false; !finished;) {
        finished = job_finished(j);
        size_t n = waiting ? job_peek(j, waiting) : 0;
        if (n) {
            size_t skip = !said && waiting[0] == ' '; // of the first word piece
            shell_print("%.*s", (int)(n - skip), waiting + skip);
            said = true;
            job_take(j, n);
        } else if (!finished) {
            strand_sleep_ns(POLL_NS);
        }
        if (!cancelled && shell_interrupted()) {
            cancelled = true;
            job_cancel(j);
        }
    }
    free(waiting);
    shell_print("\n");
    return cancelled ? -EINTR : !waiting ? -ENOMEM : 0;
}

static int say_problem(const struct fault *f)
{
    shell_print("%s\n", f->message);
    return 0;
}

static int chat(int argc, char **argv)
{
    struct fault f;
    struct text question = {0};
    struct completion c = {.sampling = tn_sampling_default()};
    struct chat_message message = {.role = "user"};
    struct job *j;
    if (llm_state(llm) != LLM_READY) {
        shell_print("%s\n", llm_state(llm) == LLM_LOADING ? "The model is loading." : llm->problem);
        return 0;
    }
    if (argc < 2) {
        shell_print("usage: chat TEXT\n");
        return -EINVAL;
    }
    j = calloc(1, sizeof *j);
    if (!j || join(argc, argv, &question)) {
        free(j);
        text_free(&question);
        return -ENOMEM;
    }
    message.content = c.prompt = question.data;
    message.content_bytes = c.prompt_bytes = question.bytes;
    if (llm->info.chat != CHAT_NONE) { // without a chat format the text is continued
        c.messages = &message;
        c.message_count = 1;
    }
    int rc = llm_prompt_ids(llm, &c, &j->tokens, &j->token_count, &f);
    text_free(&question);
    if (rc) {
        free(j);
        return say_problem(&f);
    }
    j->sampling = c.sampling;
    j->arrived_ns = port_now_ns();
    port_random(&j->sampling.seed, sizeof j->sampling.seed);
    engine_submit(llm->engine, j);
    rc = follow(j);
    if (!rc && (j->end == JOB_REFUSED || j->end == JOB_FAILED))
        rc = j->error ? j->error : -EIO;
    free(j->tokens);
    free(j);
    return rc;
}

static int status(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    enum llm_state state = llm_state(llm);
    if (state != LLM_READY) {
        shell_print("%s\n", state == LLM_LOADING ? "The model is loading." : llm->problem);
        return 0;
    }
    const struct engine_facts *f = engine_facts(llm->engine);
    const struct engine_metrics *m = engine_metrics(llm->engine);
    shell_print("model     %s (%s, %.1f M parameters, %s)\n", llm->name, llm->info.architecture,
                (double)llm->info.parameters / 1e6, tn_type_info(llm->info.weight_type)->name);
    shell_print("source    %s\n", llm->source);
    shell_print("engine    %s, %u cores, context %u, chat format %s\n", tn_isa_name(f->isa),
                port_pool()->width, f->context, chat_format_name(llm->info.chat));
    shell_print("memory    %llu KB for KV and scratch\n",
                (unsigned long long)(f->memory_bytes >> 10));
    shell_print(
        "requests  %llu running, %llu waiting, %llu answered, %u slots\n",
        (unsigned long long)counted(&m->running), (unsigned long long)counted(&m->waiting),
        (unsigned long long)(counted(&m->ended[JOB_STOPPED]) + counted(&m->ended[JOB_LENGTH])),
        f->slots);
    double seconds = (double)counted(&m->decode_ns) / 1e9;
    shell_print("tokens    %llu read, %llu made", (unsigned long long)counted(&m->prompt_tokens),
                (unsigned long long)counted(&m->made_tokens));
    if (seconds > 0)
        shell_print(" (%.1f a second)", (double)counted(&m->made_tokens) / seconds);
    shell_print("\n");
    return 0;
}

void shell_commands_init(struct llm *l)
{
    static struct shell_command commands[] = {
        {.name = "chat", .usage = "TEXT...", .help = "ask the model", .run = chat},
        {.name = "status", .usage = "", .help = "the model and its requests", .run = status}};
    llm = l;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        shell_register(&commands[i]);
    shell_calls_init(l);
}
