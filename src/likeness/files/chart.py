"""A line chart as an SVG text: what a page needs to show a curve, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["line_chart"]

COLOURS = ("#b4532a", "#2a6fb4", "#3f8f4f", "#8a5aa8")
WIDTH, HEIGHT, PAD = 480, 280, 48


def line_chart(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x: str,
    y: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
    dots: bool = True,
) -> str:
    """Lines through points (x, y) with a legend; x, y: what the axes say. Ranges default to the points'.

    diagonal: also the line from the lower left corner to the upper right.
    """
    points = [point for line in lines.values() for point in line] or [(0.0, 0.0)]
    low_x, high_x = x_range or (min(p[0] for p in points), max(p[0] for p in points))
    low_y, high_y = y_range or (min(p[1] for p in points), max(p[1] for p in points))

    def place(px: float, py: float) -> tuple[float, float]:
        across = (px - low_x) / ((high_x - low_x) or 1.0)
        up = (py - low_y) / ((high_y - low_y) or 1.0)
        return PAD + WIDTH * across, PAD + HEIGHT * (1 - up)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11" '
        f'viewBox="0 0 {WIDTH + 2 * PAD} {HEIGHT + 2 * PAD + 18 * len(lines)}">',
        '<rect width="100%" height="100%" fill="#fbfaf7"/>',
        f'<rect x="{PAD}" y="{PAD}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
    ]
    if diagonal:
        parts.append(
            f'<path d="M{PAD} {PAD + HEIGHT}L{PAD + WIDTH} {PAD}" stroke="#999" stroke-dasharray="4 4"/>'
        )
    for tick in range(6):
        at_x, at_y = (low + (high - low) * tick / 5 for low, high in ((low_x, high_x), (low_y, high_y)))
        across, up = PAD + WIDTH * tick / 5, PAD + HEIGHT * (1 - tick / 5)
        parts += [
            f'<text x="{across:.1f}" y="{PAD + HEIGHT + 15}" text-anchor="middle">{at_x:.4g}</text>',
            f'<text x="{PAD - 5}" y="{up + 4:.1f}" text-anchor="end">{at_y:.3g}</text>',
        ]
    middle, below = PAD + WIDTH / 2, PAD + HEIGHT + 32
    parts += [
        f'<text x="{middle}" y="{below}" text-anchor="middle">{escape(x)}</text>',
        f'<text x="{PAD}" y="{PAD - 10}">{escape(y)}</text>',
    ]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(*point) for point in line]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if dots:
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in placed]
        level = PAD + HEIGHT + 50 + 18 * number
        parts += [
            f'<circle cx="{PAD + 4}" cy="{level - 4}" r="4" fill="{colour}"/>',
            f'<text x="{PAD + 14}" y="{level}">{escape(name)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
