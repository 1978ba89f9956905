// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Words for people.
#include "hypercall/guest/client.h"

const char *hc_link_name(enum hc_link link)
{
    static const char *const name[] = {"down", "attaching", "up", "gone"};
    return name[link];
}

const char *hc_loss_name(enum hc_loss loss)
{
    static const char *const name[HC_LOSS_COUNT] = {
        [HC_LOSS_NONE] = "nothing is wrong",
        [HC_LOSS_SILENT] = "the host does not answer",
        [HC_LOSS_RESTARTING] = "the host's worker ended",
        [HC_LOSS_GONE] = "the host serves this machine no more",
        [HC_LOSS_CUT_OFF] = "the host has cut this machine off",
        [HC_LOSS_NONSENSE] = "the host answers what cannot be",
        [HC_LOSS_RESTORED] = "this machine goes on from a saved state",
    };
    return name[loss];
}

const char *hc_status_name(uint32_t status)
{
    static const char *const name[HC_STATUS_COUNT] = {
        "no error",      "bad call",    "bad handle",    "bad range",   "bad value",
        "bad token",     "bad page",    "no memory",     "busy",        "not found",
        "not supported", "cancelled",   "took too long", "host failed", "duplicate tag",
        "quota used up", "broken ring",
    };
    return status < HC_STATUS_COUNT ? name[status] : "unknown error";
}
