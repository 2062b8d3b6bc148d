"""Muon, the optimiser of hidden layers, with AdamW for the rest, as one optimiser."""

from collections import defaultdict

import torch
from torch import nn

from speech_enhance.models.precision import is_bfloat16_fast

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NOT_HIDDEN = ("conv_in.", "conv_out.", "time_embedding.", "time_emb_proj.")


class Muon(torch.optim.Optimizer):
    """Muon for the matrices of hidden layers, AdamW for all other parameters.

    Muon makes the momentum of a matrix orthogonal before it is applied (Jordan et al., "Muon: An optimizer for hidden
    layers in neural networks", 2024). A convolution counts as a matrix `(out, in · height · width)`;
    `torch.optim.Muon` takes two-dimensional parameters only. The update is scaled to the size of AdamW's (Liu et al.,
    arXiv:2502.16982), so that learning rates are comparable.

    Args:
        model: Network whose parameters are optimised. Its first and last layer, the layers of the timestep, norms and
            biases get AdamW.
        lr: Learning rate of the hidden layers.
        adamw_lr: Learning rate of the rest.
        momentum: Momentum of the hidden layers; AdamW has betas of 0.9 and 0.95.
        weight_decay: Weight decay of all layers.
        num_iterations: Number of Newton-Schulz iterations.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        adamw_lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        num_iterations: int = 5,
    ):
        hidden, rest = [], []
        for name, parameter in model.named_parameters():
            is_hidden = parameter.ndim >= 2 and not any(part in name for part in _NOT_HIDDEN)
            (hidden if is_hidden else rest).append(parameter)
        groups = [{"params": hidden, "hidden": True, "lr": lr}, {"params": rest, "hidden": False, "lr": adamw_lr}]
        super().__init__(
            [group for group in groups if group["params"]],
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "num_iterations": num_iterations},
        )

    @torch.no_grad()
    def step(self, closure=None):
        """One step; see [`torch.optim.Optimizer.step`]."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                update = self._orthogonal_updates if group["hidden"] else self._adam_updates
                updates = update(parameters, [parameter.grad for parameter in parameters], group)
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_sub_(parameters, updates, alpha=group["lr"])
        return loss

    def _orthogonal_updates(self, parameters: list, gradients: list, group: dict) -> list[torch.Tensor]:
        momenta = self._states(parameters, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))  # Nesterov momentum
        alike = defaultdict(list)  # matrices of one shape are made orthogonal together, which takes a GPU fewer calls
        for index, update in enumerate(updates):
            alike[update.flatten(1).shape].append(index)
        for shape, indices in alike.items():
            matrices = torch.stack([updates[index].flatten(1) for index in indices])
            matrices = 0.2 * max(shape) ** 0.5 * orthogonalize(matrices, group["num_iterations"])
            for index, matrix in zip(indices, matrices, strict=True):
                updates[index] = matrix.view_as(updates[index])
        return updates

    def _adam_updates(
        self, parameters: list, gradients: list, group: dict, betas=(0.9, 0.95), eps: float = 1e-8
    ) -> list[torch.Tensor]:
        means, squares = self._states(parameters, "mean"), self._states(parameters, "square")
        for parameter in parameters:
            self.state[parameter]["step"] = self.state[parameter].get("step", 0) + 1
        torch._foreach_lerp_(means, gradients, 1 - betas[0])
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - betas[1])
        steps = [self.state[parameter]["step"] for parameter in parameters]
        scales = torch._foreach_sqrt(torch._foreach_div(squares, [1 - betas[1] ** step for step in steps]))
        torch._foreach_add_(scales, eps)
        return list(torch._foreach_div(torch._foreach_div(means, [1 - betas[0] ** step for step in steps]), scales))

    def _states(self, parameters: list, name: str) -> list[torch.Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def orthogonalize(matrix: torch.Tensor, num_iterations: int = 5) -> torch.Tensor:
    """Nearly the closest orthogonal matrix to `matrix (…, rows, columns)`: Newton-Schulz iterations bring all singular
    values to about 1 (0.7 to 1.2). They compute in bfloat16 where that is fast, and in float32 elsewhere."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = (matrix.mT if tall else matrix).to(torch.bfloat16 if is_bfloat16_fast(matrix.device) else torch.float32)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)
