// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Random numbers of one sequence: splitmix64 (Steele, Lea and Flood 2014) as a counter: draw i is
// the mix of seed's own mix plus i times the golden ratio.
#include "tensor/infer/infer_private.h"

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void tn_rng_seed(struct tn_rng *r, uint64_t seed)
{
    *r = (struct tn_rng){.seed = seed};
}

double tn_rng_unit(struct tn_rng *r)
{
    const uint64_t golden = 0x9e3779b97f4a7c15ull;
    uint64_t z = mix(mix(r->seed + golden) + ++r->counter * golden);
    return (double)(z >> 11) * 0x1p-53;
}
