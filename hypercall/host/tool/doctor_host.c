// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: programs, the guest's image, and the model's permissions.
#include "hypercall/host/hardware/image.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/tool/doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct wanted {
    const char *what;     // "QEMU"
    const char *names[3]; // programs, or files where they begin with a slash
    const char *package, *cost;
    bool blocks;
} wanted[] = {
    {"QEMU", {"qemu-system-x86_64"}, "qemu-system-x86", "guests are QEMU processes", true},
    {"qboot",
     {"/usr/share/qemu/qboot.rom"},
     "qemu-system-data",
     "it boots guests in 25 ms where SeaBIOS takes 54 (measured, q35)",
     true},
    {"OVMF for Secure Boot",
     {"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_CODE.secboot.fd"},
     "ovmf",
     "no UEFI images, no Secure Boot",
     false},
    {"sbsign", {"sbsign"}, "sbsigntool", "`tessera image sign` cannot sign", false},
    {"mtools", {"mformat"}, "mtools", "`tessera image build` makes no disk images", false},
    {"HAProxy", {"haproxy"}, "haproxy", "fleets have no endpoint (`tessera up`)", false},
    {"dnsmasq",
     {"dnsmasq"},
     "dnsmasq-base",
     "libvirt's networks give no addresses; the user network does",
     false},
};

void check_programs(struct doctor *d)
{
    char path[PATH_MAX], version[64];
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const struct wanted *w = &wanted[i];
        bool there = w->names[0][0] == '/' ? hardware_first(d->root, w->names) != NULL
                                           : hardware_program(d->root, w->names, path);
        if (!there) {
            doctor_say(d, DOCTOR_MISSING, "%s (package %s) is not installed", w->what, w->package);
            doctor_cost(d, "%s", w->cost);
            doctor_mend(d, "%sapt-get install --no-install-recommends %s", doctor_sudo(),
                        w->package);
            if (w->blocks) {
                doctor_blocks(d);
            }
            continue;
        }
        bool known = hardware_package(d->root, w->package, version, sizeof version);
        doctor_say(d, DOCTOR_OK, "%s%s%s", w->what, known ? " " : "", known ? version : "");
    }
    snprintf(path, sizeof path, "%s/tensord", d->folder);
    if (d->root[0]) {
        return; // it lies beside this program, on this machine
    }
    if (access(path, X_OK) == 0) {
        doctor_say(d, DOCTOR_OK, "tensord (%s)", path);
    } else {
        doctor_say(d, DOCTOR_MISSING, "tensord: %s: %s", path, strerror(errno));
        doctor_cost(d, "the host computes for no guest (--offload)");
        doctor_mend(d, "make build/bin/tensord");
    }
}

void check_image(struct doctor *d)
{
    static struct hardware_drivers drivers;
    char error[PATH_MAX + 100], list[600] = "", beside[PATH_MAX];
    if (d->root[0]) {
        return;
    }
    snprintf(beside, sizeof beside, "%s/../images/llm.elf", d->folder);
    char *real = realpath(beside, NULL);
    snprintf(d->image, sizeof d->image, "%s", real ? real : beside);
    free(real);
    int rc = hardware_image_drivers(d->image, &drivers, error, sizeof error);
    if (rc == -ENODATA) {
        doctor_say(d, DOCTOR_WARNING, "%s", error);
        doctor_cost(d, "--device cannot tell whether a guest could use what it gets");
        doctor_mend(d, "make build/images/llm.elf");
        return;
    }
    if (rc) {
        doctor_say(d, DOCTOR_MISSING, "the guest's image: %s", error);
        doctor_cost(d, "`tessera run` has nothing to boot, unless --image names another");
        doctor_mend(d, "make build/images/llm.elf");
        doctor_blocks(d);
        return;
    }
    for (size_t i = 0; i < drivers.count; i++) {
        const char *name = drivers.drivers[i].name;
        if (!strstr(list, name) && strlen(list) + strlen(name) + 3 < sizeof list) {
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? ", " : "",
                     name);
        }
    }
    doctor_say(d, DOCTOR_OK, "%s drives %s", d->image, list);
    if (!hardware_drives_class(&drivers, HARDWARE_CLASS_DISPLAY)) {
        doctor_say(d, DOCTOR_OK,
                   "it has no driver for GPUs: --device gpu: is refused, --offload "
                   "computes on the host's");
    }
}

// ---- the model ---------------------------------------------------------------------------------

static void check_reader(struct doctor *d, const struct hardware_user *u, bool is_caller)
{
    char refuses[PATH_MAX];
    struct stat s;
    int rc = hardware_may_read(u, d->model, refuses);
    if (rc == 0) {
        doctor_say(d, DOCTOR_OK, "%s may read %s", u->name, d->model);
        return;
    }
    if (rc != -EACCES) {
        doctor_say(d, is_caller ? DOCTOR_MISSING : DOCTOR_WARNING, "%s: %s", d->model,
                   strerror(-rc));
        if (is_caller) {
            doctor_blocks(d);
        }
        return;
    }
    bool is_folder = stat(refuses, &s) == 0 && S_ISDIR(s.st_mode);
    doctor_say(d, is_caller ? DOCTOR_MISSING : DOCTOR_WARNING, "%s may not read %s: %s%s refuses",
               u->name, d->model, is_folder ? "the folder " : "",
               is_folder ? refuses : "the file itself");
    if (is_caller) {
        doctor_cost(d, "no guest of this user's can serve it");
        doctor_blocks(d);
    } else {
        doctor_cost(d, "`tessera run` copies it to %s, once", FOLDER_OF_SYSTEM "/cache");
    }
    const char *right = is_folder ? "x" : "r";
    if (is_caller) {
        doctor_mend(d, "%ssetfacl -m u:%s:%s %s    # package acl; then ask again", doctor_sudo(),
                    u->name, right, doctor_quote(refuses));
    } else {
        doctor_advise(d, "`setfacl -m u:%s:%s %s` saves the copy", u->name, right,
                      doctor_quote(refuses));
    }
}

static bool is_no_model(const char *path)
{
    char magic[4] = "";
    FILE *f = fopen(path, "re");
    bool other = f && (fread(magic, 1, 4, f) != 4 || memcmp(magic, "GGUF", 4) != 0);
    if (f) {
        fclose(f);
    }
    return other;
}

void check_model(struct doctor *d)
{
    struct hardware_user me;
    struct stat s;
    char number[16];
    if (!d->model || d->root[0]) {
        return;
    }
    snprintf(number, sizeof number, "%u", geteuid());
    if (hardware_user(number, &me) == 0) {
        check_reader(d, &me, true);
    }
    if (is_no_model(d->model)) {
        doctor_say(d, DOCTOR_WARNING, "%s is no GGUF file", d->model);
        doctor_cost(d,
                    "`tessera run` takes GGUF files, and images that `tessera image build` made");
        return;
    }
    if (stat(d->model, &s) == 0 && S_ISREG(s.st_mode)) {
        uint64_t bytes = (uint64_t)s.st_size;
        uint32_t mb = machine_memory_mb(bytes);
        bool fits = bytes + ((uint64_t)mb << 20) <= d->memory.available_bytes;
        doctor_say(d, fits ? DOCTOR_OK : DOCTOR_WARNING,
                   "%llu MB of weights, once for all guests, and %u MB for each guest",
                   (unsigned long long)(bytes >> 20), mb);
        if (!fits) {
            doctor_cost(d,
                        "%llu MB are available: what does not fit is read from the disk again "
                        "for each token",
                        (unsigned long long)(d->memory.available_bytes >> 20));
            doctor_advise(d, "a smaller type: `tessera quantize IN OUT q4_k_m`");
        }
    }
    if (d->system && d->qemu.name[0] && geteuid() == 0) { // others' guests run as they do
        check_reader(d, &d->qemu, false);
    }
}
