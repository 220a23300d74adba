"""An SVG file to an element of a page: shorter, and without what the page says itself. Pure."""

from __future__ import annotations

import re

TITLE_PT = 26  # the height of the title of a figure
PLACES = re.compile(r'\b(?:d|x|y)="[^"]*"')  # of an SVG: where things are
GLYPH = re.compile(r'<use xlink:href="([^"]*)" transform="translate\(([\d.]+) 0\)"/>')
DECIMALS = re.compile(r"(\.\d\d)\d+")  # beyond a hundredth of a point


def inline_svg(drawing: str) -> str:
    """An SVG file as an element of a page: shorter, without its XML head, and without the band of its title."""
    element = re.sub(r"^.*?(?=<svg )|<metadata>.*?</metadata>\s*", "", drawing, flags=re.DOTALL)
    element = GLYPH.sub(r'<use xlink:href="\1" x="\2"/>', element)  # a thousand letters a figure
    element = PLACES.sub(lambda found: DECIMALS.sub(r"\1", found[0]).replace("\n", ""), element)
    element = re.sub(r">\s+<", "><", re.sub(r'(?<=["#])DejaVuSans-', "g", element))
    return re.sub(
        r'viewBox="0 0 ([\d.]+) ([\d.]+)"',
        lambda found: f'viewBox="0 {TITLE_PT} {found[1]} {float(found[2]) - TITLE_PT:g}"',
        element,
        count=1,
    )
