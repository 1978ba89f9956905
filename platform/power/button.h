// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The power button's set-up, called by pf_power_init.
#ifndef PLATFORM_POWER_BUTTON_H
#define PLATFORM_POWER_BUTTON_H

void pf_button_init(void);

#endif
