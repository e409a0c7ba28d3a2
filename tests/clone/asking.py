"""A program: asks a server's socket by hand, and prints what it is handed: bytes and descriptors.

Arguments: server, secret (hexadecimal both) and thread.
"""

import socket
import struct
import sys

server, secret = (bytes.fromhex(word) for word in sys.argv[1:3])
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
    connection.connect(b"\0fusecopy-" + server)
    try:
        connection.send(struct.pack("=16sq", secret, int(sys.argv[3])))
        data, fds, _, _ = socket.recv_fds(connection, 4096, 8)
    except (BrokenPipeError, ConnectionResetError):
        data, fds = b"", []
print(len(data), len(fds))
