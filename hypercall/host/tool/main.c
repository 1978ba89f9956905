// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera`: one program, a command each file: guests on libvirt, and the engine run natively.
#include "hypercall/host/tool/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct tool_command *const commands[] = {
    // guests
    &tool_run_guest,
    &tool_ls,
    &tool_top,
    &tool_inspect,
    &tool_logs,
    &tool_console,
    &tool_chat,
    &tool_stop_guest,
    &tool_start_guest,
    &tool_rm,
    &tool_suspend,
    &tool_resume,
    // fleets
    &tool_check,
    &tool_up,
    &tool_diff,
    &tool_down,
    &tool_scale,
    &tool_deploy,
    &tool_fleets,
    &tool_status,
    &tool_agent,
    // images and models
    &tool_image,
    &tool_pkg,
    // this host
    &tool_doctor,
    // the engine on this host
    &tool_generate,
    &tool_eval,
    &tool_bench,
    &tool_embed,
    &tool_tokenize,
    &tool_detokenize,
    &tool_quantize,
    &tool_pack,
};
static const char *current = "";

static void complain(const char *format, va_list args)
{
    fflush(stdout);
    fprintf(stderr, "tessera%s%s: ", current[0] ? " " : "", current);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int tool_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    return TOOL_FAILED;
}

int tool_misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    fprintf(stderr, "See `tessera%s%s --help`.\n", current[0] ? " " : "", current);
    return TOOL_USAGE;
}

static void help(void)
{
    printf("tessera: run language models (GGUF) as virtual machines, and natively\n\n"
           "Usage: tessera COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        printf("  %-12s %s\n", commands[i]->name, commands[i]->summary);
    }
    printf(
        "\n`tessera COMMAND --help` tells more. Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help();
        return TOOL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help();
        return TOOL_OK;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i]->name, argv[1]) != 0) {
            continue;
        }
        current = argv[1];
        for (int j = 2; j < argc; j++) {
            if (strcmp(argv[j], "--help") == 0 || strcmp(argv[j], "-h") == 0) {
                printf("%s", commands[i]->help);
                return TOOL_OK;
            }
        }
        int status = commands[i]->run(argc - 1, argv + 1);
        if (fflush(stdout) != 0 || ferror(stdout)) {
            return tool_fail("could not write the output");
        }
        return status;
    }
    const char *meant = NULL;
    unsigned best = UINT_MAX;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        meant = tool_is_near(argv[1], commands[i]->name, &best) ? commands[i]->name : meant;
    }
    return meant ? tool_misuse("no command '%s'; '%s' perhaps?", argv[1], meant)
                 : tool_misuse("no command '%s'", argv[1]);
}
