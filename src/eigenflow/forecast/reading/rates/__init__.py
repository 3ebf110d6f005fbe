"""The schedule of every run: from a table, from its own log, or from the run that it branched off."""
