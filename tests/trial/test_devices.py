"""What can be seen of devices without a GPU; tests/test_gpu.py sees the rest."""

import pytest
import torch

from tests.fake_gpu import GB, FakeGpu
from tuner.errors import ResourceError
from tuner.trial.devices import (
    Cpu,
    Cuda,
    Memory,
    best_device,
    device_of,
    has_bfloat16,
    has_room,
    is_out_of_memory,
    rng_states,
    set_rng_states,
    share_for,
)

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_without_a_share_of_a_gpu_none_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = device_of(0)
    assert device.torch_device == torch.device("cpu")
    device.enter()
    device.clear()
    assert device.memory() == Memory(used=0, peak=0, total=0)


def test_each_worker_gets_its_own_of_the_gpus_that_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(0.25).torch_device == torch.device("cuda", 0)
    assert device_of(1, 3).torch_device == torch.device("cuda", 3)


@without_gpu
def test_a_gpu_that_torch_cannot_use_is_refused_rather_than_replaced_by_the_processor() -> None:
    with pytest.raises(ResourceError, match=r"can't use here .* set resources.gpu to 0"):
        device_of(0.5)
    assert best_device() == torch.device("cpu")


def test_random_generators_of_gpus_that_are_not_in_use_are_left_alone() -> None:
    assert torch.cuda.is_initialized() or rng_states() == []
    set_rng_states([])
    set_rng_states([torch.get_rng_state()] * 99)
    assert torch.cuda.is_initialized() or rng_states() == []


@without_gpu
def test_nothing_is_counted_where_nothing_was_used() -> None:
    cuda = Cuda(torch.device("cuda", 0))
    cuda.clear()
    assert isinstance(Cpu().memory(), Memory)


def test_a_data_set_lies_on_a_gpu_where_a_quarter_of_what_is_free_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * GB, 80 * GB))
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert has_room(2 * GB, gpu)
    assert not has_room(2 * GB + 1, gpu)
    assert has_room(2 * GB + 1, cpu)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"avx2": True, "amx_bf16": False}, False),
        ({}, False),
    ],
)
def test_bfloat16_is_used_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bfloat16(torch.device("cpu")) is expected
    assert not has_bfloat16(torch.device("mps"))


def test_on_an_older_pytorch_that_can_not_tell_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16(torch.device("cpu"))


def test_the_fake_counts_as_pytorch_does() -> None:
    gpu = FakeGpu(total=4 * GB)
    first, second = gpu.allocate(1 * GB), gpu.allocate(2 * GB)
    del first
    assert gpu.memory() == Memory(used=2 * GB, peak=3 * GB, total=4 * GB)
    gpu.clear()
    assert gpu.memory() == Memory(used=2 * GB, peak=2 * GB, total=4 * GB)
    with pytest.raises(torch.OutOfMemoryError):
        gpu.allocate(3 * GB)
    del second
    assert gpu.memory().used == 0


@pytest.mark.parametrize(
    ("error", "is_oom"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (MemoryError("Unable to allocate 2 GiB"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_running_out_of_gpu_memory_is_told_from_other_failures(error: Exception, is_oom: bool) -> None:
    assert is_out_of_memory(error) is is_oom


@pytest.mark.parametrize(
    ("memory", "shares"),
    [
        (Memory(peak=20 * GB, total=80 * GB), 3),
        (Memory(peak=16 * GB, total=80 * GB), 4),
        (Memory(peak=16 * GB, total=80 * GB, others=10 * GB), 3),
        (Memory(peak=70 * GB, total=80 * GB), 1),
        (Memory(peak=20 * GB, total=80 * GB, others=70 * GB), 1),
        (Memory(peak=1 * GB, total=80 * GB), 8),
        (Memory(), 8),
    ],
)
def test_a_share_holds_the_measured_peak_and_a_margin(memory: Memory, shares: int) -> None:
    share = share_for(memory)
    assert int(1 / share) == shares
    assert round(share, 4) * shares <= 1
