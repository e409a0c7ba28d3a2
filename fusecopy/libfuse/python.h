/* What Python is called for; cffi makes the functions. */

#ifndef FUSECOPY_PYTHON_H
#define FUSECOPY_PYTHON_H

struct fusecopy_request;

/* A request is left to Python: it is answered when this returns. */
void on_left(struct fusecopy_request *request);

/* No thread waits for the turn any more; whether there will be one more. */
int on_crowded(void);

/* All entries of a queue (uring.c) are taken: one more thread with one more. */
void on_short_handed(unsigned int queue);

#endif
