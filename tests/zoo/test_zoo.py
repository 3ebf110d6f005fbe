"""All networks of the zoo: measured right, or refused where the zoo says why."""

import pytest

from zoo.architecture import architectures
from zoo.harness import METHODS, judge

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [a.name for a in architectures()])
def test_measured_right_or_refused_with_the_reason(name):
    """Against float64 Jacobians by plain reverse mode and sixth-order differences of M."""
    (architecture,) = (a for a in architectures() if a.name == name)
    verdicts = [judge(architecture, loss, method) for loss in architecture.losses for method in METHODS]
    allowed = {"right", "refused"} if architecture.refusal else {"right"}
    bad = [v for v in verdicts if v.outcome not in allowed]
    assert not bad, "\n".join(f"{v.loss} {v.method}: {v.outcome}: {v.message}" for v in bad)
