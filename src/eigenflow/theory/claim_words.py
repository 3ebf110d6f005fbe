"""The eight claims for people who did not read the paper: a plain sentence and a formula each."""

from dataclasses import dataclass

__all__ = ["CLAIM_WORDS", "ClaimWords"]


@dataclass(frozen=True)
class ClaimWords:
    """How a claim is put.

    Attributes:
        plain: What it says, in a sentence without symbols.
        formula: The same as a formula, in LaTeX.
    """

    plain: str
    formula: str


CLAIM_WORDS = {
    "C1": ClaimWords(
        "One operator, made of the network’s gradients, says how the error changes.",
        r"\frac{de}{dt} = -M(t)\,e",
    ),
    "C2": ClaimWords(
        "Its eigenvectors move and mix as perturbation theory says.",
        r"\dot g_u = -\lambda_u g_u + \sum_{w \neq u} \Omega_{uw}\, g_w",
    ),
    "C3": ClaimWords(
        "Counted by eigenvalue alone, the error obeys one transport equation.",
        r"\partial_t g + \partial_\lambda (v g) = -2\lambda g + S",
    ),
    "C4": ClaimWords("Eigenvalues drift at a speed that is a power of themselves.", r"v = -c(t)\,\lambda^{b}"),
    "C5": ClaimWords(
        "The spectrum of the error keeps its shape while a frontier moves through it.",
        r"g(\lambda, t) = t^{-a} F(\lambda t^{z})",
    ),
    "C6": ClaimWords("The power with which the loss falls follows from the spectrum.", r"L(t) \propto t^{-\sigma\rho}"),
    "C7": ClaimWords("One effective time says how far everything has been learned.", r"\tau(t) = t^{\alpha} L(t)"),
    "C8": ClaimWords(
        "Lazy training and feature learning are two limits of the same equation.",
        r"v = 0 \;\; \text{or} \;\; v \neq 0",
    ),
}
