"""Callbacks for the Trainer of Hugging Face transformers.

    trainer = Trainer(model, args, train_dataset=data, callbacks=[SpectralCallback("runs/a")])
    trainer.train()

`SpectralCallback` records the spectrum of the run and forecasts its rest; `LossForecastCallback` looks at losses alone.
"""

from eigenflow.core.extras import remedy

try:
    import transformers as _transformers
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"The callbacks need transformers. {remedy('transformers')}", name="transformers"
    ) from error

from eigenflow.integrations.huggingface.loss_forecast import LossForecastCallback as LossForecastCallback
from eigenflow.integrations.huggingface.spectral import SpectralCallback as SpectralCallback

del _transformers
