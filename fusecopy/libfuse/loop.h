/* The request loop (loop.c), as the rest of the native layer sees it. */

#ifndef FUSECOPY_LIBFUSE_LOOP_H
#define FUSECOPY_LIBFUSE_LOOP_H

#include "backlog.h"
#include "shared.h"

/* In no released header before Linux 6.18; same request as COPY_FILE_RANGE, reply is one u64. */
#define FUSECOPY_COPY_FILE_RANGE_64 53

/* Begins a loop that reads `fd` and returns the descriptor for pyfuse3 to wait for in its place. */
int fusecopy_begin_loop(struct fuse_session *se, int fd);

/* handover.c: the descriptor for pyfuse3 to wait for; whether a request is not for it; give it one, with the memory
 * that it is in; let it find that there will be none. */
int fusecopy_begin_handing_over(void);
int fusecopy_is_ours(const struct fuse_buf *buf);
void fusecopy_hand_over(struct fuse_buf *buf, int size);
void fusecopy_end_handing_over(void);

/* The next request for pyfuse3, as fuse_session_receive_buf returns it. */
int fusecopy_receive_handed_over(struct fuse_buf *buf);

/* Let another thread receive, because this request is going to wait. */
void fusecopy_make_way(void);

/* Whether the calling thread is one of the loop's. */
int fusecopy_in_loop(void);

/* Before this thread does what may wait: whether it may. If so, fusecopy_end_waiting follows; else the item is to be
 * put off, and is run at once where that is possible by now. */
int fusecopy_begin_waiting(int kind);
void fusecopy_end_waiting(int kind);
void fusecopy_put_off(struct fusecopy_put_off *item);

/* compat.c: what the kernel is told beyond what every libfuse can say. */
struct fuse_in_header;
void fusecopy_see_init(const struct fuse_in_header *in);
void fusecopy_want(struct fuse_conn_info *conn, struct fusecopy_connection *connection);
void fusecopy_amend_replies(struct fuse_session *se, int fd);
void fusecopy_set_backing(struct fuse_file_info *fi, int id);

/* compat.c: tell the kernel what it did not ask for; 0 or a negative errno. */
struct iovec;
int fusecopy_send_notice(const struct iovec *iov, int count);

/* session.c: libfuse's own functions. */
int fusecopy_real_receive_buf(struct fuse_session *se, struct fuse_buf *buf);
void fusecopy_process(struct fuse_session *se, const struct fuse_buf *buf);

#endif
