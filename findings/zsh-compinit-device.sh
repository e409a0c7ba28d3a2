#!/bin/bash
# zsh 5.9: a device that compinit is told to dump to becomes an ordinary file.
# compinit -d FILE names the file that remembers the completion functions; a null device seems the way to have none (-D is). compdump writes
# a new file beside it and renames that over FILE, whatever it is. By root in /dev this takes the machine's null device away.
# Here the device is a node of the temporary folder.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need zsh zsh
[ "$(id -u)" = 0 ] || { echo "needs root, to make a device node" >&2; exit 2; }
zsh --version

mknod -m 666 null c 1 3
{
    printf 'before: %s\n' "$(stat -c %F null)"
    zsh -f -c 'autoload -Uz compinit && compinit -u -d "$PWD/null"' >/dev/null 2>&1
    printf 'after: %s\n' "$(stat -c %F null)"
} | seen "before: character special file
after: regular file"
