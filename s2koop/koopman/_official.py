"""How the published Koopman networks are laid out in their files, and a network of ours with the same weights.

A published model is two files of `torch.save`: a state dict, and the matrix K as a bare tensor, as K is no part of the
state dict. Names of layers count from one. The autoencoder advances row vectors, ``z K``, as we do; the invertible
networks advance column vectors, ``K z``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2koop._file_checks import as_model_error
from s2koop._foreign_weights import check_tensor, file_content, read_torch
from s2koop.errors import ModelError
from s2koop.koopman.network import KoopmanNetwork, make_network
from s2koop.koopman.settings import KoopmanSettings

#: Names in the papers.
FAMILIES = {"mlp": "KAE", "ikae": "IKAE", "ikae-zp": "IKAE-zp", "aikae": "AIKAE"}
_PARTS = {
    frozenset({"encoder", "decoder"}): "mlp",
    frozenset({"invertible_encoder"}): "ikae",
    frozenset({"invertible_encoder", "augmentation_encoder"}): "aikae",
}
_LAYOUTS = (
    "expected encoder.encoder_1.weight ... and decoder.decoder_1.weight ... (KAE), or invertible_encoder.bijectors."
    "0.net.0.weight ... (IKAE, IKAE-zp), with augmentation_encoder.encoder_1.weight ... (AIKAE)"
)


@dataclass(frozen=True)
class OfficialFile:
    """The state dict of a published model, and its path for messages."""

    path: Path
    weights: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.weights:
            raise ModelError(f"{self.path} lacks {name!r}; {_LAYOUTS}")
        return self.weights[name]

    def widths(self, prefix: str) -> tuple[int, ...]:
        """Inputs of the first of some numbered layers, then the outputs of each."""
        numbers = [
            int(match[1]) for name in self.weights if (match := re.match(rf"{prefix}_(\d{{1,4}})\.weight$", name))
        ]
        layers = [self[f"{prefix}_{i}.weight"] for i in range(1, max(numbers, default=1) + 1)]
        self._check_matrices(prefix, layers)
        return (layers[0].shape[1], *(len(layer) for layer in layers))

    def couplings(self) -> tuple[int, int, int]:
        """Number of coupling layers, their width, and the size of what they act on."""
        prefix = "invertible_encoder.bijectors"
        numbers = [
            int(match[1]) for name in self.weights if (match := re.match(rf"{prefix}\.(\d{{1,4}})\.net\.", name))
        ]
        inner, outer = self[f"{prefix}.0.net.0.weight"], self[f"{prefix}.0.net.2.weight"]
        self._check_matrices(prefix, [inner, outer])
        return max(numbers) + 1, len(inner), inner.shape[1] + len(outer)

    def _check_matrices(self, prefix: str, layers: list[Tensor]) -> None:
        if any(layer.dim() != 2 for layer in layers):
            raise ModelError(f"{self.path}: a weight of {prefix} is no matrix; {_LAYOUTS}")


def read_model(path: str | Path) -> OfficialFile:
    """The state dict of a published model."""
    content = read_torch(file_content(path), str(path))
    if isinstance(content, Tensor):
        raise ModelError(
            f"{path} holds a bare tensor of shape {tuple(content.shape)}, not a state dict; were model_file and k_file "
            "swapped?"
        )
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{path} holds a {type(content).__name__}, not a state dict of tensors; {_LAYOUTS}")
    weights = {str(name): check_tensor(value, str(name), str(path)).float() for name, value in content.items()}
    return OfficialFile(Path(path), weights)


def read_operator(path: str | Path) -> Tensor:
    """The matrix K of a published model, as it stands in its file."""
    content = read_torch(file_content(path), str(path))
    if not isinstance(content, Tensor):
        raise ModelError(
            f"{path} holds a {type(content).__name__}, not the bare tensor K; were model_file and k_file swapped?"
        )
    if content.dim() != 2 or content.shape[0] != content.shape[1] or not content.is_floating_point():
        raise ModelError(f"{path} holds a {content.dtype} of shape {tuple(content.shape)}; expected a square matrix K")
    return check_tensor(content, "K", str(path)).float()


def settings_of(file: OfficialFile, bands: int, step_days: float) -> KoopmanSettings:
    """The settings that give a network of the shapes in the file.

    Raises
    ------
    ModelError
        If the layout is none of the published ones, or does not fit states of so many bands and their differences.
    """
    parts = frozenset(name.split(".")[0] for name in file.weights)
    if parts not in _PARTS:
        raise ModelError(f"{file.path} has weights of {sorted(parts) or 'nothing'}; {_LAYOUTS}")
    family = _PARTS[parts]
    options: dict[str, Any] = {"step_days": step_days}
    if family == "mlp":
        state, *hidden, latent = file.widths("encoder.encoder")
        options |= {"hidden": tuple(hidden), "latent": latent}
    else:
        layers, width, size = file.couplings()
        options |= {"couplings": layers, "coupling_width": width}
        state = size
        if family == "aikae":
            state, *widths = file.widths("augmentation_encoder.encoder")
            options["augmentation"] = tuple(widths)
        elif size > 2 * bands:
            family, state = "ikae-zp", 2 * bands
            options["padding"] = size - state
    if state != 2 * bands:
        raise ModelError(
            f"{file.path} is a {FAMILIES[family]} of states of {state} numbers, and {bands} bands with their "
            f"differences make {2 * bands}; name its {state // 2} bands in the order of its channels with bands=[...]"
        )
    with as_model_error(f"{file.path} has the shapes of no network", _LAYOUTS):
        return KoopmanSettings.paper(family, **options)


def network_of(
    file: OfficialFile, operator: Tensor, operator_path: str | Path, *, bands: int, settings: KoopmanSettings
) -> KoopmanNetwork:
    """A network with the published weights, which advances row vectors whatever its family did.

    Raises
    ------
    ModelError
        If weights are missing, too many, or of another shape, or K is of another size.
    """
    with torch.device("meta"):  # laid out without memory, until the weights of the file are known to fit
        planned = make_network(bands, settings)
    family = FAMILIES[settings.architecture]
    if len(operator) != planned.latent:
        raise ModelError(
            f"K in {operator_path} is {len(operator)}x{len(operator)}, and the {family} in {file.path} has "
            f"{planned.latent} latents; take the K that was saved with it (published: KAE 32, IKAE 20, IKAE-zp and "
            "AIKAE 36)"
        )
    left, filled = dict(file.weights), {}
    for name, own in planned.state_dict().items():
        if name == "operator.matrix":
            filled[name] = operator if settings.architecture == "mlp" else operator.T.contiguous()
            continue
        official = official_name(name)
        filled[name] = file[official]
        if left.pop(official).shape != own.shape:
            raise ModelError(
                f"{file.path}: {official} has shape {tuple(filled[name].shape)}, expected {tuple(own.shape)} in a "
                f"{family} of {bands} bands"
            )
    if left:
        raise ModelError(
            f"{file.path} has weights that a {family} of NICE couplings or plain layers does not: {sorted(left)[:4]}; "
            f"{_LAYOUTS}"
        )
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and the caller's dice are not ours
        network = make_network(bands, settings)
    network.load_state_dict(filled)
    return network


def official_name(name: str) -> str:
    """The published name of one of our weights.

    Examples
    --------
    >>> official_name("encoder.2.weight"), official_name("flow.bijectors.5.net.0.bias")
    ('encoder.encoder_2.weight', 'invertible_encoder.bijectors.5.net.0.bias')
    """
    first, rest = name.split(".", 1)
    if first == "flow":
        return f"invertible_encoder.{rest}"
    index, kind = rest.split(".")
    layer = int(index) // 2 + 1  # every other one of ours is an activation
    module = "augmentation_encoder.encoder" if first == "augmentation" else f"{first}.{first}"
    return f"{module}_{layer}.{kind}"
