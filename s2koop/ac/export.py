"""Emulators as ONNX files, for onnxruntime and for computers on board; and in eight bits.

Graphs are written by hand from the layers, so that they hold what the networks compute and nothing of the exporter that
happens to be installed. ``pip install "s2koop[onnx]"`` brings what is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from s2koop.ac.emulator import AcModel
from s2koop.ac.features import DARK
from s2koop.ac.networks import Context, DilatedUNet, Local
from s2koop.ac.transfer import Coefficients
from s2koop.errors import MissingDependencyError

Array = npt.NDArray[np.float32]

#: Version of the operators: the first that knows GELU.
OPSET = 20


def to_onnx(model: AcModel, path: str | Path, *, member: int = 0) -> Path:
    """Write what corrects pixels as an ONNX file: a network, or the inversion of radiative transfer for a hybrid.

    Parameters
    ----------
    model : AcModel
    path : str or Path
    member : int
        Which network of an ensemble.

    Returns
    -------
    Path
        A graph from ``planes`` (scene, channel, y + 2 radius, x + 2 radius), and for a context model ``code`` (scene,
        width) of `AcModel.codes`, to ``boa`` (scene, band, y, x). All sizes but channels are free. A hybrid
        leaves three numbers per band and scene to the pixels: ``path``, ``gain`` and ``albedo`` (scene, band), as
        `Table.coefficients` gives them for the atmosphere that it reported.

    Raises
    ------
    MissingDependencyError
        If the package onnx is not installed.

    Examples
    --------
    >>> from s2koop.ac import load
    >>> to_onnx(load("s2-fcnn"), "fcnn.onnx")  # doctest: +SKIP
    """
    onnx = _onnx()
    network = model.networks[member]
    if isinstance(network, Local):
        graph = _local(network)
    elif isinstance(network, Context):
        graph = _context(network)
    else:
        graph = _inversion(len(model.bands))
    written = graph.model(len(model.bands))
    onnx.checker.check_model(written)
    path = Path(path)
    path.write_bytes(written.SerializeToString())
    return path


def quantise(path: str | Path, out: str | Path, examples: Sequence[dict[str, Array]]) -> Path:
    """An ONNX file of `to_onnx` in eight bits: weights per channel, and activations over the range of examples.

    Parameters
    ----------
    path, out : str or Path
    examples : sequence of dict
        Inputs of the graph by name, such as the scene's planes: they say how large activations become.

    Returns
    -------
    Path
        Of the new file. Its last layer stays in floating point, as a correction of some thousandths asks for.
    """
    _onnx()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(examples)

        def get_next(self) -> Any:
            return next(self.left, None)

    quantize_static(
        str(path), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["Conv"],
        nodes_to_exclude=["last"],
    )  # fmt: skip
    return Path(out)


class Graph:
    """A graph under construction; each operation gives the name of its result."""

    def __init__(self, inputs: dict[str, Sequence[Any]]) -> None:
        self.inputs, self.nodes, self.constants = inputs, [], []  # type: ignore[var-annotated]

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        onnx = _onnx()
        name = f"constant{len(self.constants)}"
        array = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
        self.constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array, kind), name))
        return name

    def add(self, operation: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        onnx = _onnx()
        out = name or f"node{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operation, list(inputs), [out], name=out, **attributes))
        return out

    def convolution(self, x: str, layer: nn.Conv2d, name: str | None = None) -> str:
        assert layer.bias is not None
        weights = self.constant(layer.weight), self.constant(layer.bias)
        return self.add("Conv", x, *weights, name=name, dilations=list(layer.dilation))

    def dense(self, x: str, layer: Any) -> str:
        return self.add("Gemm", x, self.constant(layer.weight), self.constant(layer.bias), transB=1)

    def trim(self, x: str, margin: int) -> str:
        if not margin:
            return x
        ends = (self.constant([v, v], np.int64) for v in (margin, -margin))
        return self.add("Slice", x, *ends, self.constant([2, 3], np.int64))

    def plane(self, x: str) -> str:
        """A vector (scene, number) as planes (scene, number, 1, 1)."""
        return self.add("Unsqueeze", x, self.constant([2, 3], np.int64))

    def model(self, bands: int) -> Any:
        onnx = _onnx()
        floats = onnx.TensorProto.FLOAT
        inputs = [onnx.helper.make_tensor_value_info(name, floats, shape) for name, shape in self.inputs.items()]
        out = onnx.helper.make_tensor_value_info("boa", floats, ["scene", bands, "rows", "columns"])
        graph = onnx.helper.make_graph(self.nodes, "emulator", inputs, [out], self.constants)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)


def _local(network: Local) -> Graph:
    channels = len(network.center)
    graph = Graph({"planes": ["scene", channels, "y", "x"]})
    center, scale = (graph.constant(values[None, :, None, None]) for values in (network.center, network.scale))
    x = graph.add("Div", graph.add("Sub", "planes", center), scale)
    said = _unet(graph, x, network.body) if isinstance(network.body, DilatedUNet) else _chain(graph, x, network.body)
    inner = graph.trim("planes", network.radius)
    if channels > network.bands:
        ends = (graph.constant([v], np.int64) for v in (0, network.bands))
        inner = graph.add("Slice", inner, *ends, graph.constant([1], np.int64))
    graph.add("Sub", inner, graph.add("Mul", said, graph.constant(0.1)), name="boa")
    return graph


def _chain(graph: Graph, x: str, body: nn.Module) -> str:
    layers = list(body) if isinstance(body, nn.Sequential) else [body]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            x = graph.convolution(x, layer, "last" if layer is layers[-1] else None)
        else:
            x = graph.add("Relu", x)
    return x


def _unet(graph: Graph, x: str, body: DilatedUNet) -> str:
    skips, margins, margin = [], [], 0
    for layer in body.down:
        assert isinstance(layer, nn.Conv2d)
        x, margin = graph.add("Relu", graph.convolution(x, layer)), margin + layer.dilation[0]
        skips.append(x)
        margins.append(margin)
    skips.pop(), margins.pop()
    for layer in body.up:
        assert isinstance(layer, nn.Conv2d)
        skip = graph.trim(skips.pop(), margin - margins.pop())
        x = graph.add("Relu", graph.convolution(graph.add("Concat", x, skip, axis=1), layer))
        margin += layer.dilation[0]
    return graph.convolution(x, body.last, "last")


def _context(network: Context) -> Graph:
    width = network.bend.in_features
    graph = Graph({"planes": ["scene", network.bands, "y", "x"], "code": ["scene", width]})
    encoder = network.encoder
    compressed = graph.add("Asinh", graph.add("Div", "planes", graph.constant(DARK)))
    center, scale = (graph.constant(values[None, :, None, None]) for values in (encoder.center, encoder.scale))
    standard = graph.add("Div", graph.add("Sub", compressed, center), scale)
    weights = graph.constant(network.pixel.weight[..., None, None]), graph.constant(network.pixel.bias)
    hidden = graph.add("Add", graph.add("Conv", standard, *weights), graph.plane(graph.dense("code", network.bend)))
    hidden = graph.add("Gelu", hidden)
    weights = graph.constant(network.out.weight[..., None, None]), graph.constant(network.out.bias)
    said = graph.add("Conv", hidden, *weights, name="last")
    affine = graph.dense("code", network.affine)
    both = [graph.constant([at], np.int64) for at in (0, network.bands, 2 * network.bands, 1)]
    offset = graph.plane(graph.add("Slice", affine, both[0], both[1], both[3]))
    slope = graph.plane(graph.add("Slice", affine, both[1], both[2], both[3]))
    said = graph.add("Mul", graph.add("Add", said, offset), graph.constant(0.1))
    change = graph.add("Add", said, graph.add("Mul", slope, "planes"))
    graph.add("Sub", "planes", change, name="boa")
    return graph


def _inversion(bands: int) -> Graph:
    """``y / (1 + albedo y)`` with ``y = (planes - path) / gain``."""
    shapes: dict[str, list[Any]] = {name: ["scene", bands] for name in Coefficients._fields}
    graph = Graph({"planes": ["scene", bands, "y", "x"], **shapes})
    path, gain, albedo = (graph.plane(name) for name in shapes)
    y = graph.add("Div", graph.add("Sub", "planes", path), gain)
    graph.add("Div", y, graph.add("Add", graph.constant(1.0), graph.add("Mul", albedo, y)), name="boa")
    return graph


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise MissingDependencyError('ONNX files need two more packages: pip install "s2koop[onnx]"') from error
    return onnx


__all__ = ["quantise", "to_onnx"]
