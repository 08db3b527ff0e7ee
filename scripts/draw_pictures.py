"""Draws the pictures of README and docs/ from a real sweep: python scripts/draw_pictures.py [RUN_DIR].

docs/images/terminal.svg is the table that the first sweep shows on its way; docs/images/early_stopping.svg its curves.
With RUN_DIR the second one alone is drawn, from a sweep that was run before.
"""

import io
import math
import sys
import tempfile
from html import escape
from pathlib import Path

import rich.console
from rich.text import Text

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tuner import Results, Sweep  # noqa: E402
from tuner.console import LineConsole, SweepView, render  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SPEC = ROOT / "search_spaces" / "digits.yaml"
# The view that is drawn is the first one with so many trials ended.
SHOWN_AFTER = 60
RUNGS, LAST = (1, 3, 9), 18
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 20, 46, 46
LOW, HIGH = 0.003, 1.0
STYLE = """
svg { font-family: system-ui, sans-serif; background: #fff }
text { fill: #1b2a41; font-size: 12px } .small { font-size: 11px } .axis { stroke: #9aa5b5 }
.rung { stroke: #c9833a; stroke-dasharray: 4 4 } .rung-text { fill: #a8621a }
.pruned { stroke: #8fa3bf; fill: none; opacity: .75 } .pruned-dot { fill: #8fa3bf }
.completed { stroke: #1f66c1; fill: none; stroke-width: 1.6 } .best { stroke: #16803c; fill: none; stroke-width: 2.6 }
.best-text { fill: #16803c }
@media (prefers-color-scheme: dark) {
  svg { background: #14181f } text { fill: #e6ebf4 } .axis { stroke: #6a7384 }
  .rung { stroke: #d49a5a } .rung-text { fill: #e0ac72 }
  .pruned { stroke: #5f7390 } .pruned-dot { fill: #5f7390 } .completed { stroke: #6ea8ff }
  .best { stroke: #4cc77a } .best-text { fill: #4cc77a }
}
"""


def run(output: str) -> tuple[Results, SweepView]:
    """The first sweep, and what it showed once `SHOWN_AFTER` trials had ended."""
    views: list[SweepView] = []
    shown = LineConsole.update

    def keep(console: LineConsole, view: SweepView) -> None:
        views.append(view)
        shown(console, view)

    LineConsole.update = keep  # type: ignore[method-assign]
    results = Sweep.from_file(SPEC, output=output).run()
    return results, next(
        view
        for view in views
        if sum(count for state, count in view.counts.items() if state.is_final) >= SHOWN_AFTER
        and all(trial.value is not None for trial in view.running)
        and len(view.running) == view.slots
    )


def draw_terminal(view: SweepView, folder: Path) -> None:
    console = rich.console.Console(record=True, width=112, height=30, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ tuner run {SPEC.relative_to(ROOT)}"))
    heading = Text("digits", style="bold").append(f"  runs/{folder.name}", style="not bold")
    console.print(render(view, heading, console))
    IMAGES.mkdir(exist_ok=True)
    console.save_svg(str(IMAGES / "terminal.svg"), title="tuner")


def place(step: float, value: float) -> tuple[float, float]:
    """Where a point lies; errors on a logarithmic scale, small ones at the bottom."""
    x = LEFT + (step - 1) / (LAST - 1) * (WIDTH - LEFT - RIGHT)
    error = min(max(1 - value, LOW), HIGH)
    share = math.log(error / LOW) / math.log(HIGH / LOW)
    return x, HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def draw_curves(results: Results) -> None:
    best = results.best
    assert best is not None
    lines = []
    for rung in RUNGS:
        x, _ = place(rung, 0)
        lines.append(f'<line class="rung" x1="{x:.0f}" y1="{TOP - 8}" x2="{x:.0f}" y2="{HEIGHT - BOTTOM}"/>')
        lines.append(f'<text class="small rung-text" x="{x + 4:.0f}" y="{TOP - 12}">rung: step {rung}</text>')
    for error in (0.01, 0.03, 0.1, 0.3, 1.0):
        _, y = place(1, 1 - error)
        lines.append(f'<text class="small" text-anchor="end" x="{LEFT - 8}" y="{y + 4:.0f}">{error:g}</text>')
    base = HEIGHT - BOTTOM
    lines.append(f'<line class="axis" x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>')
    for step in (1, 3, 6, 9, 12, 15, 18):
        x, _ = place(step, 0)
        lines.append(f'<text class="small" text-anchor="middle" x="{x:.0f}" y="{base + 18}">{step}</text>')
    lines.append(f'<text text-anchor="end" x="{WIDTH - RIGHT}" y="{HEIGHT - 10}">step (epoch)</text>')
    lines.append(f'<text x="{LEFT - 44}" y="16">validation error, logarithmic</text>')
    order = sorted(results.trials, key=lambda trial: (trial.number == best.trial.number, trial.state.value != "pruned"))
    for trial in order:
        points = [place(step, value) for step, value in sorted(trial.curve.items())]
        if not points:
            continue
        kind = "best" if trial.number == best.trial.number else trial.state.value
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(f'<polyline class="{escape(kind)}" points="{path}"/>')
        if kind == "pruned":
            lines.append(f'<circle class="pruned-dot" cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="2.6"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
    (IMAGES / "early_stopping.svg").write_text("\n".join([head, f"<style>{STYLE}</style>", *lines, "</svg>", ""]))
    lengths = [len(trial.curve) for trial in results.trials]
    print(results.counts(), "steps", sum(lengths), "of", LAST * len(lengths))
    print({step: sum(length >= step for length in lengths) for step in (*RUNGS, LAST)})


def main() -> None:
    if len(sys.argv) > 1:
        draw_curves(Results.read(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as output:
        results, view = run(output)
        draw_terminal(view, Path(results.folder))
        draw_curves(results)


if __name__ == "__main__":
    main()
