"""The lines of docs/operations.md for the shells: <TAB> completes commands and options."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mounted import FUSECOPY

DOCUMENT = Path(__file__).parents[2] / "docs/operations.md"

LINES = {
    shell: re.findall(
        rf"^ {{4}}(.*_FUSECOPY_COMPLETE={shell}_source.*?)(?: +#.*)?$", DOCUMENT.read_text(), re.M
    )
    for shell in ("bash", "zsh", "fish")
}

ASKED = {
    "bash": "{line}\nCOMP_WORDS=({words}) COMP_CWORD={last}\n_fusecopy_completion fusecopy\n"
    'printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": "autoload -Uz compinit && compinit -u -D\n{line}\nprint -r -- $_comps[fusecopy]",
    "fish": '{line}\ncomplete --do-complete "{words}"',
}


@pytest.mark.parametrize("shell", LINES)
def test_the_documented_line_completes(shell: str) -> None:
    (line,) = LINES[shell]
    if shutil.which(shell) is None:
        pytest.skip(f"missing here: {shell}")
    environment = {**os.environ, "PATH": f"{Path(FUSECOPY).parent}:{os.environ['PATH']}"}
    for words, expected in (("fusecopy um", "umount"), ("fusecopy cp --h", "--how")):
        script = ASKED[shell].format(line=line, words=words, last=words.count(" "))
        done = subprocess.run(
            [shell, "-c", script], capture_output=True, text=True, timeout=60, env=environment
        )
        if shell == "zsh":  # It completes with a terminal only; that click's function is installed is seen.
            expected = "_fusecopy_completion"
        assert expected in done.stdout.split(), done
