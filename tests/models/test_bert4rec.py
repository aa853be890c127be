"""Facts of BERT4Rec: what is hidden, both sides read, and a request that asks as training did."""

from __future__ import annotations

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.seeds import torch_generator
from hpgr.frames.registry import MODELS
from hpgr.models.bert4rec import bert4rec

NUM_ITEMS = 25


def users(lengths, seed=0):
    generator = torch_generator(seed, "bert4rec")
    return History.from_lists([torch.randint(NUM_ITEMS, (n,), generator=generator).tolist() for n in lengths])


def built(config=None):
    """Weights large enough that every part shows in a state."""
    torch.manual_seed(1)
    frame = (config or bert4rec(dim=16, max_len=12)).build(num_items=NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in frame.parameters():
            parameter.normal_(std=0.3)
    return frame


def changed(history, place):
    items = history.item_idx.clone()
    items[place] = (items[place] + 1) % NUM_ITEMS
    return History.from_lists([row.tolist() for row in items.split(history.lengths.tolist())])


def hidden_at(history, place):
    hidden_T = torch.zeros(history.num_events, dtype=torch.bool)
    hidden_T[place] = True
    return hidden_T


def test_layers_are_those_of_bert():
    frame = built()
    parts = [name for name, _ in frame.named_children()]
    assert parts == ["items", "encoder", "prior"]
    layer = frame.config.encoder.encoder.layer
    assert (layer.norm, layer.act, layer.ffn_dim, layer.residual_dropout) == ("post", "gelu", 64, 0.1)
    # Four projections, two norms, and a feed-forward part four times as wide.
    per_layer = 4 * (16 * 16 + 16) + 2 * 32 + (16 * 64 + 64) + (64 * 16 + 16)
    assert [sum(p.numel() for p in part.parameters()) for part in frame.encoder.encoder.layers] == [per_layer] * 2


def test_the_share_of_hidden_events_is_exact_and_capped():
    asked = users([1, 3, 8, 12])
    task = (
        bert4rec(mask_prob=0.6, max_predictions=4, force_last_prob=0.0)
        .objective.build()
        .training_task(asked, torch_generator(1))
    )
    assert [int(row.sum()) for row in task.hidden_T.split([1, 3, 8, 12])] == [1, 2, 4, 4]


def test_the_loss_is_the_cross_entropy_of_the_hidden_items_alone(close):
    frame, asked = built(), users([5, 9])
    task = frame.objective.training_task(asked, torch_generator(2))
    states = frame.states(asked, task.hidden_T).values
    logits = states[task.hidden_T] @ frame.items.weight[:NUM_ITEMS].T + frame.items.output_bias
    want = torch.nn.functional.cross_entropy(logits, asked.item_idx[task.hidden_T])
    close(frame.loss(asked, torch_generator(2))["loss"], want)


def test_a_hidden_item_is_not_told(close):
    frame, asked = built(), users([9])
    task = frame.objective.training_task(asked, torch_generator(2))
    (place, *_) = task.read_N.tolist()
    close(frame.states(changed(asked, place), task.hidden_T).values, frame.states(asked, task.hidden_T).values)


@pytest.mark.parametrize(("name", "reads"), [("bert4rec", True), ("sasrec", False), ("esasrec", False)])
def test_items_to_the_right_change_a_hidden_state_of_bert4rec_only(name, reads):
    frame, asked = built(MODELS[name]()), users([9])
    hidden_T = hidden_at(asked, 3)
    before, after = (frame.states(h, hidden_T).values[3] for h in (asked, changed(asked, 7)))
    assert torch.equal(before, after) != reads
    left = frame.states(changed(asked, 1), hidden_T).values[3]
    assert not torch.equal(before, left)


def test_a_request_asks_what_a_window_of_full_length_asked(close):
    """The newest 11 events and the hidden one are a window of 12 whose last event is hidden."""
    frame, asked = built(), users([30])
    window = History.from_lists([[*asked.item_idx[-11:].tolist(), 0]])
    want = frame.states(window, hidden_at(window, 11)).values[11:]
    close(frame.query(asked), want)
    eleven = History.from_lists([asked.item_idx[-11:].tolist()])
    close(frame.query(eleven), want)


def test_a_request_in_a_batch_is_the_request_alone_and_scores_items_only(close):
    frame, lengths = built(), [3, 0, 30, 11]
    asked = users(lengths)
    scores = frame.scores(asked)
    assert scores.shape == (4, NUM_ITEMS)
    for user, row in enumerate(asked.item_idx.split(lengths)):
        if len(row):
            close(frame.scores(History.from_lists([row.tolist()]))[0], scores[user])
