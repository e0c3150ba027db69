"""Weights and states survive a round trip; foreign, unsafe and broken files are refused with a sentence."""

import pickle

import numpy as np
import pytest
import torch

from opsin.engine.checkpoints import (
    Checkpoint,
    fill_module,
    load_state,
    read_header,
    read_published,
    save_state,
)
from opsin.engine.errors import CheckpointError


def test_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    Checkpoint("hybrid_wsi", {"w": torch.arange(6).reshape(2, 3)}, {"step": 3, "recipe": {"seed": 1}}).save(path)
    found = Checkpoint.load(path, "hybrid_wsi")
    assert torch.equal(found.tensors["w"], torch.arange(6).reshape(2, 3))
    assert found.header == {"step": 3, "recipe": {"seed": 1}}
    assert read_header(path)["step"] == 3


def test_checkpoint_of_another_method_is_refused(tmp_path):
    Checkpoint("dstt", {"w": torch.ones(1)}).save(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="of dstt, not of hybrid_wsi"):
        Checkpoint.load(tmp_path / "a.safetensors", "hybrid_wsi")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 64])
def test_broken_checkpoint_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="a.safetensors is no readable checkpoint"):
        Checkpoint.load(path)


def test_state_keeps_optimisers(tmp_path):
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_state(
        tmp_path / "s.safetensors",
        {"optimizer": optimizer.state_dict(), "rng": np.arange(4), "names": ["a", None]},
    )
    found = load_state(tmp_path / "s.safetensors")
    again = torch.optim.Adam(network.parameters())
    again.load_state_dict(found["optimizer"])
    assert torch.equal(again.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert found["rng"].tolist() == [0, 1, 2, 3] and found["names"] == ["a", None]


def test_published_file_is_unwrapped(tmp_path):
    torch.save({"epoch": 3, "state_dict": {"module.w": torch.ones(2)}}, tmp_path / "a.pth.tar")
    assert list(read_published(tmp_path / "a.pth.tar")) == ["w"]


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_file_with_code_is_never_run(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"state_dict": _Evil()}))
    with pytest.raises(CheckpointError, match="never opened"):
        read_published(tmp_path / "a.pth")
    assert "executed" not in capsys.readouterr().out


def test_weights_of_another_network_are_refused():
    network = torch.nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match="lacks weight 'bias'"):
        fill_module(network, {"weight": torch.ones(2, 3)}, "a.pth")
    with pytest.raises(CheckpointError, match="has the unknown weight 'gamma'"):
        fill_module(network, {**network.state_dict(), "gamma": torch.ones(1)}, "a.pth")
    with pytest.raises(CheckpointError, match="shape"):
        fill_module(network, {"weight": torch.ones(2, 4), "bias": torch.ones(2)}, "a.pth")
    fill_module(network, {**network.state_dict(), "fc.weight": torch.ones(1)}, "a.pth", unused=("fc.",))


def test_the_kind_of_a_weight_file_is_seen_by_its_content(tmp_path):
    Checkpoint("hybrid_wsi", {"module.w": torch.ones(2)}).save(tmp_path / "a.pth")
    torch.save({"w": torch.ones(2)}, tmp_path / "b.safetensors")
    assert list(read_published(tmp_path / "a.pth")) == ["w"]
    assert list(read_published(tmp_path / "b.safetensors")) == ["w"]


def test_what_is_no_weight_file_is_said_without_the_words_of_the_library(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:300])
    (tmp_path / "noise.svs").write_bytes(b"II*\x00" + bytes(range(256)))
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"state_dict": _Evil()}))
    (tmp_path / "wrapped.pth").mkdir()
    for name, reason in (
        ("cut.pth", "is damaged or cut off"),
        ("noise.svs", "is no file of weights"),
        ("empty.pth", "is no file of weights"),
        ("code.pth", "files that hold code are never opened"),
        ("wrapped.pth", "cannot be read: Is a directory"),
        ("missing.pth", "does not exist"),
    ):
        with pytest.raises(CheckpointError) as found:
            read_published(tmp_path / name)
        sentence = str(found.value)
        assert name in sentence and reason in sentence and "weights_only" not in sentence and "failed" not in sentence
