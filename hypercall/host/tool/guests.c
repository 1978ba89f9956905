// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera stop`, `start` and `rm`: guests that `tessera run` made, found by what their domains
// say.
#include "hypercall/host/tool/run.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(virDomainGetName(*(const virDomainPtr *)a),
                  virDomainGetName(*(const virDomainPtr *)b));
}

// All guests but those of fleets: their agent would bring them back.
static int each_of_all(struct guest_host *h,
                       int (*one)(struct guest_host *h, const char *name, void *context),
                       void *context)
{
    virDomainPtr *domains = NULL;
    int status = TOOL_OK, count = virConnectListAllDomains(h->libvirt, &domains, 0);
    if (count > 0) {
        qsort(domains, (size_t)count, sizeof *domains, by_name);
    }
    for (int i = 0; i < count; i++) {
        struct machine_facts facts;
        char *xml =
            virDomainGetMetadata(domains[i], VIR_DOMAIN_METADATA_ELEMENT, MACHINE_NAMESPACE, 0);
        bool ours = xml && machine_facts_parse(xml, &facts) == 0;
        free(xml);
        if (ours && facts.fleet[0]) {
            fprintf(stderr, "%s is left: it is of the fleet %s\n", virDomainGetName(domains[i]),
                    facts.fleet);
        } else if (ours && !run_interrupts) {
            int this_one = one(h, virDomainGetName(domains[i]), context);
            status = this_one ? this_one : status;
        }
        virDomainFree(domains[i]);
    }
    free(domains);
    return count < 0 ? tool_fail("libvirt says: %s", virGetLastErrorMessage()) : status;
}

int run_each(int argc, char **argv, struct tool_option *options, size_t count,
             int (*one)(struct guest_host *h, const char *name, void *context), void *context)
{
    const char *words[512];
    size_t word_count;
    struct guest_host h = {.progress = weights_progress_on_terminal()};
    int status = tool_options(argc, argv, options, count, words, 512, &word_count);
    if (status) {
        return status;
    }
    bool all = options[1].given;
    if ((word_count == 0) != all) {
        return tool_misuse("wanted: NAME... or --all");
    }
    status = run_connect(&h, *(const char **)options[0].value, true);
    if (status) {
        return status;
    }
    run_catch_interrupts();
    if (all) {
        status = each_of_all(&h, one, context);
    }
    for (size_t i = 0; i < word_count && !run_interrupts; i++) {
        int this_one = one(&h, words[i], context);
        status = this_one ? this_one : status;
    }
    guest_host_close(&h);
    return status;
}

static int stop_one(struct guest_host *h, const char *name, void *context)
{
    char error[900];
    bool in_order;
    virDomainPtr d = virDomainLookupByName(h->libvirt, name);
    bool was_off = d && virDomainIsActive(d) == 0;
    if (d) {
        virDomainFree(d);
    }
    int rc =
        guest_stop(h, name, *(uint32_t *)context, &run_interrupts, &in_order, error, sizeof error);
    if (rc) {
        return run_failed(rc, error);
    }
    if (was_off) {
        printf("%s: was off already\n", name);
        return TOOL_OK;
    }
    printf("%s: %s\n", name, in_order ? "powered off" : "destroyed: it did not power off");
    return TOOL_OK;
}

static int stop(int argc, char **argv)
{
    const char *uri = NULL;
    uint32_t seconds = 10;
    bool all = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--all", OPTION_FLAG, &all, false},
                                    {"--timeout", OPTION_COUNT, &seconds, false}};
    return run_each(argc, argv, options, 3, stop_one, &seconds);
}

const struct tool_command tool_stop_guest = {
    .name = "stop",
    .summary = "shuts guests down in order",
    .help =
        "Usage: tessera stop NAME...|--all [OPTIONS]\n\n"
        "Presses the guest's power button: it finishes its answers and powers off. One that has\n"
        "not done so in time is destroyed. A guest of `run --detach` stays defined: `tessera\n"
        "start` starts it again, `tessera rm` removes it.\n\n"
        "  --all                all guests but those of fleets\n"
        "  --timeout SECONDS    before it is destroyed (10)\n"
        "  --connect URI        libvirt's connection\n",
    .run = stop,
};

// ---- rm ----------------------------------------------------------------------------------------

static int remove_one(struct guest_host *h, const char *name, void *context)
{
    char error[900];
    bool in_order = true;
    int rc = *(bool *)context
                 ? guest_stop(h, name, 10, &run_interrupts, &in_order, error, sizeof error)
                 : 0;
    rc = rc ? rc : guest_remove(h, name, error, sizeof error);
    if (rc) {
        return run_failed(rc, error);
    }
    printf("%s: removed\n", name);
    return TOOL_OK;
}

static int remove_guests(int argc, char **argv)
{
    const char *uri = NULL;
    bool force = false, all = false;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--all", OPTION_FLAG, &all, false},
                                    {"--force", OPTION_FLAG, &force, false}};
    return run_each(argc, argv, options, 3, remove_one, &force);
}

const struct tool_command tool_rm = {
    .name = "rm",
    .summary = "removes guests that are off",
    .help = "Usage: tessera rm NAME...|--all [OPTIONS]\n\n"
            "Removes the definition, a saved state and the console's log. The model stays.\n\n"
            "  --all            all guests but those of fleets\n"
            "  --force          stops those that run first\n"
            "  --connect URI    libvirt's connection\n",
    .run = remove_guests,
};
