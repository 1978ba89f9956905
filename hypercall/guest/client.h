// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One client of the tensor calls (hypercall/abi/call.h): attaches to the host, submits calls, takes
// completions, notices in bounded time that the host is silent, restarts, is gone or lies. Pure
// logic over a region and a small port, so it runs in a guest and in a process alike. Everything
// that the host can write is read once and checked. One owner thread; nothing here blocks but
// hc_call and hc_attach_wait.
#ifndef HYPERCALL_GUEST_CLIENT_H
#define HYPERCALL_GUEST_CLIENT_H

#include "hypercall/abi/call.h"

#include <stdbool.h>
#include <stdint.h>

// What the client needs of its surroundings.
struct hc_port {
    void *ctx;
    void (*kick)(void *ctx, unsigned vector); // rings the host's doorbell
    // Sleeps until the host rings, or has since the last wait, or until deadline_ns.
    void (*wait)(void *ctx, uint64_t deadline_ns);
    uint64_t (*now_ns)(void *ctx); // monotonic
    // Changes when this side goes on from a saved state, and with it the region; NULL: never.
    uint32_t (*generation)(void *ctx);
    void (*relax)(void *ctx); // between looks while spinning; may be NULL
};

enum hc_link {
    HC_LINK_DOWN,      // no host serves; hc_look attaches when one is ready
    HC_LINK_ATTACHING, // asked, not yet answered
    HC_LINK_UP,
    HC_LINK_GONE, // for good
};

// Why the link went down last.
enum hc_loss {
    HC_LOSS_NONE,
    HC_LOSS_SILENT,     // no answer in time: it may still work on what it has
    HC_LOSS_RESTARTING, // the worker ended; another one comes
    HC_LOSS_GONE,       // nobody will serve this region again
    HC_LOSS_CUT_OFF,    // the host says that we broke the rules: hc_client.reason
    HC_LOSS_NONSENSE,   // the host broke the rules: indices or completions that cannot be
    HC_LOSS_RESTORED,   // we go on from a saved state: that host is of the past
    HC_LOSS_COUNT,
};

enum {
    HC_PATIENCE_MS = 250,        // without news while a call is in flight: then it is asked
    HC_ANSWER_MS = 250,          // and that long it has to answer
    HC_CALLS_IN_FLIGHT = 128,    // at most, of all kinds
    HC_COMPLETIONS_A_LOOK = 256, // at most taken by one hc_look, so that it ends
};

struct hc_call_in_flight {
    uint64_t tag;    // 0: free
    uint32_t call;   // enum hc_call
    uint32_t tokens; // HC_TOKEN completions that may still come
};

struct hc_client {
    uint8_t *region;
    uint64_t region_bytes;
    struct hc_port port;
    uint64_t spin_ns; // looked at the ring that long before sleeping

    // Completions other than of hc_call and of the client's own questions. Called by hc_look and
    // hc_call; may submit calls.
    void (*deliver)(void *ctx, const struct hc_completion *c);
    void *deliver_ctx;

    enum hc_link link;
    enum hc_loss loss;
    uint32_t reason; // enum hc_status, with HC_LOSS_CUT_OFF
    uint32_t epoch;  // of the host that we attached to or lost
    uint64_t features;
    uint64_t losses, attaches, calls, answers; // counted since hc_client_init
    uint64_t down_since_ns;                    // while not up

    // Below: the client's own.
    uint32_t machine_generation;
    bool same_epoch_no_more; // cut off, or it lied: wait for another worker
    uint32_t generation;
    uint32_t submission_tail, submission_head; // ours, and the host's as last believed
    uint32_t completion_head;
    uint32_t flight_count, promised; // calls in flight; completions that may still come
    uint64_t next_tag;
    bool news;                // something came, or is waited for anew, since news_ns
    uint64_t news_ns;         // when that was noted last: reading clocks takes longer than a call
    uint64_t ask_tag, ask_ns; // HC_NOTHING under way, 0: none
    uint64_t call_tag;        // hc_call waits for it, 0: none
    struct hc_completion answer;
    bool answered;
    struct hc_call_in_flight flight[HC_CALLS_IN_FLIGHT];
};

// region: region_bytes of shared memory, page-aligned; a power of two, at least HC_LEAST_REGION
// (else -EINVAL). Nothing is written yet. The client starts HC_LINK_DOWN.
int hc_client_init(struct hc_client *c, void *region, uint64_t region_bytes,
                   const struct hc_port *port);

// One look at everything, without waiting: the host's state and epoch, its answers (delivered),
// its silence; attaches when a host is ready. Returns the link's state. When it goes from UP to
// anything else, all calls in flight are forgotten: nothing more is delivered of them.
enum hc_link hc_look(struct hc_client *c);
// Looks until the link is up, gone, or timeout_ms are over. 0, -ETIMEDOUT, -ENODEV (no region of a
// host: wrong magic, version or size), -ENOLINK (gone).
int hc_attach_wait(struct hc_client *c, uint32_t timeout_ms);

// Puts a call into the ring; its tag is chosen here. tokens: HC_TOKEN completions it may post.
// 0; -ENOLINK: not up; -EAGAIN: no room in a ring or among the calls in flight.
int hc_submit(struct hc_client *c, uint16_t call, const uint64_t argument[6], uint32_t tokens,
              uint64_t *tag);
// A call from begin to end. 0 and the completion, whose status may be an error; -ENOLINK,
// -EAGAIN, -ETIMEDOUT (the call is then cancelled and its answer will be dropped).
int hc_call(struct hc_client *c, uint16_t call, const uint64_t argument[6], uint32_t timeout_ms,
            struct hc_completion *out);

// The host's answer to a call made no sense: as if it had broken the rules of the rings.
void hc_distrust(struct hc_client *c);

// Before the owner sleeps on anything that the host's doorbell wakes: spins for spin_ns, then asks
// for the doorbell. False: there is something to look at, do not sleep. After true and the sleep
// comes hc_sleep_end. Sleep no longer than hc_sleep_deadline, or silence is noticed late.
bool hc_sleep_begin(struct hc_client *c);
void hc_sleep_end(struct hc_client *c);
uint64_t hc_sleep_deadline(const struct hc_client *c, uint64_t now_ns);

// The host sleeps, or is about to: the next call takes a doorbell.
bool hc_host_sleeps(const struct hc_client *c);
// Whether [offset, offset + bytes) lies in the arena.
bool hc_in_arena(const struct hc_client *c, uint64_t offset, uint64_t bytes);
const char *hc_link_name(enum hc_link link);
const char *hc_loss_name(enum hc_loss loss);
const char *hc_status_name(uint32_t status); // of a positive enum hc_status

#endif
