/* The requests of pyfuse3's own (handover.c). */

#ifndef FUSECOPY_HANDOVER_H
#define FUSECOPY_HANDOVER_H

#include <stdint.h>

struct fuse_buf;

/* Whether libfuse and pyfuse3 answer it: what begins and ends the session. */
int fusecopy_is_handed_over(uint32_t opcode);

/* The descriptor for pyfuse3 to wait for. */
int fusecopy_begin_handing_over(void);

/* Give it a request with the memory that it is in; let it find that there will be none. */
void fusecopy_hand_over(struct fuse_buf *buf, int size);
void fusecopy_end_handing_over(void);

/* The next request for pyfuse3, as fuse_session_receive_buf returns it. */
int fusecopy_receive_handed_over(struct fuse_buf *buf);

#endif
