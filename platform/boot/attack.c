// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether protections may be switched off: no, unless the image says otherwise with a strong
// definition. In a file of its own, since the compiler takes a constant it can see at its word.
#include <stdbool.h>

extern const bool pf_attack_image;
const bool pf_attack_image __attribute__((weak)) = false;
