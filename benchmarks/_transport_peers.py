"""One function per peer: cell masses of a task, by the peer's own means. Imports are inside, for peers are optional."""

import contextlib
import tempfile

import numpy as np


def clawpack(task, start, domain, times, cells):
    """PyClaw's second-order wave propagation at Courant number 1, with an integrating factor; b = 1 only.

    In s = C(t) the drift is an advection at speed -1, and what is left at x has lost exp(-lambda0 tau).
    """
    import logging

    # It opens its log file where it is first imported.
    with contextlib.chdir(tempfile.gettempdir()):
        from clawpack import pyclaw, riemann

    logging.getLogger("pyclaw").setLevel(logging.WARNING)

    low, high = np.log(domain)
    axis = pyclaw.Dimension(low, high, cells, name="x")
    grid = pyclaw.Domain([axis])
    state = pyclaw.State(grid, 1)
    state.problem_data["u"] = -1.0
    x = grid.grid.x.centers
    state.q[0, :] = start(np.exp(x)) * np.exp(x)
    solver = pyclaw.ClawSolver1D(riemann.advection_1D)
    solver.kernel_language = "Fortran"
    solver.limiters = pyclaw.limiters.tvd.vanleer
    solver.bc_lower[0] = solver.bc_upper[0] = pyclaw.BC.extrap
    solver.cfl_desired, solver.cfl_max, solver.dt_initial = 1.0, 1.0 + 1e-9, (high - low) / cells
    solver.max_steps = 10**6
    solution = pyclaw.Solution(state, grid)
    masses = []
    for t in times:
        solver.evolve_to_time(solution, task.accumulated(t))
        exponent = np.exp(x + task.accumulated(t)) * task.exponent(1.0, t)
        masses.append(state.q[0] * np.exp(-exponent) * (high - low) / cells)
    return np.array(masses)


def pympdata(task, start, domain, times, cells):
    """MPDATA (two passes) at Courant number near 1, with the same integrating factor; b = 1 only."""
    from PyMPDATA import Options, ScalarField, Solver, Stepper, VectorField
    from PyMPDATA.boundary_conditions import Extrapolated

    options = Options(n_iters=2)
    low, high = np.log(domain)
    width = (high - low) / cells
    x = low + width * (np.arange(cells) + 0.5)
    state, before, masses = start(np.exp(x)) * np.exp(x), 0.0, []
    stepper = _stepper(Stepper, options, cells)
    for t in times:
        way = task.accumulated(t) - before
        steps = max(1, int(np.ceil(way / width / 0.95)))
        courant = -way / width / steps
        field = ScalarField(data=state, halo=options.n_halo, boundary_conditions=(Extrapolated(),))
        vector = VectorField((np.full(cells + 1, courant),), options.n_halo, (Extrapolated(),))
        solver = Solver(stepper=stepper, advectee=field, advector=vector)
        solver.advance(n_steps=steps)
        state, before = solver.advectee.get().copy(), task.accumulated(t)
        exponent = np.exp(x + before) * task.exponent(1.0, t)
        masses.append(state * np.exp(-exponent) * width)
    return np.array(masses)


_steppers: dict = {}


def _stepper(kind, options, cells):
    # Building it compiles; kept, so that only the warm-up pays.
    if cells not in _steppers:
        _steppers[cells] = kind(options=options, grid=(cells,))
    return _steppers[cells]


def diffrax(task, start, domain, times, cells):
    """Third-order upwind finite volumes in JAX with diffrax's implicit Kvaerno5; the warm-up compiles."""
    key = (task.name, cells)
    if key not in _compiled:
        _compiled[key] = _diffrax_program(task, start, domain, times, cells)
    return np.asarray(_compiled[key]())


_compiled: dict = {}


def _diffrax_program(task, start, domain, times, cells):
    import diffrax as dx
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    edges = np.linspace(*np.log(domain), cells + 1)
    width = edges[1] - edges[0]
    x = 0.5 * (edges[1:] + edges[:-1])
    speed, rate = -np.exp((task.b - 1) * edges), np.diff(np.exp(edges)) / width

    def slope(t, n, _):
        ghost = 3 * n[0] - 3 * n[1] + n[2]
        padded = jnp.concatenate([ghost[None], n, jnp.zeros(2)])
        value = (2 * padded[:-2] + 5 * padded[1:-1] - padded[2:]) / 6
        return -task.c(t) * jnp.diff(speed * value) / width - rate * n

    state = jnp.asarray(start(np.exp(x)) * np.exp(x))

    @jax.jit
    def run(state):
        solution = dx.diffeqsolve(
            dx.ODETerm(slope),
            dx.Kvaerno5(),
            0.0,
            times[-1],
            1e-4,
            state,
            saveat=dx.SaveAt(ts=jnp.asarray(times)),
            stepsize_controller=dx.PIDController(rtol=1e-6, atol=1e-9),
            max_steps=100_000,
        )
        return solution.ys

    return lambda: run(state).block_until_ready() * width


def py_pde(task, start, domain, times, cells):
    """py-pde's central differences on a Cartesian grid, stepped by its scipy solver (LSODA)."""
    import logging

    import pde

    logging.getLogger("pde").setLevel(logging.WARNING)
    grid = pde.CartesianGrid([tuple(np.log(domain))], cells)
    x = grid.axes_coords[0]
    width = float(np.diff(np.log(domain))[0]) / cells
    speed, rate = np.exp((task.b - 1) * x), np.exp(x)

    class Transport(pde.PDEBase):
        def evolution_rate(self, state, t=0):
            flux = pde.ScalarField(grid, task.c(t) * speed * state.data)
            change = flux.gradient({"x-": {"curvature": 0}, "x+": {"value": 0}})[0].data
            return pde.ScalarField(grid, change - rate * state.data)

    state = pde.ScalarField(grid, start(np.exp(x)) * np.exp(x))
    equation = Transport()
    # Outputs are asked for one after the other: a run has one interval only.
    masses, before = [], 0.0
    for t in times:
        state = equation.solve(
            state, t_range=(before, t), dt=t - before, solver="scipy", method="LSODA", backend="numpy",
            tracker=None, rtol=1e-6, atol=1e-9,
        )  # fmt: skip
        masses.append(state.data * width)
        before = t
    return np.array(masses)


def fipy(task, start, domain, times, cells, steps=8):
    """FiPy's van Leer convection with an implicit sink, implicit Euler, some steps between outputs."""
    import fipy as fp

    low, high = np.log(domain)
    mesh = fp.Grid1D(nx=cells, Lx=high - low) + (low,)  # noqa: RUF005 - a mesh is moved by a sum
    x = mesh.cellCenters[0].value
    n = fp.CellVariable(mesh=mesh, value=start(np.exp(x)) * np.exp(x), hasOld=True)
    face = np.exp((task.b - 1) * mesh.faceCenters[0].value)
    velocity = fp.FaceVariable(mesh=mesh, rank=1)
    # Whatever reaches the lower face leaves.
    outflow = (mesh.facesLeft * velocity).divergence
    sink = fp.CellVariable(mesh=mesh, value=np.exp(x))
    equation = fp.TransientTerm() + fp.VanLeerConvectionTerm(coeff=velocity) == -fp.ImplicitSourceTerm(
        coeff=sink + outflow
    )
    masses, before = [], 0.0
    for t in times:
        for end in np.geomspace(max(before, t / 8), t, steps + 1)[1:] if before else np.linspace(0, t, steps + 1)[1:]:
            step = end - before
            velocity.setValue((-(task.accumulated(end) - task.accumulated(before)) / step * face)[None, :])
            n.updateOld()
            equation.solve(var=n, dt=step)
            before = end
        masses.append(n.value.copy() * (high - low) / cells)
    return np.array(masses)
