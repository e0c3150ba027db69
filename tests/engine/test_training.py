"""The shared loop: resume is exact, pause and stop come at a step, memory errors halve the batch."""

import pytest
import torch

from opsin.engine.errors import RunError
from opsin.engine.runs import Run
from opsin.engine.training import fit


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(16, 1))


def _batch(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.rand(8, 4, generator=generator)
    return {"x": x, "y": x.sum(1, keepdim=True)}


def _loss(module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"loss": torch.nn.functional.mse_loss(module(batch["x"]), batch["y"])}


def _train(run, steps, start=0, state=None, **options):
    network = _network()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    if state:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    kept = {}

    def save(step):
        kept.update(
            step=step,
            network={name: value.clone() for name, value in network.state_dict().items()},
            optimizer=optimizer.state_dict(),
        )

    reached = fit(run, network, optimizer, steps=steps, start=start, batch=_batch, loss=_loss, save=save, **options)
    return reached, kept


def test_resumed_training_equals_uninterrupted_bit_for_bit():
    _, whole = _train(Run(), 12)
    run = Run()
    seen = []

    def stop_at_five(event):
        if event["event"] == "metrics":
            seen.append(event["step"])
            if event["step"] == 5:
                run.control.stop()

    run._sinks.append(stop_at_five)
    reached, half = _train(run, 12)
    assert reached == half["step"] == 5
    reached, rest = _train(Run(), 12, start=5, state=half)
    assert reached == 12
    for name, value in whole["network"].items():
        assert torch.equal(value, rest["network"][name]), name


def test_loss_falls():
    seen = []
    run = Run(sink=lambda event: seen.append(event["values"]["loss"]) if event["event"] == "metrics" else None)
    _train(run, 150)
    assert sum(seen[-10:]) < 0.2 * sum(seen[:10])


def test_parts_of_a_batch_give_the_same_gradient():
    network = _network().eval()
    one, four = (torch.optim.SGD(network.parameters(), 0.0) for _ in range(2))
    gradients = []
    for optimizer, parts in ((one, 1), (four, 4)):
        fit(Run(), network.eval(), optimizer, steps=1, batch=_batch, loss=lambda m, b: _loss(m.eval(), b), save=int,
            accumulate=parts)  # fmt: skip
        gradients.append(network[0].weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1])


def test_memory_error_halves_the_batch_and_goes_on():
    messages = []
    run = Run(sink=lambda event: messages.append(event["text"]) if event["event"] == "message" else None)
    sizes = []

    def hungry(module, batch):
        sizes.append(len(batch["x"]))
        if len(batch["x"]) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return _loss(module, batch)

    network = _network()
    optimizer = torch.optim.Adam(network.parameters())
    assert fit(run, network, optimizer, steps=2, batch=_batch, loss=hungry, save=int) == 2
    assert sizes[:3] == [8, 4, 2] and set(sizes[3:]) == {2}
    assert "computed in 4 parts" in messages[-1]


def test_loss_that_stays_not_finite_ends_with_a_sentence_and_changes_no_weight():
    network = _network()
    before = network[0].weight.detach().clone()
    optimizer = torch.optim.Adam(network.parameters())
    with pytest.raises(RunError, match="lower the learning rate"):
        fit(Run(), network, optimizer, steps=50, batch=_batch, loss=lambda m, b: {"loss": _loss(m, b)["loss"] * torch.inf},
            save=int)  # fmt: skip
    assert torch.equal(network[0].weight, before)
