// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// UEFI for a guest: the firmware's code, which all share, and its variables, which each guest has
// of its own.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/machine/key.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/usr/share/OVMF/"

int guest_choose_firmware(const struct guest_host *h, const struct guest_request *q,
                          struct guest *g, char *error, size_t error_bytes)
{
    struct machine_plan *p = &g->plan;
    if (p->boot != MACHINE_BOOT_UEFI) {
        return 0;
    }
    if (p->kind == MACHINE_MICROVM) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "microvm has no UEFI: --machine q35 boots %s", q->model);
    }
    bool snakeoil = q->secure_boot && strcmp(q->secure_boot, "snakeoil") == 0;
    bool own = q->secure_boot && strchr(q->secure_boot, '/');
    p->secure_boot = q->secure_boot != NULL;
    p->firmware = p->secure_boot ? FOLDER "OVMF_CODE_4M.secboot.fd" : FOLDER "OVMF_CODE_4M.fd";
    p->variables_template = own              ? q->secure_boot
                            : snakeoil       ? FOLDER "OVMF_VARS_4M.snakeoil.fd"
                            : p->secure_boot ? FOLDER "OVMF_VARS_4M.ms.fd"
                                             : FOLDER "OVMF_VARS_4M.fd";
    const char *const files[] = {p->firmware, p->variables_template};
    for (size_t i = 0; h->libvirt && i < 2; i++) {
        if (access(files[i], R_OK) != 0) {
            return guest_refuse(error, error_bytes, -errno, "UEFI's %s %s: %s%s",
                                i ? "variables" : "firmware", files[i], strerror(errno),
                                i && own ? "" : "; on Debian: apt-get install ovmf");
        }
    }
    return 0;
}

static int copy(const char *from, const char *to)
{
    char bytes[1 << 16];
    int in = open(from, O_RDONLY | O_CLOEXEC), rc = in < 0 ? -errno : 0;
    int out = rc ? -1 : open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    rc = rc ? rc : out < 0 ? -errno : 0;
    while (!rc) {
        ssize_t n = read(in, bytes, sizeof bytes);
        if (n == 0) {
            break;
        }
        rc = n < 0 ? -errno : write(out, bytes, (size_t)n) != n ? -EIO : 0;
    }
    if (in >= 0) {
        close(in);
    }
    if (out >= 0) {
        rc = close(out) != 0 && !rc ? -errno : rc;
    }
    return rc;
}

int guest_name_variables(struct guest *g, bool make, char *error, size_t error_bytes)
{
    if (g->plan.boot != MACHINE_BOOT_UEFI) {
        return 0;
    }
    // Beside the console's log. Made here: a system's libvirt would make it another user's.
    snprintf(g->variables, sizeof g->variables, "%s", g->console_log);
    char *dot = strrchr(g->variables, '.');
    if (!dot || (size_t)(dot - g->variables) + sizeof ".vars" > sizeof g->variables) {
        return guest_refuse(error, error_bytes, -ENAMETOOLONG,
                            "the state folder's name is too long");
    }
    strcpy(dot, ".vars");
    g->plan.variables = g->variables;
    int rc = make ? copy(g->plan.variables_template, g->variables) : 0;
    if (!rc && make) {
        return guest_give(g, g->variables, error, error_bytes);
    }
    return rc ? guest_refuse(error, error_bytes, rc, "UEFI's variables %s: %s", g->variables,
                             strerror(-rc))
              : 0;
}

void guest_forget_files(struct guest *g)
{
    if (g->key_file[0]) {
        key_forget(g->key_file, g->name);
        g->key_file[0] = 0;
    }
    if (!g->persistent && g->variables[0]) {
        unlink(g->variables);
        g->variables[0] = 0;
    }
}
