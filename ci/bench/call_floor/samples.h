// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Median and 99th percentile of round trips.
#ifndef CALL_FLOOR_SAMPLES_H
#define CALL_FLOOR_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

// Sorts v. The smallest sample that at least `percent` of a hundred are not above: with 50 the
// (lower) median, with 100 the largest. 0 for no samples.
uint64_t samples_percentile(uint64_t *v, size_t count, unsigned percent);

#endif
