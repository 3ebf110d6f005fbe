"""Where each estimate lies if its claim holds: fixed before any run is judged, the same for every run, printed.

docs/explanation/claims.md says which of them were chosen after looking at the shipped experiments.
"""

__all__ = ["BANDS", "Band"]

Band = tuple[float | None, float | None]

BANDS: dict[str, Band] = {
    "C1.identity": (None, 1e-10),  # rounding, with room for networks that are not smooth
    "C1.flow": (None, 0.1),
    # Heavy-tailed as the word is used: below an exponent of 3 the variance of the spectrum has no limit.
    "C1.heavy_tail": (None, 3.0),
    # A tenth of the operator's square acts outside of the basis that it began with.
    "C1.basis": (0.1, None),
    "C2.eigenvalues": (None, 0.05),
    "C2.coefficients": (None, 0.05),
    "C2.isolated": (0.9, None),
    # A tenth of the change, as C1.flow allows for one update; half of it may be due to the spacing of measurements.
    "C2.interval": (None, 0.1),
    "C3.closes": (None, 1e-12),
    "C3.remainder": (None, 0.05),
    # As C2.interval: a tenth of what the terms move, of which the quadrature may be half.
    "C3.integrated": (None, 0.1),
    "C4.form": (0.5, None),
    "C4.sign": (0.0, None),
    # One time in place of many is called one if it is right to 10 %: where the loss falls as t^-1 or slower, it is then
    # wrong by 10 % at most. The same 10 % for two ways to read it.
    "C7.operator": (None, 0.1),
    "C7.error": (None, 0.1),
    "C7.clock": (None, 0.1),
    # The ratio index of t^.7 times log t, exp(sqrt(log t)) or 1 + t^-.3 ranges over .007 to .022 in the last of six
    # decades, that of t^.7 (2 + sin log t) over .8.
    "C7.regular": (None, 0.1),
    # A loss that is predicted to 10 % over the whole run counts as predicted. Relative distances of the operator below
    # .1 (lazy) and above 1 (rich) choose the row; between them neither limit is claimed.
    "C8.equation": (None, 0.1),
    "C8.lazy": (None, 0.1),
    "C8.rich": (0.1, None),
    "C8.moving": (0.0, None),
    "C8.still": (None, 0.1),
    # A loss exponent is the source exponent times that of the clock, and is wanted to a tenth.
    "C4.regularity": (-0.1, 0.1),
    # C5. Half the distance that exchange without regard to distance would cover.
    "C5.local": (None, 0.5),
    # A tenth of the dissipation: what a closure without a nonlocal source may neglect.
    "C5.weak": (None, 0.1),
    # sin^2(0.3) = 0.09: less than a tenth of a shell's energy turns out of it while time grows by a factor e.
    "C5.kato": (None, 0.3),
    # The same tenth, as what remains between measurements.
    "C5.turned": (None, 0.1),
    # One law for all shells explains at least half of what they pass on.
    "C5.shift": (None, 0.5),
    # At most half the squared error of the best alternative, on later times.
    "C5.frontier": (0.5, None),
    # 20 %: the scatter of a sum of 50 random squares, about what a quarter of a decade holds of a thousand modes.
    "C5.collapse": (None, 0.2),
    "C5.amplitude": (0.0, None),
    "C5.dissipation": (0.5, None),
    # Exact for independent batches; those of one epoch are not, and a few dozen updates scatter by a tenth.
    "C5.noise": (0.75, 1.25),
    # A tenth: what a finite spectrum without its tail is off by.
    "C6.time": (-0.1, 0.1),
    "C6.forecast": (-0.1, 0.1),
    "C6.spectrum": (-0.1, 0.1),
    # Closure. A tenth of the squared velocity left is a spread of a third: energy from one shell, 0.58 e-folds wide, is
    # still in about one after the mean has moved by an e-fold. S is small as C5.weak is: a tenth of the flux.
    "C3.single": (None, 0.1),
    "C3.source": (None, 0.1),
    # More than half of the flux is the law's; v = 0 leaves all of it.
    "C3.closure": (None, 0.5),
    # Better than both forecasts that need no equation, on the mean over the cuts.
    "C3.forward": (0.0, None),
    # A true power law loses nothing to richer forms but what their parameters gain by chance: less than a tenth.
    "C4.alternatives": (-0.1, None),
    # As C4.form, with c(t) continued instead of free: at most half of the squared velocity is missed.
    "C4.strength": (0.5, None),
    # Persistence is the same equation without the law; the law should cost less than a tenth in error.
    "C4.forward": (-0.1, None),
}
