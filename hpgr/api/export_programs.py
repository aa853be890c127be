"""Write a traced program as ONNX or as torch's own file, and ask the file as it was written."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hpgr.core.errors import UnsupportedError

To = Literal["onnx", "torch"]
Runs = Callable[[tuple[Tensor, ...]], Tensor]


def check_installed(to: To) -> None:
    """Raises: UnsupportedError where a package is missing that the form needs."""
    needed = ("onnx", "onnxscript", "onnxruntime") if to == "onnx" else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UnsupportedError(
            f"{missing[0]} (not installed) must be there to export to onnx; pip install 'hpgr[export]'"
        )


def written(program: Any, file: Path, names: list[str], output: str, to: To) -> Runs:
    """Write ``program``; what comes back asks the file as it was written."""
    if to == "torch":
        torch.export.save(program, file)
        module = torch.export.load(file).module()
        return lambda tensors: module(*tensors)
    found = torch.onnx.export(program, (), dynamo=True, verbose=False, input_names=names, output_names=[output])
    assert found is not None, "what the dynamo exporter gives"
    found.save(file)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(tensors: tuple[Tensor, ...]) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(names, tensors)}
        return torch.from_numpy(session.run(None, given)[0])

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """The exporters tell developers of torch a lot; what concerns a user is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
