#!/bin/bash
# drawsvg 2.4.2 escapes text, and not attributes: with "<" or "&" in one, what it writes is no XML, and no error is raised.
# A label for readers of the screen (aria-label) is where such text goes; a file name or a formula in it is enough.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
from_pypi drawsvg==2.4.2

"$PYTHON" - <<'PYTHON' | seen "text: well-formed
attribute: not well-formed"
import xml.etree.ElementTree

import drawsvg

DRAWN = {
    "text": drawsvg.Text("a < b & c", 10, 0, 0),
    "attribute": drawsvg.Text("x", 10, 0, 0, aria_label="a < b & c"),
}
for name, element in DRAWN.items():
    drawing = drawsvg.Drawing(10, 10)
    drawing.append(element)
    try:
        xml.etree.ElementTree.fromstring(drawing.as_svg())
        print(f"{name}: well-formed")
    except xml.etree.ElementTree.ParseError:
        print(f"{name}: not well-formed")
PYTHON
