"""Gated recurrent units over each session. Cho et al., EMNLP 2014, arXiv:1406.1078; Hidasi et al., ICLR 2016, arXiv:1511.06939.

Departs: the reset gate acts on ``U h``, as in PyTorch, not on ``h``; inside a window the recurrence reads states before dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, shapes_are_fixed
from hpgr.nn.packed_order import packed_order


class GruEncoder(nn.Module):
    """Layers of GRU, each of the items' width; a state knows the events of its session, or of its user, until then.

    While training, a row may go on where an earlier batch stopped: with the features ``lane [T]`` (int64, of the whole row)
    and ``continues [T]`` (bool: the row's first state is not zero) a row begins with the state that its lane last ended with,
    through which no gradient runs. These states are part of ``state_dict``, so that a resumed epoch has them; ``eval`` drops
    them. The recurrence is computed in the weights' type, whatever autocast says.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``scope``: states begin at zero with each ``session``, or with each ``user``. ``input_dropout`` acts on item vectors,
        ``dropout`` on what each layer gives, and so on the state that a lane carries."""

        causal: ClassVar[bool] = True
        carries_state: ClassVar[bool] = True

        num_layers: int = 1
        scope: Literal["session", "user"] = "session"
        input_dropout: float = 0.0
        dropout: float = 0.0

        def __post_init__(self) -> None:
            if self.num_layers < 1:
                raise ConfigError(f"num_layers ({self.num_layers}) must be at least 1")
            if self.scope not in ("session", "user"):
                raise ConfigError(f"scope ({self.scope}) must be session or user")
            for name in ("input_dropout", "dropout"):
                if not 0 <= getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must lie in [0, 1)")

        def build(self, *, dim: int) -> GruEncoder:
            return GruEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config, self.dim = config, dim
        self.layers = nn.ModuleList(nn.GRU(dim, dim) for _ in range(config.num_layers))
        self.input_dropout, self.dropout = nn.Dropout(config.input_dropout), nn.Dropout(config.dropout)
        self._lanes_MLD = torch.zeros(0, config.num_layers, dim)
        for layer in self.layers:
            for parameter in layer.parameters():
                # Each gate is a matrix of its own: its bound is not that of the three together.
                for gate in parameter.detach().chunk(3):
                    (nn.init.zeros_ if gate.dim() == 1 else nn.init.xavier_uniform_)(gate)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        return x if x.values.shape[0] == 0 else x.with_values(self._run(x, history)[-1])

    def begin(self, x: Jagged, history: History, after_N: Tensor) -> tuple[Jagged, Tensor]:
        """As ``FollowedEncoder.begin``; a chain is the state ``[L, N, D]`` that it goes on from."""
        if x.values.shape[0] == 0:
            return x, self.initial(after_N.shape[0])
        layers = self._run(x, history)
        return x.with_values(layers[-1]), torch.stack(layers)[:, after_N]

    def follow(self, chains: Tensor, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """As ``FollowedEncoder.follow``."""
        with torch.autocast(x_ND.device.type, enabled=False):
            chains = self.step(chains, x_ND.to(chains.dtype))
        return chains[-1], chains

    def why_not_followed(self) -> str | None:
        """Nothing hinders it."""
        return None

    def _run(self, x: Jagged, history: History) -> list[Tensor]:
        """``[T, D]`` of every layer, for at least one event."""
        if shapes_are_fixed():
            return self._step_by_step(x, history)
        size = x.values.shape[0]
        by_session = self.config.scope == "session"
        # Users without events have no state to begin with.
        offsets = history.session_offsets if by_session else history.user_offsets.unique_consecutive()
        event_P, by_length_S, sizes = packed_order(offsets, size)
        packed_T = event_P.argsort()
        end_S = packed_T[offsets[1:] - 1]
        states_SLD = self._begin(history, offsets)
        with torch.autocast(x.values.device.type, enabled=False):
            values_PD = self.input_dropout(x.values.to(states_SLD.dtype))[event_P]
            layers = []
            for depth, layer in enumerate(self.layers):
                begin_1SD = states_SLD[by_length_S, depth][None].contiguous()
                values_PD = self.dropout(layer(PackedSequence(values_PD, sizes), begin_1SD)[0].data)
                layers.append(values_PD)
        self._end(history, offsets, torch.stack([values_PD[end_S].detach() for values_PD in layers], 1))
        return [values_PD[packed_T] for values_PD in layers]

    def _step_by_step(self, x: Jagged, history: History) -> list[Tensor]:
        """The same, one event after the other through all pieces: the steps are as many as the events."""
        size, by_session = x.values.shape[0], self.config.scope == "session"
        offsets = history.session_offsets if by_session else history.user_offsets
        begins_T = (torch.arange(size, device=offsets.device)[:, None] == offsets[:-1]).any(1)
        state_L1D, layers = self.initial(1), []
        for x_1D, begins_1 in zip(x.values.split(1), begins_T.split(1)):
            state_L1D = self.step(state_L1D.masked_fill(begins_1, 0.0), x_1D)
            layers.append(state_L1D)
        return list(torch.cat(layers, 1))

    def initial(self, num_rows: int) -> Tensor:
        """``[L, B, D]``: the state before any event."""
        weight = next(self.parameters())
        return weight.new_zeros((self.config.num_layers, num_rows, self.dim))

    def step(self, state_LBD: Tensor, x_BD: Tensor) -> Tensor:
        """``[L, B, D]``: the state after one event more; its last layer is what ``forward`` gives for that event."""
        values_BD, ends = self.input_dropout(x_BD), []
        for layer, state_BD in zip(self.layers, state_LBD):
            values_BD = self.dropout(layer(values_BD[None], state_BD[None].contiguous())[0][0])
            ends.append(values_BD)
        return torch.stack(ends)

    def train(self, mode: bool = True) -> GruEncoder:
        """As of any module; in evaluation mode no lane's state is kept."""
        if not mode:
            self._lanes_MLD = torch.zeros_like(self._lanes_MLD[:0])
        return super().train(mode)

    def get_extra_state(self) -> Tensor:
        """``[M, L, D]``: the states of the lanes."""
        return self._lanes_MLD

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the states of the lanes."""
        self._lanes_MLD = state.clone()

    def _begin(self, history: History, offsets: Tensor) -> Tensor:
        """``[S, L, D]``: with what each piece begins; all but the first of a row begin at zero."""
        zero_LSD = self.initial(offsets.shape[0] - 1)
        states_SLD = zero_LSD.transpose(0, 1).contiguous()
        if self._carries(history):
            starts_B = history.user_offsets[:-1]
            lane_B, continues_B = history.features["lane"][starts_B], history.features["continues"][starts_B]
            self._make_room(lane_B, states_SLD)
            first_B = torch.searchsorted(offsets, starts_B)
            states_SLD[first_B] = torch.where(continues_B[:, None, None], self._lanes_MLD[lane_B], 0.0)
        return states_SLD

    def _end(self, history: History, offsets: Tensor, states_SLD: Tensor) -> None:
        if self._carries(history):
            lane_B = history.features["lane"][history.user_offsets[:-1]]
            last_B = torch.searchsorted(offsets, history.user_offsets[1:]) - 1
            self._lanes_MLD = self._lanes_MLD.index_copy(0, lane_B, states_SLD[last_B])

    def _carries(self, history: History) -> bool:
        return self.training and "lane" in history.features

    def _make_room(self, lane_B: Tensor, like: Tensor) -> None:
        self._lanes_MLD = self._lanes_MLD.to(like)
        missing = int(lane_B.max()) + 1 - self._lanes_MLD.shape[0]
        if missing > 0:
            self._lanes_MLD = torch.cat([self._lanes_MLD, like.new_zeros((missing, *like.shape[1:]))])
