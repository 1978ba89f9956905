// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the processor and KVM offer. Sources: /proc/cpuinfo (the kernel's
// arch/x86/include/asm/cpufeatures.h and vmxfeatures.h name the flags), the module parameters of
// kvm_intel and kvm_amd.
#include "hypercall/host/hardware/private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Is `flag` a word of the line?
static bool has_word(const char *line, const char *flag)
{
    size_t length = strlen(flag);
    for (const char *at = strstr(line, flag); at; at = strstr(at + 1, flag)) {
        bool begins = at == line || at[-1] == ' ' || at[-1] == '\t' || at[-1] == ':';
        if (begins && (at[length] == ' ' || at[length] == 0)) {
            return true;
        }
    }
    return false;
}

static void copy_value(const char *line, char *out, size_t out_bytes)
{
    const char *value = strchr(line, ':');
    value = value ? value + 1 + strspn(value + 1, " \t") : "";
    snprintf(out, out_bytes, "%s", value);
}

static void read_line(const char *line, struct hardware_cpu *out)
{
    if (strncmp(line, "processor", 9) == 0) {
        out->processors++;
    } else if (strncmp(line, "vendor_id", 9) == 0) {
        copy_value(line, out->vendor, sizeof out->vendor);
    } else if (strncmp(line, "model name", 10) == 0) {
        copy_value(line, out->model, sizeof out->model);
    } else if (strncmp(line, "flags", 5) == 0) {
        out->vmx = has_word(line, "vmx");
        out->svm = has_word(line, "svm");
        out->npt = has_word(line, "npt");
        out->ept |= has_word(line, "ept"); // before Linux 5.8 among the flags
        out->page_1g = has_word(line, "pdpe1gb");
        out->hypervisor = has_word(line, "hypervisor");
    } else if (strncmp(line, "vmx flags", 9) == 0) {
        out->ept |= has_word(line, "ept");
    }
}

// "Y", "N", "1", "0".
static int parameter(const char *root, const char *module, const char *name)
{
    char path[PATH_MAX], text[16];
    if (!hw_path(path, root, "/sys/module/%s/parameters/%s", module, name) ||
        !hw_line(path, text, sizeof text)) {
        return -1;
    }
    return text[0] == 'Y' || text[0] == 'y' || text[0] == '1';
}

void hardware_cpu(const char *root, struct hardware_cpu *out)
{
    char path[PATH_MAX];
    *out = (struct hardware_cpu){.second_level_on = -1, .nested = -1};
    char *text = hw_path(path, root, "/proc/cpuinfo") ? hw_read(path) : NULL, *rest = text;
    while (rest) {
        char *line = strsep(&rest, "\n");
        read_line(line, out);
    }
    free(text);
    const char *module = out->svm ? "kvm_amd" : "kvm_intel";
    out->second_level_on = parameter(root, module, out->svm ? "npt" : "ept");
    out->nested = parameter(root, module, "nested");
}

enum hardware_kvm hardware_kvm(const char *root, const struct hardware_cpu *cpu)
{
    char path[PATH_MAX];
    bool there = hw_path(path, root, "/dev/kvm") && access(path, F_OK) == 0;
    if (!cpu->vmx && !cpu->svm) {
        return there ? HARDWARE_KVM_TRAP : HARDWARE_KVM_NO_CPU;
    }
    if (!there) {
        return HARDWARE_KVM_NO_MODULE;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return HARDWARE_KVM_DENIED;
    }
    close(fd);
    return HARDWARE_KVM_READY;
}
