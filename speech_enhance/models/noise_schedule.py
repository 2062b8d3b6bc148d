"""Amount of signal and of noise at a timestep of the training schedule, and the clean sample that an answer implies."""

import torch


class NoiseSchedule:
    """The variance-preserving noise schedule that a network was trained on.

    Args:
        trained_betas: Betas, one for each training timestep (`scheduler.config.trained_betas`).
        prediction_type: Kind of the network's answer, `"v_prediction"` or `"sample"`.

    Raises:
        ValueError: for another prediction type. `"epsilon"` is ill-posed where the sample is pure noise.
    """

    def __init__(self, trained_betas: list[float], prediction_type: str):
        if prediction_type not in ("v_prediction", "sample"):
            raise ValueError(
                f"prediction_type {prediction_type!r} is ill-posed at zero terminal SNR; use 'v_prediction' or 'sample'"
            )
        self.prediction_type = prediction_type
        alphas_cumprod = (1 - torch.tensor(trained_betas, dtype=torch.float64)).cumprod(0)
        self._log_sigmas = (1 / alphas_cumprod - 1).log() / 2

    def amplitudes(self, timestep: torch.Tensor | float | int) -> tuple[torch.Tensor, torch.Tensor]:
        """Amplitudes of signal and of noise at `timestep`, shaped like `timestep`, in float64 on its device. Apple's
        GPU has no float64, so for a timestep there they are on the CPU.

        Some schedulers step between training timesteps and give fractional timesteps. For these, the logarithm of the
        ratio of noise to signal is interpolated, as those schedulers do.
        """
        position = torch.as_tensor(timestep).detach()
        position = position.to("cpu" if position.device.type == "mps" else position.device, torch.float64)
        # The table stays on the device: a copy at each call would make the device wait.
        log_sigmas = self._log_sigmas = self._log_sigmas.to(position.device)
        below = position.floor().long().clamp(0, len(log_sigmas) - 1)
        above = (below + 1).clamp(max=len(log_sigmas) - 1)
        log_sigma = torch.lerp(log_sigmas[below], log_sigmas[above], position - below)
        return torch.sigmoid(-2 * log_sigma).sqrt(), torch.sigmoid(2 * log_sigma).sqrt()

    def clean_estimate(
        self, sample: torch.Tensor, prediction: torch.Tensor, timestep: torch.Tensor | float | int
    ) -> torch.Tensor:
        """The clean sample that the network's `prediction` for `sample` at `timestep` implies.

        Args:
            sample: Input `(batch, 1, bands, frames)` of the network, with unit variance where it is noise.
            prediction: Answer of the network, of the same shape.
            timestep: Timestep, one for all or `(batch,)`.

        Returns:
            The estimate, in the shape and units of `sample`.
        """
        if self.prediction_type == "sample":
            return prediction
        signal, noise = (part.to(sample).reshape(-1, 1, 1, 1) for part in self.amplitudes(timestep))
        return signal * sample - noise * prediction
