"""Plots of measured figures, as small SVG files that need no program to be made and none but a browser to be seen."""

from __future__ import annotations

import re
from html import escape
from math import log10
from statistics import median
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

Figures = Mapping[str, float]
Series = Dict[str, List[Tuple[float, float]]]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 320, 60, 150, 40, 45
COLOURS = ('#1b6ca8', '#c1440e', '#3d7d3a', '#7b4b94', '#b8860b', '#555555')
_GATEWAYS = re.compile(r'(\d+) gateways(.*): (.*)')
WANTED = {   # benchmark -> name of the plot -> the figures that it shows, with the goal of each plot
    'capacity': {'cpu': (('CPU share of mgr',), 0.25), 'ack': (('ack ms, median', 'ack ms, p99'), 50.0),
                 'memory': (('mgr resident MB',), 300.0)},
    'growth': {'at-rest': (('at rest, interpreter',), 0.7), 'location': (('location lost, interpreter',), 0.7),
               'served': (('location lost, last served s',), None)},
    'commits': {'latency': (('stored ms, median', 'one seat ms, mean'), None), 'size': (('map bytes',), None)},
}


def of(bench: str, runs: Sequence[Figures]) -> Dict[str, str]:
    """SVG texts by name; none for a benchmark that has no sizes to be plotted over."""
    plots: Dict[str, str] = {}
    for name, (figures, goal) in WANTED.get(bench, {}).items():
        series = by_gateways(runs, figures)
        if series:
            title = figures[0] if len(figures) == 1 else figures[0].partition(',')[0]
            plots[f'{bench}-{name}'] = lines(f'{bench}: {title}', 'gateways', series, goal)
    return plots


def by_gateways(runs: Sequence[Figures], wanted: Sequence[str]) -> Series:
    """The medians over all runs of each wanted figure, by number of gateways; a series for each condition."""
    found: Dict[str, Dict[float, List[float]]] = {}
    for figures in runs:
        for name, value in figures.items():
            match = _GATEWAYS.match(name)
            if match and match[3] in wanted:
                found.setdefault(match[3] + match[2], {}).setdefault(float(match[1]), []).append(value)
    return {name: sorted((size, median(values)) for size, values in points.items()) for name, points in found.items()}


def lines(title: str, x_label: str, series: Series, goal: Optional[float] = None) -> str:
    """Over a logarithmic axis; ``goal``: a dashed line that should not be passed."""
    xs = [x for points in series.values() for x, _ in points]
    highest = max([y for points in series.values() for _, y in points] + [goal or 0.0]) * 1.05 or 1.0
    width = WIDTH - RIGHT + max(RIGHT, 26 + max(map(len, series)) * 5.2)
    span = log10(max(xs)) - log10(min(xs)) or 1.0

    def at(x: float, y: float) -> str:
        return (f'{LEFT + (log10(x) - log10(min(xs))) / span * (WIDTH - LEFT - RIGHT):.1f},'
                f'{HEIGHT - BOTTOM - y / highest * (HEIGHT - TOP - BOTTOM):.1f}')
    drawn = [_text(LEFT, 22, title, 'start', 14), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label)]
    for x in sorted(set(xs)):
        drawn.append(_text(float(at(x, 0).split(',')[0]), HEIGHT - BOTTOM + 16, f'{x:g}'))
    for step in range(5):
        y = highest / 1.05 * step / 4
        drawn.append(_line([at(min(xs), y), at(max(xs), y)], '#ddd'))
        drawn.append(_text(LEFT - 6, float(at(min(xs), y).split(',')[1]) + 4, f'{y:.3g}', 'end'))
    if goal is not None:
        drawn.append(_line([at(min(xs), goal), at(max(xs), goal)], '#888', '6 4'))
        drawn.append(_text(WIDTH - RIGHT + 6, float(at(max(xs), goal).split(',')[1]) + 4, 'goal', 'start'))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn.append(_line([at(x, y) for x, y in points], colour))
        drawn.append(f'<rect x="{WIDTH - RIGHT + 6}" y="{TOP + 18 * number}" width="10" height="10" fill="{colour}"/>')
        drawn.append(_text(WIDTH - RIGHT + 20, TOP + 18 * number + 9, name, 'start'))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{HEIGHT}" font-family="sans-serif">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n')


def _line(points: Sequence[str], colour: str, dashes: str = 'none') -> str:
    return (f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5" '
            f'stroke-dasharray="{dashes}"/>')


def _text(x: float, y: float, text: str, anchor: str = 'middle', size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
