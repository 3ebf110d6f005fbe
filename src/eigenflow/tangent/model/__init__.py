"""A module of PyTorch as a pure, differentiable function of its parameters, without a trace left in the module."""
