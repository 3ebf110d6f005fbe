"""The network linearised at an instant, trained: what it returns at every later time, exactly or with a bound."""
