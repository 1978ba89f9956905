// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Calls on tensors are not offered yet: HC_FEATURE_OPS and HC_FEATURE_TRAIN are not set, and each
// such call is refused as HC_NOT_SUPPORTED.
#include "hypercall/host/tensord/calls_ops.h"

uint64_t ops_features(void)
{
    return 0;
}

int ops_call(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later)
{
    (void)g;
    (void)s;
    (void)value;
    (void)later;
    return HC_NOT_SUPPORTED;
}

bool ops_has_tag(const struct guest *g, uint64_t tag)
{
    (void)g;
    (void)tag;
    return false;
}

bool ops_cancel(struct guest *g, uint64_t tag)
{
    return ops_has_tag(g, tag);
}

void ops_stop(struct guest *g)
{
    (void)g;
}

void ops_close(struct guest *g)
{
    (void)g;
}

struct guest *ops_ready(struct worker *w)
{
    (void)w;
    return NULL;
}

void ops_work(struct worker *w, struct guest *g)
{
    (void)w;
    (void)g;
}
