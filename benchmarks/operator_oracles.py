"""Do independent packages find the same operator?

* curvlinops: the generalised Gauss-Newton matrix of the parameters, J_net^T H J_net, has the nonzero spectrum of M =
  B^T J_net J_net^T B, for the mean squared error and for cross-entropy, on an MLP, a CNN and a residual network with
  batch norm.
* nngeometry: the Gram matrix J_net J_net^T itself, entry by entry.

Float64, small networks; every comparison is asserted to 1e-10 of the largest eigenvalue or entry.

Run, in an environment with the group `operator-peers`:  python benchmarks/operator_oracles.py
"""

import warnings

import torch
from curvlinops import GGNLinearOperator
from nngeometry.gram import GramMatrix
from torch import nn

import eigenflow as ef
from _machine import write

TOLERANCE = 1e-10
COUNT, CLASSES = 7, 3


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        inner = torch.tanh(self.norm(self.first(x)))
        return self.head((inner + torch.relu(self.second(inner))).mean((2, 3)))


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    found = {
        "mlp": nn.Sequential(
            nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, CLASSES)
        ),
        "cnn": nn.Sequential(
            nn.Conv2d(1, 3, 3, stride=2), nn.Tanh(), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, CLASSES)
        ),
        "residual with batch norm": Residual(),
    }
    for model in found.values():
        model.double().train()
        model(torch.randn(32, 1, 6, 6, dtype=torch.float64))
        model.eval()
    return found


def main() -> None:
    torch.set_default_dtype(torch.float64)  # nngeometry makes buffers of the default type
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(COUNT, 1, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (COUNT,), generator=generator)
    values = torch.randn(COUNT, CLASSES, generator=generator, dtype=torch.float64)
    rows = []
    for name, model in networks().items():
        for loss, targets, criterion in (
            ("mse", values, nn.MSELoss()),
            ("cross_entropy", labels, nn.CrossEntropyLoss()),
        ):
            snapshot = ef.Probe(model, inputs, targets, loss=loss).measure(drift=False)
            parameters = [p for p in model.parameters() if p.requires_grad]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                operator = GGNLinearOperator(model, criterion, parameters, [(inputs, targets)])
                size = sum(p.numel() for p in parameters)
                ggn = (operator @ torch.eye(size, dtype=torch.float64)).detach()
            expected = torch.linalg.eigvalsh(0.5 * (ggn + ggn.T)).flip(0)
            expected = torch.cat([expected, torch.zeros(COUNT * CLASSES)])[: COUNT * CLASSES]
            error = float((snapshot.eigenvalues - expected).abs().max() / expected[0])
            rows.append({"network": name, "loss": loss, "oracle": "curvlinops", "relative_error": error})
        if name != "residual with batch norm":  # whose sum it does not follow
            loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=COUNT)
            gram = GramMatrix(model, loader).to_torch().detach()
            gram = gram.permute(1, 0, 3, 2).reshape(COUNT * CLASSES, -1)
            own = ef.Probe(model, inputs, values, loss="half_sum").at().dense()
            error = float((gram - own).abs().max() / own.abs().max())
            rows.append({"network": name, "loss": "half_sum", "oracle": "nngeometry", "relative_error": error})
    for row in rows:
        print(row)
        assert row["relative_error"] <= TOLERANCE, row
    print(write("operator_oracles", rows, "curvlinops-for-pytorch", "nngeometry"))


if __name__ == "__main__":
    main()
