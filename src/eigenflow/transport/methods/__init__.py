"""Ways to solve a transport problem, one module each; `solve` chooses."""
