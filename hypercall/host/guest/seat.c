// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest's place at tensord: the model that is open there, and a region with a socket for it.
#include "hypercall/host/guest/private.h"

#include "tensor/files.h"
#include "tensor/infer.h"

#include <errno.h>

// What a token takes in half precision, as guests keep all but small models' K and V.
static int choose_region(struct guest *g, char *error, size_t error_bytes)
{
    char why[600] = "";
    struct tn_files *files;
    struct gguf *index;
    struct tn_model *model;
    struct tn_model_info info;
    if (tn_files_open(g->plan.mapped, &files, &index, why, sizeof why) != 0) {
        return guest_refuse(error, error_bytes, -ENOEXEC, "%s", why);
    }
    if (tn_model_open_index(index, &model, why, sizeof why) != 0) {
        gguf_close(index);
        tn_files_close(files);
        return guest_refuse(error, error_bytes, -ENOEXEC, "%s: %s", g->plan.mapped, why);
    }
    tn_model_info(model, &info);
    g->plan.region_mb =
        machine_region_mb(tn_kv_page_bytes(model, TN_F16) / TN_KV_PAGE_TOKENS, info.context);
    tn_model_close(model);
    tn_files_close(files);
    return 0;
}

int guest_seat_model(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    int rc = g->plan.region_mb ? 0 : choose_region(g, error, error_bytes);
    if (rc) {
        return rc;
    }
    char why[700], program[PATH_MAX + 16];
    struct tensord *t;
    int started;
    snprintf(program, sizeof program, "%s/tensord", h->programs);
    rc = tensord_folder(g->tensord_folder, sizeof g->tensord_folder, why, sizeof why);
    rc = rc ? rc : guest_open_folder(g, g->tensord_folder, why, sizeof why);
    rc = rc ? rc : tensord_start(g->tensord_folder, program, &t, &started, why, sizeof why);
    if (!rc) {
        guest_say(h, "tensord %s (%s)", started ? "started" : "runs already", g->tensord_folder);
        // The same file that the guest maps, so that the weights are in memory once.
        rc = tensord_add_model(t, g->plan.mapped, g->plan.identity, why, sizeof why);
        // Not held while this run waits for another one.
        tensord_close(t);
    }
    return rc ? guest_refuse(error, error_bytes, rc == -EINVAL ? -EIO : rc, "--offload: %s", why)
              : 0;
}

static void take_answer(struct guest *g)
{
    g->plan.offload_folder = g->tensord_folder;
    g->plan.offload_socket = g->calls.socket;
    g->plan.offload_vectors = g->calls.vectors;
}

int guest_seat_take(struct guest *g, char *error, size_t error_bytes)
{
    char why[700], unused[400];
    struct tensord *t;
    int rc = tensord_open(g->tensord_folder, &t, why, sizeof why);
    if (!rc) {
        // No guest of this name runs: what tensord may still have of one is over.
        tensord_remove_guest(t, g->plan.name, unused, sizeof unused);
        rc = tensord_add_guest(t, g->plan.name, g->plan.region_mb, g->plan.offload_weight,
                               &g->calls, why, sizeof why);
        rc = rc ? rc : guest_open_socket(g, g->calls.socket, why, sizeof why);
        tensord_close(t);
    }
    take_answer(g);
    return rc ? guest_refuse(error, error_bytes, rc == -EINVAL ? -EIO : rc, "--offload: %s", why)
              : 0;
}

void guest_leave_tensord(const char *folder, const char *name)
{
    struct tensord *t;
    char error[400];
    // Where it does not run, it has no such guest either.
    if (tensord_open(folder, &t, error, sizeof error) == 0) {
        tensord_remove_guest(t, name, error, sizeof error);
        tensord_close(t);
    }
}

int guest_seat_imagine(struct guest *g, char *error, size_t error_bytes)
{
    int rc = tensord_folder(g->tensord_folder, sizeof g->tensord_folder, error, error_bytes);
    snprintf(g->calls.socket, sizeof g->calls.socket, "%.40s/%.48s.ivshmem", g->tensord_folder,
             g->plan.name);
    g->calls.vectors = 2;
    take_answer(g);
    return rc;
}
