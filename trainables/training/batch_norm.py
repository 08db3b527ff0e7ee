"""Batch normalisation whose statistics are those of the whole batch, though several workers share it out.

`torch.nn.SyncBatchNorm` does the same on GPUs alone.
"""

from typing import Any

import torch
from torch import nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Takes the place of one of `BATCH_NORMS`, whose parameters and buffers it uses on."""

    def __init__(self, own: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(own.num_features, own.eps, own.momentum, own.affine, own.track_running_stats)
        self.weight, self.bias = own.weight, own.bias
        self.running_mean, self.running_var = own.running_mean, own.running_var
        self.num_batches_tracked = own.num_batches_tracked

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """That which it replaces has done so."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalised, `[n, features, ...]`; in training all workers must call it."""
        if not self.training:
            return super().forward(input)
        given = input.float()
        dims = [0, *range(2, given.ndim)]
        shape = [1, -1, *[1] * (given.ndim - 2)]
        count = torch.full((1,), given.numel() / given.shape[1], device=given.device)
        # In two steps: the difference of the mean square and the squared mean would be inexact.
        sums = _total(torch.cat([given.sum(dims), count]))
        mean, total = sums[:-1] / sums[-1], sums[-1].detach()
        centred = given - mean.view(shape)
        var = _total(centred.square().sum(dims)) / total
        self._follow(mean.detach(), var.detach() * total / (total - 1))
        out = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return torch.as_tensor(out.to(input.dtype))

    def _follow(self, mean: torch.Tensor, var: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(var, factor)


class _Total(torch.autograd.Function):
    """The sum over the workers. What each made of it counts in the gradient, so that is summed too."""

    @staticmethod
    def forward(context: Any, own: torch.Tensor) -> torch.Tensor:
        return _summed(own)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _summed(gradients[0])


def _summed(own: torch.Tensor) -> torch.Tensor:
    total = own.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total


def _total(own: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Total.apply(own)
    return total


def share_statistics(model: nn.Module) -> None:
    """Give a model shared batch normalisation in the place of its own; its state dict has the same names."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, BATCH_NORMS):
                setattr(parent, name, SharedBatchNorm(child))
