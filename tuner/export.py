"""`tuner export` and `tuner predict`: write the best model of a sweep to a folder, and use it from there.

The folder needs neither the sweep nor its data. `model.pt2` and `model.onnx` do not need the model's code either.
"""

import contextlib
import inspect
import io
import json
import logging
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch

from tuner.errors import ControlError, ExportError, SpecError
from tuner.results.best import Best
from tuner.results.results import Results
from tuner.run_folder.marker import new_marker, write_marker
from tuner.run_folder.provenance import versions
from tuner.run_folder.trial_files import finite, read_json, write_atomic
from tuner.spec.trainable import import_trainable
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.portable import EXPORT_FILE, PROGRAM_FILE, Model, Portable, load_exported, read_exported

WEIGHTS_FILE, ONNX_FILE = "model.safetensors", "model.onnx"
# The allowed difference of an exported model's outputs, relative to the largest output.
TOLERANCE = 1e-4
_FOR_ONNX = ("onnx", "onnxscript", "onnxruntime")


def export_best(results: Results, to: Path, *, onnx: bool = True) -> dict[str, Any]:
    """Write the best model of a sweep to the new folder `to`: weights, config, program, ONNX; return its facts.

    Runs the program and the ONNX file on examples and compares them with the model. Uses the function
    `export(params, state)` of the trainable's module.

    Raises `ControlError` if there is nothing to export or `to` is taken, `SpecError` if the trainable has no `export`,
    `ExportError` if the model can't be exported or an exported one gives other outputs.
    """
    best = results.best
    if best is None or best.checkpoint is None:
        raise ControlError(f"{results.place}: there is no best checkpoint to export; trials save one with `state=`.")
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise ControlError(f"{to} exists already and is not empty; name a new folder.")
    _check_installed(onnx)
    make = _function_of(results.spec.trainable, "export", "export(params, state) that gives a Portable")
    state, _ = load_checkpoint(results.bring(best.checkpoint))
    try:
        portable: Portable = make(best.params, state)
    except ValueError as error:
        number = best.trial.number
        raise ControlError(f"trainable {results.spec.trainable} can't export trial {number}: {error}") from error
    return write_model(portable, _told(results, best), to, onnx=onnx)


def write_model(portable: Portable, told: Mapping[str, Any], to: Path, *, onnx: bool) -> dict[str, Any]:
    """Write a model to the new folder `to`, atomically; return `told` with the `largest_difference`."""
    to.parent.mkdir(parents=True, exist_ok=True)
    scratch = to.with_name(f".{to.name}.{secrets.token_hex(4)}.tmp")
    scratch.mkdir()
    try:
        all_told = {**told, "largest_difference": _write(portable, scratch, onnx)}
        if portable.save_files is not None:
            portable.save_files(scratch)
        config = {**all_told, "config": dict(portable.config)}
        write_atomic(scratch / EXPORT_FILE, json.dumps(config, indent=2) + "\n")
        write_marker(scratch, new_marker("export", to.name))
        try:
            scratch.replace(to)  # an empty folder may be there
        except OSError:
            raise ControlError(f"{to} is not empty any more; name a new folder.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return all_told


def predict(folder: Path, inputs: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield an exported model's prediction for each input, in order, by `predict` of its trainable's module.

    Each has the key `input`, which is the input itself unless `predict` names another.

    Raises `ControlError` if `folder` is not an exported model or an input can't be used, `SpecError` if its trainable
    has no `predict`.
    """
    try:
        trainable = read_exported(folder)["trainable"]
    except ValueError as error:
        raise ControlError(f"{error}.") from error
    use = _function_of(trainable, "predict", "predict(config, model, inputs)")
    config, model = load_exported(folder)
    try:
        told = iter(use(config, model, inputs))
        for given in chain(inputs, repeat("")):  # a file may hold several rows
            with torch.no_grad():  # not around the yield, for the caller's sake
                if (one := next(told, None)) is None:
                    return
            yield {"input": given, **one}
    except ValueError as error:
        raise ControlError(f"these inputs can't be used: {error}") from error


def _function_of(trainable: str, name: str, signature: str) -> Callable[..., Any]:
    module = inspect.getmodule(import_trainable(trainable, Path.cwd()))
    found: Callable[..., Any] | None = getattr(module, name, None)
    if found is None:
        told = f"trainable {trainable}: its module has no {signature}; add it, as docs/guides/export.md has it."
        raise SpecError([told])
    return found


def _check_installed(onnx: bool) -> None:
    missing = [package for package in ("safetensors", *(_FOR_ONNX if onnx else ())) if find_spec(package) is None]
    if missing:
        without = " Without ONNX, --no-onnx, safetensors is enough." if onnx else ""
        raise ControlError(f"export needs {', '.join(missing)}: pip install {' '.join(missing)}.{without}")


def _write(portable: Portable, folder: Path, onnx: bool) -> dict[str, float]:
    """Write the model in all forms; return the largest difference of the outputs of each program."""
    from safetensors.torch import save_model

    save_model(portable.model, str(folder / ".weights"))
    # safetensors makes its files readable by their owner only; a copy is as readable as the files beside it.
    shutil.copyfile(folder / ".weights", folder / WEIGHTS_FILE)
    (folder / ".weights").unlink()
    inputs = tuple(portable.inputs.values())
    dynamic = tuple(
        dict.fromkeys(portable.sizes.get(name, {}), torch.export.Dim.DYNAMIC) or None for name in portable.inputs
    )
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(portable.model, inputs, dynamic_shapes=dynamic)
            torch.export.save(program, folder / PROGRAM_FILE)
    except Exception as error:
        raise ExportError(f"torch.export can't follow the model: {_line(error)}") from error
    differences = {PROGRAM_FILE: _check(PROGRAM_FILE, portable, torch.export.load(folder / PROGRAM_FILE).module())}
    if onnx:
        try:
            with _quiet():
                converted = torch.onnx.export(program, input_names=list(portable.inputs), output_names=["output"])
                assert converted is not None
                converted.save(folder / ONNX_FILE)
        except Exception as error:
            raise ExportError(f"the model can't be written as ONNX: {_line(error)}; --no-onnx leaves it out") from error
        differences[ONNX_FILE] = _check(ONNX_FILE, portable, _onnx_model(folder / ONNX_FILE, list(portable.inputs)))
    return differences


def _onnx_model(path: Path, names: Sequence[str]) -> Model:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        values = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, values)[0])

    return run


@torch.no_grad()
def _check(name: str, portable: Portable, exported: Model) -> float:
    """The largest difference between the outputs of the model and the exported one, for all rows and for one alone."""
    largest = 0.0
    for rows in (slice(None), slice(0, 1)):
        inputs = [value[rows] if 0 in portable.sizes.get(key, {}) else value for key, value in portable.inputs.items()]
        wanted, found = portable.model(*inputs), exported(*inputs)
        difference = float((found - wanted).abs().max())
        if found.shape != wanted.shape or not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):
            raise ExportError(f"{name} gives other outputs than the model: they differ by up to {difference:g}")
        largest = max(largest, difference)
    return largest


def _told(results: Results, best: Best) -> dict[str, Any]:
    """The model's origin."""
    test = read_json(results.folder / "best" / "test.json")
    is_of_best = (test.get("trial"), test.get("step")) == (best.trial.number, best.step)
    return {
        "trainable": results.spec.trainable,
        "sweep": str(results.place),
        "trial": best.trial.number,
        "step": best.step,
        "params": dict(best.params),
        "metrics": {name: finite(value) for name, value in best.metrics.items()},
        "test": {name: value for name, value in test.items() if name not in ("trial", "step")} if is_of_best else {},
        "versions": versions(),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporters' progress and warnings, which are about their internals."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
