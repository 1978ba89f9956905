// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A network device as the stack sees it. One owner: the net strand.
#ifndef LIBOS_NETDEV_H
#define LIBOS_NETDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netdev_segment {
    const void *data; // any memory; the driver copies or maps it before it returns
    size_t bytes;
};
// Checksum work the device shall do on a frame sent (virtio csum_start/csum_offset).
struct netdev_checksum {
    bool wanted;
    uint16_t start, offset;
};
// A frame received; `data` is valid until netdev_receive returns to the driver.
struct netdev_frame {
    const struct netdev_segment *segments; // mergeable buffers arrive as several
    size_t segment_count;
    size_t bytes;
    bool checksum_ok; // device vouches for the L4 checksum
};

struct netdev {
    const char *name; // "virtio-net0"
    uint8_t mac[6];
    uint16_t mtu;
    bool tx_checksum, rx_checksum, link_up;
    unsigned queue_pairs;
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes, rx_dropped, tx_dropped;
    void *driver;
    // Sends one Ethernet frame. 0, -EAGAIN (ring full; on_work's callback comes when there is room,
    // once poll() has been called), -EMSGSIZE (longer than mtu allows, shorter than a header, or
    // checksum fields beyond its end or not offered by the device).
    int (*send)(struct netdev *d, const struct netdev_segment *segments, size_t count,
                const struct netdev_checksum *checksum);
    // Hands up to `budget` received frames to receive(ctx, frame); returns how many. Reaps
    // finished transmissions too. When it returns less than budget, interrupts are armed again.
    size_t (*poll)(struct netdev *d, size_t budget,
                   void (*receive)(void *ctx, const struct netdev_frame *frame), void *ctx);
    // Has work(arg) called, under the rules of interrupts, whenever poll() has something to do;
    // once right away, for what came in before. NULL ends it.
    void (*on_work)(struct netdev *d, void (*work)(void *arg), void *arg);
};

// Devices found by the virtio drivers.
size_t netdev_count(void);
struct netdev *netdev_at(size_t i);

#endif
