// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// lwIP's Ethernet interface over a netdev: frames in are copied once, out of the device's buffers;
// frames out are gathered by the driver. Checksums are the device's work where it offers.
#include "libos/net/net_private.h"

#include "libos/log.h"

#include <errno.h>
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/prot/ethernet.h>
#include <lwip/prot/ip.h>
#include <string.h>

enum {
    SEGMENTS_MAX = 32, // pbufs of one frame; more are copied together
    EARLY_MS = 3000,
    RX_BUDGET = 64, // frames before timers and HTTP get their turn
    TCP_CHECKSUM_OFFSET = 16,
};

// The device finishes a TCP checksum that starts with the pseudo header's sum
// (virtio 1.2, 5.1.6.2). Writes that sum into the segment's header and tells where it is.
static bool offload_checksum(struct pbuf *p, struct netdev_checksum *checksum)
{
    uint8_t *frame = p->payload;
    uint32_t sum = 0;
    size_t start, addresses, address_bytes;
    if (p->len < 14 + 20)
        return false;
    if (frame[12] == 0x08 && frame[13] == 0x00 && frame[14 + 9] == IP_PROTO_TCP) {
        start = 14 + (size_t)(frame[14] & 15) * 4;
        addresses = 14 + 12;
        address_bytes = 8;
    } else if (frame[12] == 0x86 && frame[13] == 0xdd && p->len >= 14 + 40 &&
               frame[14 + 6] == IP_PROTO_TCP) {
        start = 14 + 40;
        addresses = 14 + 8;
        address_bytes = 32;
    } else {
        return false;
    }
    if (p->len < start + 20)
        return false; // lwIP builds all headers in the first pbuf
    for (size_t i = 0; i < address_bytes; i += 2)
        sum += (uint32_t)frame[addresses + i] << 8 | frame[addresses + i + 1];
    sum += IP_PROTO_TCP + (uint32_t)(p->tot_len - start);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    frame[start + TCP_CHECKSUM_OFFSET] = (uint8_t)(sum >> 8);
    frame[start + TCP_CHECKSUM_OFFSET + 1] = (uint8_t)sum;
    *checksum = (struct netdev_checksum){true, (uint16_t)start, TCP_CHECKSUM_OFFSET};
    return true;
}

static err_t link_output(struct netif *n, struct pbuf *p)
{
    static uint8_t flat[2048];
    struct net_interface *interface = n->state;
    struct netdev *device = interface->device;
    struct netdev_segment segments[SEGMENTS_MAX];
    struct netdev_checksum checksum = {0};
    size_t count = 0;
    for (struct pbuf *q = p; q; q = q->next) {
        if (count == SEGMENTS_MAX) {
            if (p->tot_len > sizeof flat)
                return ERR_BUF;
            pbuf_copy_partial(p, flat, p->tot_len, 0);
            count = 0;
            segments[count++] = (struct netdev_segment){flat, p->tot_len};
            break;
        }
        segments[count++] = (struct netdev_segment){q->payload, q->len};
    }
    if (device->tx_checksum)
        offload_checksum(p, &checksum);
    if (count == 1 && segments[0].data == flat) // with the sum just written
        pbuf_copy_partial(p, flat, p->tot_len, 0);
    int error = device->send(device, segments, count, checksum.wanted ? &checksum : NULL);
    if (error == -EAGAIN)
        interface->stalled = true;
    return error == 0 ? ERR_OK : error == -EAGAIN ? ERR_MEM : ERR_IF;
}

// While the guest starts: until it has an IPv4 address and something listens, 3 s at most.
static bool is_starting(const struct netif *n)
{
    const struct net_interface *interface = n->state;
    return (ip4_addr_isany_val(*netif_ip4_addr(n)) || tcp_listen_pcbs.listen_pcbs == NULL) &&
           net_now_ms() < interface->started_ms + EARLY_MS;
}

// A TCP segment to our hardware address while starting is kept. A host forwards its first client's
// SYN as soon as it has seen our DHCP request: dropped, that client waits for the retransmission
// (6 s with QEMU's user network); let in before the server listens, it is reset.
static bool is_early(const struct netif *n, const struct pbuf *p)
{
    const uint8_t *frame = p->payload;
    return p->len >= 14 + 20 && frame[12] == 0x08 && frame[13] == 0x00 &&
           frame[14 + 9] == IP_PROTO_TCP && memcmp(frame, n->hwaddr, 6) == 0 && is_starting(n);
}

static void keep_early(struct net_interface *interface, struct pbuf *p)
{
    if (interface->early_count == NET_EARLY_MAX) {
        pbuf_free(interface->early[0]);
        memmove(interface->early, interface->early + 1,
                (NET_EARLY_MAX - 1) * sizeof interface->early[0]);
        interface->early_count--;
    }
    interface->early[interface->early_count++] = p;
}

void net_interface_replay(struct netif *n)
{
    struct net_interface *interface = n->state;
    if (is_starting(n))
        return;
    size_t count = interface->early_count;
    interface->early_count = 0; // those for another address are dropped by the stack
    for (size_t i = 0; i < count; i++)
        if (n->input(interface->early[i], n) != ERR_OK)
            pbuf_free(interface->early[i]);
}

static void receive(void *ctx, const struct netdev_frame *frame)
{
    struct netif *n = ctx;
    struct net_interface *interface = n->state;
    if (frame->bytes > (size_t)n->mtu + 18) {
        interface->device->rx_dropped++;
        return;
    }
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)frame->bytes, PBUF_POOL);
    if (p == NULL) {
        // Out-of-order data has eaten the pool: give some of it up (its senders will repeat it).
        PBUF_CHECK_FREE_OOSEQ();
        p = pbuf_alloc(PBUF_RAW, (u16_t)frame->bytes, PBUF_POOL);
    }
    if (p == NULL) {
        interface->rx_no_memory++;
        interface->device->rx_dropped++;
        return;
    }
    u16_t at = 0;
    for (size_t i = 0; i < frame->segment_count; i++) {
        pbuf_take_at(p, frame->segments[i].data, (u16_t)frame->segments[i].bytes, at);
        at = (u16_t)(at + frame->segments[i].bytes);
    }
    if (is_early(n, p)) {
        keep_early(interface, p);
        return;
    }
    // Input runs to its end before the next frame, so the flags may be set for this one alone.
    u16_t flags = n->chksum_flags;
    if (frame->checksum_ok)
        flags &= (u16_t) ~(NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP);
    u16_t before = n->chksum_flags;
    n->chksum_flags = flags;
    if (n->input(p, n) != ERR_OK)
        pbuf_free(p);
    n->chksum_flags = before;
}

bool net_interface_poll(struct netif *n)
{
    struct net_interface *interface = n->state;
    struct netdev *device = interface->device;
    bool was_up = netif_is_link_up(n);
    size_t frames = device->poll(device, RX_BUDGET, receive, n);
    if (device->link_up != was_up) {
        // Link back: lwIP restarts DHCP and neighbour discovery.
        if (device->link_up)
            netif_set_link_up(n);
        else
            netif_set_link_down(n);
    }
    return frames >= RX_BUDGET;
}

signed char net_interface_init(struct netif *n)
{
    struct net_interface *interface = n->state;
    struct netdev *device = interface->device;
    n->name[0] = 'e';
    n->name[1] = 'n';
    n->output = etharp_output;
    n->output_ip6 = ethip6_output;
    n->linkoutput = link_output;
    n->mtu = device->mtu < 1500 ? device->mtu : 1500; // PBUF_POOL_BUFSIZE holds one such frame
    n->hwaddr_len = ETH_HWADDR_LEN;
    memcpy(n->hwaddr, device->mac, ETH_HWADDR_LEN);
    n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_MLD6;
    if (device->link_up)
        n->flags |= NETIF_FLAG_LINK_UP;
    u16_t checks = NETIF_CHECKSUM_ENABLE_ALL;
    if (device->tx_checksum)
        checks &= (u16_t)~NETIF_CHECKSUM_GEN_TCP;
    NETIF_SET_CHECKSUM_CTRL(n, checks);
    return ERR_OK;
}
