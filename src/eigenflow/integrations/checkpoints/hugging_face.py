"""What folders of Hugging Face need beyond tensors and names: the model from `config.json`, adapters, renamed weights.

Nothing is fetched, and no code of a folder is run.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eigenflow.core.errors import ArgumentError, ModelError
from eigenflow.integrations.checkpoints.factories import told_error
from eigenflow.integrations.checkpoints.formats.weights import AbstractWeights, UnreadableError
from eigenflow.tangent.model.wrappers import unwrapped

__all__ = ["add_adapter", "has_adapter", "is_hugging_face", "load_adapter", "load_renamed", "model_of_folder"]


def model_of_folder(folder: Path) -> nn.Module:
    """Make the model that a folder's `config.json` describes, with random weights.

    Raises:
        ArgumentError: If there is none, transformers is missing, or it needs code of its own.
    """
    if not (folder / "config.json").is_file():
        raise ArgumentError(
            f"`model` is needed: '{folder}' has no config.json of Hugging Face. Give module:factory, a function "
            f"without arguments that returns the model."
        )
    try:
        import transformers
    except ModuleNotFoundError:
        raise ArgumentError(
            "`model` is needed, as transformers is not installed: pip install transformers, or give module:factory."
        ) from None
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        names = getattr(config, "architectures", None) or []
        kind: Any = getattr(transformers, str(names[0]), None) if names else transformers.AutoModel
        if not isinstance(kind, type):
            raise ValueError(f"transformers has no {names[0]}")
        made: Any = kind(config) if names else kind.from_config(config, trust_remote_code=False)  # pyright: ignore
        return made
    except Exception as error:
        raise ArgumentError(
            f"`model` is needed: the config.json in '{folder}' does not give one by itself ({told_error(error)}). Code "
            f"of a folder is never run; give module:factory."
        ) from None


def is_hugging_face(model: nn.Module) -> bool:
    """Whether a model comes from transformers, which renames some weights when it writes them."""
    return any(kind.__module__ == "transformers.modeling_utils" for kind in type(unwrapped(model)).__mro__)


def load_renamed(model: nn.Module, folder: Path) -> tuple[str, ...]:
    """Load a folder by transformers itself, for weights that it stores under other names or in another arrangement.

    Raises:
        UnreadableError: If weights are missing, unexpected or of another shape then too.
    """
    model = unwrapped(model)
    kind: Any = type(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            twin, info = kind.from_pretrained(
                folder,
                config=getattr(model, "config", None),
                local_files_only=True,
                weights_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:
            raise UnreadableError(f"transformers cannot load it either ({told_error(error)})") from None
    wrong = {name: found for name, found in info.items() if found and name != "error_msgs"}
    if wrong:
        name, found = next(iter(wrong.items()))
        raise UnreadableError(
            f"transformers finds {len(found)} {name.replace('_', ' ')}: {sorted(map(str, found))[:3]}"
        )
    model.load_state_dict(twin.state_dict())
    return ("weights renamed by transformers",)


def has_adapter(model: nn.Module) -> bool:
    """Whether peft has put adapters into a model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def add_adapter(model: nn.Module, folder: Path) -> nn.Module:
    """Put the adapters that a folder describes into a base model; its other parameters are frozen.

    Raises:
        ArgumentError: If peft is missing.
        ModelError: If they do not fit.
    """
    if has_adapter(model):
        return model
    try:
        import peft
    except ModuleNotFoundError:
        raise ArgumentError(
            f"'{folder}' holds an adapter of peft, which is not installed: pip install peft (with -c constraints.txt)."
        ) from None
    try:
        config = peft.PeftConfig.from_pretrained(str(folder), local_files_only=True)
        config.inference_mode = False
        made: Any = peft.get_peft_model(model, config, autocast_adapter_dtype=False)  # pyright: ignore[reportArgumentType]
        return made
    except Exception as error:
        raise ModelError(
            f"`model` must be the base of the adapter in '{folder}', or have it already, but {told_error(error)}"
        ) from None


def load_adapter(model: Any, weights: AbstractWeights) -> tuple[str, ...]:
    """Put an adapter's tensors into a model that has it.

    Raises:
        UnreadableError: If they do not fit.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    own = get_peft_model_state_dict(model)
    found = {name: weights.tensor(name) for name in weights.entries}
    if missing := [name for name in own if name not in found]:
        raise UnreadableError(f"its adapter lacks {len(missing)} tensors of the model's: {missing[:3]}")
    if others := [name for name in found if name not in own]:
        raise UnreadableError(f"its adapter has {len(others)} tensors that the model's has not: {others[:3]}")
    if wrong := [name for name in own if own[name].shape != found[name].shape]:
        name = wrong[0]
        raise UnreadableError(
            f"its adapter's '{name}' is {tuple(found[name].shape)}, in the model {tuple(own[name].shape)}"
        )
    set_peft_model_state_dict(model, found)
    return ("adapter on the base of the factory; only what the adapter trains is measured",)
