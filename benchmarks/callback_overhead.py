"""What does a callback take of every batch while nothing is measured?

A network of a million parameters makes one update a batch. The time inside the callback's hooks is held against the
whole of a step without it. The only scheduled measurement is far away, so what is left is the price of listening.

Run:  python benchmarks/callback_overhead.py --steps 300
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import eigenflow as ef
from _machine import write

SAMPLES, INPUTS, WIDTH, CLASSES = 64, 256, 640, 10
FAR = [10**9]
WARM_UP = 20


def network() -> nn.Sequential:
    """A million parameters in eight tensors."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(INPUTS, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH - 10),
        nn.GELU(), nn.Linear(WIDTH - 10, CLASSES),
    )  # fmt: skip


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """One batch, always the same."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, INPUTS, generator=generator)
    return inputs, torch.randint(0, CLASSES, (SAMPLES,), generator=generator)


class Watch:
    """CPU seconds of this thread inside of some methods, batch by batch; calls inside of others count once."""

    def __init__(self):
        self.batch_s, self.all_s, self.depth = 0.0, [], 0

    def around(self, owner: Any, name: str) -> None:
        """Measure a method of an object from now on."""
        method = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            began = time.thread_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.depth -= 1
                if self.depth == 0:
                    self.batch_s += time.thread_time() - began

        setattr(owner, name, watched)

    def next_batch(self) -> None:
        """A batch is over."""
        self.all_s.append(self.batch_s)
        self.batch_s = 0.0


def a_step(steps: int) -> list[float]:
    """CPU seconds of each update without anything around it."""
    model, (inputs, labels) = network(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    seconds = []
    for _ in range(steps):
        began = time.thread_time()
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        seconds.append(time.thread_time() - began)
    return seconds[WARM_UP:]


def plain(steps: int, folder: Path) -> list[float]:
    """`Recorder.step` in a loop."""
    model, (inputs, labels) = network(), batch()
    optimizer, watch = torch.optim.AdamW(model.parameters(), lr=1e-4), Watch()
    probe = ef.Probe(model, inputs[:8], labels[:8], loss="cross_entropy")
    with ef.Recorder(folder, probe, FAR, modes=4, preconditioner=optimizer) as recorder:
        watch.around(recorder, "step")
        for step in range(steps):
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=1e-4, batch_size=SAMPLES)
            watch.next_batch()
    return watch.all_s[WARM_UP:]


def in_lightning(steps: int, folder: Path) -> list[float]:
    """All hooks of the callback, and PyTorch's around the optimizer."""
    import lightning.pytorch as lightning

    from eigenflow.integrations import lightning as ours

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()

        def training_step(self, one: Any, batch_idx: int) -> torch.Tensor:
            return cross_entropy(self.network(one[0]), one[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-4)

    class Beginning(lightning.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            updates = callback._updates
            assert updates is not None
            for handle in updates._handles:
                handle.remove()
            for name in ("_before", "_after"):
                watch.around(updates, name)
            updates._handles = [
                trainer.optimizers[0].register_step_pre_hook(updates._before),
                trainer.optimizers[0].register_step_post_hook(updates._after),
            ]

        def on_train_batch_end(self, *args: Any) -> None:
            watch.next_batch()

    watch = Watch()
    inputs, labels = batch()
    callback = ours.SpectralCallback(
        folder, (inputs[:8], labels[:8]), modes=4, schedule=FAR, max_overhead=None, say=lambda text: None
    )
    for name in ("on_train_batch_start", "on_before_backward", "on_before_optimizer_step", "on_train_batch_end"):
        watch.around(callback, name)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[callback, Beginning()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder.parent,
    )  # fmt: skip
    data = torch.utils.data.TensorDataset(inputs.repeat(steps, 1), labels.repeat(steps))
    trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=SAMPLES))
    return watch.all_s[WARM_UP:]


def in_trainer(steps: int, folder: Path) -> list[float]:
    """All hooks of the callback for Hugging Face's Trainer, and what it puts around `training_step`."""
    from transformers import Trainer, TrainingArguments

    from eigenflow.integrations.huggingface import SpectralCallback

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network()

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any) -> dict[str, Any]:
            logits = self.network(inputs)
            return {"logits": logits} if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}

    inputs, labels = batch()
    rows = [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)] * steps
    watch = Watch()
    probe = {"inputs": inputs[:8], "labels": labels[:8]}
    callback = SpectralCallback(folder, probe, modes=4, schedule=FAR, max_overhead=None, say=lambda text: None)
    for name in ("on_pre_optimizer_step", "on_optimizer_step", "on_step_end"):
        watch.around(callback, name)
    at_the_end = callback.on_step_end

    def ended(*args: Any, **kwargs: Any) -> None:
        at_the_end(*args, **kwargs)
        watch.next_batch()

    callback.on_step_end = ended
    arguments = TrainingArguments(
        str(folder.parent / "trainer"), per_device_train_batch_size=SAMPLES, max_steps=steps, save_strategy="no",
        report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=10**6,
    )  # fmt: skip
    Trainer(Named(), arguments, train_dataset=rows, callbacks=[callback]).train()  # pyright: ignore[reportArgumentType]
    return watch.all_s[WARM_UP:]


def main(steps: int, repeats: int) -> None:
    """Measure the ways one after the other, several times, and write the medians."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ways: dict[str, Callable[[int, Path], list[float]]] = {
        "Recorder in a plain loop": plain,
        "Lightning": in_lightning,
        "Hugging Face": in_trainer,
    }
    rows = []
    for name, way in ways.items():
        taken, alone = [], []
        for repeat in range(repeats):
            with tempfile.TemporaryDirectory() as base:
                taken += way(steps, Path(base) / f"run-{repeat}")
            alone += a_step(steps)
        rows.append(_row(name, taken, alone))
        print(rows[-1])
    parameters = sum(p.numel() for p in network().parameters())
    write("callback_overhead", rows, "lightning", "transformers", parameters=parameters, batch=SAMPLES)


def _row(name: str, taken: list[float], alone: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(taken, n=4)
    step = statistics.median(alone)
    return {
        "way": name,
        "median_us": round(1e6 * middle, 2),
        "quartiles_us": [round(1e6 * low, 2), round(1e6 * high, 2)],
        "step_median_us": round(1e6 * step, 1),
        "share": round(middle / step, 5),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    main(chosen.steps, chosen.repeats)
