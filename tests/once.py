"""What tests conclude from the same content again and again is concluded once a session.

Content is everything that a run's header, sums of measurements, and logged losses say, without dates and machines; a
test that counts evaluations, or changes the code that makes them, is marked `anew`.
"""

import hashlib
import json

import pandas as pd

from eigenflow.report import summary
from eigenflow.report.answers import next as coming
from eigenflow.store.schema import LOSSES
from eigenflow.theory import claims

__all__ = ["Memories"]

OF_THE_MOMENT = {"created", "updated", "versions", "machine", "resumes", "timings"}
LOADED = {"losses", "measurements"}
# The measurements of as many runs are kept in memory.
MOST = 12
OF_THE_RUN = {"run", "seed", "knows_rates", "kept"}


def content_of(run) -> str:
    """A digest of all that a run holds."""
    header = {key: value for key, value in run.header.items() if key not in OF_THE_MOMENT}
    told = json.dumps([header, str(run.status)], sort_keys=True, default=str).encode()
    losses = run.path / LOSSES
    return hashlib.sha256(told + (losses.read_bytes() if losses.is_file() else b"")).hexdigest()


class Memories:
    """Of estimates by run, and of forecasts by log.

    Attributes:
        served: How often something was there.
        made: How often it was not.
    """

    def __init__(self):
        self.served = self.made = 0
        self._evidences, self._forecasts = {}, {}
        self._make, self._forecast = summary.Evidence, coming.forecast_logs

    def put_in(self, patch):
        """Let reports use them."""
        patch.setattr(summary, "Evidence", self.evidence)
        patch.setattr(claims, "Evidence", self.evidence)
        patch.setattr(coming, "forecast_logs", self.forecast)

    def take_out(self, patch):
        """Let reports conclude everything anew."""
        patch.setattr(summary, "Evidence", self._make)
        patch.setattr(claims, "Evidence", self._make)
        patch.setattr(coming, "forecast_logs", self._forecast)

    def evidence(self, run, seed=0):
        """With the estimates that were made of the same content, and the errors that stand for some."""
        made = self._make(run, seed)
        # What a run holds in memory a test may have put there.
        if seed != 0 or LOADED & vars(run).keys():
            return made
        key = content_of(run)
        kept = self._evidences[key] = self._evidences.pop(key, made)
        if len(self._evidences) > MOST:
            self._evidences.pop(next(iter(self._evidences)))
        self._count(is_new=kept is made)
        made.__dict__.update({key: value for key, value in kept.__dict__.items() if key not in OF_THE_RUN})
        return made

    def forecast(self, rows, **options):
        """That of the same rows and options."""
        told = pd.util.hash_pandas_object(rows).to_numpy().tobytes() + repr((list(rows), options)).encode()
        key = hashlib.sha256(told).hexdigest()
        self._count(is_new=key not in self._forecasts)
        if key not in self._forecasts:
            self._forecasts[key] = self._forecast(rows, **options)
        return self._forecasts[key]

    def _count(self, *, is_new):
        self.made, self.served = self.made + is_new, self.served + (not is_new)
