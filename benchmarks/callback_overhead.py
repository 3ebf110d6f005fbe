"""What does a callback take of every batch while nothing is measured?

A network of a million parameters makes one update a batch. The time inside the callback's hooks is held against the
whole of a step without it. The only scheduled measurement is far away, so what is left is the price of listening.
Rows are written to disk twice a second, and losses are looked into in groups, so the mean stands beside the median. The
clock is inside: what it takes around functions that do nothing is told as `clock_us` and not subtracted.

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


def batches(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One after the other, each with samples of its own: of a single one the loss is gone after a hundred steps."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(steps * SAMPLES, INPUTS, generator=generator)
    return inputs, torch.randint(0, CLASSES, (steps * SAMPLES,), generator=generator)


class Watch:
    """CPU seconds of this thread inside of some methods, batch by batch; calls inside of others count once."""

    def __init__(self):
        self.batch_s, self.all_s, self.depth = 0.0, [], 0
        self.clock_s, self.all_clock_s = 0.0, []

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
                    began = time.thread_time()
                    _nothing(*args, **kwargs)
                    self.clock_s += time.thread_time() - began

        setattr(owner, name, watched)

    def without(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method that somebody else would call anyway, left out of what is measured around it."""

        def apart(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*args, **kwargs)
            finally:
                self.batch_s -= time.thread_time() - began

        return apart

    def next_batch(self) -> None:
        """A batch is over."""
        self.all_s.append(self.batch_s)
        self.all_clock_s.append(self.clock_s)
        self.batch_s = self.clock_s = 0.0


def _nothing(*args: Any, **kwargs: Any) -> None:
    """What a hook costs that does nothing."""


def a_step(steps: int) -> list[float]:
    """CPU seconds of each update without anything around it."""
    model, (inputs, labels) = network(), batches(steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    seconds = []
    for x, y in zip(inputs.split(SAMPLES), labels.split(SAMPLES), strict=True):
        began = time.thread_time()
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
        seconds.append(time.thread_time() - began)
    return seconds[WARM_UP:]


def plain(steps: int, folder: Path) -> Watch:
    """`Recorder.step` in a loop."""
    model, (inputs, labels) = network(), batches(steps)
    optimizer, watch = torch.optim.AdamW(model.parameters(), lr=1e-4), Watch()
    probe = ef.Probe(model, inputs[:8], labels[:8], loss="cross_entropy")
    with ef.Recorder(folder, probe, FAR, modes=4, preconditioner=optimizer) as recorder:
        watch.around(recorder, "step")
        for step, (x, y) in enumerate(zip(inputs.split(SAMPLES), labels.split(SAMPLES), strict=True)):
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(step, loss=loss, learning_rate=1e-4, batch_size=SAMPLES)
            watch.next_batch()
    return watch


def in_lightning(steps: int, folder: Path) -> Watch:
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
    inputs, labels = batches(steps)
    callback = ours.SpectralCallback(
        folder, (inputs[:8], labels[:8]), modes=4, schedule=FAR, max_overhead=None, say=lambda text: None
    )
    for name in ("on_before_backward", "on_before_optimizer_step", "on_train_batch_end"):
        watch.around(callback, name)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[callback, Beginning()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder.parent,
    )  # fmt: skip
    data = torch.utils.data.TensorDataset(inputs, labels)
    trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=SAMPLES))
    return watch


def in_trainer(steps: int, folder: Path) -> Watch:
    """All hooks of the callback for Hugging Face's Trainer, and what it puts around `training_step`."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from eigenflow.integrations.huggingface import SpectralCallback

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network()

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any) -> dict[str, Any]:
            logits = self.network(inputs)
            return {"logits": logits} if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}

    inputs, labels = batches(steps)
    rows = [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    watch = Watch()
    probe = {"inputs": inputs[:8], "labels": labels[:8]}
    callback = SpectralCallback(folder, probe, modes=4, schedule=FAR, max_overhead=None, say=lambda text: None)
    for name in ("on_pre_optimizer_step", "on_step_end"):
        watch.around(callback, name)
    at_the_end = callback.on_step_end

    def ended(*args: Any, **kwargs: Any) -> None:
        at_the_end(*args, **kwargs)
        watch.next_batch()

    callback.on_step_end = ended

    class Beginning(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            watch.around(trainer, "training_step")

    arguments = TrainingArguments(
        str(folder.parent / "trainer"), per_device_train_batch_size=SAMPLES, max_steps=steps, save_strategy="no",
        report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=10**6,
    )  # fmt: skip
    trainer = Trainer(Named(), arguments, train_dataset=rows, callbacks=[callback, Beginning()])  # pyright: ignore[reportArgumentType]
    trainer.training_step = watch.without(trainer.training_step)
    trainer.train()
    return watch


def main(steps: int, repeats: int) -> None:
    """Measure the ways one after the other, several times, and write the medians."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ways: dict[str, Callable[[int, Path], Watch]] = {
        "Recorder in a plain loop": plain,
        "Lightning": in_lightning,
        "Hugging Face": in_trainer,
    }
    rows = []
    for name, way in ways.items():
        taken, clock, alone = [], [], []
        for repeat in range(repeats):
            with tempfile.TemporaryDirectory() as base:
                watch = way(steps, Path(base) / f"run-{repeat}")
            taken += watch.all_s[WARM_UP:]
            clock += watch.all_clock_s[WARM_UP:]
            alone += a_step(steps)
        rows.append(_row(name, taken, clock, alone))
        print(rows[-1])
    parameters = sum(p.numel() for p in network().parameters())
    write("callback_overhead", rows, "lightning", "transformers", parameters=parameters, batch=SAMPLES)


def _row(name: str, taken: list[float], clock: list[float], alone: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(taken, n=4)
    mean, step = statistics.fmean(taken), statistics.median(alone)
    return {
        "way": name,
        "median_us": round(1e6 * middle, 2),
        "quartiles_us": [round(1e6 * low, 2), round(1e6 * high, 2)],
        "mean_us": round(1e6 * mean, 2),
        "clock_us": round(1e6 * statistics.median(clock), 2),
        "step_median_us": round(1e6 * step, 1),
        "share": round(middle / step, 5),
        "mean_share": round(mean / step, 5),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    main(chosen.steps, chosen.repeats)
