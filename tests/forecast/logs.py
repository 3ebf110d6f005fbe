"""A small study as its logs would show it: three schedules, a loss in closed form, tables shaped like real ones."""

import numpy as np
import pandas as pd

from eigenflow.forecast import Schedule

WARMUP, PEAK = 100, 3e-4
SCHEDULES = {
    "cosine": Schedule.cosine(total=2400, warmup=WARMUP, peak=PEAK, end=3e-5),
    "constant": Schedule.constant(total=2400, warmup=WARMUP, peak=PEAK),
    "two_stage": Schedule.two_stage(total=1600, warmup=WARMUP, peak=PEAK, end=9e-5, change=800),
}
TABLE = """curve,schedule,total_steps,warmup_steps_linear_from_0,peak_lr,end_lr,change_step
cosine,cosine,2400,100,0.0003,3e-05,
constant,constant,2400,100,0.0003,0.0003,
two_stage,two_stage,1600,100,0.0003,9e-05,800
"""


def loss_of(schedule, steps, size=25.0):
    """A loss that falls with time and with the rate, lower for larger models."""
    rates = schedule.rates[np.minimum(steps, schedule.total - 1)]
    return 2.0 + 2.0 * size**-0.1 * (1 + schedule.times[steps] / 0.01) ** -0.5 + 0.1 * rates / PEAK


def rows(name, size=25, every=16, start=104):
    """The rows of one curve, logged from after warm-up, with the change of rate logged off the grid."""
    schedule = SCHEDULES[name]
    steps = np.arange(start, schedule.total + 1, every)
    if name == "two_stage":
        steps = np.union1d(steps, [800])
    rates = schedule.rates[np.minimum(steps, schedule.total - 1)]
    losses = np.round(loss_of(schedule, steps, size), 6)
    return pd.DataFrame(
        {"model_size_M": size, "curve": name, "step": steps, "lr": rates, "loss": losses, "role": "fit"}
    )


def study(sizes=(25, 100)):
    """All curves of all sizes in one table."""
    return pd.concat([rows(name, size) for size in sizes for name in SCHEDULES], ignore_index=True)


def csv_of(frame, folder, name="curves.csv"):
    """Write a table and give its path."""
    path = folder / name
    frame.to_csv(path, index=False)
    return path


def schedules_csv(folder):
    """Write the table of schedules and give its path."""
    path = folder / "schedules.csv"
    path.write_text(TABLE)
    return path
