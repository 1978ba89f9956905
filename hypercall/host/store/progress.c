// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Progress on a terminal: one line that is written over, only for what takes longer than a second.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/store/private.h"

#include <unistd.h>

static void show(void *context, const char *what, uint64_t done, uint64_t total)
{
    // One terminal, one task at a time: a task begins where another text is shown.
    static const char *task;
    static int64_t begun, shown;
    static bool visible;
    int64_t now = monotonic_ms();
    (void)context;
    if (what != task) {
        task = what;
        begun = now;
        visible = false;
    }
    bool last = done >= total;
    if ((!visible && now - begun < 1000) || (visible && !last && now - shown < 100)) {
        task = last ? NULL : task;
        return;
    }
    shown = now;
    visible = true;
    double mb = (double)done / 1e6, of = (double)total / 1e6;
    fprintf(stderr, "\r    %3d%%  %.0f of %.0f MB  %s%s", (int)(total ? 100.0 * mb / of : 100.0),
            mb, of, what, last ? "\n" : "");
    task = last ? NULL : task;
}

struct weights_progress weights_progress_on_terminal(void)
{
    return (struct weights_progress){.show = isatty(STDERR_FILENO) ? show : NULL};
}
