"""Recurrent networks: modules of torch, cells in a loop, packed sequences, hand-written scans."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo.architecture import add
from zoo.families.parts import Fn, tokens


def _series(n=4, length=5, size=3):
    return torch.randn(n, length, size)


def _last(recurrent, width=4):
    return Fn(lambda s, x: s.head(s.recurrent(x)[0][:, -1]), recurrent=recurrent, head=nn.Linear(width, 3)), _series()


def _time_first():
    net = Fn(lambda s, x: s.head(s.recurrent(x.transpose(0, 1))[0][-1]), recurrent=nn.GRU(3, 4), head=nn.Linear(4, 3))
    return net, _series()


def _hidden_state():
    net = Fn(
        lambda s, x: s.head(s.recurrent(x)[1][0][-1]),
        recurrent=nn.LSTM(3, 4, 2, batch_first=True),
        head=nn.Linear(4, 3),
    )
    return net, _series()


def _learned_start():
    net = Fn(
        lambda s, x: s.head(s.recurrent(x, s.h0.expand(1, len(x), 4).contiguous())[0].mean(1)),
        recurrent=nn.GRU(3, 4, batch_first=True),
        h0=nn.Parameter(torch.randn(1, 1, 4)),
        head=nn.Linear(4, 3),
    )
    return net, _series()


def _float32_start():
    net = Fn(
        lambda s, x: s.head(s.recurrent(x, torch.zeros(1, len(x), 4))[0][:, -1]),
        recurrent=nn.GRU(3, 4, batch_first=True),
        head=nn.Linear(4, 3),
    )
    return net, _series()


def _packed(kind, enforce_sorted=False):
    def forward(s, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=enforce_sorted)
        out, _ = pad_packed_sequence(s.recurrent(packed)[0], batch_first=True, total_length=x.shape[1])
        return s.head(out.sum(1))

    net = Fn(forward, recurrent=kind(3, 4, batch_first=True), head=nn.Linear(4, 3))
    lengths = torch.tensor([5, 4, 3, 1]) if enforce_sorted else torch.tensor([3, 5, 1, 4])
    return net, (_series(), lengths)


def _packed_by_padding():
    """Lengths are read off the tokens, as text classifiers do."""

    def forward(s, x):
        packed = pack_padded_sequence(s.table(x), (x != 0).sum(1).cpu(), batch_first=True, enforce_sorted=False)
        return s.head(s.recurrent(packed)[1][0][-1])

    x = tokens(4) % 6 + 1
    x[0, 3:] = x[2, 2:] = 0
    return Fn(
        forward,
        table=nn.Embedding(7, 3, padding_idx=0),
        recurrent=nn.LSTM(3, 4, batch_first=True),
        head=nn.Linear(4, 3),
    ), x


def _cells(cell):
    def forward(s, x):
        state = None
        for t in range(x.shape[1]):
            state = s.cell(x[:, t], state)
        return s.head(state[0] if isinstance(state, tuple) else state)

    return Fn(forward, cell=cell(3, 4), head=nn.Linear(4, 3)), _series()


def _seq2seq():
    def forward(s, x):
        _, h = s.encoder(x)
        step, outputs = x[:, -1], []
        for _ in range(4):
            h = s.decoder(step, h[0] if h.ndim == 3 else h)
            step = s.head(h)
            outputs.append(step)
        return torch.stack(outputs, 1)

    return Fn(forward, encoder=nn.GRU(3, 4, batch_first=True), decoder=nn.GRUCell(3, 4), head=nn.Linear(4, 3)), _series(
        3
    )


def _attention_decoder():
    def forward(s, x):
        keys, (h, c) = s.encoder(x)
        weights = torch.softmax((s.score(h[-1])[:, None] * keys).sum(-1), -1)
        return s.head(torch.cat([(weights[..., None] * keys).sum(1), c[-1]], -1))

    return Fn(forward, encoder=nn.LSTM(3, 4, batch_first=True), score=nn.Linear(4, 4), head=nn.Linear(8, 3)), _series()


def _linear_scan():
    """S4D-like: diagonal complex state, real outputs."""

    def forward(s, x):
        decay = torch.exp(torch.complex(-s.log_rate.exp(), s.frequency))
        state = torch.zeros(len(x), 4, dtype=decay.dtype)
        for t in range(x.shape[1]):
            state = decay * state + s.inp(x[:, t])
        return s.head(torch.cat([state.real, state.imag], -1))

    return Fn(
        forward,
        log_rate=nn.Parameter(torch.randn(4)),
        frequency=nn.Parameter(torch.randn(4)),
        inp=nn.Linear(3, 4),
        head=nn.Linear(8, 3),
    ), _series()


def _in_place_buffer():
    """Outputs are written into a preallocated tensor."""

    def forward(s, x):
        out = torch.empty(len(x), x.shape[1], 4, dtype=x.dtype)
        h = torch.zeros(len(x), 4, dtype=x.dtype)
        for t in range(x.shape[1]):
            h = torch.tanh(s.a(x[:, t]) + s.b(h))
            out[:, t] = h
        return s.head(out.mean(1))

    return Fn(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 4, bias=False), head=nn.Linear(4, 3)), _series()


def _char_lm():
    net = Fn(
        lambda s, x: s.head(s.recurrent(s.table(x))[0]),
        table=nn.Embedding(7, 4),
        recurrent=nn.LSTM(4, 4, batch_first=True),
        head=nn.Linear(4, 7),
    )
    return net, tokens(2, 3)


BUILDERS = {
    "rnn": lambda: _last(nn.RNN(3, 4, batch_first=True)),
    "rnn-relu": lambda: _last(nn.RNN(3, 4, nonlinearity="relu", batch_first=True)),
    "gru": lambda: _last(nn.GRU(3, 4, batch_first=True)),
    "gru-bidirectional": lambda: _last(nn.GRU(3, 4, bidirectional=True, batch_first=True), 8),
    "gru-two-layers": lambda: _last(nn.GRU(3, 4, 2, batch_first=True, dropout=0.3)),
    "gru-without-bias": lambda: _last(nn.GRU(3, 4, batch_first=True, bias=False)),
    "lstm": lambda: _last(nn.LSTM(3, 4, batch_first=True)),
    "lstm-bidirectional-two-layers": lambda: _last(nn.LSTM(3, 3, 2, bidirectional=True, batch_first=True), 6),
    "lstm-projected": lambda: _last(nn.LSTM(3, 5, proj_size=2, batch_first=True), 2),
    "gru-time-first": _time_first,
    "lstm-last-hidden-state": _hidden_state,
    "gru-learned-start": _learned_start,
    "packed-gru": lambda: _packed(nn.GRU),
    "packed-lstm-sorted": lambda: _packed(nn.LSTM, enforce_sorted=True),
    "packed-by-padding": _packed_by_padding,
    "rnn-cell": lambda: _cells(nn.RNNCell),
    "gru-cell": lambda: _cells(nn.GRUCell),
    "lstm-cell": lambda: _cells(nn.LSTMCell),
    "sequence-to-sequence": _seq2seq,
    "recurrent-attention": _attention_decoder,
    "diagonal-state-space": _linear_scan,
    "recurrence-written-into-a-buffer": _in_place_buffer,
    "character-lm": _char_lm,
}
for name, build in BUILDERS.items():
    add(name, build, family=__name__)
add("gru-float32-start", _float32_start, family=__name__, refusal="makes float32 inside forward")
add("gru-float32-start-in-float32", _float32_start, family=__name__, dtype=torch.float32)
