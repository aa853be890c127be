"""Triton kernels of the attention ops, and what may run them. Only ``support`` and ``cells`` can be imported without Triton."""
