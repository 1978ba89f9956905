// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera chat`: a conversation with a guest, a fleet or any OpenAI-compatible endpoint.
#include "hypercall/host/tool/run.h"

#include "hypercall/host/machine/console.h"
#include "hypercall/host/machine/text.h"
#include "hypercall/host/talk/chat.h"
#include "hypercall/host/view/fleets.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct talk {
    struct chat_settings s;
    const char *uri, *key_file;
    bool stats, typed;
    char url[300], key[256], given_key[TOOL_KEY];
};

// ---- where -------------------------------------------------------------------------------------

// "http://host:1/v1/chat/completions" -> "http://host:1"
static void strip_path(char *url)
{
    static const char *const ends[] = {"/chat/completions", "/v1", "/"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(url), e = strlen(ends[i]);
        if (n > e && strcmp(url + n - e, ends[i]) == 0) {
            url[n - e] = 0;
        }
    }
}

static int find_guest(struct talk *t, const char *name)
{
    char error[900];
    struct guest_host h = {0};
    struct guest g;
    struct machine_facts facts;
    int status = run_connect(&h, t->uri, true);
    if (status) {
        return status;
    }
    int rc = guest_find(&h, name, &g, &facts, error, sizeof error);
    if (rc == 0 && virDomainIsActive(g.domain) != 1) {
        status = tool_fail("'%s' is off: `tessera start %s` starts it", name, name);
    } else if (rc == 0 && guest_is_paused(g.domain)) {
        status = tool_fail("'%s' is paused: `virsh resume %s` lets it go on", name, name);
    } else if (rc == 0 && !g.url[0]) {
        char why[900];
        g.plan.network = facts.network[0] ? facts.network : NULL;
        guest_explain_reach(&h, &g, why, sizeof why);
        status = why[0] ? tool_fail("'%s' is not reachable from here: %s", name, why)
                        : tool_fail("'%s' has no address yet", name);
    } else if (rc == 0) {
        snprintf(t->url, sizeof t->url, "%s", g.url);
        snprintf(t->key, sizeof t->key, "%s", facts.key);
    } else if (rc == -ENOENT &&
               view_fleet_url(h.libvirt, name, t->url, sizeof t->url, t->key, sizeof t->key) == 0) {
        rc = 0;
    } else {
        status = tool_fail("%s", error);
    }
    guest_free(&h, &g);
    guest_host_close(&h);
    return status;
}

static int find_endpoint(struct talk *t, const char *where)
{
    if (strncmp(where, "http://", 7) == 0 || strncmp(where, "https://", 8) == 0) {
        if (strlen(where) >= sizeof t->url) {
            return tool_misuse("the URL is too long");
        }
        snprintf(t->url, sizeof t->url, "%s", where);
        strip_path(t->url);
    } else {
        int status = find_guest(t, where);
        if (status) {
            return status;
        }
    }
    t->s.url = t->url;
    if (!t->s.key) {
        t->s.key = t->key;
    }
    return TOOL_OK;
}

// ---- talking -----------------------------------------------------------------------------------

// Models may write what they like: the terminal sees text only.
static void print_piece(void *context, const char *text, size_t bytes)
{
    (void)context;
    console_print(stdout, text, bytes);
    fflush(stdout);
}

static int ask(struct talk *t, struct chat *c, const char *question)
{
    struct chat_stats stats;
    char error[900];
    run_interrupts = 0;
    int rc = chat_ask(c, question, &stats, error, sizeof error);
    if (stats.tokens) {
        putchar('\n');
        fflush(stdout);
    }
    if (rc == -EINTR) {
        fprintf(stderr, "(stopped)\n");
    } else if (rc) {
        tool_fail("%s", error);
    }
    if (t->stats && stats.tokens) {
        double writing = stats.whole_ms - stats.first_ms;
        char prompt[40] = "";
        if (stats.counted) {
            snprintf(prompt, sizeof prompt, ", prompt %u tokens", stats.prompt_tokens);
        }
        fprintf(stderr, "[first token %.0f ms, %u tokens%s, %.1f tokens/s, %.0f ms in all%s]\n",
                stats.first_ms, stats.tokens, stats.counted ? "" : " or so",
                writing > 0 && stats.tokens > 1 ? (stats.tokens - 1) * 1e3 / writing : 0,
                stats.whole_ms, prompt);
    }
    return rc == 0 ? TOOL_OK : TOOL_FAILED;
}

static const char commands[] = "/reset   forget what was said\n/exit    leave (Ctrl-D, too)\n"
                               "/help    this text\nCtrl-C stops an answer.\n";

// A line that was typed, without its end. false: the input has ended. Ctrl-C gives an empty one.
static bool read_line(char **line, size_t *room)
{
    ssize_t n = getline(line, room, stdin);
    if (n < 0 && errno == EINTR && !feof(stdin)) {
        clearerr(stdin);
        putchar('\n');
        (*line)[0] = 0;
        return true;
    }
    if (n > 0 && (*line)[n - 1] == '\n') {
        (*line)[n - 1] = 0;
    }
    return n >= 0;
}

static int converse(struct talk *t, struct chat *c)
{
    size_t room = 256;
    char *line = calloc(1, room);
    if (!line) {
        return tool_fail("no memory");
    }
    fprintf(stderr, "%s. /help tells the commands.\n", t->s.url);
    for (;;) {
        fputs("> ", stdout);
        fflush(stdout);
        errno = 0;
        if (!read_line(&line, &room) || strcmp(line, "/exit") == 0) {
            break;
        }
        if (strcmp(line, "/reset") == 0) {
            chat_reset(c);
        } else if (line[0] == '/') {
            fputs(commands, stdout);
        } else if (line[0]) {
            ask(t, c, line); // an error is told, and the next question may go better
        }
    }
    if (feof(stdin)) {
        putchar('\n');
    }
    free(line);
    return TOOL_OK;
}

static int talk(struct talk *t, const char *const *words, size_t count)
{
    char error[900];
    struct chat *c;
    size_t bytes = 0;
    t->typed = isatty(STDIN_FILENO);
    t->s.piece = print_piece;
    t->s.stop = &run_interrupts;
    int rc = chat_new(&t->s, &c, error, sizeof error);
    if (rc) {
        return run_failed(rc, error);
    }
    run_catch_interrupts();
    int status;
    if (count) {
        struct text question = {0};
        for (size_t i = 0; i < count; i++) {
            text_add(&question, "%s%s", i ? " " : "", words[i]);
        }
        status = question.failed ? tool_fail("no memory") : ask(t, c, question.data);
        free(question.data);
    } else if (t->typed) {
        status = converse(t, c);
    } else {
        char *question = tool_read_all("-", &bytes);
        status = !question                               ? TOOL_FAILED
                 : strlen(question) != bytes             ? tool_fail("the question has zero bytes")
                 : question[strspn(question, " \n\t\r")] ? ask(t, c, question)
                                                         : tool_fail("no question");
        free(question);
    }
    chat_free(c);
    return status;
}

static int chat(int argc, char **argv)
{
    const char *words[256];
    size_t word_count;
    double seed = -1;
    struct talk t = {.s = {.temperature = -1, .top_p = -1, .seed = -1}};
    struct tool_option options[] = {
        {"--connect", OPTION_TEXT, &t.uri, false},
        {"--model", OPTION_TEXT, &t.s.model, false},
        {"--system", OPTION_TEXT, &t.s.system, false},
        {"--key", OPTION_TEXT, &t.s.key, false},
        {"--key-file", OPTION_TEXT, &t.key_file, false},
        {"--temperature", OPTION_NUMBER, &t.s.temperature, false},
        {"--top-p", OPTION_NUMBER, &t.s.top_p, false},
        {"--seed", OPTION_NUMBER, &seed, false},
        {"--max-tokens", OPTION_COUNT, &t.s.max_tokens, false},
        {"--timeout", OPTION_COUNT, &t.s.first_s, false},
        {"--stats", OPTION_FLAG, &t.stats, false},
        {"--ca", OPTION_TEXT, &t.s.ca_file, false},
        {"--any-certificate", OPTION_FLAG, &t.s.any_certificate, false},
    };
    int status = tool_options(argc, argv, options, sizeof options / sizeof *options, words, 256,
                              &word_count);
    status = status ? status : tool_key(t.key_file, t.given_key, &t.s.key);
    if (status) {
        return status;
    }
    if (word_count == 0) {
        return tool_misuse("wanted: NAME or URL");
    }
    if (seed > 4e15) {
        return tool_misuse("--seed: at most 4e15");
    }
    t.s.seed = seed >= 0 ? (int64_t)seed : -1;
    status = find_endpoint(&t, words[0]);
    return status ? status : talk(&t, words + 1, word_count - 1);
}

const struct tool_command tool_chat = {
    .name = "chat",
    .summary = "talk with a guest, a fleet or a URL",
    .help =
        "Usage: tessera chat NAME|URL [PROMPT...] [OPTIONS]\n\n"
        "Streams answers as they are written and keeps the conversation; Ctrl-C stops an answer,\n"
        "/exit or Ctrl-D leaves. With PROMPT, or text on standard input, one answer is printed.\n"
        "NAME is a guest's or a fleet's; its key is known here, other endpoints' come by\n"
        "--key-file.\n\n"
        "  --model M            of a fleet's models\n"
        "  --system TEXT        what the model is told first\n"
        "  --temperature T  --top-p P  --seed N  --max-tokens N\n"
        "  --stats              time to the first token and tokens a second, on standard error\n"
        "  --key-file FILE      the API's key (-: the first line of standard input)\n"
        "  --key KEY            the same; while `tessera` starts others may see it\n"
        "  --timeout SECONDS    for a token to come (300)\n"
        "  --ca FILE            a certificate (PEM) that https may show\n"
        "  --any-certificate    https without looking at it\n"
        "  --connect URI        libvirt's connection, for NAME\n",
    .run = chat,
};
