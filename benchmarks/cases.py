"""The cases from public bug reports, `../shared/cases`: runs each and judges what it printed.

    python -m benchmarks.cases [CASE ...] --folder DIR

Each case's output goes to `DIR/CASE.txt`; an output that is there already is judged as it is. Without names all cases
are run and judged, and the table goes to `benchmarks/results/cases.md`. An hour's third on two cores.

What is right in a case stands in `../shared/cases/README.md`; the checks hold that, not our wording.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import RESULTS, commit

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 900
# These would join another Ray cluster of the machine; in a folder of its own Ray finds none.
ALONE = ("21", "34", "53")

Check = Callable[[str], str | None]
"""What is wrong with an output, or None."""


@dataclass(frozen=True)
class Case:
    """One case: its title, and what must hold of what it prints."""

    title: str
    checks: tuple[Check, ...]


def printed(output: str) -> str:
    """An output without the script's own headings, which say what is looked for."""
    return re.sub(r"^=== .*$", "", output, flags=re.MULTILINE)


def has(*patterns: str) -> Check:
    """Each of these is in the output; `^` and `$` are a line's."""

    def check(output: str) -> str | None:
        lacking = [pattern for pattern in patterns if not re.search(pattern, printed(output), re.MULTILINE)]
        return f"lacks {', '.join(map(repr, lacking))}" if lacking else None

    return check


def lacks(*patterns: str) -> Check:
    """None of these is in the output."""

    def check(output: str) -> str | None:
        found = [pattern for pattern in patterns if re.search(pattern, printed(output), re.MULTILINE)]
        return f"has {', '.join(map(repr, found))}" if found else None

    return check


def times(count: int, pattern: str) -> Check:
    """Exactly `count` matches."""

    def check(output: str) -> str | None:
        found = len(re.findall(pattern, printed(output), re.MULTILINE))
        return None if found == count else f"{found} of {pattern!r} instead of {count}"

    return check


def under(heading: str, *checks: Check) -> Check:
    """The checks hold in the part of the output below this `=== ` heading."""

    def check(output: str) -> str | None:
        for part in re.split(r"^=== ", output, flags=re.MULTILINE):
            title, _, body = part.partition("\n")
            if title.startswith(heading):
                problems = [f"under {heading!r}: {problem}" for one in checks if (problem := one(body))]
                return "; ".join(problems) or None
        return f"no part {heading!r}"

    return check


# What no user is to see, whatever the case.
NO_TRACEBACK = lacks(
    r"^Traceback \(most recent call last\)", "MarkupError", "Unicode(En|De)codeError", "BrokenPipeError: "
)

CASES = {
    "01": Case(
        "numbers in scientific notation",
        (
            has(r"'lr': \([\d.e-]+, 'float'\)", r"'wd': \([\d.e-]+, 'float'\)", r"'clip': \(0\.001, 'float'\)"),
            under(
                "check", has(r"1e-5f.*", r"(?i)quote|text"), times(1, r"\[exit code 0\]"), times(2, r"\[exit code 2\]")
            ),
        ),
    ),
    "03": Case(
        "names with dots, slashes, spaces, umlauts",
        (
            under("check", times(3, "is right")),
            has(r"best: val/loss=", r"^  train\.trainer\.optimizer\.lr: 1e-05", "'train.use momentum'"),
            lacks("failed"),
        ),
    ),
    "04": Case(
        "null, None, yes/no, empty",
        (
            under("check", has(r"null.*more than once", r"\{value: null\}", "None is a text", "yes is a text")),
            has(r"'dropout': \(None, 'NoneType'\)", r"'bias': \(None, 'NoneType'\)"),
        ),
    ),
    "05": Case(
        "the same value twice",
        (
            under("check", times(1, r"\[exit code 2\]"), times(7, r"more than once|can't tell apart")),
            has(r"'clip': \(1, 'int'\)", r"'text': \('1', 'str'\)"),
        ),
    ),
    "06": Case(
        "whole-number bounds",
        (
            under("check", has(r"(?i)dropout.*(0 and 1|0 or 1|integer)")),
            has(r"'keep': \(0\.\d+, 'float'\)", r"'width': \(\d+, 'int'\)"),
        ),
    ),
    "08": Case(
        "steps",
        (
            under("grid", has("9 completed")),
            under("bayes", lacks(r"0\.30000000000000004")),
            *(has(rf"'x': \({x}, 'float'\), 'n': \({n}, 'int'\)") for x in (0.2, 0.5, 0.8) for n in (1, 5, 9)),
        ),
    ),
    "09": Case(
        "conditional chains",
        (
            under("grid", has("8 trials: 8 completed")),
            times(3, r"'model': \('svd', 'str'\), 'n_components'"),
            times(1, r"\{'model': \('none', 'str'\)\}"),
            times(4, r"'model': \('net', 'str'\)"),
            lacks(r"'sched': \((None|\{'kind': 'cosine').*'gamma'"),
        ),
    ),
    "10": Case("PBT within bounds", (has(r"\{'completed': 2\}"), lacks("OUT OF DOMAIN", "failed"))),
    "11": Case(
        "values with special characters",
        (
            under(
                "show",
                has(
                    r"\[mask\]",
                    r"\[/data/raw\]",
                    r"\[/INST\]",
                    r":x: :heart:",
                    r"\[true, false\]",
                    r"two\\nlines",
                    r"\\x1b\[31mred|\\u001b\[31mred",
                ),
                times(3, r"\[exit code 0\]"),
            ),
            under("folders", has(r"\[old\]/runs")),
            under("metric", has(r"\[val\] acc")),
        ),
    ),
    "15": Case(
        "metric names that tools use themselves",
        (has("6 trials: 5 completed, 1 pruned|6 trials: 6 completed", "13 trials: 13 completed"), lacks(r"\d+ failed")),
    ),
    "17": Case(
        "the metric is not there at each step",
        (
            under(
                "every second",
                has(r"\[exit code 2\]", "(?i)only at|at those steps|steps alone", "cannot access 'runs'"),
            ),
            under("missing later", has(r"failed \(error\), 4 steps")),
            under("in strides", has("6 trials: 5 completed, 1 pruned")),
        ),
    ),
    "19": Case(
        "-inf and NaN",
        (
            under("check", has("(?i)-inf.*(text|string)")),
            under(
                "some trials",
                has(r"failed \(nan\), 1 steps?", "elbo is -inf at step 1", "12 trials: 9 completed, 3 failed"),
            ),
            under("with this seed", has("12 trials"), lacks("alike")),
            under("all of them", has(r"12 trials: 12 failed", r"\[exit code 1\]"), lacks("alike")),
        ),
    ),
    "21": Case(
        "partial and callable objects",
        (
            under("from Python", lacks("AttributeError", "FAILED")),
            has(r"a class: (SpecError|TypeError): .*class"),
            times(5, r"^RAN .*\{'completed': 2\}"),
        ),
    ),
    "22": Case(
        "methods, async, Ray's own loops",
        (
            under("check: a method", has(r"method", r"\[exit code 2\]"), times(2, r"\[exit code 0\]")),
            under("check: an async", has("async"), times(2, r"\[exit code 2\]")),
            under("run", has("(?i)config")),
        ),
    ),
    "23": Case("signal handlers", (has(r"(README|docs/.*)\.md.*thread"),)),
    "24": Case(
        "argparse at import",
        (
            under("check", has("(?i)command line"), lacks(r"^usage: ")),
            under("run", has("2 trials: 2 completed")),
            under("python main.py", has("(?i)exit|argparse|command line"), lacks("is tried again", r"exit code 124")),
        ),
    ),
    "26": Case("modules named as libraries", (lacks("ImportError: "), has(r"ray\.py"))),
    "27": Case(
        "large or unpicklable captures",
        (
            under("128 MB", lacks("Tracked actor"), has(r"trial\.shared|'completed': 2")),
            under("what can't", has("LOCK|lock", "LINES|generator"), lacks(r"^uses_", r"^train-")),
        ),
    ),
    "29": Case(
        "ways to leave a loop",
        (
            has(
                "exit code 3|status 3",
                "SIGABRT|signal 6|Aborted",
                "SIGSEGV|signal 11|Segmentation",
                "SystemExit: the data",
                r"0004.* 1 +1 +1 ",
                r"failed \(nan\), 2 steps",
            ),
            lacks(r"trial 0004 is tried again", r"exit code 124"),
        ),
    ),
    "30": Case("processes inside of a trial", (has("10 completed"), lacks(r"exit code 124", "failed"))),
    "33": Case(
        "what is in a checkpoint",
        (
            # The script compares texts; a number of numpy's comes back as a number that equals it.
            under(
                "what was saved",
                has(r"^np_scalar (same|\{'best_acc': 0\.5\})$", r"^schedulers same$"),
                lacks(r"^(?!np_scalar )\w+ (?!same$)"),
            ),
        ),
    ),
    "34": Case("PBT and the optimizer's state", (has(r"(README|docs/.*)\.md"), has("(?i)lr"))),
    "35": Case(
        "resume with another space",
        (
            lacks("ValueError", "pending"),
            under("other bounds", has("start_from")),
            under("a parameter less", has("start_from")),
            under("the user's own", has(r"\[exit code 2\]", "parameters")),
            under("start_from", has(r"\[exit code 0\]")),
        ),
    ),
    "36": Case(
        "moved and copied run folders", (under("read only", has("(?i)read-only|can't be written"), lacks("OSError: ")),)
    ),
    "37": Case("killed in the middle", (has(r"20 True"), lacks(r"metrics\.jsonl \d+ False"))),
    "39": Case(
        "long TMPDIR",
        (
            lacks("AF_UNIX", "OSError: "),
            times(3, r"\[exit code [02]\]"),
            under("TMPDIR that is not", has(r"\[exit code 0\]")),
        ),
    ),
    "40": Case("proxy variables", (times(2, r"\[exit code 0\]"),)),
    "41": Case(
        "RAY_ADDRESS of a cluster that is gone",
        (has("RAY_ADDRESS"), lacks("error: --address"), lacks(r"real\s+([1-9]m|0m[3-9]\d)")),
    ),
    "43": Case(
        "cron, containers", (lacks("FileNotFoundError", "AttributeError"), under("stdout closed", has("exit code 0")))
    ),
    "44": Case("ASCII or latin-1 output", (has(r"exit code 0"), lacks(r"\[exit code [12]\]"))),
    "48": Case(
        "target at the first report",
        (has("target", r"trial 0000, step 1"), lacks(r"\[exit code [1-9]")),
    ),
    "51": Case("no network", (lacks(r"\[exit code (124|137)\]"), under("no network but", has(r"\[exit code 0\]")))),
    "53": Case(
        "head, and a closed terminal",
        (
            lacks("StorageError", r"exit codes [2-9]"),
            under("the terminal is closed", lacks("state: crashed"), has("resume")),
            under("piped into", has("trials: 6|6 completed")),
        ),
    ),
}


def judge(name: str, output: str) -> list[str]:
    """What is wrong with the output of a case; empty if it is right."""
    return [problem for check in (NO_TRACEBACK, *CASES[name].checks) if (problem := check(output))]


def run_case(name: str, cases: Path, folder: Path) -> str:
    """What the case printed: in the folder, if it was run before, or now."""
    path = folder / f"{name}.txt"
    if not path.exists():
        environment = {**os.environ, "TUNER_VENV": str(Path(sys.prefix)), "PROJECT": str(ROOT)}
        command = ["bash", str(cases / name / "run.sh")]
        with (
            path.with_suffix(".part").open("wb") as file,
            tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as ray,
        ):
            if name in ALONE:
                environment["RAY_TMPDIR"] = ray
            subprocess.run(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False
            )
        path.with_suffix(".part").replace(path)
    return path.read_text(errors="replace")


def rows(names: list[str], cases: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    for name in names:
        problems = judge(name, run_case(name, cases, folder))
        print(name, CASES[name].title, "-", "; ".join(problems) or "right", flush=True)
        yield name, problems


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs and judges the cases from public bug reports.")
    parser.add_argument("case", nargs="*")
    parser.add_argument("--cases", type=Path, default=ROOT.parent / "shared" / "cases")
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    judged = dict(rows(given.case or sorted(CASES), given.cases.resolve(), given.folder))
    right = sum(not problems for problems in judged.values())
    print(f"{right} of {len(judged)} are right")
    if not given.case:
        lines = [
            f"# The cases at {commit()}: {right} of {len(judged)} are right",
            "",
            "| case | what | judged |",
            "|---|---|---|",
        ]
        lines += [f"| {name} | {CASES[name].title} | {'; '.join(wrong) or 'right'} |" for name, wrong in judged.items()]
        (RESULTS / "cases.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
