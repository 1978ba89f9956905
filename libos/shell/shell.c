// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The shell's strand: console bytes into the editor, lines into commands.
#include "libos/shell.h"

#include "libos/log.h"
#include "libos/manifest.h"
#include "libos/sched.h"
#include "libos/shell/editor.h"
#include "libos/shell/internal.h"

#include "platform/serial.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_BYTES (64u << 10)
#define MAX_WORDS   64
#define TYPE_AHEAD  256u
#define CTRL_C      0x03

// All owned by the shell's strand, except input (set from the interrupt).
static struct wake input = WAKE_INIT;
static struct editor editor;
static char prompt[80];
static bool interrupted;
static char ahead[TYPE_AHEAD]; // typed while a command ran
static size_t ahead_bytes;
static uint64_t seen_written; // pf_serial_written after our own last output

static void on_input(void *arg)
{
    (void)arg;
    wake_set(&input);
}

static void emit(void *ctx, const char *bytes, size_t count)
{
    (void)ctx;
    pf_serial_write(bytes, count);
    seen_written = pf_serial_written();
}

static size_t offer(const char *word, const char *text, const char **out, size_t n, size_t max)
{
    if (n < max && strncmp(word, text, strlen(text)) == 0) {
        out[n++] = word;
    }
    return n;
}

static size_t complete(void *ctx, const char *line, size_t word, const char **out, size_t max)
{
    (void)ctx;
    size_t n = 0, first = strspn(line, " ");
    if (word <= first) {
        struct shell_command *all[EDITOR_CANDIDATES];
        size_t count = shell_commands(all, EDITOR_CANDIDATES);
        for (size_t i = 0; i < count; i++) {
            n = offer(all[i]->name, line + word, out, n, max);
        }
        return n;
    }
    char name[32];
    size_t length = strcspn(line + first, " ");
    if (length >= sizeof(name)) {
        return 0;
    }
    memcpy(name, line + first, length);
    name[length] = '\0';
    if (strcmp(name, "help") == 0) {
        struct shell_command *all[EDITOR_CANDIDATES];
        size_t count = shell_commands(all, EDITOR_CANDIDATES);
        for (size_t i = 0; i < count; i++) {
            n = offer(all[i]->name, line + word, out, n, max);
        }
        return n;
    }
    const struct shell_command *c = shell_find(name);
    for (size_t i = 0; c && c->arguments && c->arguments[i]; i++) {
        n = offer(c->arguments[i], line + word, out, n, max);
    }
    return n;
}

// While a command runs nobody reads the line but this: Ctrl-C counts, the rest is kept for later.
static void look_at_input(void)
{
    char bytes[32];
    size_t got;
    while ((got = pf_serial_read(bytes, sizeof(bytes))) > 0) {
        for (size_t i = 0; i < got; i++) {
            if (bytes[i] == CTRL_C) {
                interrupted = true;
                ahead_bytes = 0;
            } else if (ahead_bytes < TYPE_AHEAD) {
                ahead[ahead_bytes++] = bytes[i];
            }
        }
    }
}

int shell_interrupted(void)
{
    look_at_input();
    return interrupted;
}

int shell_print(const char *format, ...)
{
    char buffer[512];
    char *text = buffer;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(buffer, sizeof(buffer), format, args);
    va_end(args);
    if (n < 0) {
        return -EINVAL;
    }
    if ((size_t)n >= sizeof(buffer)) {
        text = malloc((size_t)n + 1);
        if (text == NULL) {
            return -ENOMEM;
        }
        va_start(args, format);
        vsnprintf(text, (size_t)n + 1, format, args);
        va_end(args);
    }
    pf_serial_write(text, (size_t)n);
    seen_written = pf_serial_written();
    if (text != buffer) {
        free(text);
    }
    return shell_interrupted() ? -EINTR : 0;
}

static void run_line(char *line)
{
    char *words[MAX_WORDS + 1];
    int count = shell_split(line, words, MAX_WORDS);
    if (count == -EINVAL) {
        shell_print("a quote is not closed\n");
    } else if (count < 0) {
        shell_print("more than %d words\n", MAX_WORDS);
    }
    if (count <= 0) {
        return;
    }
    words[count] = NULL;
    const struct shell_command *c = shell_find(words[0]);
    if (c == NULL) {
        shell_print("%s: no such command; `help` lists them\n", words[0]);
        return;
    }
    interrupted = false;
    strand_doing(c->name);
    int error = c->run(count, words);
    if (error == -EINTR || interrupted) {
        shell_print("\n%s: interrupted\n", c->name);
    } else if (error < 0) {
        shell_print("%s: %s\n", c->name, strerror(-error));
    }
    interrupted = false;
}

static void feed(char c)
{
    static char line[EDITOR_LINE_BYTES]; // the command may not keep the editor's own
    switch (editor_feed(&editor, c)) {
    case EDITOR_LINE:
        memcpy(line, editor_line(&editor), EDITOR_LINE_BYTES);
        run_line(line);
        editor_begin(&editor);
        break;
    case EDITOR_INTERRUPT:
        editor_begin(&editor);
        break;
    case EDITOR_END:
        shell_print("\nthe console stays; `shutdown` ends the machine\n");
        editor_begin(&editor);
        break;
    case EDITOR_NONE:
        break;
    }
}

static void greet(void)
{
    const char *name = manifest()->name[0] ? manifest()->name : "tessera";
    static const struct editor_host host = {emit, complete, NULL};
    snprintf(prompt, sizeof(prompt), "%s> ", name);
    editor_init(&editor, &host, prompt);
    shell_print("\nconsole of %s; `help` lists the commands\n", name);
    editor_begin(&editor);
}

static void run(void *arg)
{
    (void)arg;
    bool greeted = false;
    for (;;) {
        char bytes[64];
        size_t got = ahead_bytes;
        if (got) {
            got = got < sizeof(bytes) ? got : sizeof(bytes);
            memcpy(bytes, ahead, got);
            memmove(ahead, ahead + got, ahead_bytes - got);
            ahead_bytes -= got;
        } else {
            got = pf_serial_read(bytes, sizeof(bytes));
        }
        if (got == 0) {
            strand_doing("waiting for a key");
            wake_wait(&input, 0);
            continue;
        }
        size_t i = 0;
        if (!greeted) {
            greeted = true;
            greet();
            i = bytes[0] == '\r' || bytes[0] == '\n'; // the key that asks whether anyone is there
        } else if (pf_serial_written() != seen_written) {
            editor_redraw(&editor); // a log line has come in between
        }
        for (; i < got; i++) {
            feed(bytes[i]);
        }
    }
}

void shell_start(void)
{
    shell_register_help();
    shell_register_system();
    shell_register_machine();
    shell_register_power();
    pf_serial_on_input(on_input, NULL);
    // Above the application's work, so that the console answers while a model computes.
    int error = strand_create("shell", run, NULL, STRAND_HIGH, 0, STACK_BYTES, NULL);
    if (error) {
        log_error("shell", "not started: %s", strerror(-error));
    }
}
