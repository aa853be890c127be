from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.jagged import offsets_of
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.target_attention import TargetAttention

HISTORY, ASKED = [3, 0, 9, 1], [2, 2, 0, 3]


def layer(**options):
    module = TargetAttention.Config(hidden_dim=6, **options).build(dim=4).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def drawn():
    q, k = torch.randn(sum(ASKED), 4).double(), torch.randn(sum(HISTORY), 4).double()
    return q, k, offsets_of(torch.tensor(HISTORY)), offsets_of(torch.tensor(ASKED))


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("context", [None, ContextualPosition.Config(num_positions=4)], ids=["plain", "contextual"])
def test_it_is_the_network_pair_by_pair(softmax, context, close):
    module, (q, k, users, asked) = layer(softmax=softmax, context=context), drawn()
    want = []
    for b in range(len(HISTORY)):
        events = k[users[b] : users[b + 1]]
        for one in q[asked[b] : asked[b + 1]]:
            hidden = [module.query(one) + module.key(event) + module.product(one * event) for event in events]
            scores = torch.stack([module.score(module.act(h))[0] for h in hidden]) if hidden else one[:0]
            if module.context is not None:
                scores = scores + module.context.added(one[None], scores[None], torch.ones_like(scores[None]).bool())[0]
            weights = scores.softmax(0) if softmax else scores
            want.append(weights @ events if hidden else torch.zeros_like(one))
    close(module(q, k, users, asked), torch.stack(want))


def test_the_difference_of_query_and_key_needs_no_columns(close):
    """The article's first layer over ``[k, q, q - k, q * k]`` is ours with sums of its columns."""
    module, (q, k, *_) = layer(), drawn()
    w_k, w_q, w_d, w_p = torch.randn(4, 6, 4).double()
    with torch.no_grad():
        module.key.weight.copy_(w_k - w_d)
        module.query.weight.copy_(w_q + w_d)
        module.product.weight.copy_(w_p)
    pairs = torch.cat([k[:3], q[:3], q[:3] - k[:3], q[:3] * k[:3]], 1) @ torch.cat([w_k, w_q, w_d, w_p], 1).T
    want = module.score(module.act(pairs + module.query.bias)).squeeze(1)
    close(module.scores(q[:3, None], k[:3, None]).flatten(), want)


def test_a_hidden_layer_that_is_held_in_parts_gives_the_same(close, monkeypatch):
    module, given = layer(), drawn()
    want = module(*given)
    monkeypatch.setattr("hpgr.nn.target_attention._NUMBERS", 60)
    close(module(*given), want)


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match=r"hidden_dim \(0\) must be at least 1"):
        TargetAttention.Config(hidden_dim=0)
    with pytest.raises(UnknownNameError, match="no activation is named 'dice'"):
        TargetAttention.Config(act="dice")
