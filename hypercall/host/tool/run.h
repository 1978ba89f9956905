// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the commands on guests share.
#ifndef TESSERA_TOOL_RUN_H
#define TESSERA_TOOL_RUN_H

#include "hypercall/host/guest/guest.h"
#include "hypercall/host/tool/tool.h"

// "==> ..." on standard output, at once.
void run_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The connection of a command; what is said on the way goes to standard error (aside) or output.
// SIGPIPE is ignored from now on. An exit status, with a message printed.
int run_connect(struct guest_host *h, const char *uri, bool aside);
// An error of the guest library as an exit status, its message printed.
int run_failed(int rc, const char *error);

// A command on guests by name: reads its options, of which [0] is --connect and [1] --all, connects
// and handles each; those after one that is missing all the same. An exit status.
int run_each(int argc, char **argv, struct tool_option *options, size_t count,
             int (*one)(struct guest_host *h, const char *name, void *context), void *context);

// Ctrl-C, SIGTERM and SIGHUP counted here from now on.
void run_catch_interrupts(void);
extern volatile int run_interrupts;

// The last lines of a guest's console on standard error.
void run_show_console(const char *path);
// What a run took, in ms.
struct run_times {
    double connect, plan, create, guest;
};
// After a guest serves: URL, times, memory, how to talk to it.
void run_print_ready(const struct guest *g, const struct run_times *times);
// The same of any guest: another machine's may be out of reach, and then it is said why.
void run_show_guest_console(struct guest_host *h, const struct guest *g);
void run_print_guest_ready(struct guest_host *h, const struct guest *g,
                           const struct run_times *times);
// A line on standard output.
void run_print_started(struct guest_host *h, const struct guest *g, double ms);
// Stays with a guest until it ends or Ctrl-C, which shuts it down. An exit status.
int run_stay(struct guest_host *h, struct guest *g);

#endif
