"""Writes a sweep's TensorBoard files: each trial's curves, and the HParams table, complete from the first minute.

Uses TensorBoard's own protocol buffers and record framing, in the caller's thread; a report takes about 20
microseconds.
"""

import contextlib
import json
import os
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

# Not tensorboard.plugins.hparams.summary, whose functions would do, because it imports tensorflow.
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from tuner.records import Report, TrialState
from tuner.run_folder.layout import SCRATCH_FILE
from tuner.spec.domains import Choice, Constant, Domain, Float, Int
from tuner.spec.space import Parameter, SearchSpace

EXPERIMENT_FILE = "events.out.tfevents.0000000000.experiment"

# A record has, beside its data, its length and checksums of both.
_RECORD_BYTES = 16

# Since this version of the format, SessionLog.START means that steps come again.
FILE_VERSION = "brain.Event:2"

# The page filters more numbers than this by a range, fewer by a checkbox for each.
MAX_BOXES = 32

_BOOL, _NUMBER, _TEXT = api_pb2.DATA_TYPE_BOOL, api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_STRING
_FIELDS = {_BOOL: "bool_value", _NUMBER: "number_value", _TEXT: "string_value"}

_STATUS = {
    TrialState.COMPLETED: api_pb2.STATUS_SUCCESS,
    TrialState.PRUNED: api_pb2.STATUS_SUCCESS,
    TrialState.STOPPED: api_pb2.STATUS_SUCCESS,
    TrialState.FAILED: api_pb2.STATUS_FAILURE,
}


class EventLog:
    """The event file of one trial, a new file each time it is opened; `path` is the trial's folder.

    Everything written is visible at once. TensorBoard keeps values in single precision. Pass the sweep's `space` to
    give values the same types as in `write_experiment`.
    """

    def __init__(self, path: Path, space: SearchSpace | None = None, *, file_name: str | None = None) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._name = path.name
        self._types = {item.name: _data_type(item.domain) for item in space.parameters} if space else {}
        self._records = RecordWriter((path / (file_name or _new_file_name())).open("wb"))

    @staticmethod
    def rewrite(
        path: Path,
        params: Mapping[str, Any],
        reports: Sequence[Report],
        state: TrialState | None = None,
        space: SearchSpace | None = None,
    ) -> None:
        """Replace a trial's event files by one with exactly these reports, as after a crash.

        No `EventLog` of the folder may be open; open one afterwards for further reports. A final `state` also writes
        the end.
        """
        old = sorted(path.glob("*tfevents*"))
        with contextlib.closing(EventLog(path, space, file_name=SCRATCH_FILE)) as log:
            log.start(params, reports[0].timestamp - reports[0].time_s if reports else None)
            log.add(reports)
            log.end(state or TrialState.RUNNING, reports[-1].timestamp if reports else None)
        (path / SCRATCH_FILE).replace(path / _new_file_name())
        for item in old:
            # Emptied now, and removed only next time: TensorBoard never gets past a file that vanishes while it
            # reads it, but after one without more records it continues with the next name.
            if item.stat().st_size == 0:
                item.unlink()
            else:
                os.truncate(item, 0)

    def start(self, params: Mapping[str, Any], timestamp: float | None = None) -> None:
        """Add the trial to the HParams table, as running. `timestamp` is its start, now by default."""
        timestamp = time.time() if timestamp is None else timestamp
        self._write(wall_time=timestamp, file_version=FILE_VERSION)
        # Makes a TensorBoard that is open during `rewrite` forget the steps it has read.
        self._write(wall_time=timestamp, step=1, session_log=SessionLog(status=SessionLog.START))
        # Each trial has its own group, so that trials with equal parameters don't share a row.
        info = SessionStartInfo(group_name=self._name, start_time_secs=timestamp)
        for name, value in params.items():
            data_type = self._types.get(name) or _common_type([value])
            setattr(info.hparams[name], _FIELDS[data_type], _shown(value, data_type))
        data = HParamsPluginData(session_start_info=info)
        self._write(wall_time=timestamp, summary=_hparams_summary(metadata.SESSION_START_INFO_TAG, data))
        self.flush()

    def add(self, reports: Iterable[Report]) -> None:
        """Write all metrics of each report, NaN and infinity included, under their own names."""
        for report in reports:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in report.metrics.items()]
            self._write(wall_time=report.timestamp, step=report.step, summary=Summary(value=values))
        self.flush()

    def end(self, state: TrialState, timestamp: float | None = None) -> None:
        """Write the trial's end to the HParams table; a state that is not final writes nothing."""
        if not state.is_final:
            return
        timestamp = time.time() if timestamp is None else timestamp
        info = SessionEndInfo(status=_STATUS[state], end_time_secs=timestamp)
        data = HParamsPluginData(session_end_info=info)
        self._write(wall_time=timestamp, summary=_hparams_summary(metadata.SESSION_END_INFO_TAG, data))
        self.flush()

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _write(self, **fields: Any) -> None:
        self._records.write(Event(**fields).SerializeToString())


def write_experiment(path: Path, space: SearchSpace, metrics: Sequence[str]) -> None:
    """Describe the sweep for the HParams page: the columns of its table, and the domains to filter by.

    Args:
        path: the folder that holds the trials' folders. A new call replaces the earlier description.
        metrics: the names of the metrics that get a column.
    """
    path.mkdir(parents=True, exist_ok=True)
    now = time.time()
    experiment = api_pb2.Experiment(
        hparam_infos=[_hparam_info(parameter, metrics) for parameter in space.parameters],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in metrics],
        time_created_secs=now,
    )
    summary = _hparams_summary(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))
    scratch = path / SCRATCH_FILE
    with contextlib.closing(RecordWriter(scratch.open("wb"))) as records:
        records.write(Event(wall_time=now, summary=summary).SerializeToString())
    scratch.replace(path / EXPERIMENT_FILE)


def is_whole(path: Path) -> bool:
    """Whether there is an event file that ends with a complete record; does not check the records' content."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    end = 0
    while len(data) - end >= _RECORD_BYTES:
        (length,) = struct.unpack_from("<Q", data, end)
        end += length + _RECORD_BYTES
    return end == len(data) > 0


def _hparams_summary(tag: str, data: Any) -> Any:
    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _hparam_info(parameter: Parameter, metrics: Sequence[str]) -> Any:
    """A column of the table. Parameters that vary come first on the page, constants last.

    A parameter with a metric's name gets a heading that distinguishes it.
    """
    domain, data_type = parameter.domain, _data_type(parameter.domain)
    varies = not isinstance(domain, Constant)
    info = api_pb2.HParamInfo(name=parameter.name, type=data_type, differs=varies)
    if parameter.name in metrics:
        info.display_name = f"{parameter.name} (parameter)"
    values = _values(domain)
    if isinstance(domain, Float | Int) or (data_type == _NUMBER and len(values) > MAX_BOXES):
        info.domain_interval.min_value, info.domain_interval.max_value = min(values), max(values)
    else:
        info.domain_discrete.extend([_shown(value, data_type) for value in values])
    return info


def _data_type(domain: Domain) -> int:
    return _common_type(_values(domain))


def _values(domain: Domain) -> Sequence[Any]:
    """All values of a domain, or the ends of a range."""
    if isinstance(domain, Float | Int):
        return (domain.low, domain.high)
    return domain.values if isinstance(domain, Choice) else (domain.value,)


def _common_type(values: Sequence[Any]) -> int:
    """The type for all values; text if their types differ, or if the page does not support them."""
    if all(isinstance(value, bool) for value in values):
        return int(_BOOL)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return int(_NUMBER)
    return int(_TEXT)


def _shown(value: Any, data_type: int) -> Any:
    """A value for the page; text is as in the sweep file: `null`, `true`, `[64, 64]`."""
    if data_type != _TEXT or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _new_file_name() -> str:
    """A name that sorts after all earlier ones: TensorBoard reads a folder's files in that order."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"events.out.tfevents.{seconds:010d}.{nanoseconds:09d}.tuner"
