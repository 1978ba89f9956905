/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The facts of the small world, one table a subject. Each table ends with an empty entry.
 */
#ifndef FACTS_H
#define FACTS_H

#include "world.h"

extern const struct fact fact_colours[], fact_sounds[], fact_legs[], fact_homes[], fact_babies[],
    fact_flyers[], fact_opposites[], fact_days_after[], fact_days_before[], fact_months_after[],
    fact_months_before[], fact_months_numbered[], fact_letters_after[], fact_letters_before[],
    fact_kinds[], fact_sides[], fact_capitals[], fact_plurals[], fact_unknown[];

/* Facts that stand alone: the wordings hold the whole question. */
extern const struct fact fact_alone[];

#endif
