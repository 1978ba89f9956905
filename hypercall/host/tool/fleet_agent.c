// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera agent`: who makes true what is wanted of fleets.
#include "hypercall/host/fleet/agent.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/tool/tool.h"

#include <errno.h>

static int ask_to_stop(const char *uri)
{
    char error[600];
    json_t *answer = NULL, *request = json_pack("{s:s}", "op", "stop");
    int rc = request ? agent_ask(uri, request, &answer, error, sizeof error) : -ENOMEM;
    json_decref(request);
    json_decref(answer);
    if (rc == -ENOENT || rc == -ECONNREFUSED) {
        puts("No agent runs.");
        return TOOL_OK;
    }
    return rc ? tool_fail("%s", error) : TOOL_OK;
}

static int run(int argc, char **argv)
{
    char error[900];
    const char *uri = NULL, *worker = NULL, *supervisor = NULL, *words[1];
    size_t word_count;
    bool idle_exit = false, stop = false, wait = false, is_system;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--idle-exit", OPTION_FLAG, &idle_exit, false},
                                    {"--stop", OPTION_FLAG, &stop, false},
                                    {"--wait", OPTION_FLAG, &wait, false},
                                    {"--worker", OPTION_TEXT, &worker, false},
                                    {"--supervisor", OPTION_TEXT, &supervisor, false}};
    int status = tool_options(argc, argv, options, 6, words, 0, &word_count);
    if (!status && machine_uri(uri, &uri, &is_system, error, sizeof error) != 0) {
        status = tool_misuse("%s", error);
    }
    if (status) {
        return status;
    }
    if (worker || supervisor) {
        int rc = worker ? agent_work(uri, worker, idle_exit)
                        : agent_supervise(uri, supervisor, idle_exit);
        return rc ? TOOL_FAILED : TOOL_OK;
    }
    if (stop) {
        return ask_to_stop(uri);
    }
    return agent_run(uri, idle_exit, wait, error, sizeof error) ? tool_fail("%s", error) : TOOL_OK;
}

const struct tool_command tool_agent = {
    .name = "agent",
    .summary = "keeps fleets as they are wanted; started by `up`",
    .help =
        "Usage: tessera agent [OPTIONS]\n\n"
        "Starts guests that are missing and those that ended, keeps the endpoint, goes on with\n"
        "deployments, scales by load. All it knows is in libvirt; it may end and start at any "
        "time.\n"
        "`tessera up` starts one where none runs. As a service: copy\n"
        "hypercall/host/fleet/systemd/tessera-agent.service to ~/.config/systemd/user, put this\n"
        "program's path into ExecStart, then systemctl --user enable --now tessera-agent.\n\n"
        "  --stop               end the one that runs (guests and endpoints go on)\n"
        "  --wait               where one runs, wait for its end and go on in its place\n"
        "  --idle-exit          end when there has been no fleet for half a minute\n"
        "  --connect URI        libvirt's connection\n",
    .run = run,
};
