/* Requests about attributes, answered where the inode's descriptor is open (attributes.c). */

#ifndef FUSECOPY_ATTRIBUTES_H
#define FUSECOPY_ATTRIBUTES_H

struct fusecopy_request;

int fusecopy_answer_getattr(struct fusecopy_request *request);
int fusecopy_answer_statx(struct fusecopy_request *request);
int fusecopy_answer_getxattr(struct fusecopy_request *request);

#endif
