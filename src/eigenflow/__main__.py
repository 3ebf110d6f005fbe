"""`python -m eigenflow`: the same as the `eigenflow` program."""

from eigenflow.cli import main

main()
