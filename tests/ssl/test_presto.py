"""Presto: the published names and shapes load strictly, missing groups do not count, months and places do."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from s2koop.errors import InputError, ModelError
from s2koop.ssl._presto import BANDS, GROUPS, Presto, presto, presto_normalised

#: Tensors of the encoder in the published file, by name, in their order.
PUBLISHED = {
    "pos_embed": (1, 24, 64),
    **{
        f"eo_patch_embed.{group}.{part}": (128, size)[: 2 if part == "weight" else 1]
        for group, size in [("S1", 2), ("S2_RGB", 3), ("S2_Red_Edge", 3), ("S2_NIR_10m", 1), ("S2_NIR_20m", 1),
                            ("S2_SWIR", 2), ("ERA5", 2), ("SRTM", 2), ("NDVI", 1)]
        for part in ("weight", "bias")
    },
    "dw_embed.weight": (10, 128), "latlon_embed.weight": (128, 3), "latlon_embed.bias": (128,),
    **{
        f"blocks.{block}.{name}": shape
        for block in (0, 1)
        for name, shape in {
            "norm1.weight": (128,), "norm1.bias": (128,), "attn.qkv.weight": (384, 128), "attn.qkv.bias": (384,),
            "attn.proj.weight": (128, 128), "attn.proj.bias": (128,), "norm2.weight": (128,), "norm2.bias": (128,),
            "mlp.fc1.weight": (512, 128), "mlp.fc1.bias": (512,), "mlp.fc2.weight": (128, 512), "mlp.fc2.bias": (128,),
        }.items()
    },
    "norm.weight": (128,), "norm.bias": (128,), "month_embed.weight": (12, 32), "channel_embed.weight": (10, 32),
}  # fmt: skip
MONTHS = torch.arange(12)
PLACE = torch.tensor([[45.5, 25.0]])


def seeded(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) / 5 for name, shape in PUBLISHED.items()}


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def network():
    extra = {"decoder.mask_token": torch.zeros(128)}
    return presto(saved({f"encoder.{name}": value for name, value in seeded().items()} | extra))


@pytest.fixture
def series():
    return torch.randn(4, 12, 17, generator=torch.Generator().manual_seed(1))


def by_hand(state, series, months, latlon, classes):
    """One pixel through the network as the paper has it, token by token in float64, of observed groups only."""
    p = {name: value.double().numpy() for name, value in state.items()}
    groups, at = [], 0
    for name, bands in GROUPS.items():
        groups.append((name, slice(at, at + len(bands))))
        at += len(bands)

    def place(date, group):
        return np.concatenate([p["month_embed.weight"][months[date]], p["channel_embed.weight"][group],
                               p["pos_embed"][0, date]])  # fmt: skip

    latitude, longitude = np.deg2rad(latlon)
    sphere = [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
    tokens = [p["latlon_embed.weight"] @ sphere + p["latlon_embed.bias"]]
    for number, (name, bands) in enumerate(groups):
        for date in range(1 if name == "SRTM" else len(series)):
            values = series[date, bands]
            if np.isnan(values).any():
                continue
            where = place(date, number)
            if name == "SRTM":
                where = np.concatenate([np.zeros(32), p["channel_embed.weight"][number], np.zeros(64)])
            weight, bias = p[f"eo_patch_embed.{name}.weight"], p[f"eo_patch_embed.{name}.bias"]
            tokens.append(weight @ values + bias + where)
    for date, kind in enumerate(classes):
        if kind < 9:
            tokens.append(p["dw_embed.weight"][kind] + place(date, 9))
    x = np.array(tokens)

    def norm(x, name):
        spread = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return (x - x.mean(-1, keepdims=True)) / spread * p[f"{name}.weight"] + p[f"{name}.bias"]

    def layer(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    for block in ("blocks.0", "blocks.1"):
        query, key, value = np.split(layer(norm(x, f"{block}.norm1"), f"{block}.attn.qkv"), 3, -1)
        heads = []
        for head in range(8):
            own = slice(16 * head, 16 * head + 16)
            score = np.exp(query[:, own] @ key[:, own].T / 4)
            heads.append(score / score.sum(-1, keepdims=True) @ value[:, own])
        x = x + layer(np.concatenate(heads, -1), f"{block}.attn.proj")
        hidden = layer(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        erf = torch.erf(torch.from_numpy(hidden / np.sqrt(2))).numpy()
        x = x + layer(hidden * (1 + erf) / 2, f"{block}.mlp.fc2")
    return norm(x.mean(0), "norm")


def test_names_shapes_and_size_are_the_published():
    network = Presto()
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == PUBLISHED
    assert list(network.state_dict()) == list(PUBLISHED)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 402_240
    assert (BANDS[2], BANDS[9], BANDS[-1]) == ("B02", "B8A", "NDVI")


def test_equal_to_a_computation_by_hand(network, series):
    series[0, 3, 4] = series[1, :, :2] = series[2, 0, 14] = series[3, 5:] = torch.nan
    months = (MONTHS + torch.tensor([[0], [3], [7], [11]])) % 12
    latlon = torch.tensor([[45.5, 25.0], [-10.0, 170.0], [0.0, 0.0], [70.0, -120.0]])
    classes = torch.randint(0, 10, (4, 12), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = network(series, months, latlon, classes).numpy()
    for at in range(4):
        expected = by_hand(seeded(), series[at].double().numpy(), months[at], latlon[at].numpy(), classes[at])
        np.testing.assert_allclose(found[at], expected, atol=2e-5)


@torch.no_grad()
def test_what_is_missing_does_not_count(network, series):
    gaps = series.clone()
    gaps[:, :, 3] = torch.nan  # B03: its whole group is left out
    other = gaps.clone()
    other[:, :, [2, 4]] = 99.0
    assert torch.equal(network(gaps, MONTHS, PLACE), network(other, MONTHS, PLACE))
    assert not torch.allclose(network(gaps, MONTHS, PLACE), network(series, MONTHS, PLACE))
    alone = network(gaps[2:3], MONTHS, PLACE)
    torch.testing.assert_close(network(gaps, MONTHS, PLACE)[2:3], alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_pixels_without_observations_are_nan(network, series):
    series[1] = torch.nan
    found = network(series, MONTHS, PLACE)
    assert found[1].isnan().all()
    assert found[[0, 2, 3]].isfinite().all()


@torch.no_grad()
def test_months_places_and_order_matter(network, series):
    first = network(series, MONTHS, PLACE)
    for other in (
        network(series, (MONTHS + 6) % 12, PLACE),
        network(series, MONTHS, torch.tensor([[-45.5, 25.0]])),
        network(series.flip(1), MONTHS, PLACE),
        network(series, MONTHS, PLACE, torch.ones(4, 12, dtype=torch.long)),
    ):
        assert (first - other).abs().max() > 1e-3
    torch.testing.assert_close(first, network(series, MONTHS, PLACE + torch.tensor([[0.0, 360.0]])))


def test_normalisation_in_physical_units():
    names = ("B01", "VH", "B04", "B08", "temperature_2m", "total_precipitation", "elevation", "slope")
    values = torch.tensor([[0.3, -25.0, 0.1, 0.3, 272.15 + 35, 0.06, 1000.0, 25.0], [torch.nan] * 8])
    out = dict(zip(BANDS, presto_normalised(values, names).T, strict=True))
    expected = {"VH": 0, "B04": 0.1, "B08": 0.3, "NDVI": 0.5, "temperature_2m": 1, "total_precipitation": 2,
                "elevation": 0.5, "slope": 0.5}  # fmt: skip
    for band, series in out.items():
        assert series[0].isnan() if band not in expected else series[0].item() == pytest.approx(expected[band])
        assert series[1].isnan()
    dark = presto_normalised(torch.zeros(1, 2), ("B04", "B08"))
    assert dark[0, BANDS.index("NDVI")] == 0


def test_bad_input_is_refused(network, series):
    with pytest.raises(InputError, match="takes .n, time, 17. of 1 to 24 dates"):
        network(torch.zeros(1, 25, 17), torch.zeros(25, dtype=torch.long), PLACE)
    with pytest.raises(InputError, match="takes .n, time, 17."):
        network(series[..., :10], MONTHS, PLACE)
    with pytest.raises(InputError, match="months are 1 to 12"):
        network(series, MONTHS + 1, PLACE)
    with pytest.raises(InputError, match="months have shape"):
        network(series, MONTHS[:3], PLACE)
    with pytest.raises(InputError, match="latlon has shape"):
        network(series, MONTHS, PLACE[0])
    with pytest.raises(InputError, match="none of the bands"):
        presto_normalised(series[..., :1], ("red",))
    with pytest.raises(InputError, match="17 values were given for 2 bands"):
        presto_normalised(series, ("B02", "B03"))


def test_other_files_are_refused():
    state = {f"encoder.{name}": value for name, value in seeded().items()}
    less = {name: value for name, value in state.items() if not name.endswith("norm1.bias")}
    with pytest.raises(ModelError, match="2 missing .blocks.0.norm1.bias"):
        presto(saved(less))
    with pytest.raises(ModelError, match="no tensor is named encoder"):
        presto(saved(seeded()))
    with pytest.raises(ModelError, match="1 of another shape .channel_embed.weight is .9, 32."):
        presto(saved(state | {"encoder.channel_embed.weight": torch.zeros(9, 32)}))
