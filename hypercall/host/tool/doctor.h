// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: checks, each a function in a table, and what they say.
//
// To add a check: write `void check_NAME(struct doctor *d)`, declare it here, put {"NAME",
// check_NAME} into a table of doctor.c. A check says one or more findings:
//
//     doctor_say(d, DOCTOR_MISSING, "haproxy is not installed");
//     doctor_cost(d, "no fleets: `tessera up` has no endpoint to offer");
//     doctor_mend(d, "%sapt-get install haproxy", doctor_sudo());
//
// To add a check for something that a killed command leaves behind: the same in
// doctor_leftovers.c's table, by doctor_leftover, which also mends it under --mend.
#ifndef TESSERA_TOOL_DOCTOR_H
#define TESSERA_TOOL_DOCTOR_H

#include "hypercall/host/hardware/hardware.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/tool/tool.h"

#include <jansson.h>

enum doctor_state { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_MISSING };

struct doctor {
    const char *root;  // "" or another machine's tree: libvirt is not asked then
    const char *uri;   // as asked for, NULL: none
    const char *model; // whose readability is checked, NULL: none
    bool mend;
    // What earlier checks found out.
    struct hardware_cpu cpu;
    struct hardware_memory memory;
    bool kvm;                          // guests run by hardware
    bool is_remote;                    // they go to another machine, of which little is known here
    virConnectPtr libvirt, system;     // the connection guests go to; a system's. NULL: none
    const char *libvirt_uri;           //
    struct hardware_user qemu;         // as who it runs under a system's; name "": not known
    char image[PATH_MAX], folder[600]; // the guest's image; where this program is
    // Findings so far: {"check", "state", "text", "cost", "mend", "advice", "blocks", "mended"}.
    json_t *findings;
    const char *check; // the running one's name
    bool blocked;      // no guest can run
};

struct doctor_check {
    const char *name;
    void (*run)(struct doctor *d);
};
extern const struct doctor_check doctor_leftovers[]; // the last has no name

#define DOCTOR_PRINTF(text, first) __attribute__((format(printf, text, first)))
// A new finding; the functions after it add to the last one.
void doctor_say(struct doctor *d, enum doctor_state state, const char *format, ...)
    DOCTOR_PRINTF(3, 4);
void doctor_cost(struct doctor *d, const char *format, ...) DOCTOR_PRINTF(2, 3);
void doctor_mend(struct doctor *d, const char *format, ...) DOCTOR_PRINTF(2, 3); // a shell command
void doctor_advise(struct doctor *d, const char *format, ...) DOCTOR_PRINTF(2, 3); // words
void doctor_blocks(struct doctor *d); // no guest runs until that is mended
// Something half-made. Under --mend `mend(context)` is called (0 or a negative errno) and the
// finding tells how it ended. NULL: nothing that may be done unasked. `command` is what a person
// would type.
void doctor_leftover(struct doctor *d, int (*mend)(void *context), void *context,
                     const char *command, const char *format, ...) DOCTOR_PRINTF(5, 6);
// The same of a file; the mend removes it.
void doctor_leftover_file(struct doctor *d, const char *path, const char *what);

const char *doctor_sudo(void); // "" for root, else "sudo "
const char *doctor_user(void); // this user's name
// A path for a shell command, quoted where it must be; a buffer of its own, for one at a time.
const char *doctor_quote(const char *path);

void doctor_keys(struct doctor *d); // of doctor_leftovers

// ---- checks ------------------------------------------------------------------------------------

void check_processor(struct doctor *d);
void check_kvm(struct doctor *d);
void check_nested(struct doctor *d);
void check_memory(struct doctor *d);
void check_huge_pages(struct doctor *d);
void check_numa(struct doctor *d);
void check_iommu(struct doctor *d);
void check_devices(struct doctor *d);
void check_programs(struct doctor *d);
void check_image(struct doctor *d);
void check_libvirt(struct doctor *d);
void check_qemu_user(struct doctor *d);
void check_apparmor(struct doctor *d);
void check_console_log(struct doctor *d);
void check_network(struct doctor *d);
void check_model(struct doctor *d);

#endif
