"""Pictures by matplotlib: finished results drawn into given axes. Nothing is computed here."""
