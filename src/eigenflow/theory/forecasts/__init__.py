"""The rest of a recorded run, forecast from its beginning: lazy, transport, a power of time; and scored."""
