"""What batches add to the energy: the exact second moment of minibatch SGD, against what a run shows.

A batch of m of n samples, drawn without replacement, steps along an unbiased gradient. For the operator as it stands,
the energy of a mode after the update has the expectation (equations/identities.md#eq-s1)

    E[g_u'^2] = (1 - eta lambda_u)^2 g_u^2
                + eta^2 lambda_u^2 (n - m) / (m (n - 1)) [n sum_i (sum_c phi_u,ic e_ic)^2 - g_u^2]

The second term is a source in every mode, set by the whole loss and not by neighbours. With e + J dtheta of the update
that was made, its realisation is (h - h0)_u^2, so a run tests the formula mode by mode.

It holds for plain SGD on the probe's own samples, and nothing else is judged by it. That a run is such a one is read
from its updates: `batch_miss` says what an update is beyond (learning rate) x (mean gradient of m samples of the
probe). Measured on tanh and ReLU networks with 64 to 600 samples, batches of 8 to half of them and up to 6,000 updates:
plain SGD is recognised at every measured update (miss below 1e-7 in float64, below 1e-4 with parameters in float32) as
long as the network has more parameters than samples; batches of other samples, of a larger set, momentum and AdamW are
refused at every one (miss above 0.2), weight decay of 1e-3 at every one too (above 2e-3). With fewer parameters than
samples the batch cannot be told from the update, and the run is refused as unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from eigenflow.core.errors import ArgumentError, RunFolderError
from eigenflow.core.grid import coarsen_edges, shell_index
from eigenflow.store import Run

__all__ = ["BatchNoise", "batch_noise", "batch_variance", "require_plain"]

SHELLS_PER_DECADE = 4
# An update that misses by less is a step on a batch of the probe; see above for what true and other ones miss by.
FROM_PROBE = 1e-3
# Tables of `config` that runs of `eigenflow run` have; those train on their probe set.
OWN = {"task", "model", "train", "measure"}


def batch_variance(
    eigenvalues: Float[np.ndarray, "*step mode"],
    coefficients: Float[np.ndarray, "*step mode"],
    sample_energies: Float[np.ndarray, "*step mode"],
    step_size: Float[np.ndarray, "*#step 1"] | float,
    *,
    samples: int,
    batch_size: int,
    replacement: bool = False,
) -> Float[np.ndarray, "*step mode"]:
    """Expected energy that a random batch adds to each mode by one SGD update.

    Args:
        eigenvalues: lambda_u, 1 / time.
        coefficients: g_u before the update.
        sample_energies: n sum_i (sum_c phi_u,ic e_ic)^2, stored as `sample_energy`.
        step_size: eta.
        samples: n.
        batch_size: m, at most n.
        replacement: Whether the batch's samples are drawn independently of each other.

    Raises:
        ArgumentError: If `batch_size` is not in 1 ... `samples`.
    """
    if not 1 <= batch_size <= samples:
        raise ArgumentError(
            f"`batch_size` must be between 1 and `samples` = {samples}, but is {batch_size}. "
            f"The formula holds where the probe set is the training set."
        )
    if replacement:
        factor = 1.0 / batch_size
    else:
        factor = (samples - batch_size) / (batch_size * (samples - 1)) if samples > 1 else 0.0
    return (step_size * eigenvalues) ** 2 * factor * (sample_energies - coefficients**2)


@dataclass(frozen=True)
class BatchNoise:
    """Energy added by batches, expected and observed, for each measured update.

    Attributes:
        times: Ends of the updates.
        batch_size: m.
        samples: n.
        expected: Sum over modes of the expected added energy.
        observed: Sum over modes of (h - h0)^2, what the update added beyond gradient descent.
        dissipated: Energy lost to gradient descent, sum over the same modes.
        edges: Shell edges, 4 a decade.
        expected_shells: `expected` by shell (time, shell).
        observed_shells: `observed` by shell.
    """

    times: Float[np.ndarray, " time"]
    batch_size: int
    samples: int
    expected: Float[np.ndarray, " time"]
    observed: Float[np.ndarray, " time"]
    dissipated: Float[np.ndarray, " time"]
    edges: Float[np.ndarray, " edges"]
    expected_shells: Float[np.ndarray, "time shell"]
    observed_shells: Float[np.ndarray, "time shell"]

    @property
    def share(self) -> Float[np.ndarray, " time"]:
        """Expected added energy over dissipated energy."""
        return self.expected / np.maximum(self.dissipated, np.finfo(np.float64).tiny)

    @property
    def ratio(self) -> Float[np.ndarray, " time"]:
        """Observed over expected; 1 on average over batches, widely scattered for one."""
        return self.observed / np.maximum(self.expected, np.finfo(np.float64).tiny)


def batch_noise(run: Run) -> BatchNoise:
    """Compare the energy that batches added with the exact second moment.

    Args:
        run: Trained by plain SGD on the probe set, with one batch size.

    Raises:
        RunFolderError: If the run lacks `sample_energy` (schema versions before 3), the vectors of its updates, or its
            batch sizes; if it used several batch sizes, or batches larger than the probe set; if it was not trained by
            plain SGD on the probe's samples, or does not say so.
        ArgumentError: If it saw all samples at every update, so that there is no noise.
    """
    data = run.measurements
    samples, batch_size = int(run.header["probe"]["samples"]), _batch_size(run)
    if batch_size == samples:
        raise ArgumentError(f"Run `{run.path}` saw all {samples} samples at every update: its batches add no noise.")
    if batch_size > samples:
        raise RunFolderError(
            f"Run `{run.path}` trained on batches of {batch_size}, but its probe set has {samples} samples. "
            f"The second moment is known where the probe set is the training set."
        )
    missing = [name for name in ("sample_energy", "gradient_step", "linear_step") if name not in data]
    if missing:
        raise RunFolderError(
            f"Run `{run.path}` does not hold {', '.join(missing)}, from which the noise of batches "
            f"follows; schema version 3 records it with method='dense'. Record the run again."
        )
    require_plain(run)
    eigenvalue, g = data["eigenvalue"].values, data["coefficient"].values
    step_size = data["step_size"].values[:, None]
    expected = batch_variance(
        eigenvalue,
        g,
        data["sample_energy"].values,
        step_size,
        samples=samples,
        batch_size=batch_size,
        replacement="batch_repeats" in data and bool((_of_probe(data, "batch_repeats") > 1).any()),
    )
    observed = (data["linear_step"].values - data["gradient_step"].values) ** 2
    edges = data["edge"].values[coarsen_edges(data["edge"].values, SHELLS_PER_DECADE)]
    return BatchNoise(
        times=(data["time"] + data["step_size"]).values,
        batch_size=batch_size,
        samples=samples,
        expected=expected.sum(1),
        observed=observed.sum(1),
        dissipated=(g**2 - data["gradient_step"].values ** 2).sum(1),
        edges=edges,
        expected_shells=_by_shell(eigenvalue, expected, edges),
        observed_shells=_by_shell(eigenvalue, observed, edges),
    )


def _batch_size(run: Run) -> int:
    """The one batch size of a run."""
    losses = run.losses
    sizes = losses["batch_size"].dropna().unique() if "batch_size" in losses else []
    if len(sizes) != 1:
        raise RunFolderError(
            f"Run `{run.path}` logged {len(sizes)} batch sizes, but one is needed. Pass batch_size= to `recorder.step`."
        )
    return int(sizes[0])


def require_plain(run: Run) -> None:
    """Refuse a run that was not trained by plain SGD on the samples of its probe.

    Raises:
        RunFolderError: With what speaks against it, or that the run does not say.
    """
    told = _other_optimizer(run)
    if told:
        raise RunFolderError(
            f"Run `{run.path}` was not trained by plain SGD ({told}). The second moment of batches is exact for plain "
            f"SGD only; record a run with optimizer='sgd', momentum=0."
        )
    data = run.measurements
    if "batch_miss" in data:
        miss = data["batch_miss"].values
        if np.mean(miss <= FROM_PROBE) < 0.5:
            raise RunFolderError(
                f"Run `{run.path}` shows no updates by plain SGD on samples of its probe set: beyond such a step an "
                f"update is {np.median(miss):.2g} of itself (median of {len(miss)}, {FROM_PROBE:g} is allowed). Other "
                f"samples, another optimizer, weight decay, a loss that is no mean over the batch, or fewer parameters "
                f"than samples do that. Make the probe of the training set, and train by plain SGD on it."
            )
    elif not _is_own(run.header.get("config") or {}):
        raise RunFolderError(
            f"Run `{run.path}` does not say whether its batches are samples of its probe set, nor by which optimizer "
            f"it was trained: it was recorded before updates were held against both (`batch_miss`). Record it again "
            f"with method='dense', and pass batch_size= to `recorder.step`."
        )


def _other_optimizer(run: Run) -> str:
    """What the record says of an optimizer that is not plain SGD, or nothing."""
    losses, header = run.losses, run.header
    train = (header.get("config") or {}).get("train")
    train = train if isinstance(train, Mapping) else {}
    if header.get("preconditioner") is not None:
        return f"measured with the preconditioner of {header['preconditioner']}"
    if "momentum" in losses and bool(np.nan_to_num(losses["momentum"].to_numpy(dtype=float)).any()):
        return "momentum"
    if train.get("optimizer", "sgd") != "sgd":
        return f"optimizer {train['optimizer']!r}"
    return "weight decay" if train.get("weight_decay") else ""


def _is_own(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a run of this package whose probe is its training set."""
    return set(config) >= OWN and isinstance(config["task"], Mapping) and not config["task"].get("training")


def _of_probe(data: xr.Dataset, name: str) -> Float[np.ndarray, " time"]:
    """Of the updates that are steps on batches of the probe."""
    return data[name].values[data["batch_miss"].values <= FROM_PROBE]


def _by_shell(eigenvalues: np.ndarray, values: np.ndarray, edges: np.ndarray) -> Float[np.ndarray, "time shell"]:
    shells = len(edges) + 1
    return np.array(
        [np.bincount(shell_index(lam, edges), row, shells) for lam, row in zip(eigenvalues, values, strict=True)]
    )
