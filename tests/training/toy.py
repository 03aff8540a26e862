"""A recipe small enough to test the loop with; run as a script it trains in a process of its own."""

import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from eve_cli.training import loop
from eve_cli.training.recipe import generator
from eve_cli.training.settings import LoopSettings


class Toy:
    """Learns the sum of four numbers, with dropout and a batch norm, so that every kind of state is there."""

    name = "toy"
    progress = 0.0

    def __init__(self, seed: int = 0, pause: float = 0.0, poison: int | None = None) -> None:
        torch.manual_seed(seed)
        self.seed, self.pause, self.poison = seed, pause, poison
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.1), nn.GELU(), nn.Linear(16, 1))
        self.net[0].bias.requires_grad_(False)
        self.modules = {"net": self.net}

    def parameters(self) -> list[nn.Parameter]:
        return list(self.net.parameters())

    def batch(self, step: int, rank: int) -> dict[str, Tensor]:
        x = torch.randn(8, 4, generator=generator(self.seed, rank, step))
        return {"x": x, "y": x.sum(1, keepdim=True) * (float("nan") if step == self.poison else 1)}

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        time.sleep(self.pause)
        error = self.net(batch["x"] + torch.randn_like(batch["x"]) * 0.01) - batch["y"]
        return {"square": error.square().mean(), "_absolute": error.abs().mean()}

    def preview(self, step: int) -> Tensor | None:
        return torch.rand(3, 8, 8)


SETTINGS = {"steps": 60, "warmup": 5, "save_every": 10, "log_every": 3, "preview_every": 20, "batch": 8, "lr": 0.01}


def main() -> None:
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    toy = Toy(pause=options.pop("pause", 0.0))
    resume = options.pop("resume", False)
    outcome = loop.run(toy, LoopSettings(**SETTINGS | options), folder, resume=resume)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    weights = [value.flatten().tolist() for value in toy.net.state_dict().values()]
    (folder / f"end-{rank}.json").write_text(json.dumps({"weights": weights, "interrupted": outcome.interrupted}))


if __name__ == "__main__":
    main()
