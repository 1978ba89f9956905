// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera run`: the guest from its creation to its end. Whatever goes wrong, nothing is left
// running.
#include "hypercall/host/tool/run.h"

#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TAIL_LINES = 25, STOP_SECONDS = 10 };

static volatile int interrupts; // Ctrl-C: the second one hurries

static void on_interrupt(int number)
{
    (void)number;
    interrupts++;
}

static void catch_interrupts(void)
{
    struct sigaction act = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    // libvirt's daemon may go away while it is written to.
    signal(SIGPIPE, SIG_IGN);
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

// ---- libvirt's daemon, which may be restarted while its guests go on ---------------------------

enum reach { GUEST_IS_THERE, GUEST_IS_GONE, NOT_KNOWN };

static enum reach reach(struct run *r)
{
    char error[400];
    if (virConnectIsAlive(r->libvirt) == 1) {
        int active = r->domain ? virDomainIsActive(r->domain) : 0;
        return active == 0 ? GUEST_IS_GONE : active > 0 ? GUEST_IS_THERE : NOT_KNOWN;
    }
    virConnectPtr again;
    struct machine_facts facts;
    virDomainPtr domain;
    if (machine_connect(r->libvirt_uri, NULL, &again, error, sizeof error) != 0) {
        return NOT_KNOWN;
    }
    if (r->domain) {
        virDomainFree(r->domain);
    }
    virConnectClose(r->libvirt);
    r->libvirt = again;
    r->domain = NULL;
    r->watch.callback = -1;
    if (machine_find(again, r->guest_name, &domain, &facts, error, sizeof error) != 0) {
        return GUEST_IS_GONE;
    }
    r->domain = domain;
    machine_watch_start(again, r->guest_name, &r->watch, error, sizeof error);
    return GUEST_IS_THERE;
}

// ---- failing -----------------------------------------------------------------------------------

static void show_console(const struct run *r)
{
    uint64_t at = 0;
    fprintf(stderr, "--- the guest's console (%s), last lines:\n", r->console_log);
    int rc = console_print_file(stderr, r->console_log, TAIL_LINES, &at);
    if (rc) {
        fprintf(stderr, "(cannot be read: %s)\n", strerror(-rc));
    } else if (at == 0) {
        fprintf(stderr, "(nothing)\n");
    }
    fprintf(stderr, "---\n");
}

// Ends what runs.
static void give_up(struct run *r)
{
    bool created = r->domain != NULL;
    if (created && virDomainDestroy(r->domain) != 0 && reach(r) == GUEST_IS_THERE) {
        virDomainDestroy(r->domain);
    }
    if (r->offload) {
        run_offload_undo(r->tensord_folder, r->guest_name);
    }
}

// ---- waiting -----------------------------------------------------------------------------------

static int wait_until_ready(struct run *r, struct endpoint *e)
{
    const char *body = "";
    int http = 0;
    uint64_t until = tool_now_ns() + r->timeout * 1000000000ull;
    run_say("Waiting for http://127.0.0.1:%u/health", r->plan.port);
    while (!interrupts) {
        http = endpoint_get(e, "/health", &body);
        if (http == 200) {
            return TOOL_OK;
        }
        char why[300];
        endpoint_message(body, why, sizeof why);
        // A guest that cannot serve this model stays and says so.
        if (http == 503 && strcmp(why, "Loading model") != 0) {
            show_console(r);
            return tool_fail("the guest cannot serve this model: %s", why);
        }
        enum machine_end end = machine_watch_look(&r->watch);
        if (end != MACHINE_RUNS) {
            show_console(r);
            return tool_fail("the guest %s before it served", end == MACHINE_CRASHED ? "crashed"
                                                              : end == MACHINE_POWERED_OFF
                                                                  ? "powered off"
                                                                  : "was destroyed");
        }
        if (virConnectIsAlive(r->libvirt) != 1 && reach(r) == GUEST_IS_GONE) {
            show_console(r);
            return tool_fail("the guest is gone, and so was libvirt's daemon: it cannot say why");
        }
        if (tool_now_ns() > until) {
            show_console(r);
            return http > 0 ? tool_fail("the guest is not ready after %u seconds: /health says %d "
                                        "(--timeout waits longer)",
                                        r->timeout, http)
                            : tool_fail("the guest does not answer after %u seconds (--timeout "
                                        "waits longer)",
                                        r->timeout);
        }
        sleep_ms(http > 0 ? 20 : 10);
    }
    return tool_fail("interrupted; the guest is ended");
}

static void print_ready(struct run *r, struct endpoint *e, uint64_t begun, uint64_t created)
{
    const char *body;
    uint64_t now = tool_now_ns();
    char url[64], used[32] = "?";
    snprintf(url, sizeof url, "http://localhost:%u", r->plan.port);
    if (endpoint_get(e, "/metrics", &body) == 200) {
        // A line's beginning: the comments before it name it, too.
        static const char metric[] = "\ntessera_memory_used_bytes ";
        const char *at = strstr(body, metric);
        if (at) {
            snprintf(used, sizeof used, "%.1f", strtod(at + sizeof metric - 1, NULL) / 1048576);
        }
    }
    run_say("URL       %s/v1/chat/completions", url);
    run_say("boot      %.0f ms: libvirt and QEMU %.0f ms, the guest %.0f ms to the first 200 of "
            "/health",
            (double)(now - begun) / 1e6, (double)(created - begun) / 1e6,
            (double)(now - created) / 1e6);
    run_say("memory    %s MB of %u MB in use in the guest", used, r->plan.memory_mb);
    run_say("talk      curl %s/v1/chat/completions%s -d '{\"messages\":[{\"role\":\"user\","
            "\"content\":\"Hello\"}]}'",
            url, r->key ? " -H 'Authorization: Bearer KEY'" : "");
}

// ---- the life of a guest -----------------------------------------------------------------------

static int create(struct run *r)
{
    char error[700], *xml;
    if (machine_xml(&r->plan, &xml, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    r->domain = virDomainCreateXML(r->libvirt, xml, VIR_DOMAIN_NONE);
    free(xml);
    if (!r->domain) {
        machine_say_libvirt("the guest cannot be started", error, sizeof error);
        // QEMU runs as this user, who read the files a moment ago.
        return tool_fail("%s%s", error,
                         r->is_system && strstr(error, "Permission denied")
                             ? " (a system's libvirt may confine QEMU by AppArmor or SELinux; a "
                               "user's own, qemu:///session, does not)"
                             : "");
    }
    return TOOL_OK;
}

static int tell_end(struct run *r)
{
    switch (machine_watch_look(&r->watch)) {
    case MACHINE_CRASHED:
        show_console(r);
        return tool_fail("the guest crashed");
    case MACHINE_DESTROYED:
        run_say("The guest was destroyed from elsewhere");
        return TOOL_OK;
    default:
        run_say("The guest powered off");
        return TOOL_OK;
    }
}

static int stop_in_order(struct run *r)
{
    char error[400] = "libvirt's daemon is gone";
    bool in_order;
    run_say("Shutting down %s (Ctrl-C again: at once)", r->guest_name);
    interrupts = 0;
    for (int attempt = 0;; attempt++) {
        if (reach(r) == GUEST_IS_GONE) {
            return tell_end(r);
        }
        if (r->domain && machine_stop(r->domain, STOP_SECONDS, &interrupts, &in_order, error,
                                      sizeof error) == 0) {
            break;
        }
        // The daemon may end in this very moment: another one knows the guest.
        if (attempt == 4) {
            return tool_fail("%s; the guest may still run: `tessera stop %s`", error,
                             r->guest_name);
        }
        sleep_ms(200);
    }
    run_say(in_order ? "The guest powered off" : "The guest was destroyed: it did not power off");
    return TOOL_OK;
}

static int stay(struct run *r)
{
    run_say("serving until Ctrl-C; `tessera logs %s` shows its console", r->guest_name);
    for (unsigned turn = 1; !interrupts; turn++) {
        if (machine_watch_look(&r->watch) != MACHINE_RUNS) {
            return tell_end(r);
        }
        if (turn % 20 == 0 && reach(r) == GUEST_IS_GONE) {
            sleep_ms(200); // the event that says why may be on its way
            return tell_end(r);
        }
        sleep_ms(100);
    }
    return stop_in_order(r);
}

int run_guest(struct run *r)
{
    char error[400];
    uint64_t begun = 0, created = 0;
    catch_interrupts();
    int status = r->offload ? run_offload_guest(r) : TOOL_OK;
    if (status) {
        return status;
    }
    if (machine_watch_start(r->libvirt, r->guest_name, &r->watch, error, sizeof error) != 0) {
        status = tool_fail("%s", error);
    }
    struct endpoint *e = endpoint_new(r->plan.port, r->key);
    if (!status && !e) {
        status = tool_fail("no memory");
    }
    if (!status) {
        run_say("Booting %s on q35: %u CPU%s, %u MB, %s%s", r->guest_name, r->plan.vcpus,
                r->plan.vcpus == 1 ? "" : "s", r->plan.memory_mb,
                r->plan.kvm ? "hardware KVM" : "emulated (TCG: no hardware virtualisation used)",
                r->offload ? ", tensor calls to the host" : "");
        begun = tool_now_ns();
        status = create(r);
        created = tool_now_ns();
    }
    // Port and name are taken now, or will not be.
    close(r->lock);
    r->lock = -1;
    if (!status) {
        status = wait_until_ready(r, e);
    }
    if (status) {
        give_up(r);
        goto out;
    }
    print_ready(r, e, begun, created);
    if (r->detach) {
        char to[300] = "", virsh[300] = "";
        if (r->uri) {
            snprintf(to, sizeof to, " --connect '%.250s'", r->uri);
            snprintf(virsh, sizeof virsh, " -c '%.250s'", r->uri);
        }
        run_say("detached  `tessera logs %s%s`, `tessera stop %s%s`, `virsh%s console %s`",
                r->guest_name, to, r->guest_name, to, virsh, r->guest_name);
        goto out;
    }
    status = stay(r);
    if (r->offload) {
        run_offload_undo(r->tensord_folder, r->guest_name);
    }
out:
    endpoint_free(e);
    if (r->watch.callback >= 0) {
        machine_watch_stop(r->libvirt, &r->watch);
    }
    return status;
}
