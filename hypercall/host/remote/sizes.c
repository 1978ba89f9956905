// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the other machine has, as its libvirt says.
#include "hypercall/host/machine/host.h"
#include "hypercall/host/remote/private.h"

#include <stdlib.h>
#include <string.h>

// Features come as differences to a CPU model: all of them are asked for.
static bool has_feature(virConnectPtr c, const char *capabilities)
{
    const char *host = strstr(capabilities, "<host>"), *cpu = host ? strstr(host, "<cpu>") : NULL;
    const char *end = cpu ? strstr(cpu, "</cpu>") : NULL;
    char *text = end ? strndup(cpu, (size_t)(end - cpu) + 6) : NULL;
    const char *list[] = {text};
    char *all =
        text ? virConnectBaselineCPU(c, list, 1, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES) : NULL;
    bool found = all && (strstr(all, "name='vmx'") || strstr(all, "name='svm'"));
    free(all);
    free(text);
    return found;
}

int remote_sizes(virConnectPtr c, uint32_t *cpus, uint64_t *memory_mb, bool *kvm, char *error,
                 size_t error_bytes)
{
    virNodeInfo info;
    char *capabilities = virConnectGetCapabilities(c);
    if (!capabilities || virNodeGetInfo(c, &info) != 0) {
        free(capabilities);
        return machine_say_libvirt("asking the other machine what it has", error, error_bytes);
    }
    *cpus = info.cpus;
    *memory_mb = info.memory >> 10;
    // A /dev/kvm on a CPU that shows no virtualisation interprets guests, and badly.
    *kvm = strstr(capabilities, "<domain type='kvm'") && has_feature(c, capabilities);
    free(capabilities);
    return 0;
}
