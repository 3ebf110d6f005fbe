"""The controls: of which systems it is known which assertions hold on them, and which do not.

What is true follows from how a system is made (`systems`), not from what a row finds. An assertion that is named in
neither set is not asked for.
"""

import numpy as np

from eigenflow.theory.controls.minibatches import minibatches, noisier_minibatches
from eigenflow.theory.controls.systems import (
    END,
    Control,
    aligned_network,
    at_rest,
    broken_power,
    ended_clock,
    narrow_spectrum,
    own_powers,
    power_clock,
    self_similar_drift,
    several_clocks,
    smooth_target,
    stretched_exponential,
    swinging_clock,
    three_quarter_power,
    turning_modes,
)

__all__ = ["CONTROLS"]


def _rows(names: str) -> frozenset[str]:
    return frozenset(names.split())


EXACT = _rows(
    "C1.identity C1.flow C1.rough C2.eigenvalues C2.coefficients C2.isolated C2.interval "
    "C3.closes C3.remainder C3.integrated"
)
AT_REST = _rows("C3.source C5.weak C5.kato C5.turned")
SELF_SIMILAR = _rows("C5.frontier C5.collapse C5.amplitude C5.dissipation")
EXPONENTS = _rows("C6.source C6.time C6.forecast C6.spectrum")
ONE_CLOCK = _rows("C7.operator C7.error C7.clock C7.regular")
DRIFT = _rows(
    "C3.single C3.source C3.closure C3.forward C4.form C4.alternatives C4.asymptotic C4.strength C4.regularity "
    "C5.local C8.equation"
)
_LAZY = AT_REST | SELF_SIMILAR | ONE_CLOCK | {"C4.regularity", "C8.equation", "C8.lazy"}
_STILL = EXACT - {"C2.eigenvalues"}  # of eigenvalues that stand still there is no rate to predict
_TURNING = (EXACT - {"C2.eigenvalues", "C2.isolated"}) | {"C1.heavy_tail", "C7.operator"}

CONTROLS: tuple[Control, ...] = (
    Control("at rest", True, at_rest, _STILL | _LAZY | EXPONENTS | {"C1.heavy_tail"}, _rows("C1.basis")),
    Control(
        "nearly at rest, b = 1",
        True,
        power_clock(0.003, 0.006),
        EXACT | _LAZY | (DRIFT - {"C3.closure"}) | EXPONENTS | {"C1.heavy_tail", "C8.still"},
        _rows("C1.basis C4.sign"),
        largest=1.05,
    ),
    Control(
        "growth, b = 1",
        True,
        power_clock(0.2, 0.4),
        EXACT
        | AT_REST
        | SELF_SIMILAR
        | EXPONENTS
        | ONE_CLOCK
        | DRIFT
        | {"C1.heavy_tail", "C4.forward", "C5.shift", "C8.rich", "C8.moving"},
        _rows("C1.basis C4.sign"),
        largest=(1.0 + END) ** 0.4,
    ),
    Control(
        "decay, b = 1",
        True,
        power_clock(-0.4, -0.2),
        EXACT
        | AT_REST
        | SELF_SIMILAR
        | EXPONENTS
        | ONE_CLOCK
        | DRIFT
        | {"C1.heavy_tail", "C4.forward", "C4.sign", "C5.shift", "C8.moving"},
        _rows("C1.basis"),
    ),
    Control(
        "decay, b = 1.5, self-similar",
        True,
        self_similar_drift(0.6, 1.2),
        EXACT | AT_REST | SELF_SIMILAR | (DRIFT - {"C4.regularity"}) | {"C4.forward", "C4.sign", "C8.moving"},
        _rows("C1.basis C7.operator C7.error"),
    ),
    Control(
        "growth, b = 3/4",
        True,
        three_quarter_power,
        EXACT | AT_REST | (DRIFT - {"C3.closure", "C4.regularity"}),
        _rows("C1.basis C4.regularity C4.sign"),
        largest=2.0,
    ),
    Control(
        "aligned linear network",
        False,
        aligned_network,
        (EXACT - {"C1.rough"}) | AT_REST | {"C1.heavy_tail"},
        _rows("C1.basis C3.single C4.sign C6.time C7.operator C7.error"),
        largest=2.0,
    ),
    Control(
        "broken power",
        False,
        broken_power,
        EXACT | AT_REST | {"C1.heavy_tail", "C3.single", "C8.equation"},
        _rows("C1.basis C4.alternatives C4.sign"),
        largest=2.0,
    ),
    Control(
        "several clocks",
        False,
        several_clocks,
        EXACT | AT_REST,
        _rows("C1.basis C3.single C4.form C4.asymptotic C5.collapse C7.operator C7.error C7.clock C8.equation"),
        largest=(1.0 + END) ** 0.35,
    ),
    Control(
        "exponential clock",
        False,
        ended_clock,
        EXACT
        | AT_REST
        | {"C1.heavy_tail", "C3.single", "C4.asymptotic", "C7.operator", "C7.error", "C7.clock", "C8.equation"},
        _rows("C1.basis C5.frontier C5.collapse C5.dissipation C5.amplitude C7.regular"),
    ),
    Control(
        "swinging clock",
        False,
        swinging_clock,
        EXACT
        | AT_REST
        | {"C1.heavy_tail", "C3.single", "C4.asymptotic", "C7.operator", "C7.error", "C7.clock", "C8.equation"},
        _rows("C1.basis C4.strength C5.frontier C5.dissipation C7.regular"),
        largest=1.3,
    ),
    Control(
        "stretched exponential",
        False,
        stretched_exponential,
        (_STILL - {"C1.rough"})
        | AT_REST
        | ONE_CLOCK
        | {"C1.heavy_tail", "C5.frontier", "C6.time", "C6.spectrum", "C8.equation", "C8.lazy"},
        _rows("C1.basis C1.rough C5.amplitude C5.dissipation C6.source"),
    ),
    Control(
        "smooth target",
        False,
        smooth_target,
        (_STILL - {"C1.rough"})
        | AT_REST
        | {"C1.heavy_tail", "C5.frontier", "C6.time", "C6.spectrum", "C8.equation", "C8.lazy"},
        _rows("C1.basis C1.rough C6.source"),
    ),
    Control(
        "narrow spectrum",
        False,
        narrow_spectrum,
        (_STILL - {"C1.rough"})
        | AT_REST
        | {"C6.time", "C6.spectrum", "C7.operator", "C7.error", "C7.clock", "C8.equation", "C8.lazy"},
        _rows("C1.heavy_tail C1.basis"),
    ),
    Control(
        "turning between distant modes",
        False,
        turning_modes(1.5, 0.5, 1.0),
        _TURNING | {"C1.basis"},
        _rows("C3.source C5.local C5.weak C5.kato C5.turned C5.collapse C7.error C7.clock C8.equation"),
    ),
    Control(
        "decay and turning between distant modes",
        False,
        turning_modes(1.5, 0.5, 1.0, gamma=-0.1),
        (_TURNING - {"C2.interval"}) | _rows("C1.basis C2.eigenvalues C3.single"),
        _rows("C3.closure C3.source C5.local C5.weak C5.kato C5.turned C7.error C7.clock C8.equation"),
    ),
    Control(
        "only small modes grow",
        False,
        own_powers(lambda lam: np.where(lam < 0.02, 0.25, 0.0)),
        EXACT | AT_REST | _rows("C1.heavy_tail C8.equation"),
        _rows("C1.basis C8.lazy"),
        largest=1.5,
    ),
    Control(
        "only the largest mode grows",
        False,
        own_powers(lambda lam: np.where(lam == lam.max(), 0.2, 0.0)),
        EXACT | AT_REST | _rows("C8.equation"),
        _rows("C1.basis C8.rich"),
        largest=(1.0 + END) ** 0.2,
    ),
    Control(
        "turning between neighbours",
        False,
        turning_modes(0.1, 0.3, 0.6),
        _TURNING | {"C5.local", "C5.weak"},
    ),
    Control(
        "minibatches",
        False,
        at_rest,
        AT_REST | {"C1.identity", "C3.closes", "C5.noise"},
        _rows("C1.basis C1.flow"),
        record=minibatches,
    ),
    Control(
        "minibatches with twice their noise",
        False,
        at_rest,
        AT_REST | {"C1.identity", "C3.closes"},
        _rows("C1.basis C1.flow C5.noise"),
        record=noisier_minibatches,
    ),
)
