"""Models in wrappers: compiled, data-parallel, low-rank adapters, averaged, parametrized, quantised, cast."""

import torch
from torch import nn
from torch.nn.utils import fusion, parametrize, prune

from zoo.architecture import add
from zoo.families.causal_lms import LLAMA, MODELS, build
from zoo.families.parts import Fn, points, tokens


def _net():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def _compiled():
    return torch.compile(_net(), backend="eager"), points()


def _compiled_called():
    net = torch.compile(_net(), backend="eager")
    net(points())
    return net, points()


def _compiled_in_place():
    net = _net()
    net.compile(backend="eager")
    return net, points()


def _compiled_child():
    net = _net()
    net[0] = torch.compile(net[0], backend="eager")
    return net, points()


def _compiled_function():
    @torch.compile(backend="eager")
    def activation(h):
        return torch.tanh(h) * torch.sigmoid(h)

    return Fn(lambda s, x: s.b(activation(s.a(x))), a=nn.Linear(4, 6), b=nn.Linear(6, 3)), points()


class Lora(nn.Module):
    """Low-rank change of a frozen layer."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = (
            nn.Linear(base.in_features, rank, bias=False),
            nn.Linear(rank, base.out_features, bias=False),
        )
        nn.init.normal_(self.up.weight, std=0.3)

    def forward(self, x):
        return self.base(x) + 2.0 * self.up(self.down(x))


class LowRankChange(nn.Module):
    """The same as a parametrization."""

    def __init__(self, rows, columns):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(rows, 2) / 2), nn.Parameter(torch.randn(2, columns) / 2)

    def forward(self, weight):
        return weight + self.a @ self.b


def _lora_by_hand():
    return nn.Sequential(Lora(nn.Linear(4, 6)), nn.Tanh(), Lora(nn.Linear(6, 3))), points()


def _lora_parametrization():
    net = _net()
    parametrize.register_parametrization(net[0], "weight", LowRankChange(6, 4))
    net[0].parametrizations.weight.original.requires_grad_(False)
    return net, points()


def _peft(targets, make=None, inputs=None, **options):
    def build_it():
        import peft

        net = _net() if make is None else make()
        config = peft.LoraConfig(r=2, target_modules=targets, **options)
        net = peft.get_peft_model(net, config)
        with torch.no_grad():
            for _name, p in net.named_parameters():
                if p.requires_grad:
                    p.add_(0.2 * torch.randn_like(p))
        return net, points() if inputs is None else inputs()

    return build_it


def _llama():
    return build("LlamaConfig", "LlamaForCausalLM", LLAMA)[0]


def _peft_of_a_kind(kind, **options):
    def build_it():
        import peft

        net = peft.get_peft_model(_net(), getattr(peft, kind)(target_modules=["0"], **options))
        with torch.no_grad():
            for p in net.parameters():
                if p.requires_grad:
                    p.add_(0.2 * torch.randn_like(p))
        return net, points()

    return build_it


def _prefix_by_hand():
    """Prompt tuning: learned vectors before frozen layers."""

    def forward(s, x):
        h = torch.cat([s.prompt.expand(len(x), -1, -1), s.table(x)], 1)
        return s.head(s.attention(h, h, h, need_weights=False)[0].mean(1))

    net = Fn(
        forward,
        prompt=nn.Parameter(torch.randn(1, 2, 4)),
        table=nn.Embedding(7, 4),
        attention=nn.MultiheadAttention(4, 2, batch_first=True),
        head=nn.Linear(4, 3),
    )
    net.table.requires_grad_(False)
    net.attention.requires_grad_(False)
    return net, tokens()


def _bitfit():
    net = _net()
    for name, p in net.named_parameters():
        p.requires_grad_(name.endswith("bias"))
    return net, points()


def _averaged():
    net = torch.optim.swa_utils.AveragedModel(_net())
    return net, points()


def _pruned():
    net = _net()
    prune.l1_unstructured(net[0], "weight", amount=0.4)
    return net, points()


def _fused():
    conv, norm = nn.Conv2d(2, 3, 3).eval(), nn.BatchNorm2d(3).eval()
    return nn.Sequential(fusion.fuse_conv_bn_eval(conv, norm), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)), torch.randn(
        3, 2, 6, 6
    )


def _inner_wrapper():
    """A wrapper that passes attributes on."""

    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.module, name)

        def forward(self, *args, **kwargs):
            return self.module(*args, **kwargs)

    return Wrapper(_net()), points()


def _forward_replaced():
    """forward assigned on the instance."""
    net = _net()
    original = net.forward
    net.forward = lambda x: original(x) + 0.1 * x.sum(-1, keepdim=True)
    return net, points()


def _autocast_inside():
    def forward(s, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = s.a(x)
        return s.b(torch.tanh(h.to(x.dtype)))

    return Fn(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), points()


def _autocast_off_inside():
    def forward(s, x):
        with torch.autocast("cpu", enabled=False):
            return s.b(torch.tanh(s.a(x)))

    return Fn(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), points()


def _inference_part():
    def forward(s, x):
        with torch.inference_mode():
            h = torch.tanh(s.a(x))
        return s.b(h.clone())

    return Fn(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), points()


def _bfloat16_model():
    return _net().bfloat16(), points().bfloat16()


def _double_model():
    return _net().double(), points().double()


BUILDERS = {
    "compiled": _compiled,
    "compiled-and-called": _compiled_called,
    "compiled-in-place": _compiled_in_place,
    "compiled-child": _compiled_child,
    "compiled-function": _compiled_function,
    "lora-by-hand": _lora_by_hand,
    "lora-parametrization": _lora_parametrization,
    "peft-lora": _peft(["0", "2"]),
    "peft-dora": _peft(["0"], use_dora=True),
    "peft-rslora-bias": _peft(["2"], use_rslora=True, bias="all"),
    "peft-ia3": _peft_of_a_kind("IA3Config", feedforward_modules=[]),
    "peft-loha": _peft_of_a_kind("LoHaConfig", r=2),
    "peft-oft": _peft_of_a_kind("OFTConfig", oft_block_size=2),
    "prompt-tuning": _prefix_by_hand,
    "bias-only": _bitfit,
    "averaged-model": _averaged,
    "pruned": _pruned,
    "convolution-fused-with-norm": _fused,
    "wrapper-passing-attributes": _inner_wrapper,
    "forward-on-the-instance": _forward_replaced,
    "autocast-off-inside": _autocast_off_inside,
    "double-model": _double_model,
}
for name, make in BUILDERS.items():
    add(name, make, family=__name__)
add(
    "peft-lora-llama",
    _peft(["q_proj", "v_proj"], _llama, lambda: tokens(2, 3)),
    family=__name__,
    losses=("cross_entropy",),
    tolerance=1e-6,
)
add(
    "llama-compiled",
    lambda: build(*MODELS["llama"], prepare=lambda net: torch.compile(net, backend="eager")),
    family=__name__,
    losses=("cross_entropy",),
    tolerance=1e-6,
)
add("data-parallel", lambda: (nn.DataParallel(_net()), points()), family=__name__)
add("bfloat16-model", _bfloat16_model, family=__name__)
add(
    "autocast-inside", _autocast_inside, family=__name__, refusal="autocast rounds to bfloat16, which has no derivative"
)
add("inference-mode-part", _inference_part, family=__name__, losses=("mse",))
