"""What the linearised network in training refuses, by name."""

import pytest
import torch

import eigenflow as ef
from eigenflow.core.errors import ArgumentError, ConvergenceError
from eigenflow.tangent.linearised.prediction import lazy_prediction
from problems import samples, tanh_net


@pytest.mark.rejects
class TestRejects:
    def probe(self, **options):
        return ef.Probe(tanh_net(), *samples(), **options)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "either `times`.*neither"),
            ({"times": [1.0], "learning_rates": [0.1]}, "either `times`.*both"),
            ({"times": [1.0], "momentum": 0.5}, "`steps` and `momentum` belong"),
            ({"times": []}, "`times` must be one row"),
            ({"times": [2.0, 1.0]}, "`times` must be finite .* increasing"),
            ({"times": [-1.0]}, "`times` must be finite .* >= 0"),
            ({"times": [float("nan")]}, "`times` must be finite"),
            ({"times": ["a"]}, "`times` must be real numbers"),
            ({"learning_rates": [-0.1]}, "`learning_rates` must be one row of finite numbers >= 0"),
            ({"learning_rates": 0.1}, "`learning_rates` must be one row"),
            ({"learning_rates": [0.1], "momentum": 1.0}, "`momentum` must be a number from 0"),
            ({"learning_rates": [0.1], "steps": [2]}, "`steps` must be whole numbers from 0 to 1"),
            ({"learning_rates": [0.1], "steps": [0.5]}, "`steps` must be whole"),
            ({"times": [1.0], "method": "exact"}, "Unknown `method` 'exact'.*'krylov'"),
            ({"times": [1.0], "tolerance": 0.0}, "`tolerance` must be a number"),
            ({"times": [1.0], "at": 3}, "`at` must be an instant"),
            ({"times": [1.0], "targets": torch.zeros(3, 2)}, "`targets` are those of `inputs`"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ArgumentError, match=message):
            lazy_prediction(self.probe(), **arguments)

    def test_targets_of_another_count(self):
        with pytest.raises(ArgumentError, match=r"one for each of the 6 `inputs`, but are 2"):
            lazy_prediction(self.probe(), [1.0], inputs=samples()[0], targets=torch.zeros(2, 2))

    def test_a_sketch(self):
        loss = ef.sketched("cross_entropy", chosen=[0])
        probe = ef.Probe(tanh_net(outputs=3), samples()[0], torch.tensor([0, 1, 2, 0, 1, 2]), loss=loss)
        with pytest.raises(ArgumentError, match="follows all of the error"):
            lazy_prediction(probe, [1.0])

    def test_an_integration_without_end(self, monkeypatch):
        monkeypatch.setattr("eigenflow.tangent.linearised.training.MOST_EVALUATIONS", 50)
        probe = ef.Probe(tanh_net(outputs=3), samples()[0], torch.tensor([0, 1, 2, 0, 1, 2]), loss="cross_entropy")
        with pytest.raises(ConvergenceError, match=r"more than 50 products.*learning_rates"):
            lazy_prediction(probe, [1e5])
