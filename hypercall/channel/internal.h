// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Between the files of hypercall/channel. Whatever decides where this end reads or writes is kept
// here, in private memory; from the block come only values that are copied once and then checked.
#ifndef HYPERCALL_CHANNEL_INTERNAL_H
#define HYPERCALL_CHANNEL_INTERNAL_H

#include "hypercall/channel/channel.h"

#include <errno.h>

// Where a slot is, seen from this end.
enum slot_state {
    SLOT_AWAY = 0, // receiving: not here. Sending: free
    SLOT_LENT,     // the application fills it
    SLOT_SENT,     // not back from every lane yet
    SLOT_HELD,     // received; the application uses it
    SLOT_PASSED,   // received and sent on
};

struct slot {
    uint8_t state;
    uint8_t lanes;     // bit per out lane that has not given it back
    uint64_t position; // RING: its sequence
};

// One direction between this end and `peer`.
struct lane {
    uint32_t peer; // number of the other end
    uint8_t bit;   // of slot.lanes
    struct hc_channel_source *source;
    struct hc_channel_sink *sink;
    struct hc_channel_tensor *tensors;
    uint32_t *returns;
    uint64_t session;  // the hello it lives by; 0: it does not live
    uint64_t position; // tensors sent or taken in this session
    uint64_t returned; // slots got back or given back
    uint64_t seen;     // RING, sending: the head last seen
    uint64_t refused;  // a hello that was cut off and is not welcome again
    bool banned;       // its end broke the rules
    uint64_t beat, looked_ns, silent_ns;
};

struct channel {
    uint8_t *block;
    struct channel_format format;
    struct channel_port port;
    struct channel_options options;
    uint32_t end;
    struct hc_channel_end *ends;
    uint64_t owner;
    uint32_t generation;
    uint64_t beats; // the beating thread's

    bool hub;      // sender of a BROADCAST or RING: receivers come and go
    bool receives; // `in` is there
    bool passes;   // in the middle of a PIPE: sends what it receives
    struct lane in, out[HC_CHANNEL_MAX_LANES];
    uint32_t out_count;

    struct slot *in_slots, *out_slots;     // of the two pools
    uint8_t *in_data, *out_data;           // their slot 0
    uint32_t *free_slots, *ring_slots;     // stack; RING: slot at position % slots
    uint32_t free_count, lent, sent, held; // slots by state; sent: passed ones too
    uint32_t serial;                       // of the session; tensors of another one are void
    bool live;
    bool fresh; // started over, and no session since
    int closed; // errno for good; 0: none
    char reason[192];
};

struct wait {
    struct channel *c;
    uint64_t timeout_ns, started_ns;
    uint32_t round;
};

static inline uint64_t load64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline uint32_t load32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void store64(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline void store32(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline void wake_peer(const struct channel *c, const struct lane *l)
{
    if (c->port.wake) {
        c->port.wake(c->port.ctx, l->peer);
    }
}

// Copies the header once and checks it. 0, -ENODEV, -EPROTO.
int channel_read_header(const void *block, size_t bytes, struct channel_format *format, char *error,
                        size_t error_bytes);
uint64_t channel_bytes_needed(const struct channel_format *format);

void channel_wait_begin(struct channel *c, struct wait *w, uint64_t timeout_ns);
// Rests a little. False: the time is up.
bool channel_wait_more(struct wait *w);

// Writes the reason, returns `error`.
int channel_say(struct channel *c, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Ends the session and says so in the block; -EPROTO and -ESTALE close the end.
int channel_end_session(struct channel *c, int error);
// A rule was broken on `lane`; what looks so while the peer starts anew is -ENOTCONN. A hub cuts
// the lane off and gets 0.
int channel_violation(struct channel *c, struct lane *lane, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Starts each operation: -ESTALE, -EPROTO, -ENOTCONN, or 0.
int channel_begin(struct channel *c);
// The sessions of all lanes, as far as the block shows; a hub lets receivers in and out.
int channel_check_lanes(struct channel *c);
bool channel_lane_lives(const struct channel *c, const struct lane *lane);
// Whether the peer has closed (-ESHUTDOWN) or died (-EPIPE); else 0. Looks at the clock.
int channel_lane_gone(struct channel *c, struct lane *lane);
void channel_watch(struct channel *c, struct lane *lane);
int channel_say_gone(struct channel *c, const struct lane *lane, int gone);
// A new generation; all words of this end as at the start of a session.
void channel_start_over(struct channel *c);

// hub.c
void channel_admit(struct channel *c);
void channel_cut(struct channel *c, struct lane *lane);
// Cuts off the receivers that have closed or died.
void channel_cut_gone(struct channel *c);

// Takes slots back from the out lanes. 0 or an error that has ended the session.
int channel_collect(struct channel *c);
void channel_slot_back(struct channel *c, uint32_t slot);
void channel_give_back(struct channel *c, uint32_t slot);

#endif
