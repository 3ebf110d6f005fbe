"""Natural-image patches: what is drawn, and the power law that natural images have."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

import eigenflow as ef
from eigenflow.core.errors import ConfigError
from eigenflow.lab import load_config, run_experiment
from eigenflow.lab.models import build_model
from eigenflow.lab.patches import draw_patches, grey_photographs
from eigenflow.lab.tasks import load_task
from lab.test_parametrised import arc_cosine_kernel


def test_pixels_are_luma_with_mean_0_and_variance_1():
    grey = grey_photographs()
    assert grey.mean() == pytest.approx(0, abs=1e-12) and grey.std() == pytest.approx(1, rel=1e-12)
    red, green, blue = np.moveaxis(np.stack(load_sample_images().images).astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.corrcoef(grey.ravel(), luma.ravel())[0, 1] == pytest.approx(1, abs=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("middle", [1, 3])
def test_patches_are_pieces_of_the_photographs_and_share_no_pixel(middle):
    """Each pixel is given a number of its own, and found again in one patch at most."""
    side = 7
    inputs, targets, tests, test_targets = draw_patches(300, 200, side, middle, rng=np.random.default_rng(0))
    assert inputs.shape == (300, side**2) and targets.shape == (300, middle**2)
    assert tests.shape == (200, side**2) and test_targets.shape == (200, middle**2)
    grey = grey_photographs()
    windows = np.lib.stride_tricks.sliding_window_view(grey, (side, side), axis=(1, 2))
    first, hidden = windows[..., 0, 0], slice((side - middle) // 2, (side + middle) // 2)
    taken = np.zeros(grey.shape, dtype=int)
    for patch, target in zip(np.vstack([inputs, tests]), np.vstack([targets, test_targets]), strict=True):
        square = patch.reshape(side, side).copy()
        assert np.all(square[hidden, hidden] == 0)
        square[hidden, hidden] = target.reshape(middle, middle)
        found = [place for place in np.argwhere(first == square[0, 0]) if np.array_equal(windows[tuple(place)], square)]
        # Flat pieces of sky may be equal; one place of each that is still free is taken.
        free = [(i, r, c) for i, r, c in found if not taken[i, r : r + side, c : c + side].any()]
        assert free, "a patch that overlaps another, or is none of the photographs"
        i, r, c = free[0]
        taken[i, r : r + side, c : c + side] += 1
    assert taken.max() == 1


def test_patches_follow_from_the_seed():
    a, b, c = (load_task(load_config("patches", [f"task.seed={seed}"]).task) for seed in (3, 3, 4))
    assert torch.equal(a.inputs, b.inputs) and torch.equal(a.test_targets, b.test_targets)
    assert not torch.equal(a.inputs, c.inputs)


def capacity(kernel, first, last):
    """Exponent of eigenvalue ~ rank^-capacity in a window of ranks, by least squares in logarithms."""
    eigenvalues, ranks = np.linalg.eigvalsh(kernel)[::-1], np.arange(first, last + 1)
    return -np.polyfit(np.log(ranks), np.log(eigenvalues[first - 1 : last]), 1)[0]


@pytest.mark.long
@pytest.mark.parametrize("first", [2, 3, 10])
def test_kernel_of_patches_falls_as_about_one_over_rank(first):
    """Power 1 / f^2 in a plane, about f^2 waves below f: rank^-1. Photographs have slopes of 1.8 to 2.4 in f, 0.9 to
    1.2 in rank; of these two it is 1.01 to 1.15 over 300 modes, by the window. Over draws it spreads by 0.02, so that
    the mean of three is known to 0.012.
    """
    found = []
    for seed in range(3):
        inputs, *_ = draw_patches(900, 0, 15, 1, rng=np.random.default_rng(seed))
        found.append(capacity(arc_cosine_kernel(inputs, bias=0.0), first, 300))
    assert np.std(found) < 0.05
    assert 1.01 < np.mean(found) < 1.15


def test_a_wide_network_has_the_exponent_of_its_kernel():
    """At width 4096 a sample mean misses each eigenvalue by 2 %, and it has lifted none of the first 100 by more."""
    changes = ["task.samples=300", "model.depth=1", "model.activation=relu", "model.width=4096"]
    config = load_config("patches", [*changes, "model.parametrisation=ntk", "model.centred=false"])
    task = load_task(config.task)
    found = task.probe(build_model(*task.sizes, config.model), "half_sum", holdout=False).at().dense().numpy()
    limit = arc_cosine_kernel(task.inputs.numpy())
    assert capacity(found, 3, 100) == pytest.approx(capacity(limit, 3, 100), abs=0.02)


@pytest.mark.long
def test_a_small_run_learns_the_middle(tmp_path):
    """The mean of the surround alone explains most of a pixel, so the loss must fall below a third of its variance."""
    changes = ["task.samples=40", "task.patch=5", "task.holdout=20", "model.width=32", "measure.threads=1"]
    config = load_config("patches", [*changes, "train.steps=400", "measure.count=6"])
    run = run_experiment(config, tmp_path / "run")
    task = load_task(config.task)
    assert float(run.losses["loss"].iloc[0]) == pytest.approx(float(task.targets.square().mean()), rel=1e-12)
    assert float(run.losses["loss"].iloc[-1]) < 0.3 * float(run.losses["loss"].iloc[0])
    assert run.measurements.sizes["mode"] == 40 and run.status == "complete"
    assert np.abs(ef.shell_budget(run).residual.values).max() < 1e-12


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["task.patch=8"], "patch and centre must be odd"),
        (["task.patch=3", "task.centre=3"], "at most patch - 2"),
        (["train.loss=cross_entropy"], "which has no classes"),
        (["task.training=100"], "training must be 0 or at least samples = 600"),
        (["task.training=3000"], "training must be at most 1500 for patches"),
        (["measure.modes=601"], "more than the operator's 600 rows"),
        (["model.name=gpt", "model.parametrisation=standard"], "model.name must be 'gpt' for task.name = 'source'"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config("patches", changes)
