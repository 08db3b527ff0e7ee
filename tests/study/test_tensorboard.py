"""Event files, read back with TensorBoard's own reader, its HParams backend and, once, in a browser."""

import contextlib
import itertools
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.data.provider import ListHyperparametersResult
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from tuner.records import Report, TrialState
from tuner.spec.domains import Choice, Constant, Float, Int
from tuner.spec.space import Parameter, SearchSpace
from tuner.study.tensorboard import EventLog, write_experiment

CHROMIUM = shutil.which("chromium")

SPACE = SearchSpace(
    (
        Parameter("optimizer", Choice(("sgd", "adamw"))),
        Parameter("lr", Float(1e-4, 1.0, log=True)),
        Parameter("momentum", Float(0.5, 0.99), {"optimizer": ("sgd",)}),
        Parameter("layers", Int(1, 4)),
        Parameter("channels", Choice((16, 32, 64))),
        Parameter("nesterov", Choice((True, False))),
        Parameter("dropout", Choice((None, 0.1, "auto", True))),
        Parameter("widths", Choice(([64, 64], [32]))),
        Parameter("crop", Choice(tuple(range(100)), grid=True)),
        Parameter("batch_size", Constant(128)),
    )
)
PARAMS = {
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "layers": 2,
    "channels": 32,
    "nesterov": True,
    "dropout": 0.1,
    "widths": [64, 64],
    "crop": 7,
    "batch_size": 128,
}
HPARAMS = PARAMS | {"dropout": "0.1", "widths": "[64, 64]"}
STATES = [None, TrialState.COMPLETED, TrialState.PRUNED, TrialState.STOPPED, TrialState.FAILED]


def reports(steps: range, **more: float) -> list[Report]:
    return [
        Report(
            step,
            {"val_accuracy": step / 100, "loss": 1 / step} | more,
            time_s=float(step),
            timestamp=1e9 + step,
        )
        for step in steps
    ]


def write_trial(root: Path, number: int, state: TrialState | None, **changes: Any) -> EventLog:
    log = EventLog(root / f"{number:04d}", SPACE)
    log.start(PARAMS | changes, timestamp=1e9)
    log.add(reports(range(1, 4 + number)))
    if state is not None:
        log.end(state, timestamp=1e9 + 50)
        log.close()
    return log


def curve(path: Path, tag: str) -> list[tuple[int, float, float]]:
    """(step, value, wall time) of every event, as the files hold them and with nothing left out or purged."""
    return [
        (
            event.step,
            value.tensor.float_val[0] if value.tensor.float_val else value.simple_value,
            event.wall_time,
        )
        for file in sorted(path.glob("*tfevents*"))
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.tag == tag
    ]


class Board:
    """What TensorBoard's backend makes of a folder."""

    def __init__(self, root: Path) -> None:
        self.events = EventMultiplexer().AddRunsFromDirectory(str(root)).Reload()
        provider = MultiplexerDataProvider(self.events, str(root))
        self._context = Context(TBContext(multiplexer=self.events, data_provider=provider))

    def experiment(self) -> dict[str, Any]:
        found = self._context.hparams_metadata(RequestContext(), "")
        none = ListHyperparametersResult(hyperparameters=[], session_groups=[])
        return as_dict(self._context.experiment_from_metadata(RequestContext(), "", True, found, none))

    def groups(self, *columns: api_pb2.ColParams) -> dict[str, dict[str, Any]]:
        request = api_pb2.ListSessionGroupsRequest(
            col_params=columns, allowed_statuses=api_pb2.Status.values(), slice_size=1000
        )
        response = Handler(RequestContext(), self._context, "", request).run()
        return {group["name"]: group for group in as_dict(response).get("sessionGroups", [])}


def as_dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message)


def test_every_step_of_every_metric_stands_in_the_file(tmp_path):
    log = EventLog(tmp_path / "0007", SPACE)
    log.start(PARAMS)
    for report in reports(range(1, 3000)):
        log.add([report])
    log.close()
    assert curve(tmp_path / "0007", "val_accuracy") == [
        (step, pytest.approx(step / 100), 1e9 + step) for step in range(1, 3000)
    ]
    assert len(curve(tmp_path / "0007", "loss")) == 2999
    assert set(Board(tmp_path).events.Runs()["0007"]["tensors"]) >= {"val_accuracy", "loss"}


def test_values_that_are_no_number_are_kept(tmp_path):
    log = EventLog(tmp_path / "0000", SPACE)
    log.add(reports(range(1, 2), a=math.nan, b=math.inf, c=-math.inf, d=1e300))
    log.close()
    values = {tag: curve(tmp_path / "0000", tag)[0][1] for tag in "abcd"}
    assert math.isnan(values["a"])
    assert (values["b"], values["c"], values["d"]) == (math.inf, -math.inf, math.inf)


def test_the_experiment_tells_each_domain_and_the_metrics(tmp_path):
    write_experiment(tmp_path, SPACE, ["val_accuracy", "loss"])
    experiment = Board(tmp_path).experiment()
    text, number, boolean = "DATA_TYPE_STRING", "DATA_TYPE_FLOAT64", "DATA_TYPE_BOOL"
    assert {info.pop("name"): info for info in experiment["hparamInfos"]} == {
        "optimizer": {"type": text, "domainDiscrete": ["sgd", "adamw"], "differs": True},
        "lr": {"type": number, "domainInterval": {"minValue": 1e-4, "maxValue": 1.0}, "differs": True},
        "momentum": {"type": number, "domainInterval": {"minValue": 0.5, "maxValue": 0.99}, "differs": True},
        "layers": {"type": number, "domainInterval": {"minValue": 1.0, "maxValue": 4.0}, "differs": True},
        "channels": {"type": number, "domainDiscrete": [16.0, 32.0, 64.0], "differs": True},
        "nesterov": {"type": boolean, "domainDiscrete": [True, False], "differs": True},
        "dropout": {"type": text, "domainDiscrete": ["null", "0.1", "auto", "true"], "differs": True},
        "widths": {"type": text, "domainDiscrete": ["[64, 64]", "[32]"], "differs": True},
        "crop": {"type": number, "domainInterval": {"maxValue": 99.0}, "differs": True},
        "batch_size": {"type": number, "domainDiscrete": [128.0]},
    }
    assert experiment["metricInfos"] == [{"name": {"tag": "val_accuracy"}}, {"name": {"tag": "loss"}}]


def test_a_parameter_that_is_named_as_a_metric_has_another_heading(tmp_path):
    write_experiment(tmp_path, SPACE, ["dropout", "loss"])
    headings = {info["name"]: info.get("displayName") for info in Board(tmp_path).experiment()["hparamInfos"]}
    assert headings.pop("dropout") == "dropout (parameter)"
    assert set(headings.values()) == {None}


def test_writing_the_experiment_again_replaces_it(tmp_path):
    write_experiment(tmp_path, SPACE, ["loss"])
    write_experiment(tmp_path, SPACE, ["val_accuracy"])
    assert len(list(tmp_path.iterdir())) == 1
    assert Board(tmp_path).experiment()["metricInfos"] == [{"name": {"tag": "val_accuracy"}}]


def test_a_trial_is_in_the_table_as_soon_as_it_starts(tmp_path):
    write_experiment(tmp_path, SPACE, ["val_accuracy"])
    log = EventLog(tmp_path / "0000", SPACE)
    log.start(PARAMS, timestamp=1e9)
    group = Board(tmp_path).groups()["0000"]
    assert group["hparams"] == HPARAMS
    assert group["sessions"] == [{"name": "0000", "startTimeSecs": 1e9}]  # no status: unknown, i.e. running
    log.add(reports(range(1, 2)))
    assert Board(tmp_path).groups()["0000"]["metricValues"][0]["trainingStep"] == 1
    log.close()


def test_the_table_shows_last_values_and_how_trials_ended(tmp_path):
    write_experiment(tmp_path, SPACE, ["val_accuracy"])
    logs = [write_trial(tmp_path, number, state) for number, state in enumerate(STATES)]
    groups = Board(tmp_path).groups()
    sessions = [groups[f"{number:04d}"]["sessions"][0] for number in range(5)]
    statuses = [session.get("status") for session in sessions]
    assert statuses == [None, "STATUS_SUCCESS", "STATUS_SUCCESS", "STATUS_SUCCESS", "STATUS_FAILURE"]
    assert sessions[4]["endTimeSecs"] == 1e9 + 50
    for number, group in enumerate(groups.values()):
        (value,) = group["metricValues"]
        assert value["name"] == {"tag": "val_accuracy"}
        assert value["value"] == pytest.approx((3 + number) / 100)
        assert value["trainingStep"] == 3 + number
    for log in logs:
        log.close()


def test_a_state_that_is_not_final_is_not_an_end(tmp_path):
    write_trial(tmp_path, 0, TrialState.PREEMPTED)
    assert "status" not in Board(tmp_path).groups()["0000"]["sessions"][0]


def test_the_filters_of_the_domains_find_the_values(tmp_path):
    write_experiment(tmp_path, SPACE, ["val_accuracy"])
    for number, dropout in enumerate([None, 0.1, "auto", True]):
        write_trial(tmp_path, number, TrialState.COMPLETED, dropout=dropout, lr=10.0**-number)
    board = Board(tmp_path)
    column = api_pb2.ColParams(hparam="dropout")
    column.filter_discrete.extend(["null", "true"])
    assert list(board.groups(column)) == ["0000", "0003"]
    interval = api_pb2.Interval(min_value=0.005, max_value=0.5)
    assert list(board.groups(api_pb2.ColParams(hparam="lr", filter_interval=interval))) == ["0001", "0002"]
    column = api_pb2.ColParams(hparam="widths")
    column.filter_discrete.extend(["[32]"])
    assert not board.groups(column)


def test_without_a_space_values_are_of_their_own_type(tmp_path):
    log = EventLog(tmp_path / "0000")
    log.start({"a": 1, "b": None, "c": "x", "d": False})
    log.close()
    assert Board(tmp_path).groups()["0000"]["hparams"] == {"a": 1.0, "b": "null", "c": "x", "d": False}


def test_rewriting_after_a_crash_leaves_each_step_once(tmp_path):
    path = tmp_path / "0000"
    write_trial(tmp_path, 0, None)
    write_trial(tmp_path, 0, None)
    log = EventLog(path, SPACE)
    log.add(reports(range(4, 9)))
    log.close()
    torn = max(path.iterdir())
    os.truncate(torn, torn.stat().st_size - 7)

    EventLog.rewrite(path, PARAMS, reports(range(1, 7)), TrialState.RUNNING, SPACE)
    assert [file.stat().st_size > 0 for file in sorted(path.iterdir())] == [False, False, False, True]
    assert [step for step, *_ in curve(path, "val_accuracy")] == [1, 2, 3, 4, 5, 6]
    EventLog.rewrite(path, PARAMS, reports(range(1, 7)), TrialState.RUNNING, SPACE)
    assert [file.stat().st_size > 0 for file in sorted(path.iterdir())] == [False, True]
    log = EventLog(path, SPACE)
    log.add(reports(range(7, 9)))
    log.end(TrialState.COMPLETED)
    log.close()
    assert [step for step, *_ in curve(path, "loss")] == [1, 2, 3, 4, 5, 6, 7, 8]
    group = Board(tmp_path).groups()["0000"]
    assert group["hparams"] == HPARAMS
    assert group["sessions"][0]["status"] == "STATUS_SUCCESS"
    assert group["sessions"][0]["startTimeSecs"] == 1e9


def test_rewriting_a_trial_that_ended_or_never_reported(tmp_path):
    EventLog.rewrite(tmp_path / "0000", PARAMS, reports(range(1, 3)), TrialState.FAILED, SPACE)
    EventLog.rewrite(tmp_path / "0001", PARAMS, [], None, SPACE)
    groups = Board(tmp_path).groups()
    session = groups["0000"]["sessions"][0]
    assert session["status"] == "STATUS_FAILURE"
    assert (session["startTimeSecs"], session["endTimeSecs"]) == (1e9, 1e9 + 2)
    assert groups["0001"]["hparams"] == HPARAMS


def test_a_board_that_is_open_while_a_trial_is_rewritten_shows_no_step_twice(tmp_path):
    write_trial(tmp_path, 5, None).close()
    board = Board(tmp_path)
    EventLog.rewrite(tmp_path / "0005", PARAMS, reports(range(1, 4)), None, SPACE)
    board.events.Reload()
    assert [event.step for event in board.events.Tensors("0005", "loss")] == [1, 2, 3]


@contextlib.contextmanager
def served(root: Path, *options: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--host", "127.0.0.1"]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, "--port", str(port), *options], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: "0004" in get(f"{url}/data/runs"))
        yield url
    finally:
        process.terminate()
        process.wait(30)


def wait_for(is_there: Callable[[], bool], timeout_s: float = 60.0) -> None:
    for _ in range(int(timeout_s / 0.2)):
        with contextlib.suppress(OSError):
            if is_there():
                return
        time.sleep(0.2)
    raise AssertionError(f"TensorBoard did not show it in {timeout_s} s")


def get(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


ALL_TEXT = """
(function text(node) {
    if (["STYLE", "SCRIPT"].includes(node.nodeName)) return "";
    const own = node.nodeType == Node.TEXT_NODE ? node.data.trim() : "";
    const inner = [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes];
    return [own, ...inner.map(text)].filter(Boolean).join("\\n");
})(document)
"""


def page_text(url: str, home: Path, until: str) -> str:
    """A page's text in headless Chromium, shadow trees included, once it holds `until`, or after a minute."""
    deadline, text = time.monotonic() + 60, ""
    with browser(home) as ask:
        target = ask("Target.createTarget", url=url)["targetId"]
        session = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        while until not in text and time.monotonic() < deadline:
            time.sleep(0.2)
            answer = ask("Runtime.evaluate", session, expression=ALL_TEXT, returnByValue=True)
            text = answer["result"].get("value", "")
    return text


@contextlib.contextmanager
def browser(home: Path) -> Iterator[Callable[..., Any]]:
    """Headless Chromium; what is given calls a method of its DevTools protocol, over two pipes."""
    (commands, to_browser), (from_browser, answers) = os.pipe(), os.pipe()
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --remote-debugging-pipe"
    script = f'exec "$0" {flags} --user-data-dir="$1" 3<&{commands} 4>&{answers}'
    command = ["bash", "-c", script, str(CHROMIUM), str(home)]
    process = subprocess.Popen(command, pass_fds=(commands, answers), stderr=subprocess.DEVNULL)
    os.close(commands)
    os.close(answers)
    ids = itertools.count(1)

    def ask(method: str, session: str | None = None, **params: Any) -> Any:
        message = {"id": next(ids), "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(to_browser, json.dumps(message).encode() + b"\0")
        while True:
            letters = iter(lambda: reader.read(1), b"")
            answer = json.loads(b"".join(itertools.takewhile(lambda letter: letter != b"\0", letters)))
            if answer.get("id") == message["id"]:
                return answer["result"]

    with os.fdopen(from_browser, "rb") as reader:
        try:
            yield ask
            ask("Browser.close")
        finally:
            os.close(to_browser)
            process.wait(30)


def fill(root: Path) -> None:
    write_experiment(root, SPACE, ["val_accuracy"])
    for number, state in enumerate(STATES):
        write_trial(root, number, state, lr=10.0**-number).close()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["auto", "false"], ids=["data server", "python"])
def test_the_server_answers_with_the_table(tmp_path, backend):
    fill(tmp_path)
    with served(tmp_path, "--load_fast", backend, "--reload_interval", "1") as url:
        api = f"{url}/data/plugin/hparams"
        experiment = get(f"{api}/experiment", {"experimentName": ""})
        assert {info["name"] for info in experiment["hparamInfos"]} == set(PARAMS)
        assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["val_accuracy"]
        request = {"sliceSize": 100, "allowedStatuses": api_pb2.Status.keys(), "colParams": []}
        groups = get(f"{api}/session_groups", request)["sessionGroups"]
        assert [group["name"] for group in groups] == ["0000", "0001", "0002", "0003", "0004"]
        assert groups[2]["hparams"] == HPARAMS | {"lr": 0.01}
        assert groups[2]["metricValues"][0]["value"] == pytest.approx(0.05)
        assert served_steps(url, "0004") == [1, 2, 3, 4, 5, 6, 7]

        EventLog.rewrite(tmp_path / "0004", PARAMS, reports(range(1, 4)), None, SPACE)
        log = EventLog(tmp_path / "0004", SPACE)
        log.add(reports(range(4, 6)))
        log.close()
        wait_for(lambda: served_steps(url, "0004") == [1, 2, 3, 4, 5])


def served_steps(url: str, run: str) -> list[int]:
    return [step for _, step, _ in get(f"{url}/data/plugin/scalars/scalars?run={run}&tag=loss")]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_page_shows_the_table(tmp_path):
    fill(tmp_path / "board")
    with served(tmp_path / "board") as url:
        shown = page_text(f"{url}/#hparams", tmp_path / "profile", until="0004").splitlines()
    assert {*PARAMS, "val_accuracy", "adamw", "[64, 64]", "0004"} <= set(shown)
