"""A picture of what a command shows in the terminal, as an SVG for documents."""

import io
import re
from pathlib import Path

from rich.console import Console, RenderableType

FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def save_picture(
    renderable: RenderableType,
    path: Path,
    *,
    width: int = 120,
    height: int = 30,
    title: str = "make demo",
) -> None:
    """Draw it as a terminal of that size would show it; the file names no font of the network."""
    console = Console(
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        width=width,
        height=height,
        legacy_windows=False,
    )
    console.print(renderable)
    svg = FONT_FACE.sub("", console.export_svg(title=title))
    path.write_text(svg, encoding="utf-8")
