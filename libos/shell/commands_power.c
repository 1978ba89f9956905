// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Commands that end the machine; both drain the application first.
#include "libos/app.h"
#include "libos/shell/internal.h"

static int run_reboot(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    shell_print("restarting\n");
    app_reboot();
}

static int run_shutdown(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    shell_print("shutting down\n");
    app_shutdown();
}

static struct shell_command commands[] = {
    {.name = "reboot", .help = "finish running requests, then restart", .run = run_reboot},
    {.name = "shutdown", .help = "finish running requests, then power off", .run = run_shutdown},
    {.name = "exit", .help = "the same as shutdown", .run = run_shutdown},
};

void shell_register_power(void)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        shell_register(&commands[i]);
    }
}
