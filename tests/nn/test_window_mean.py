from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.nn.newest_rows import NewestRows
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.nn.window_mean import WindowMean
from hpgr.ops.attention import MaskRule


def test_only_events_of_the_own_row_are_averaged(close):
    x_T1 = torch.tensor([[1.0], [2.0], [6.0], [9.0], [100.0], [5.0], [7.0]])
    offsets = torch.tensor([0, 4, 4, 5, 7])
    close(WindowMean(length=3).of(x_T1, offsets), torch.tensor([[1.0], [1.5], [3.0], [17 / 3], [100.0], [5.0], [6.0]]))


def test_a_window_of_one_is_the_event_and_of_none_is_refused():
    x_TD = torch.randn(4, 3)
    assert torch.equal(WindowMean(length=1).of(x_TD, torch.tensor([0, 4])), x_TD)
    with pytest.raises(ConfigError, match=r"^length \(0\) must be at least 1$"):
        WindowMean(length=0)


@pytest.mark.parametrize("norm", ["pre", "post", "released"])
def test_queries_alone_are_of_the_window(norm, close):
    """The layer by hand: queries of the mean, keys and values of the rows; the newest row alone as in company."""
    layer = TransformerLayer.Config(ffn_dim=8, norm=norm, query_source=WindowMean(length=2)).build(dim=8).double()
    x = Jagged.from_lengths(torch.randn(7, 8).double(), [4, 0, 3])
    mean_TD = WindowMean(length=2).of(x.values, x.offsets)
    normed = (lambda rows: rows) if norm == "post" else layer.attention_norm
    asked, keys = normed(mean_TD), x.values if norm == "released" else normed(x.values)
    read = []
    for start, stop in ((0, 4), (4, 7)):
        q, k, v = layer.query(asked[start:stop]), layer.key(keys[start:stop]), layer.value(keys[start:stop])
        read.append(torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0])
    want = layer._finished(x.values, asked, torch.cat(read)[:, None])
    found = layer(x, MaskRule()).values
    close(found, want)
    close(layer.newest(x, NewestRows.of(x.offsets)), found[[3, 6]])
