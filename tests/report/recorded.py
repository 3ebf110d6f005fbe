"""A small run folder whose every number is a formula, without any network, and a reader of report files."""

import base64
import json
from html.parser import HTMLParser

import numpy as np

from eigenflow.core.grid import shell_edges, shell_index
from eigenflow.store import RunWriter, Variable

MODES = 40
STEPS = 400
STEP_SIZE = 0.5
MEASURED = [0, 1, 2, 3, 5, 8, 12, 18, 26, 36, 50, 70, 99, 130, 170, 220, 280, 330, 399]
GROWTH = 0.1  # eigenvalues grow as (1 + t)^0.1


def eigenvalues_at(time: float) -> np.ndarray:
    return 10.0 ** np.linspace(0, -3, MODES) * (1 + time) ** GROWTH


def coefficients_at(time: float) -> np.ndarray:
    return 0.1 * np.exp(-(10.0 ** np.linspace(0, -3, MODES)) * ((1 + time) ** (1 + GROWTH) - 1) / (1 + GROWTH))


def loss_at(time: float) -> float:
    return float(0.5 * (coefficients_at(time) ** 2).sum())


def holdout_at(time: float) -> float:
    return 0.01 + 2 * loss_at(time)


EDGES = shell_edges(2.0)
SHELLS = len(EDGES) + 1


def record_run(path, *, name="synthetic", holdout=True, measured=tuple(MEASURED), scale=1.0, header=None) -> None:
    """Write the run; `scale` multiplies what moves between shells."""
    config = {"name": name, "task": {"name": "formula", "seed": 7}, "train": {"optimizer": "sgd", "steps": STEPS}}
    probe = {"samples": MODES, "outputs": 1, "checksum": "abc", "parameters": 99}
    contents = {"config": config, "probe": probe, "versions": {"eigenflow": "0"}} if header is None else header
    with RunWriter.create(path, header=contents) as writer:
        for step in range(STEPS):
            if step in measured:
                constants = {"edge": Variable(("edge",), EDGES, "1 / time", "edges")}
                writer.append(step, _variables(step * STEP_SIZE, holdout, scale), constants=constants)
            time = step * STEP_SIZE
            row = {"step": step, "time": time, "loss": loss_at(time), "learning_rate": STEP_SIZE}
            writer.log({**row, "batch_size": MODES})


def _variables(time: float, holdout: bool, scale: float) -> dict[str, Variable]:
    lam, g, g_after = eigenvalues_at(time), coefficients_at(time), coefficients_at(time + STEP_SIZE)
    rate = GROWTH * lam / (1 + time)
    index = shell_index(lam, EDGES)

    def shells(values):
        return np.bincount(index, weights=values, minlength=SHELLS)

    moved = scale * 1e-3 * np.sin(np.arange(MODES) + time) * g**2
    matrix = np.zeros((SHELLS, SHELLS))
    np.add.at(matrix, (index[1:], index[:-1]), moved[:-1])
    transfer = matrix.sum(1) - matrix.sum(0)
    matrix[np.diag_indices(SHELLS)] += shells(g**2)
    per_shell = {
        "energy": shells(g**2),
        "energy_after": shells(g_after**2) + transfer,
        "dissipation": shells(g**2 - g_after**2),
        "optimizer": np.zeros(SHELLS),
        "transfer": transfer,
        "remainder": np.zeros(SHELLS),
        "transfer_drift": np.zeros(SHELLS),
        "transfer_rotation": transfer,
        "mode_count": shells(np.ones(MODES)),
        "eigenvalue_sum": shells(lam),
        "rate_sum": shells(rate),
        "energy_rate": shells(rate * g**2),
    }
    per_mode = {
        "eigenvalue": lam,
        "eigenvalue_rate": rate,
        "coefficient": g,
        "eigenvalue_after": eigenvalues_at(time + STEP_SIZE),
        "coefficient_after": g_after,
        "kato_after": g_after,
        "kato_parameter": np.zeros(MODES),
        "successor_overlap": np.ones(MODES),
    }
    scalars = {
        "time": time,
        "step_size": STEP_SIZE,
        "probe_loss": loss_at(time),
        "trace": lam.sum(),
        "identity_residual": 1e-15,
        "flow_residual": 1e-3,
    }
    if holdout:
        scalars["holdout_loss"] = holdout_at(time)
    found = {key: Variable((), np.asarray(float(value)), "1", key) for key, value in scalars.items()}
    found |= {key: Variable(("mode",), value, "1", key) for key, value in per_mode.items()}
    found |= {key: Variable(("shell",), value, "1", key) for key, value in per_shell.items()}
    square = {"transfer_matrix": matrix, "coupling_matrix": np.zeros((SHELLS, SHELLS))}
    return found | {key: Variable(("shell", "shell_from"), value, "1", key) for key, value in square.items()}


class Page(HTMLParser):
    """What a browser would find in a report: elements, tables, figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.rows: list[tuple[dict[str, str | None], list[dict]]] = []
        self.prose: list[str] = []
        self._script: str | None = None
        self._cell: dict | None = None
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.elements.append((tag, found))
        self._raw = tag in ("script", "style")
        if tag == "script":
            self._script = found.get("id") or "code"
        elif tag == "tr":
            self.rows.append((found, []))
        elif tag == "td":
            self._cell = {"attributes": found, "text": ""}
            self.rows[-1][1].append(self._cell)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._script, self._raw = None, False
        elif tag == "td":
            self._cell = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif not self._raw:
            self.prose.append(data)
            if self._cell is not None:
                self._cell["text"] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.prose).split())

    def figure(self, key: str) -> dict:
        return json.loads(self.scripts[f"spec-{key}"])

    def traces(self, key: str) -> dict[str, list[dict]]:
        named: dict[str, list[dict]] = {}
        for trace in self.figure(key)["data"]:
            named.setdefault(trace.get("name", ""), []).append(trace)
        return named


# Pages hold large arrays in single precision.
SHORT = 2.0**-23


def numbers(values) -> np.ndarray:
    """An array as plotly writes it: a list with nulls, or base64 with a type and a shape."""
    if isinstance(values, dict):
        flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).astype(np.float64)
        shape = values.get("shape")
        return flat.reshape([int(size) for size in shape.split(",")]) if shape else flat
    return np.array([np.nan if value is None else value for value in values], dtype=float)
