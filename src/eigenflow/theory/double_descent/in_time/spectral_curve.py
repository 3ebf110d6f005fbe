"""Where the eigenvalues of a sample covariance lie: the curve on which its deterministic equivalent turns real.

n samples of a task with eigenvalues lambda_i turn a rate -z into an effective ridge kappa,

    -z = kappa (1 - df(kappa) / n),    df(kappa) = sum_i lambda_i / (lambda_i + kappa).

The sample's spectrum is where z is real although kappa = -rho exp(i psi) is not. There

    (1 / n) sum_i lambda_i^2 / |lambda_i + kappa|^2 = 1,

whose left side falls with psi, so a modulus rho has one angle or none: moduli with an angle form bands, and kappa is
followed along each by the logarithm of its modulus, over any number of decades.

Derivation: equations/double_descent.md#finite-time. Source of the edges: [@silverstein1995analysis].
"""

import numpy as np
from jaxtyping import Complex, Float

__all__ = ["cosine_defects", "log_bands", "resolvent_sums", "sample_rates"]

Array = Float[np.ndarray, "..."]
Points = Complex[np.ndarray, " point"]

# Newton converges in about 6; near a pole it first halves its distance.
ITERATIONS = 80
CLOSE = 1e-9  # Newton's last step, as a share; what is left is of the order of its square
BISECTIONS, EDGE_BISECTIONS = 70, 54
CHUNK = 60_000  # pairs of a point and a group of modes that are worked on at once
# Moduli of a spectrum that reaches down to zero end here, below the largest: the eigenvalue is the square.
DEEPEST = 1e-13


def _excess(values: Array, counts: Array, samples: float | int, modulus: Array, defect: Array) -> tuple[Array, Array]:
    """Give (1/n) sum lambda^2 / |lambda + kappa|^2 - 1 and its derivative by the defect, 1 - cos psi.

    Modes above the modulus are counted, and only what they lack of 1 is summed: nothing cancels where there are n.
    """
    found, slope = np.empty(modulus.shape), np.empty(modulus.shape)
    first, second = counts * values, counts * values**2
    third = second * values
    for part in _pieces(len(modulus), len(values)):
        rho, y = modulus[part, None], defect[part, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inverse = 1.0 / ((values - rho) ** 2 + values * (2.0 * rho * y))
            is_large = values >= rho
            large = np.where(is_large, inverse, 0.0)
            lack = modulus[part] * (2.0 * (1.0 - defect[part]) * (large @ first) - modulus[part] * (large @ counts))
            small = (inverse - large) @ second
            slope[part] = -2.0 * modulus[part] / samples * ((inverse * inverse) @ third)
            found[part] = (lack + small + (is_large @ counts - samples)) / samples
    return found, slope


def _pieces(rows: int, columns: int) -> list[slice]:
    """Rows of a table of points and groups that are worked on together: what the processor's cache holds."""
    step = max(1, CHUNK // columns)
    return [slice(start, start + step) for start in range(0, rows, step)]


def _touching(values: Array, counts: Array, samples: float | int, places: Array) -> Array:
    """Give (1/n) sum lambda^2 / (lambda - u)^2 - 1 at real places u, of either sign."""
    found = np.empty(places.shape)
    for part in _pieces(len(places), len(values)):
        u = places[part, None]
        square = (values - u) ** 2
        is_large = values >= np.abs(u)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            lack = np.where(is_large, u * (2.0 * values - u) / square, values**2 / square)
            found[part] = (lack @ counts + (np.where(is_large, counts, 0.0).sum(1) - samples)) / samples
    return found


def cosine_defects(
    values: Array, counts: Array, samples: float | int, modulus: Array, start: Array | None = None
) -> Array:
    """Solve for 1 - cos psi at each modulus of a band, by Newton's method on the inverse of the sum.

    One step is exact for one group of modes. The inverse is concave: iterates from the side of small psi stay there.

    Args:
        values: lambda of each group.
        counts: Modes in each.
        samples: n.
        modulus: rho, inside bands.
        start: Where to begin; by default from a bound.
    """
    y = _least_defect(values, counts, samples, modulus) if start is None else start.copy()
    low, high = np.zeros(modulus.shape), np.full(modulus.shape, 2.0)
    active = np.arange(len(modulus))
    for _ in range(ITERATIONS):
        excess, slope = _excess(values, counts, samples, modulus[active], y[active])
        now = y[active]
        above = ~(excess <= 0)  # the root lies at a larger angle; inf at a pole
        low[active] = np.where(above, now, low[active])
        high[active] = np.where(above, high[active], now)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = -excess * (1.0 + excess) / slope
        new = now + step
        is_small = np.abs(step) <= CLOSE * now
        inside = is_small | ((new > low[active]) & (new < high[active]))
        middle = np.where(low[active] > 0, np.sqrt(low[active] * high[active]), 0.125 * high[active])
        new = np.where(inside, new, middle)
        y[active] = new
        done = is_small | (high[active] - low[active] <= 1e-15 * high[active])
        active = active[~done]
        if not len(active):
            break
    return y


def _least_defect(values: Array, counts: Array, samples: float | int, modulus: Array) -> Array:
    """What the nearest mode demands alone: a bound from below, exact where it stands alone."""
    order = np.argsort(values)
    sorted_values, sorted_counts = values[order], counts[order]
    right = np.clip(np.searchsorted(sorted_values, modulus), 1, len(values) - 1) if len(values) > 1 else 0
    found = np.full(modulus.shape, 1e-12)
    for place in (right, right - 1) if len(values) > 1 else (0,):
        value, count = sorted_values[place], sorted_counts[place]
        alone = (count * value**2 / samples - (value - modulus) ** 2) / (2.0 * value * modulus)
        found = np.maximum(found, np.minimum(alone, 2.0))
    return found


def log_bands(values: Array, counts: Array, samples: float | int) -> Float[np.ndarray, "band 2"]:
    """Give the ends of ln(rho) of each band, from the smallest up."""
    order = np.argsort(values)
    poles, first = np.unique(values[order], return_index=True)
    held = np.add.reduceat(counts[order], first)
    inner = _gaps(poles, held, samples)
    lowest = _lowest_end(poles, held, samples)
    highest = _highest_end(poles, held, samples)
    ends = np.concatenate([[lowest], np.log(inner).ravel(), [highest]])
    return ends.reshape(-1, 2)


def _lowest_end(poles: Array, counts: Array, samples: float | int) -> float:
    """ln(rho) where the lowest band begins: below all modes, or on the side of positive kappa if modes outnumber n."""
    total = float(counts.sum())
    smallest, largest = float(poles[0]), float(poles[-1])
    if total == samples:
        return float(np.log(smallest * DEEPEST))
    if total < samples:
        # From 0, where the sum is below n, up to the pole.
        low, high = np.log(smallest) - 45.0, np.log(smallest)
        sign = 1.0
    else:
        low, high = np.log(smallest) - 45.0, np.log(largest * max(total / samples, 1.0)) + 2.0
        sign = -1.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        excess = _touching(poles, counts, samples, np.array([sign * np.exp(middle)]))[0]
        rises = excess > 0
        if rises == (sign > 0):
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


def _highest_end(poles: Array, counts: Array, samples: float | int) -> float:
    low = np.log(poles[-1])
    high = low + np.log1p(np.sqrt(counts.sum() / samples)) + 1.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if _touching(poles, counts, samples, np.array([np.exp(middle)]))[0] > 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _gaps(poles: Array, counts: Array, samples: float | int) -> Float[np.ndarray, "gap 2"]:
    """Places between neighbouring modes where the sum is below n, first and last of each."""
    below, above = poles[:-1], poles[1:]
    # Neighbours alone close most gaps: the sum exceeds both their terms at any place between them.
    weight = np.cbrt(counts[:-1] * below**2), np.cbrt(counts[1:] * above**2)
    least = (weight[0] + weight[1]) ** 3 / (above - below) ** 2 / samples
    open_ = np.flatnonzero(least < 1.0)
    if not len(open_):
        return np.zeros((0, 2))
    below, above = below[open_], above[open_]
    lowest = _least_between(poles, counts, below, above)
    is_gap = _touching(poles, counts, samples, lowest) < 0
    below, above, lowest = below[is_gap], above[is_gap], lowest[is_gap]
    ends = []
    for outer in (below, above):
        inside, outside = lowest.copy(), outer.copy()
        for _ in range(EDGE_BISECTIONS):
            middle = 0.5 * (inside + outside)
            is_out = _touching(poles, counts, samples, middle) > 0
            inside, outside = np.where(is_out, inside, middle), np.where(is_out, middle, outside)
        ends.append(0.5 * (inside + outside))
    return np.stack(ends, axis=1)


def _least_between(poles: Array, counts: Array, below: Array, above: Array) -> Array:
    """Where the sum is least between neighbours: it is convex, and its slope sum lambda^2 / (lambda - u)^3 rises."""
    low, high = below.copy(), above.copy()
    for _ in range(EDGE_BISECTIONS // 2):
        middle = 0.5 * (low + high)
        slope = np.empty(middle.shape)
        for part in _pieces(len(middle), len(poles)):
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                slope[part] = (poles**2 / (poles - middle[part, None]) ** 3) @ counts
        rises = slope > 0
        low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    return 0.5 * (low + high)


def resolvent_sums(values: Array, weights: Float[np.ndarray, "group sum"], kappa: Points) -> tuple:
    """Give sums of weight / (lambda_i + kappa), and of weight / (lambda_i + kappa)^2, shape (point, sum)."""
    first = np.empty((len(kappa), weights.shape[1]), dtype=complex)
    second = np.empty_like(first)
    for part in _pieces(len(kappa), len(values)):
        imaginary = np.imag(kappa)[part, None]
        shifted = values + np.real(kappa)[part, None]
        inverse = 1.0 / (shifted**2 + imaginary**2)
        real = shifted * inverse
        first[part] = real @ weights - 1j * imaginary * (inverse @ weights)
        crossed = -2j * imaginary * ((real * inverse) @ weights)
        second[part] = (real**2 - (imaginary * inverse) ** 2) @ weights + crossed
    return first, second


def sample_rates(values: Array, counts: Array, samples: float | int, kappa: Points) -> Points:
    """Give -z at each kappa. Modes above its modulus are counted, so that nothing cancels where n is their number."""
    rate = np.empty(kappa.shape, dtype=complex)
    weighted = np.stack([counts, counts * values], axis=1)
    for part in _pieces(len(kappa), len(values)):
        k = kappa[part]
        k_imag = np.imag(k)
        shifted = values + np.real(k)[:, None]
        inverse = 1.0 / (shifted**2 + k_imag[:, None] ** 2)
        is_large = values >= np.abs(k)[:, None]
        large = np.where(is_large, inverse, 0.0)
        # -kappa sum of 1 / (lambda + kappa) over modes above, sum of lambda / (lambda + kappa) over those below.
        real, imaginary = (shifted * large) @ counts, -k_imag * (large @ counts)
        small = inverse - large
        below = (shifted * small) @ weighted[:, 1] - 1j * k_imag * (small @ weighted[:, 1])
        lack = (samples - is_large @ counts) + k * (real + 1j * imaginary) - below
        rate[part] = k * lack / samples
    return rate
