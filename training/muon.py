"""Muon, the optimiser of hidden layers, with AdamW for the rest, as one optimiser."""

import torch
from torch import nn

from training.precision import is_bfloat16_fast

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NOT_HIDDEN = ("conv_in.", "conv_out.", "time_embedding.", "time_emb_proj.")


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal before they are applied (Jordan et al., "Muon: An optimizer for
    hidden layers in neural networks", 2024), for convolutions as matrices `(out, in · height · width)`; what is no
    matrix of a hidden layer gets AdamW. `torch.optim.Muon` takes two-dimensional parameters only.

    The update is scaled to the size of AdamW's (Liu et al., arXiv:2502.16982), so learning rates are comparable.

    Args:
        model: Its parameters are optimised. First and last layer, the timestep's layers, norms and biases get AdamW.
        lr: Learning rate of the hidden layers.
        adamw_lr: Learning rate of the rest.
        momentum, weight_decay: Of the hidden layers; the rest has AdamW's (.9, .95) and the same decay.
        num_iterations: Newton-Schulz iterations.
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
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._orthogonal_update if group["hidden"] else self._adam_update
                parameter.sub_(update(parameter, group), alpha=group["lr"])
        return loss

    def _orthogonal_update(self, parameter: torch.Tensor, group: dict) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        update = parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)  # Nesterov's
        scale = 0.2 * max(update.shape) ** 0.5
        return scale * orthogonalize(update, group["num_iterations"]).view_as(parameter)

    def _adam_update(self, parameter: torch.Tensor, group: dict, betas=(0.9, 0.95), eps: float = 1e-8) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        state["mean"].lerp_(parameter.grad, 1 - betas[0])
        state["square"].lerp_(parameter.grad.square(), 1 - betas[1])
        mean = state["mean"] / (1 - betas[0] ** state["step"])
        square = state["square"] / (1 - betas[1] ** state["step"])
        return mean / (square.sqrt() + eps)


def orthogonalize(matrix: torch.Tensor, num_iterations: int = 5) -> torch.Tensor:
    """Nearly the closest orthogonal matrix: `matrix` with all its singular values brought to about 1 (0.7 to 1.2), by
    Newton-Schulz iterations, in bfloat16 where that is fast, else in float32."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(torch.bfloat16 if is_bfloat16_fast(matrix.device) else torch.float32)
    x = x / (x.norm() + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
