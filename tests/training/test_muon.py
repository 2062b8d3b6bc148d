import copy

import torch
from torch import nn

from training.muon import Muon, orthogonalize


def test_singular_values_come_near_one():
    for shape in [(24, 60), (60, 24)]:
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonalize(matrix))
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_only_matrices_of_hidden_layers_are_orthogonalized(tiny_unet):
    optimizer = Muon(tiny_unet, lr=1e-3, adamw_lr=1e-3)
    names = {id(parameter): name for name, parameter in tiny_unet.named_parameters()}
    hidden, rest = ([names[id(item)] for item in group["params"]] for group in optimizer.param_groups)
    assert len(hidden) + len(rest) == len(names)
    assert "mid_block.resnets.0.conv1.weight" in hidden
    assert {"conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight", "conv_norm_out.weight"} <= set(rest)
    assert not any(name.endswith("bias") for name in hidden)


def test_it_learns_and_resumes_where_it_stood():
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv1d(4, 16, 3, padding=1), nn.SiLU(), nn.Conv1d(16, 4, 3, padding=1))

    def steps(model, optimizer, count, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            x = torch.randn(8, 4, 20, generator=generator)
            loss = (model(x) - x.flip(1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    whole = network()
    optimizer = Muon(whole, lr=0.02, adamw_lr=0.01)
    first = steps(whole, optimizer, 1, seed=1)
    steps(whole, optimizer, 40, seed=2)
    weights, state = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
    assert steps(whole, optimizer, 40, seed=3) < first / 4

    resumed = network()
    resumed.load_state_dict(weights)
    optimizer = Muon(resumed, lr=0.02, adamw_lr=0.01)
    optimizer.load_state_dict(state)
    steps(resumed, optimizer, 40, seed=3)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
