"""One process of a team, for `test_scale.py`: ``python team_member.py lines|hybrid FOLDER``; rank and port come in the
environment, as torchrun would set them."""

import os
import sys
from pathlib import Path

import torch

from opsin.engine.methods.hybrid_wsi.made import MadeSlides
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.runs import Run
from opsin.engine.scale import ALONE, Team, join, leave_at_once
from opsin.engine.training import fit

RECIPE = HybridRecipe(
    network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=48, batch_size=5, steps_initial=5, steps_round=4,
    rounds=2, K=2, stage2_epochs=1, stage2_batch=2, seed=3,
)  # fmt: skip
SAMPLES = 5


def few(folder: Path) -> MadeSlides:
    """Two outlined slides (one with tumour), two positive and two negative ones."""
    made = MadeSlides(1, folder, weak=2, test=0)
    made.samples = [s for s in made.samples if s.id in ("outlined_0", "outlined_11") or s.id.startswith("train")]
    return made


def train_line(team: Team = ALONE, *, lame: int | None = None, bad: int | None = None, stop: int | None = None) -> dict:
    """Train a small network for 12 steps on batches of 5 samples; in a team each process takes its part of them.

    `lame` is the rank that has memory for one sample only, `bad` the one whose loss is infinite at step 3, `stop` the one
    that is asked to stop at step 3.
    """
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    run, saved, losses = Run(team=team), [], []

    def sink(event):
        if event["event"] == "metrics":
            losses.append(event["values"]["loss"])
            if event["step"] == 3 and team.rank == stop:
                run.control.stop()

    run._sinks.append(sink)

    def batch(step):
        x = torch.rand(SAMPLES, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        x = x[team.rank :: team.world]
        return {"x": x, "y": x.sum(1, keepdim=True), "step": torch.full((len(x),), step)}

    def loss(module, values):
        if team.rank == lame and len(values["x"]) > 1:
            raise torch.cuda.OutOfMemoryError("out of memory")
        value = torch.nn.functional.mse_loss(module(values["x"]), values["y"])
        infinite = team.rank == bad and values["step"][0] == 3
        return {"loss": value * torch.inf if infinite else value}

    reached = fit(run, network, optimizer, steps=12, batch=batch, loss=loss, save=saved.append)
    return {"reached": reached, "saved": saved, "losses": losses, "weights": network.state_dict()}


def main() -> None:
    what, out = sys.argv[1:]
    rank = int(os.environ["RANK"])
    team = join("cpu")
    if what == "lines":
        result = {name: train_line(team, **{name: 1}) for name in ("lame", "bad", "stop")}
        result["plain"] = train_line(team)
    else:
        from opsin.engine.methods.hybrid_wsi.train import train

        with team.lead_first():
            run = Run(Path(out) / "run", team=team)
        data = few(Path(out) / f"data_{rank}")
        result = dict(train(RECIPE, data, run).tensors)
        run.close()
    torch.save(result, Path(out) / f"rank_{rank}.pt")
    team.leave()
    leave_at_once(0)


if __name__ == "__main__":
    main()
