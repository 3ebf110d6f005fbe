"""Where other people's training meets the measuring side: trainers, trackers, checkpoints.

Every module needs its own program and imports it alone, so that none is required.
"""
