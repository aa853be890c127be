"""Losses are pure functions of logits and targets."""
