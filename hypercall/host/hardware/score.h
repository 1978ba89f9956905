// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How devices that compute are compared: by tensord for work, by the tool for `--device gpu:auto`.
#ifndef TESSERA_HARDWARE_SCORE_H
#define TESSERA_HARDWARE_SCORE_H

#define HARDWARE_UNKNOWN (-1.0)

struct hardware_load {
    // Per cent, and degrees Celsius; HARDWARE_UNKNOWN: the system does not say.
    double free_memory, utilisation, temperature;
    double resident; // weights that are there already, per cent
};

// 4 * free memory + 2 * (100 - utilisation) + (100 - temperature) + 8 * resident weights. What is
// not known adds nothing: a device is not preferred for what it does not say.
static inline double hardware_score(const struct hardware_load *l)
{
    double score = 8 * l->resident;
    score += l->free_memory < 0 ? 0 : 4 * l->free_memory;
    score += l->utilisation < 0 ? 0 : 2 * (100 - l->utilisation);
    score += l->temperature < 0 ? 0 : 100 - l->temperature;
    return score;
}

#endif
