/* Who sent how many READs and WRITEs of an open file, and what came of them (clients.c). */

#ifndef FUSECOPY_CLIENTS_H
#define FUSECOPY_CLIENTS_H

#include "shared.h"

struct fusecopy_request;

/* Before a READ or WRITE is served: whether this is a moment to look at the caller, which waits for it. */
int fusecopy_look_is_due(const struct fusecopy_request *request);

/* The thread that it is told as. */
int64_t fusecopy_client(const struct fusecopy_request *request);

/* Before it is answered: what came of it, bytes or a negative errno. */
void fusecopy_count_moved(const struct fusecopy_request *request, int64_t result);

/* For Python: the clients of a file, as many as there is room for; returns how many there are. */
size_t fusecopy_clients(struct fusecopy_file *file, struct fusecopy_client *found, size_t room);

/* Bytes that a thread has written; all that it has read or written since this was last asked. */
uint64_t fusecopy_written_by(struct fusecopy_file *file, pid_t pid);
void fusecopy_take_moved(struct fusecopy_file *file, pid_t pid, int writes, struct fusecopy_moved *taken);

void fusecopy_forget_client(struct fusecopy_file *file, pid_t pid);
void fusecopy_forget_clients(struct fusecopy_file *file);

#endif
