"""More modes than M has rows: all are taken, and it is said."""

import pytest

import eigenflow as ef
from eigenflow.core.errors import ArgumentError
from problems import samples, tanh_net


@pytest.mark.parametrize("method", ["dense", "products"])
def test_measure_takes_all_there_are_and_says_so(method):
    """Against the same measurement without a number."""
    probe = ef.Probe(tanh_net(), *samples(0, count=6))
    with pytest.warns(UserWarning, match=rf"`modes` is 1000, but M has {probe.size} rows") as told:
        many = probe.measure(modes=1000, method=method)
    assert told[0].filename == __file__
    assert many.eigenvalues.numpy() == pytest.approx(probe.measure().eigenvalues.numpy(), rel=1e-9, abs=1e-14)


def test_recorder_takes_all_there_are_and_says_so(tmp_path):
    probe = ef.Probe(tanh_net(), *samples(0, count=6))
    with pytest.warns(UserWarning, match=r"`modes` is 64, but M has") as told:
        recorder = ef.Recorder(tmp_path / "run", probe, [0], modes=64)
    recorder.close()
    assert told[0].filename == __file__


@pytest.mark.parametrize("modes", [0, -1, 2.5, True, "all"])
def test_what_is_no_number_of_modes_is_refused(modes, tmp_path):
    probe = ef.Probe(tanh_net(), *samples(0, count=6))
    with pytest.raises(ArgumentError, match="`modes` must be a"):
        probe.measure(modes=modes)
    with pytest.raises(ArgumentError, match="`modes` must be a"):
        ef.Recorder(tmp_path / "run", probe, [0], modes=modes)


def test_a_tracker_of_more_modes_is_refused():
    probe = ef.Probe(tanh_net(), *samples(0, count=6))
    with pytest.raises(ArgumentError, match=r"`tracker` must follow at most.*ModeTracker"):
        probe.measure(tracker=ef.ModeTracker(1000))
