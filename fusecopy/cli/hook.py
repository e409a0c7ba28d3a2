"""fusecopy hook: what one's own shell needs for `cp --reflink` to work in mounts."""

import re
import shlex
import shutil
import sys

import click

from fusecopy.errors import UsageError
from fusecopy.terminal import say

USUAL = ("filefrag", "duperemove")
"""Programs that ask by FIEMAP or FIDEDUPERANGE whenever they run."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
"""Of a program, as every shell takes it for a function's."""

# `function` keeps an alias of the same name from being expanded here. Nothing runs at the prompt, and nothing
# but findmnt(8) when such a program is called; the program comes last, so that it stops and goes on as ever.
SH = """\
function __fusecopy_run {{
    if [ "$(command findmnt -nro FSTYPE -T . 2>/dev/null)" = fuse.fusecopy ] && [ -x {own} ]; then
        command {own} run -- "$@"
    else
        command "$@"
    fi
}}
function cp {{
    case " $* " in
    *" --refl"*) __fusecopy_run cp "$@" ;;
    *) command cp "$@" ;;
    esac
}}
"""

SH_PROGRAM = 'function {name} {{ __fusecopy_run {name} "$@"; }}\n'

FISH = """\
function __fusecopy_run
    if test "$(command findmnt -nro FSTYPE -T . 2>/dev/null)" = fuse.fusecopy; and test -x {own}
        command {own} run -- $argv
    else
        command $argv
    end
end
if not functions -q cp; or functions cp | string match -q '*__fusecopy_run*'
    function cp --wraps=cp
        if string match -q -- '--refl*' $argv
            __fusecopy_run cp $argv
        else
            command cp $argv
        end
    end
end
"""

FISH_PROGRAM = "function {name} --wraps={name}; __fusecopy_run {name} $argv; end\n"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.argument("programs", nargs=-1, metavar="[PROGRAM]...")
def command(shell: str, programs: tuple[str, ...]) -> None:
    """Print what a shell's start file needs for `cp --reflink` to work in mounts of fusecopy.

    Put one of these lines into the start file, after aliases and completion:

    \b
    eval "$(fusecopy hook bash)"    # ~/.bashrc
    eval "$(fusecopy hook zsh)"     # ~/.zshrc
    fusecopy hook fish | source     # ~/.config/fish/config.fish

    From then on `cp --reflink`, filefrag, duperemove and each PROGRAM, typed while the current
    directory lies in a mount, run as by `fusecopy run`. They become functions of the shell;
    everything else, and they elsewhere, run as before. Not served are scripts, programs called by a
    path or by another one (sudo, xargs): put `fusecopy run` before those.
    """
    for name in programs:
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name} is not the name of a program", "give names without a path, as: hook bash jdupes"
            )
    usual, of_program = (FISH, FISH_PROGRAM) if shell == "fish" else (SH, SH_PROGRAM)
    lines = usual.format(own=shlex.quote(shutil.which(sys.argv[0]) or "fusecopy"))
    for name in dict.fromkeys((*USUAL, *programs)):
        if name != "cp":
            lines += of_program.format(name=name)
    for line in lines.splitlines():
        say(line)
