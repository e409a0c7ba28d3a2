"""Receives requests: the functions of libfuse that are interposed, and the loop. C only, built into
`fusecopy.native`; it knows nothing of files or copies."""
