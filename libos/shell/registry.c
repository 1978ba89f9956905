// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The commands, in a list that grows at its head from any strand, and `help` over it.
#include "libos/shell/internal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COMMANDS 64

// Atomic; a command's next is set before it becomes visible (release).
static struct shell_command *first;

void shell_register(struct shell_command *c)
{
    c->next = __atomic_load_n(&first, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&first, &c->next, c, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
    }
}

struct shell_command *shell_find(const char *name)
{
    struct shell_command *c = __atomic_load_n(&first, __ATOMIC_ACQUIRE);
    while (c && strcmp(c->name, name) != 0) {
        c = c->next;
    }
    return c;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct shell_command *const *)a)->name,
                  (*(struct shell_command *const *)b)->name);
}

size_t shell_commands(struct shell_command **out, size_t max)
{
    size_t n = 0;
    for (struct shell_command *c = __atomic_load_n(&first, __ATOMIC_ACQUIRE); c && n < max;
         c = c->next) {
        out[n++] = c;
    }
    qsort(out, n, sizeof(*out), by_name);
    return n;
}

static int run_help(int argc, char **argv)
{
    struct shell_command *all[MAX_COMMANDS];
    if (argc > 1) {
        const struct shell_command *c = shell_find(argv[1]);
        if (c == NULL) {
            shell_print("%s: no such command\n", argv[1]);
            return -ENOENT;
        }
        return shell_print("%s %s\n    %s\n", c->name, c->usage ? c->usage : "", c->help);
    }
    size_t n = shell_commands(all, MAX_COMMANDS);
    for (size_t i = 0; i < n; i++) {
        char left[40];
        snprintf(left, sizeof(left), "%s %s", all[i]->name, all[i]->usage ? all[i]->usage : "");
        if (shell_print("  %-22s %s\n", left, all[i]->help)) {
            return -EINTR;
        }
    }
    return shell_print("Tab completes, arrows recall and edit, Ctrl-C stops a command.\n");
}

static struct shell_command help = {
    .name = "help", .usage = "[COMMAND]", .help = "list commands, or explain one", .run = run_help};

void shell_register_help(void)
{
    shell_register(&help);
}
