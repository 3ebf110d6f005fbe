"""Callbacks for Lightning's Trainer, of `lightning.pytorch` and of `pytorch_lightning`.

    trainer = Trainer(max_epochs=10, callbacks=[SpectralCallback("runs/a")])
    trainer.fit(module, data)

`SpectralCallback` records the spectrum of the run and forecasts its rest; `LossForecastCallback` looks at losses alone.
"""

from eigenflow.integrations.lightning.loss_forecast import LossForecastCallback as LossForecastCallback
from eigenflow.integrations.lightning.spectral import SpectralCallback as SpectralCallback
