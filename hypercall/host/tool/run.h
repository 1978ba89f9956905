// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera run`: what its files share.
#ifndef TESSERA_TOOL_RUN_H
#define TESSERA_TOOL_RUN_H

#include "hypercall/host/machine/endpoint.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/machine/tensord.h"
#include "hypercall/host/store/weights.h"
#include "hypercall/host/tool/tool.h"

#include <limits.h>

struct run {
    // As asked for; NULL or 0: not.
    const char *model, *name, *memory, *accel, *offload, *uri, *image, *key;
    uint32_t vcpus, port, timeout, region;
    bool detach, dry_run, port_given;
    // What comes of it.
    struct machine_plan plan;
    char *model_path, *mapped, *image_path;
    char identity[WEIGHTS_TEXT], guest_name[64], console_log[PATH_MAX], tensord_folder[256];
    char program_folder[PATH_MAX];
    struct tensord_guest calls; // its place for tensor calls
    bool is_system;
    const char *libvirt_uri;
    int lock; // of the time in which port and name are chosen and taken, -1: not held
    virConnectPtr libvirt;
    virDomainPtr domain;
    struct machine_watch watch;
};

// "==> ..." on standard output, at once.
void run_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void run_say_line(const char *line);

// Creates the guest, waits until it serves, and unless detached until it ends. Leaves nothing
// running when it fails. Returns an exit status, with a message printed.
int run_guest(struct run *r);
// tensord with the model in it; then a place for the guest. Exit statuses.
int run_offload_model(struct run *r);
int run_offload_guest(struct run *r);
void run_offload_undo(const char *folder, const char *name);

#endif
