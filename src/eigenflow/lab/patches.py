"""Patches of natural images: the middle of each is to be told from what surrounds it.

The power of natural images falls with the spatial frequency f as about 1 / f^2, and a plane holds about f^2 waves below
f. So eigenvalues of what follows the waves fall with their rank as about 1 / rank: the regime of power laws that the
theory speaks of. The two photographs come with scikit-learn.

Source: [@field1987relations].
"""

import numpy as np
from jaxtyping import Float, Int

__all__ = ["draw_patches", "grey_photographs"]

# Luma of ITU-R BT.601, of red, green and blue.
LUMA = (0.299, 0.587, 0.114)


def grey_photographs() -> Float[np.ndarray, "image row column"]:
    """The photographs as grey values with mean 0 and variance 1 over both."""
    # Only who draws patches waits for this import.
    from sklearn.datasets import load_sample_images

    grey = np.stack(load_sample_images().images).astype(np.float64) @ np.array(LUMA)
    return (grey - grey.mean()) / grey.std()


def draw_patches(
    training: int, tests: int, side: int, middle: int, *, rng: np.random.Generator
) -> tuple[
    Float[np.ndarray, "train pixel"],
    Float[np.ndarray, "train hidden"],
    Float[np.ndarray, "test pixel"],
    Float[np.ndarray, "test hidden"],
]:
    """Draw square patches of which no two share a pixel.

    Each image is cut into squares that touch, from a random corner on, and squares are drawn without replacement.

    Args:
        training: Patches for training.
        tests: Patches for the test set.
        side: Side of a patch in pixels, odd, at most 15.
        middle: Side of the square in its middle, odd.
        rng: Draws corner and patches.

    Returns:
        Training inputs and targets, test inputs and targets, all in units of the images' standard deviation. Inputs
        hold a whole patch row by row, its middle set to 0, the mean; targets hold the pixels of the middle.
    """
    squares = np.concatenate([_squares(image, side, rng) for image in grey_photographs()])
    chosen: Int[np.ndarray, " patch"] = rng.permutation(len(squares))[: training + tests]
    inputs = squares[chosen]
    hidden = slice((side - middle) // 2, (side + middle) // 2)
    targets = inputs[:, hidden, hidden].reshape(len(inputs), -1).copy()
    inputs[:, hidden, hidden] = 0.0
    inputs = inputs.reshape(len(inputs), -1)
    return inputs[:training], targets[:training], inputs[training:], targets[training:]


def _squares(
    image: Float[np.ndarray, "row column"], side: int, rng: np.random.Generator
) -> Float[np.ndarray, "square side side"]:
    """All whole squares from a random corner on."""
    top, left = rng.integers(0, side, size=2)
    rows, columns = ((size - start) // side for size, start in zip(image.shape, (top, left), strict=True))
    cut = image[top : top + rows * side, left : left + columns * side]
    return cut.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
