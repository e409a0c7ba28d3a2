/* The session: libfuse's functions that are interposed, and its own behind them. */

#ifndef FUSECOPY_SESSION_H
#define FUSECOPY_SESSION_H

struct fuse_buf;

/* Whether pyfuse3's calls came here. */
int fusecopy_installed(void);

/* /dev/fuse; -1 before pyfuse3 has mounted. */
int fusecopy_device(void);

/* Receive a request: its size, 0 at the end of the session, or a negative errno. */
int fusecopy_receive(struct fuse_buf *buf);

#endif
