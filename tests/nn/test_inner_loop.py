from __future__ import annotations

import torch

from hpgr.nn.inner_loop import inner_loop


def cost(weight):
    """Not quadratic, and it runs through a shared weight."""
    return lambda fast: (torch.tanh(fast * weight) ** 2).sum(1) + (fast**3).sum(1)


def test_a_step_is_that_of_finite_differences():
    fast = torch.tensor([[0.3, -0.2], [0.7, 0.1]], dtype=torch.float64)
    weight, rate, eps = torch.tensor([0.5, 1.5], dtype=torch.float64), 0.2, 1e-6
    slope = torch.zeros_like(fast)
    for i in range(2):
        for j in range(2):
            up, down = fast.clone(), fast.clone()
            up[i, j] += eps
            down[i, j] -= eps
            slope[i, j] = (cost(weight)(up)[i] - cost(weight)(down)[i]) / (2 * eps)
    got = inner_loop(cost(weight), fast, rate)
    torch.testing.assert_close(got, fast - rate * slope, rtol=1e-7, atol=1e-8)
    twice = inner_loop(cost(weight), fast, rate, num_steps=2)
    torch.testing.assert_close(twice, inner_loop(cost(weight), got, rate))
    assert torch.equal(inner_loop(cost(weight), fast, rate, num_steps=0), fast)


def test_the_outer_gradient_has_the_second_order_term():
    fast = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, w: inner_loop(cost(w), f, 0.2, num_steps=2), (fast, weight))
    first = torch.autograd.grad(inner_loop(cost(weight), fast, 0.2, second_order=False).sum(), fast)[0]
    second = torch.autograd.grad(inner_loop(cost(weight), fast, 0.2).sum(), fast)[0]
    assert torch.equal(first, torch.ones_like(first))
    assert (first - second).abs().min() > 0.01


def test_it_works_without_gradients_around_it():
    fast, weight = torch.tensor([[0.3, -0.2]]), torch.tensor([0.5, 1.5])
    with torch.no_grad():
        quiet = inner_loop(cost(weight), fast, 0.2)
    assert torch.equal(quiet, inner_loop(cost(weight), fast, 0.2))
    assert not quiet.requires_grad
