"""The network of LIFE where the golden is silent: small variant, correlation without a volume, odd sizes, files."""

import re

import pytest
import torch
from torchvision.models.optical_flow import raft_small

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.errors import CheckpointError
from opsin.engine.methods.life.correlation import FullVolume, OnDemand
from opsin.engine.methods.life.estimate import Padding, choose_correlation, rescaled, volume_bytes
from opsin.engine.methods.life.model import BASIC, SMALL, TINY, FlowNetwork, pixel_grid
from opsin.engine.methods.life.published import import_published, unpack

RENAMED = (
    ("feature_encoder.", "fnet."), ("context_encoder.", "cnet."), (".motion_encoder.", ".encoder."),
    (".recurrent_block.convgru1.", ".gru."), ("fnet.convnormrelu.0", "fnet.conv1"), ("cnet.convnormrelu.0", "cnet.conv1"),
    ("net.conv.", "net.conv2."), ("convcorr1.0", "convc1"), ("convflow1.0", "convf1"), ("convflow2.0", "convf2"),
    ("encoder.conv.0", "encoder.conv"),
)  # fmt: skip


def test_small_network_equals_torchvision():
    torch.manual_seed(0)
    theirs = raft_small().eval()
    ours = FlowNetwork(SMALL).eval()
    weights = {}
    for name, value in theirs.state_dict().items():
        for old, new in RENAMED:
            name = name.replace(old, new)
        weights[re.sub(r"convnormrelu(\d)\.0", r"conv\1", name)] = value
    assert not weights.keys() ^ ours.state_dict().keys()
    ours.load_state_dict(weights)
    first, second = torch.rand(2, 3, 128, 160) * 255, torch.rand(2, 3, 128, 160) * 255
    with torch.inference_mode():
        expected = theirs(2 * (first / 255) - 1, 2 * (second / 255) - 1, num_flow_updates=3)
        found = ours(first, second, 3, last_only=False).full
    assert max(float((a - b).abs().max()) for a, b in zip(expected, found)) < 1e-3
    assert float(expected[-1].abs().max()) > 1


def _features(height, width, channels=24, batch=2):
    torch.manual_seed(height)
    a, b = torch.randn(2, batch, channels, height, width).unbind(0)
    return a.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("spread", [0.7, 60.0])
@pytest.mark.parametrize("size", [(20, 37), (16, 16), (5, 40)])
def test_correlation_without_a_volume_is_the_same(size, spread, monkeypatch):
    monkeypatch.setattr("opsin.engine.methods.life.correlation.KEPT_BYTES", 0)
    monkeypatch.setattr("opsin.engine.methods.life.correlation.WINDOW", 300)
    a, b = _features(*size)
    there = pixel_grid(a) + spread * torch.randn(2, 2, *size)
    one, two = FullVolume(a, b, 4, 3), OnDemand(a, b, 4, 3)
    weight = torch.randn_like(one(there))
    for turn in (False, True):
        first, second = (one.turned(), two.turned()) if turn else (one, two)
        assert torch.allclose(first(there), second(there), atol=1e-4)
        gradients = [torch.autograd.grad((c(there) * weight).sum(), (a, b), retain_graph=True) for c in (first, second)]
        for x, y in zip(*gradients):
            assert torch.allclose(x, y, atol=1e-4) and float(x.abs().max()) > 0.1


def test_coarse_levels_are_kept_where_they_are_small():
    a, b = _features(16, 24)
    there = pixel_grid(a) * 0.9 + 1.3
    correlation = OnDemand(a, b, 4, 3)
    assert len(correlation.volumes) == 4
    assert torch.allclose(correlation(there), FullVolume(a, b, 4, 3)(there), atol=1e-5)


def test_which_correlation_is_said():
    needed = volume_bytes(1024, 1024, BASIC)
    assert needed == pytest.approx(4 * 16384**2 * 1.328, rel=1e-3)
    assert choose_correlation("auto", needed, 4 * needed)[0] is FullVolume
    make, said = choose_correlation("auto", needed, needed)
    assert make is OnDemand and "1.4 GB" in said
    assert choose_correlation("on_demand", 10, 1 << 40)[0] is OnDemand


def test_pictures_of_any_size_get_a_finite_flow():
    torch.manual_seed(0)
    model = FlowNetwork(SMALL).eval()
    for height, width in ((1, 1), (40, 200), (131, 77)):
        padding = Padding.of(height, width)
        image = torch.rand(1, 3, height, width) * 255
        padded = padding.put(image)
        assert torch.equal(padding.take_off(padded), image)
        assert padded.shape[2] % 8 == 0 and padded.shape[3] % 8 == 0 and min(padded.shape[2:]) >= 128
        with torch.inference_mode():
            flow = padding.take_off(model(padded, padded.flip(3), 2).full[-1])
        assert flow.shape == (1, 2, height, width) and torch.isfinite(flow).all()


def test_flow_of_a_resized_picture_points_to_its_own_pixels():
    flow = rescaled(torch.zeros(1, 2, 4, 6), 8, 18)
    assert torch.allclose(flow[0, :, 0, 0], torch.tensor([1.0, 0.5]))  # centre of three columns, of two rows
    assert torch.allclose(flow[0, :, 3, 5], torch.tensor([16.0 - 5, 6.5 - 3]))
    assert float(rescaled(torch.zeros(1, 2, 4, 6), 8, 18, centred=False)[0, 0, 0, 0]) == 0


def test_both_directions_are_two_single_ones():
    torch.manual_seed(0)
    model = FlowNetwork(TINY).eval()
    first, second = torch.rand(1, 3, 64, 96) * 255, torch.rand(1, 3, 64, 96) * 255
    with torch.inference_mode():
        there, back = model.both(first, second, 3)
        assert torch.allclose(there.full[-1], model(first, second, 3).full[-1], atol=1e-3)
        assert torch.allclose(back.full[-1], model(second, first, 3).full[-1], atol=1e-3)


def test_frozen_norm_keeps_its_statistics():
    model = FlowNetwork(TINY)
    model.frozen_norm = True
    before = model.cnet.norm1.running_mean.clone()
    model.train()
    model(torch.rand(2, 3, 64, 64) * 255, torch.rand(2, 3, 64, 64) * 255, 1)
    assert torch.equal(model.cnet.norm1.running_mean, before)
    model.frozen_norm = False
    model.train()
    model(torch.rand(2, 3, 64, 64) * 255, torch.rand(2, 3, 64, 64) * 255, 1)
    assert not torch.equal(model.cnet.norm1.running_mean, before)


def test_files_come_and_go(tmp_path):
    torch.manual_seed(0)
    model = FlowNetwork(SMALL)
    weights = model.state_dict()
    torch.save({"model": {f"module.{k}": v for k, v in weights.items()}, "epoch": 3}, tmp_path / "a.pth")
    torch.save(weights, tmp_path / "b.pth")
    wrapped, flat = import_published(tmp_path / "a.pth"), import_published(tmp_path / "b.pth")
    assert (wrapped.header["network"], wrapped.header["colours"], flat.header["colours"]) == ("small", "RGB", "BGR")
    wrapped.save(tmp_path / "c.safetensors")
    again = unpack(Checkpoint.load(tmp_path / "c.safetensors", "life"))
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())
    fewer = {name: value for name, value in weights.items() if name != "fnet.conv2.bias"}
    torch.save(fewer, tmp_path / "d.pth")
    with pytest.raises(CheckpointError, match="d.pth lacks weight 'fnet.conv2.bias'"):
        import_published(tmp_path / "d.pth")
    torch.save({**weights, "more": torch.zeros(1)}, tmp_path / "e.pth")
    with pytest.raises(CheckpointError, match="unknown weight 'more'"):
        import_published(tmp_path / "e.pth")
    (tmp_path / "f.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="f.pth is no file of weights"):
        import_published(tmp_path / "f.pth")
