"""The simulated GPUs refuse what real ones refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from eve_cli.runtime.device import half, pick_dtype
from tests.devices.simulated import devices_of, gpus


def test_two_devices_do_not_mix() -> None:
    with gpus():
        here, there, cpu = torch.ones(2, device="cuda"), torch.ones(2, device="cuda:1"), torch.ones(2)
        assert here.device == torch.device("cuda:0") and (here * 2).device == here.device
        for other in (there, cpu):
            with pytest.raises(RuntimeError, match="same device"):
                torch.add(here, other)
        with pytest.raises(TypeError, match="can't convert"):
            here.numpy()
        assert (here + there.to(here.device)).tolist() == [2, 2] and there.device.index == 1
        assert here[torch.tensor([0])].is_cuda and not here.cpu().is_cuda


def test_a_moved_module_computes_on_its_device_and_shared_weights_move_once() -> None:
    with gpus():
        first, second = nn.Linear(2, 2), nn.Linear(2, 2)
        second.weight = first.weight
        first.to(device="cuda:1")
        assert devices_of(first) == {"cuda:1"} and str(second.weight.device) == "cuda:1"
        first(torch.ones(1, 2, device="cuda:1")).sum().backward()
        assert first.weight.grad is not None and str(first.weight.grad.device) == "cuda:1"
        with pytest.raises(RuntimeError, match="same device"):
            first(torch.ones(1, 2))


@pytest.mark.parametrize(("bf16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_half_precision_is_that_of_the_hardware(bf16: bool, expected: torch.dtype) -> None:
    with gpus(bf16=bf16):  # which says that it supports bf16, by emulation
        assert half(torch.device("cuda")) == pick_dtype("auto", torch.device("cuda")) == expected
    assert half(torch.device("cpu")) == torch.bfloat16 and pick_dtype("auto", torch.device("cpu")) == torch.float32
