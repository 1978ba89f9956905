// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of this folder share.
#ifndef TESSERA_GUEST_PRIVATE_H
#define TESSERA_GUEST_PRIVATE_H

#include "hypercall/host/guest/guest.h"

// Writes the message and returns rc.
int guest_refuse(char *error, size_t error_bytes, int rc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void guest_say(const struct guest_host *h, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t guest_now_ms(void);
void guest_sleep_ms(long ms);

// ---- request.c ---------------------------------------------------------------------------------

// claims: of lock.c, so that no other run takes the same while this one's guest starts; -1: only
// planned.
int guest_choose_port(const struct guest_request *q, struct guest *g, int claims, char *error,
                      size_t error_bytes);
// Where libvirt is known: one that no domain has. With claims, its files are made, too.
int guest_choose_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                      int claims, char *error, size_t error_bytes);

// ---- image.c, firmware.c -----------------------------------------------------------------------

// What boots: the image that q->model is, or a kernel for the model.
int guest_find_image(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                     char *error, size_t error_bytes);
// UEFI's code and variables.
int guest_choose_firmware(const struct guest_host *h, const struct guest_request *q,
                          struct guest *g, char *error, size_t error_bytes);
// The guest's own variables, by its name; with `make` the file is made anew.
int guest_name_variables(struct guest *g, bool make, char *error, size_t error_bytes);

// ---- key.c: the API's key ----------------------------------------------------------------------

// Its file, by the guest's name; with `make` it is written.
int guest_name_key(struct guest_host *h, struct guest *g, bool make, char *error,
                   size_t error_bytes);
// Who wrote the key into its file anew owns that file: it becomes QEMU's again.
int guest_give_key(const struct guest_host *h, struct guest *g, const struct machine_facts *facts,
                   char *error, size_t error_bytes);
// The same on the guest's own machine.
struct remote;
void guest_name_remote_key(const struct remote *r, struct guest *g);
int guest_write_remote_key(struct remote *r, struct guest *g, char *error, size_t error_bytes);

// ---- variant.c, devices.c ----------------------------------------------------------------------
// Where h->libvirt is NULL the host is not asked whether it can: the XML is only shown.

// What of the request can never work, whatever the host.
int guest_check_variant(const struct guest_request *q, char *error, size_t error_bytes);
// The kind of machine, the CPU, where its memory lies.
int guest_choose_variant(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes);
// memory_mb in whole pages and cells; are there so many pages?
int guest_fit_memory(const struct guest_host *h, struct guest *g, char *error, size_t error_bytes);
int guest_choose_devices(struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes);

// ---- reader.c: as who QEMU runs ----------------------------------------------------------------
// Where that is the caller all of these do nothing.

int guest_find_reader(const struct guest_host *h, struct guest *g, char *error, size_t error_bytes);
bool guest_reader_can(const struct guest *g, const char *path);
// A message that names user, file and what refuses.
int guest_check_reader(const struct guest *g, const char *what, const char *path, char *error,
                       size_t error_bytes);
// g->mapped and its size: the model or a copy that QEMU may read.
int guest_map_weights(struct guest_host *h, const char *model, struct guest *g, char *error,
                      size_t error_bytes);
// *path becomes a copy that he may read, where he may not read it (or always, whoever he is).
int guest_make_readable(struct guest_host *h, struct guest *g, const char *what, char **path,
                        bool always, char *error, size_t error_bytes);
// What boots, where QEMU may read it.
int guest_place_image(struct guest_host *h, struct guest *g, char *error, size_t error_bytes);
// Where libvirt gives the image to QEMU's user: a copy that is this guest's alone, by its name.
int guest_own_image(struct guest *g, char *error, size_t error_bytes);
// A file of the guest's own becomes QEMU's.
int guest_give(const struct guest *g, const char *path, char *error, size_t error_bytes);
// He may pass through the folder; he may connect to the socket.
int guest_open_folder(const struct guest *g, const char *folder, char *error, size_t error_bytes);
int guest_open_socket(const struct guest *g, const char *path, char *error, size_t error_bytes);

// ---- create.c ----------------------------------------------------------------------------------

// Defines or creates the domain of the plan and starts it. A definition that does not start is
// gone.
int guest_start_plan(struct guest_host *h, struct guest *g, char *error, size_t error_bytes);
void guest_tell_boot(struct guest_host *h, const struct machine_plan *p);

// ---- seat.c: the place at tensord --------------------------------------------------------------

// tensord with the model in it; chooses the region's size.
int guest_seat_model(struct guest_host *h, struct guest *g, char *error, size_t error_bytes);
// The place itself. A place of this name that is left from before is given up first.
int guest_seat_take(struct guest *g, char *error, size_t error_bytes);
// What tensord would say, for XML that is only shown.
int guest_seat_imagine(struct guest *g, char *error, size_t error_bytes);

// ---- remote.c: where h->is_remote --------------------------------------------------------------

// As guest_plan and guest_create, by what the other machine has. The request was checked.
int guest_plan_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                      char *error, size_t error_bytes);
int guest_create_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                        char *error, size_t error_bytes);
// remote_variant.c: the kind of machine, by the request alone; then, with its sizes, what they need
// of the other machine.
int guest_variant_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes);
int guest_options_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes);
// As of guest_xml, without sending anything.
int guest_imagine_remote(struct guest *g, char *error, size_t error_bytes);
// Before a defined guest is started: its files are still there, its log begins anew.
int guest_prepare_remote(struct guest_host *h, const struct machine_facts *facts, const char *name,
                         char *error, size_t error_bytes);
// Is this guest ready, as its console says? 1, 0, or a negative errno.
int guest_is_ready_remote(struct guest_host *h, const char *name);
void guest_forget_remote(struct guest_host *h, const char *name);
// libvirt's message tells of a port that is in use there.
bool guest_port_was_taken(const char *message);
// ---- snapshot.c: saved states ------------------------------------------------------------------

// Sets g->from by what there is and what is wanted.
int guest_choose_origin(struct guest_host *h, struct guest *g, const struct machine_facts *facts,
                        enum guest_from from, char *error, size_t error_bytes);
// Starts the domain from there; where `from` leaves it open, a boot takes a failed restore's place.
int guest_launch(struct guest_host *h, struct guest *g, enum guest_from from, char *error,
                 size_t error_bytes);

#endif
