"""One plain sentence under every figure of a report, before what its caption says for those who want to know it all."""

__all__ = ["LEADS"]

LEADS = {
    "first": "The loss so far, and where it goes from here.",
    "loss": "How the loss fell, over the time that training has: the sum of its learning rates.",
    "forecast": "What three rules would have forecast from a first part of this run, and what came.",
    "eigenvalues": "Each line is the rate of learning along one direction; what lies above the dashed line is learned.",
    "since_start": "How much of the first measured operator is left.",
    "energy": "Where in the spectrum the error still sits, from the first measurement, left, to the last.",
    "flux": "First, error that moves between fast and slow modes; then, error that is learned.",
    "terms": "What each update did to the error: learned it, moved it, or neither.",
    "velocity": "How fast eigenvalues move, by their size; the line is the power law that the theory wants.",
    "strength": "How strongly the spectrum as a whole grows or shrinks, over time.",
    "transfer": "Which part of the spectrum hands error to which.",
    "forward": "How well the theory’s equation would have forecast the rest of the run, beside simpler rules.",
    "source": "How much error jumps past neighbouring shells, which a plain transport equation cannot see.",
    "locality": "How far along the spectrum an update carries error.",
    "shift": "Whether that exchange looks alike everywhere in the spectrum.",
    "collapse": "Whether the spectra of all times fall on one curve when they are scaled.",
    "frontier": "How far into the spectrum learning has come, over time.",
    "exponents": "Whether what is still to be learned keeps its form.",
    "clocks": "Whether all modes have come equally far, by a clock of their own.",
    "index": "Whether that clock runs as a power of the training time.",
    "limits": "What the loss would have been with the operator frozen, and with its eigenvalues moving as they did.",
    "plane": "How far each operator has gone, and how much error its modes have handed to each other.",
    "losses": "How the loss of each run fell, over its updates.",
    "sweep_loss": "The loss of every run, over the swept number that changes it most.",
    "sweep_distance": "How far the operator of every run has gone, over the same number.",
    "sweep_map": "Where every run lies between lazy and rich, and how low its loss came.",
}
