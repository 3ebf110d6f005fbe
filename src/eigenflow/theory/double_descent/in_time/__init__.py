"""Test risk at a time of training: on given inputs, in the mean over samples, and with eigenvalues that drift."""
