"""A small network, its data, and its checkpoints as other programs write them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


class Net(nn.Module):
    """With a buffer that is stored, one that is not, and names of several levels."""

    def __init__(self, width=6):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.BatchNorm1d(width))
        self.head = nn.Linear(width, 3)
        self.register_buffer("scale", torch.ones(3), persistent=False)

    def forward(self, x):
        return self.head(self.body(x)) * self.scale


def make_net():
    torch.manual_seed(0)
    return Net()


def data():
    generator = torch.Generator().manual_seed(1)
    return {
        "inputs": torch.randn(8, 4, generator=generator),
        "targets": torch.randint(0, 3, (8,), generator=generator),
    }


def trained(seed):
    """The same network with other weights and statistics, all of them different from the factory's."""
    model, generator = make_net(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.2)
    return model


def write_torch(path, content):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return Path(path)


def prefixed(model, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


def write_shards(folder, model, count=3, kind="safetensors", stem="model"):
    """As save_pretrained does: shards, and an index of them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names, where = list(model.state_dict()), {}
    for index in range(count):
        file = f"{stem}-{index + 1:05d}-of-{count:05d}.{kind}"
        part = {name: model.state_dict()[name].clone() for name in names[index::count]}
        save_file(part, folder / file) if kind == "safetensors" else torch.save(part, folder / file)
        where |= dict.fromkeys(part, file)
    index_name = f"{stem}.{kind}.index.json"
    (folder / index_name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return folder


def adam_after(model, updates, rate=3e-3):
    """An optimizer's state after some updates."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(updates):
        optimizer.zero_grad()
        model(data()["inputs"]).square().mean().backward()
        optimizer.step()
    return optimizer.state_dict()
