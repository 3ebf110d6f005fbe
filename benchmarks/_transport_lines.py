"""The method of lines that a reader would write with scipy, in x = ln(lambda), as baseline."""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import ndtr

_KERNEL_WIDTH = 0.5
_KERNEL_RATE = 0.5


def third_order(task, start, domain, times, cells, rtol=1e-6, atol=1e-9):
    """Third-order upwind finite volumes for drifts downwards; cell masses (time, cell)."""
    edges, width, x = _grid(domain, cells)
    speed = -np.exp((task.b - 1) * edges)
    # Rates averaged over the cells; a rate at the centre leaves an error h^2 / 24.
    rate = np.diff(np.exp(edges)) / width
    padded = np.zeros(cells + 3)

    def slope(t, n):
        padded[1:-2] = n
        padded[0] = 3 * n[0] - 3 * n[1] + n[2]
        # Upwind lies above: the value at the lower edge of a cell.
        value = (2 * padded[:-2] + 5 * padded[1:-1] - padded[2:]) / 6
        return -task.c(t) * np.diff(speed * value) / width - rate * n

    state = start(np.exp(x)) * np.exp(x)
    return _solved(slope, state, times, rtol, atol, lband=2, uband=2) * width


def sixth_order(task, start, domain, times, cells, rtol=1e-6, atol=1e-9):
    """Sixth-order central differences at the cells' centres; cell masses (time, cell)."""
    _, width, x = _grid(domain, cells)
    speed, rate = -np.exp((task.b - 1) * x), np.exp(x)
    weights = np.array([3 / 4, -3 / 20, 1 / 60]) / width
    padded = np.zeros(cells + 6)

    def slope(t, n):
        padded[3:-3] = speed * n
        # Modes leave through the lower end: nothing may be reflected there.
        for ghost in (2, 1, 0):
            padded[ghost] = 4 * padded[ghost + 1] - 6 * padded[ghost + 2] + 4 * padded[ghost + 3] - padded[ghost + 4]
        pairs = ((padded[4 + k : 4 + k + cells], padded[2 - k : 2 - k + cells]) for k in range(3))
        difference = sum(w * (up - down) for w, (up, down) in zip(weights, pairs, strict=True))
        return -task.c(t) * difference - rate * n

    state = start(np.exp(x)) * np.exp(x)
    if not task.has_source:
        return averaged(_solved(slope, state, times, rtol, atol, lband=3, uband=3)) * width
    matrix = generator(task, domain, cells)
    points = _solved(lambda t, n: matrix @ n, state, times, rtol, atol, jac=lambda t, n: matrix)
    return averaged(points) * width


def generator(task, domain, cells):
    """The dense matrix of the sixth-order points with drift, dissipation and kernel source, constant c."""
    _, width, x = _grid(domain, cells)
    difference = (
        sum(w * (np.eye(cells, k=k) - np.eye(cells, k=-k)) for k, w in ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))) / width
    )
    speed, jumps = -task.c(0.0) * np.exp((task.b - 1) * x), _KERNEL_RATE * np.exp(x)
    low, high = np.log(domain)
    inside = ndtr((high - x) / _KERNEL_WIDTH) - ndtr((low - x) / _KERNEL_WIDTH)
    gauss = np.exp(-0.5 * ((x[:, None] - x) / _KERNEL_WIDTH) ** 2) / (np.sqrt(2 * np.pi) * _KERNEL_WIDTH)
    return -difference * speed + gauss / inside * jumps * width - np.diag(np.exp(x) + jumps)


def averaged(points):
    """Turn values at the centres into averages over cells, to sixth order."""
    n = np.pad(points, ((0, 0), (2, 2)))
    second = n[:, 3:-1] - 2 * n[:, 2:-2] + n[:, 1:-3]
    fourth = n[:, 4:] - 4 * n[:, 3:-1] + 6 * n[:, 2:-2] - 4 * n[:, 1:-3] + n[:, :-4]
    return points + second / 24 - 17 * fourth / 5760


def _grid(domain, cells):
    edges = np.linspace(*np.log(domain), cells + 1)
    return edges, edges[1] - edges[0], 0.5 * (edges[1:] + edges[:-1])


def _solved(slope, state, times, rtol, atol, **options):
    path = solve_ivp(slope, (0, times[-1]), state, "LSODA", t_eval=times, rtol=rtol, atol=atol, **options)
    assert path.success, path.message
    return path.y.T
