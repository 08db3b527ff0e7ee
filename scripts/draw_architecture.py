"""Draws docs/explanation/architecture.svg from the imports, and prints its figures."""

import ast
import statistics
import sys
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.test_architecture import MODULES, ROOMS, all_imports, room  # noqa: E402
from tuner import _HOME  # noqa: E402

WIDTH, BOX_W, BOX_H, FLOOR_H = 1240, 196, 46, 92
STYLE = """
svg { font-family: system-ui, sans-serif; background: #fff }
rect { fill: #eef3fb; stroke: #5b7db1; rx: 6 } .trainables rect { fill: #f3f0e6; stroke: #a08a4a }
text { fill: #1b2a41; text-anchor: middle } .name { font-size: 13px; font-weight: 600 } .what { font-size: 9.5px }
line { stroke: #8a94a6; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  svg { background: #14181f } rect { fill: #1f2a3a; stroke: #7c9cd0 }
  .trainables rect { fill: #2b281c; stroke: #b9a565 }
  text { fill: #e6ebf4 } line { stroke: #6a7384 }
}
"""


def arrows() -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    found: dict[str, set[str]] = {name: set() for name in ROOMS}
    for one in all_imports():
        if one.target in MODULES and room(one.source) != room(one.target):
            found[room(one.source)].add(room(one.target))
    # The front imports what its names are of where they are first used.
    found["tuner"] |= {room(f"tuner.{home}") for home in _HOME.values()}
    return found


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room: one above the highest that it imports from."""
    floor: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        floor[name] = 1 + max((floor[below] for below in graph[name]), default=-1)
    return floor


def direct(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The arrows that no path of others stands for; with all of them nobody could read the picture."""
    reach: dict[str, set[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        reach[name] = graph[name].union(*(reach[below] for below in graph[name]))
    return {
        (name, below)
        for name, targets in graph.items()
        for below in targets
        if not any(below in reach[other] for other in targets - {below})
    }


def purpose(name: str) -> str:
    """The first clause of what a room says that it is for."""
    told = {
        "words": "errors, records, metric, console",
        "cli": "the command line",
        "tuner": "import tuner",
        "trainables": "six tasks",
    }
    module = MODULES.get(f"tuner.{name}") or MODULES.get(name)
    if name in told or module is None:
        return told.get(name, "")
    first = (ast.get_docstring(ast.parse(module.read_text())) or "").splitlines() or [""]
    return first[0].partition(":")[0].rstrip(".")


def draw(graph: dict[str, set[str]]) -> str:
    floor = floors(graph)
    top = max(floor.values())
    shown = direct(graph)
    place: dict[str, tuple[float, int]] = {}
    for level in range(top + 1):
        # Each above the middle of what it imports from: fewer lines cross.
        middle = {
            name: statistics.mean([place[below][0] for above, below in shown if above == name] or [WIDTH / 2])
            for name in graph
            if floor[name] == level
        }
        names = sorted(middle, key=lambda name: (middle[name], name))
        for index, name in enumerate(names):
            x = WIDTH * (index + 0.5) / len(names)
            place[name] = (x, 30 + (top - level) * FLOOR_H)
    height = 30 + top * FLOOR_H + BOX_H + 20
    lines = [
        f'<line x1="{place[a][0]:.0f}" y1="{place[a][1] + BOX_H}" x2="{place[b][0]:.0f}" y2="{place[b][1]}"/>'
        for a, b in sorted(shown)
    ]
    boxes = [
        f'<g class="{"trainables" if name.startswith("trainables") else "tuner"}">'
        f'<rect x="{x - BOX_W / 2:.0f}" y="{y}" width="{BOX_W}" height="{BOX_H}"/>'
        f'<text class="name" x="{x:.0f}" y="{y + 19}">{escape(name)}</text>'
        f'<text class="what" x="{x:.0f}" y="{y + 35}">{escape(_short(purpose(name)))}</text></g>'
        for name, (x, y) in place.items()
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *lines, *boxes, "</svg>", ""])


def _short(text: str) -> str:
    return text if len(text) <= 34 else f"{text[:33]}…"


def main() -> None:
    graph = arrows()
    (ROOT / "docs" / "explanation" / "architecture.svg").write_text(draw(graph))
    lengths = sorted(len(path.read_text().splitlines()) for path in MODULES.values())
    own = [name for name in graph if not name.startswith("trainables")]
    inner = {name: graph[name] & set(own) for name in own}
    print(f"tuner: {len(own)} rooms, {sum(map(len, inner.values()))} arrows, {max(floors(inner).values()) + 1} floors")
    print(f"with trainables: {len(graph)} rooms, {sum(map(len, graph.values()))} arrows")
    print(f"files: {len(lengths)}, median {statistics.median(lengths):.0f} lines, longest {lengths[-1]}")
    print(f"files at tuner/'s top: {len(list((ROOT / 'tuner').glob('*.py')))}")


if __name__ == "__main__":
    main()
