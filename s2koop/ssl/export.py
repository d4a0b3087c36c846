"""Encoders as ONNX files, for onnxruntime and other places without torch.

``pip install "s2koop[onnx]"`` brings what is needed.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s2koop._numbers import sequence, whole
from s2koop.errors import InputError, MissingDependencyError
from s2koop.ssl.encoder import Encoder, prepared, standardised

#: Version of the operators.
OPSET = 20
#: What says that a step of the export went as it should.
_TALKATIVE = ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")


def to_onnx(model: Encoder | nn.Module, path: str | Path, example_shape: Sequence[int] | None = None) -> Path:
    """Write an encoder or a network as one ONNX file; any number of images or series goes in at once.

    Parameters
    ----------
    model : Encoder or Module
        An encoder's graph takes values in the units of its training and prepares them itself; a network's takes what
        the network takes.
    path : str or Path
    example_shape : sequence of int, optional
        Of one image (band, y, x) or of one pixel series (time, band); that of the training for images by default. The
        size of images is fixed by it, the number of dates is not.

    Returns
    -------
    Path
        Graph from ``images`` (n, band, y, x), or ``series`` (n, time, band) and ``days`` (time,), to ``features``
        (n, feature). Settings and card of an encoder are in its metadata ``s2koop``.

    Raises
    ------
    InputError
        If the shape is not one of these, or not one that the encoder takes.
    MissingDependencyError
        If the packages onnx and onnxscript are not installed.

    Examples
    --------
    >>> from s2koop.ssl import load
    >>> to_onnx(load("wave-geometry"), "encoder.onnx")  # doctest: +SKIP
    """
    onnx = _onnx()
    shape = _shape(model, example_shape)
    network = _Whole(model).eval() if isinstance(model, Encoder) else model
    args, dynamic, names = _example(shape)
    trained = network.training
    try:
        with _silent(), torch.no_grad():
            program = torch.onnx.export(
                network.eval(), args, dynamo=True, dynamic_shapes=dynamic, input_names=names,
                output_names=["features"], opset_version=OPSET, verbose=False,
            )  # fmt: skip
            written = program.model_proto  # type: ignore[union-attr]
    finally:
        network.train(trained)
    if isinstance(model, Encoder):
        known = {"settings": model.settings.to_dict(), "card": dict(model.card)}
        onnx.helper.set_model_props(written, {"s2koop": json.dumps(known, sort_keys=True)})
    onnx.checker.check_model(written)
    path = Path(path)
    path.write_bytes(written.SerializeToString())
    return path


class _Whole(nn.Module):
    """An encoder with its preparation of values as one module."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.network, self.settings = encoder.network, encoder.settings

    def forward(self, values: Tensor, days: Tensor | None = None) -> Tensor:
        if self.settings.reads_series:
            return self.network(standardised(values, self.settings, -1), days)
        return self.network(prepared(values, self.settings))


def _shape(model: Encoder | nn.Module, example: Sequence[int] | None) -> tuple[int, ...]:
    if example is None:
        if not isinstance(model, Encoder) or model.settings.reads_series:
            raise InputError("example_shape is needed: (band, y, x) of one image, or (time, band) of one series")
        return (model.settings.channels, model.settings.patch, model.settings.patch)
    shape = sequence("example_shape", example, whole, least=1)
    if len(shape) not in (2, 3):
        raise InputError(f"example_shape={shape} is of {len(shape)} dims; expected (band, y, x) or (time, band)")
    if isinstance(model, Encoder):
        bands = shape[1] if len(shape) == 2 else shape[0]
        if model.settings.reads_series != (len(shape) == 2) or bands != model.settings.channels:
            takes = "(time, band)" if model.settings.reads_series else "(band, y, x)"
            raise InputError(f"example_shape={shape}; {model.name} takes {takes} of {model.settings.channels} band(s)")
    return shape


def _example(shape: tuple[int, ...]) -> tuple[tuple[Tensor, ...], Any, list[str]]:
    """Two examples, what may change in them, and the names of the inputs."""
    values = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
    count = torch.export.Dim("n")
    if len(shape) == 3:
        return (values,), ({0: count},), ["images"]
    dates = torch.export.Dim("time")
    return (values, torch.linspace(0, 360, shape[0])), ({0: count, 1: dates}, {0: dates}), ["series", "days"]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what the exporter reports of its own steps from the user."""
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _onnx() -> Any:
    try:
        with _silent():
            import onnx
            import onnx.checker
            import onnx.helper
            import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError('ONNX files need more packages: pip install "s2koop[onnx]"') from error
    return onnx


__all__ = ["to_onnx"]
