// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera run --offload`: the model in tensord, and the guest's place for tensor calls.
#include "hypercall/host/tool/run.h"

// What a token takes in half precision, as guests keep all but small models' K and V.
static int choose_region(struct run *r)
{
    struct tool_model m;
    int status = tool_open(r->mapped, &m);
    if (!status) {
        uint64_t kv = tn_kv_page_bytes(m.model, TN_F16) / TN_KV_PAGE_TOKENS;
        r->region = machine_region_mb(kv, m.info.context);
        tool_close(&m);
    }
    return status;
}

int run_offload_model(struct run *r)
{
    int status = r->region ? TOOL_OK : choose_region(r);
    if (status) {
        return status;
    }
    char error[700], program[PATH_MAX + 16];
    struct tensord *t;
    int started;
    snprintf(program, sizeof program, "%s/tensord", r->program_folder);
    if (tensord_folder(r->tensord_folder, sizeof r->tensord_folder, error, sizeof error) != 0 ||
        tensord_start(r->tensord_folder, program, &t, &started, error, sizeof error) != 0) {
        return tool_fail("--offload: %s", error);
    }
    run_say("tensord %s (%s)", started ? "started" : "runs already", r->tensord_folder);
    // The same file that the guest maps, so that the weights are in memory once.
    int rc = tensord_add_model(t, r->mapped, r->identity, error, sizeof error);
    // Not held while this run waits for another one.
    tensord_close(t);
    return rc ? tool_fail("--offload: %s", error) : TOOL_OK;
}

int run_offload_guest(struct run *r)
{
    char error[700], unused[400];
    struct tensord *t;
    if (tensord_open(r->tensord_folder, &t, error, sizeof error) != 0) {
        return tool_fail("--offload: %s", error);
    }
    // libvirt has no guest of this name: what tensord may still have of one is over.
    tensord_remove_guest(t, r->guest_name, unused, sizeof unused);
    int rc = tensord_add_guest(t, r->guest_name, r->region, &r->calls, error, sizeof error);
    tensord_close(t);
    if (rc) {
        return tool_fail("--offload: %s", error);
    }
    r->plan.offload_folder = r->tensord_folder;
    r->plan.offload_socket = r->calls.socket;
    r->plan.offload_vectors = r->calls.vectors;
    return TOOL_OK;
}

void run_offload_undo(const char *folder, const char *name)
{
    struct tensord *t;
    char error[400];
    // Where it does not run, it has no such guest either.
    if (tensord_open(folder, &t, error, sizeof error) == 0) {
        tensord_remove_guest(t, name, error, sizeof error);
        tensord_close(t);
    }
}
