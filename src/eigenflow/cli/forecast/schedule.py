"""`eigenflow forecast schedule FIT`: the schedule of smallest predicted final loss."""

from pathlib import Path
from typing import Annotated

import typer

from eigenflow.cli.console import err, out, print_json
from eigenflow.cli.forecast import options
from eigenflow.core.display import at_level
from eigenflow.core.writing import FORMAT, write_whole

__all__ = ["schedule"]


def schedule(
    fit: options.FitFile,
    steps: Annotated[int, typer.Option(min=2, help="Updates in all.")],
    peak: Annotated[float, typer.Option(help="Highest learning rate.")],
    warmup: Annotated[int, typer.Option(min=0, help="Updates of linear warm-up, fixed.")] = 0,
    end: Annotated[float, typer.Option(min=0, help="Lowest rate allowed.")] = 0.0,
    size: options.Size = None,
    law: Annotated[str, typer.Option(help="Which of the fitted laws.")] = "transport",
    blocks: Annotated[int, typer.Option(min=2, help="Blocks of constant rate after warm-up.")] = 16,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the rates: columns step, lr.", metavar="CSV")
    ] = None,
    picture: options.Picture = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Design a non-increasing schedule on a fitted law, with the predicted gain over cosine and WSD at their best.

    Example: `eigenflow forecast schedule fit.json --steps 24000 --peak 3e-4 --warmup 2160 --out schedule.csv`
    """
    from eigenflow.forecast.design import design_schedule, fit_final_loss
    from eigenflow.forecast.study.file import load_study

    options.check_outputs({"--out": out_file, "--picture": picture}, inputs=[fit], replace=force)
    study = load_study(fit)
    chosen = study.checked_size(options.parse_size(size, study.curves.size_unit))
    fitted = study.fit_for(law, chosen)
    predict = fit_final_loss(fitted, peak=peak, size=chosen, draws=4, seed=seed)
    with err.status("Designing ..."):
        design = design_schedule(
            predict, steps=steps, peak=peak, warmup=warmup, end=end, blocks=blocks, starts=2, iterations=40, seed=seed
        )
    if out_file is not None:
        rows = (f"{step},{rate:.8g}" for step, rate in enumerate(design.schedule.rates))
        write_whole(out_file, "step,lr\n" + "\n".join(rows) + "\n", replace=force)
    if picture is not None:
        from eigenflow.forecast.pictures import design_figure
        from eigenflow.plots.file import write_picture

        write_picture(design_figure(design), picture, replace=force)
    rivals = {
        rival.name: {"setting": rival.setting, "gain": rival.gain, "interval": [rival.gain_lower, rival.gain_upper]}
        for rival in design.rivals
    }
    if as_json:
        summary = {"loss": design.loss, "status": design.status.value, "agreeing_starts": design.agreeing_starts}
        summary |= {"cautions": list(design.cautions)}
        print_json({"format": FORMAT} | summary | {"rivals": rivals, "schedule": design.schedule.to_dict()})
        return
    for caution in design.cautions:
        out.print(f"caution: {caution}", markup=False, soft_wrap=True)
    level = float(design.loss[0])
    out.print(f"predicted final loss {at_level(level, level)}; {design.status.value}", markup=False)
    for name, rival in rivals.items():
        gain, low, high = (at_level(v, level, is_signed=True) for v in (rival["gain"], *rival["interval"]))
        out.print(f"gain over {name} ({rival['setting']}): {gain} [{low}, {high}]", markup=False)
