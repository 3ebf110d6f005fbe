"""Which column of a table is what, and what its cells say."""
