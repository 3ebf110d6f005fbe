"""The command line: one module a command. A command reads arguments, calls the library and prints."""

from eigenflow.cli.app import main as main
