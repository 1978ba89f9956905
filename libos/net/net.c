// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The net strand: devices, lwIP's timers, posted calls, HTTP, then sleep until an interrupt, a post
// or the next timer. Nothing else touches lwIP.
#include "libos/net/net_private.h"
#include "libos/net/port/net_port.h"
#include "libos/net/post.h"

#include "libos/log.h"
#include "libos/sched.h"
#include "platform/time.h"

#include <errno.h>
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#include <string.h>

enum { STACK_BYTES = 64 << 10, LONGEST_SLEEP_MS = 1000, IDLE_SLEEP_MS = 500, STARTING_MS = 5000 };

static struct {
    struct strand *strand;
    struct wake wake;
    struct post_queue posts;
    struct net_poller *pollers;
    struct netif netif;
    struct net_interface interface;
    struct net_config config;
    char hostname[64];
    bool started; // set by net_start before the strand runs
    bool announced;
} net = {.wake = WAKE_INIT};

uint64_t net_now_ms(void)
{
    return pf_now_ns() / 1000000;
}

bool net_on_strand(void)
{
    return net.started && strand_self() == __atomic_load_n(&net.strand, __ATOMIC_ACQUIRE);
}

void net_poller_add(struct net_poller *p)
{
    p->next = net.pollers;
    net.pollers = p;
}

int net_post(void (*fn)(void *arg), void *arg)
{
    if (!net.started)
        return -ENODEV;
    int error = post_put(&net.posts, fn, arg);
    wake_set(&net.wake);
    return error;
}

// In interrupt context.
static void device_has_work(void *arg)
{
    (void)arg;
    wake_set(&net.wake);
}

// Each IPv6 address once, when it is known to be nobody else's.
static void announce_ip6(struct netif *n)
{
    static uint32_t announced;
    for (unsigned i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        char address[48];
        if (!ip6_addr_isvalid(netif_ip6_addr_state(n, i)) || (announced & 1u << i))
            continue;
        announced |= 1u << i;
        // The link-local one is always there: for the log only.
        log_line(ip6_addr_islinklocal(netif_ip6_addr(n, i)) ? LOG_DEBUG : LOG_INFO, "net",
                 "address %s", ip6addr_ntoa_r(netif_ip6_addr(n, i), address, sizeof address));
    }
}

static void status_changed(struct netif *n)
{
    announce_ip6(n);
    if (!ip4_addr_isany_val(*netif_ip4_addr(n)) && !net.announced) {
        char address[20], gateway[20];
        net.announced = true;
        log_info("net", "address %s gateway %s after %u ms",
                 ip4addr_ntoa_r(netif_ip4_addr(n), address, sizeof address),
                 ip4addr_ntoa_r(netif_ip4_gw(n), gateway, sizeof gateway), (unsigned)net_now_ms());
        // Most first clients are the gateway or behind it: have its hardware address before they
        // ask.
        if (!ip4_addr_isany_val(*netif_ip4_gw(n)))
            etharp_request(n, netif_ip4_gw(n));
    }
    net_info_update(n);
}

static void start(void)
{
    net.interface.started_ms = net_now_ms();
    lwip_init();
    if (netif_add_noaddr(&net.netif, &net.interface, net_interface_init, ethernet_input) == NULL)
        net_port_panic("the network interface cannot be added", __FILE__, __LINE__);
    netif_set_default(&net.netif);
    netif_set_status_callback(&net.netif, status_changed);
    struct netdev *device = net.interface.device;
    device->on_work(device, device_has_work, NULL);
    net_configure(&net.netif, &net.config);
}

// A full ring made lwIP put segments back; its own timer would come by in 250 ms only.
static void send_again(void)
{
    net.interface.stalled = false;
    for (struct tcp_pcb *pcb = tcp_active_pcbs, *next; pcb; pcb = next) {
        next = pcb->next;
        if (pcb->unsent)
            tcp_output(pcb);
    }
}

// One turn. Returns when the next one is due, in ms; 0: at once.
static uint64_t turn(void)
{
    bool was_stalled = net.interface.stalled;
    net_resume_look(&net.netif);
    bool busy = post_run(&net.posts);
    busy |= net_interface_poll(&net.netif);
    if (net.interface.early_count)
        net_interface_replay(&net.netif);
    if (net.interface.stalled)
        send_again();
    sys_check_timeouts();
    uint64_t next = net_now_ms() + LONGEST_SLEEP_MS;
    for (struct net_poller *p = net.pollers; p; p = p->next) {
        uint64_t due = p->poll(p);
        if (due < next)
            next = due;
    }
    uint32_t sleep = sys_timeouts_sleeptime();
    // Nothing under way: lwIP's periodic timers (MLD's runs every 100 ms) can wait for each other.
    if (tcp_active_pcbs == NULL && sleep < IDLE_SLEEP_MS &&
        net_now_ms() > net.interface.started_ms + STARTING_MS)
        sleep = IDLE_SLEEP_MS;
    if (sleep != SYS_TIMEOUTS_SLEEPTIME_INFINITE && net_now_ms() + sleep < next)
        next = net_now_ms() + sleep;
    net_info_update(&net.netif);
    // The ring filled up since the device was polled: polling again arms its interrupt for room.
    busy |= net.interface.stalled && !was_stalled;
    return busy ? 0 : next;
}

static void run(void *arg)
{
    (void)arg;
    __atomic_store_n(&net.strand, strand_self(), __ATOMIC_RELEASE);
    strand_doing("starting");
    start();
    for (;;) {
        strand_doing("serving");
        uint64_t due = turn();
        if (due <= net_now_ms()) {
            strand_yield();
            continue;
        }
        strand_doing("waiting for frames");
        wake_wait(&net.wake, due * 1000000);
    }
}

int net_start(const struct net_config *config)
{
    if (net.started)
        return -EALREADY;
    struct netdev *device = netdev_at(0);
    if (device == NULL)
        return -ENODEV;
    net.interface.device = device;
    net.interface.config = &net.config;
    if (config)
        net.config = *config;
    else
        net.config.dhcp = true;
    if (net.config.hostname)
        strncpy(net.hostname, net.config.hostname, sizeof net.hostname - 1);
    net.config.hostname = net.hostname[0] ? net.hostname : "tessera";
    net.started = true;
    struct strand *strand;
    int error = strand_create("net", run, NULL, STRAND_HIGH, STRAND_ANY_CPU, STACK_BYTES, &strand);
    if (error)
        net.started = false;
    return error;
}
