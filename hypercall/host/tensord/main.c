// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// tensord: lends guests the host's compute.
#include "hypercall/host/tensord/holder.h"

int main(int argc, char **argv)
{
    return tensord_main(argc, argv);
}
