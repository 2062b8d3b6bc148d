import torch

from speech_enhance.models.noise_schedule import NoiseSchedule
from speech_enhance.models.schedulers import training_scheduler


def make_schedule() -> NoiseSchedule:
    return NoiseSchedule(training_scheduler().config.trained_betas, "v_prediction")


def test_amplitudes_are_those_of_the_scheduler_and_between_its_timesteps_lie_between():
    schedule, alphas_cumprod = make_schedule(), training_scheduler().alphas_cumprod.double()
    timesteps = torch.tensor([0, 500, 999])
    signal, noise = schedule.amplitudes(timesteps)
    torch.testing.assert_close(signal, alphas_cumprod[timesteps].sqrt(), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(noise, (1 - alphas_cumprod[timesteps]).sqrt(), rtol=1e-3, atol=1e-6)
    between, _ = schedule.amplitudes(499.5)
    assert signal[1] < between < schedule.amplitudes(499)[0]


def test_amplitudes_are_computed_on_the_device_of_the_timesteps():
    """A copy to the CPU would make a GPU wait; the meta device, which holds no values, allows none."""
    for part in make_schedule().amplitudes(torch.tensor([3, 999], device="meta")):
        assert part.device.type == "meta"
        assert part.shape == (2,)
        assert part.dtype == torch.float64
