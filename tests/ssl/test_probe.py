"""Probes: known relations are found, folds hold groups apart, baselines that win are shown winning."""

from __future__ import annotations

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score

from s2koop.errors import InputError
from s2koop.ssl.folds import make_folds, spatial_blocks
from s2koop.ssl.heads import make_task
from s2koop.ssl.label_curve import learning_curve
from s2koop.ssl.probing import probe, probe_embedding

NO_CURVE = {"budgets": ()}


def score(found, features: str, metric: str) -> float:
    return float(found.scores["score"].sel(features=features, metric=metric))


@pytest.fixture
def line(rng: np.random.Generator):
    """Features of which the first tells the label, with noise of 0.3."""
    features = rng.normal(size=(200, 6))
    return features, 4 + 2 * features[:, 0] + 0.3 * rng.normal(size=200)


def test_a_known_line_is_found_to_its_noise(line) -> None:
    found = probe({"features": line[0], "noise": line[0][:, 3:]}, line[1], **NO_CURVE)
    assert score(found, "features", "rmse") == pytest.approx(0.3, rel=0.15)
    assert score(found, "features", "r2") > 0.96
    assert score(found, "mean", "rmse") == pytest.approx(line[1].std(), rel=0.05)
    assert score(found, "mean", "r2") == pytest.approx(0, abs=0.05)
    assert score(found, "noise", "r2") < 0.1
    assert found.best() == "features"
    assert found.scores["spread"].sel(metric="rmse").notnull().all()


def test_predictions_are_of_models_that_had_not_seen_the_sample(line) -> None:
    features, labels = line
    found = probe({"features": features}, labels, **NO_CURVE).predictions
    fold = found["fold"].values
    for number in np.unique(fold):
        train, test = fold != number, fold == number
        middle, width = features[train].mean(0), features[train].std(0)
        model = RidgeCV(alphas=np.logspace(-2, 5, 15)).fit((features[train] - middle) / width, labels[train])
        known = found["prediction"].sel(features="features").values[test, 0]
        np.testing.assert_allclose(known, model.predict((features[test] - middle) / width))
        np.testing.assert_allclose(found["prediction"].sel(features="mean").values[test, 0], labels[train].mean())
    np.testing.assert_array_equal(found["label"][:, 0], labels)


@pytest.mark.parametrize("task", ["regression", "multilabel", "classification"])
def test_a_feature_that_was_off_in_training_does_not_ruin_the_rest(line, task: str) -> None:
    features, labels = line[0].copy(), line[1] if task == "regression" else (line[1] > 4).astype(int)
    train = np.arange(200) < 150
    metric = {"regression": "rmse", "multilabel": "auroc_micro", "classification": "balanced_accuracy"}[task]
    without = score(probe({"f": features}, labels, task=task, train=train, **NO_CURVE), "f", metric)
    features[:, 5] = 1e-3 + 1e-9 * features[:, 5] + np.where(train, 0, 1e-3 * (features[:, 5] > 1))
    with_it = score(probe({"f": features}, labels, task=task, train=train, **NO_CURVE), "f", metric)
    assert with_it == pytest.approx(without, abs=0.35 if task == "regression" else 0.05)


def test_several_targets_are_scored_one_by_one(line) -> None:
    table = pd.DataFrame({"height": line[1], "luck": np.random.default_rng(0).normal(size=200)})
    found = probe({"features": line[0]}, table, **NO_CURVE)
    assert found.metrics == ["rmse height", "r2 height", "rmse luck", "r2 luck"]
    assert score(found, "features", "r2 height") > 0.9 > 0.2 > score(found, "features", "r2 luck")
    alone = probe({"features": line[0]}, line[1], **NO_CURVE)
    assert score(found, "features", "rmse height") == pytest.approx(score(alone, "features", "rmse"))


def test_directions_half_a_circle_apart_are_the_same(rng: np.random.Generator) -> None:
    angle = rng.uniform(0, 180, 150)
    turned = np.radians(2 * angle)
    features = np.stack([np.cos(turned), np.sin(turned)], axis=1) + 0.02 * rng.normal(size=(150, 2))
    opposite = angle + 180 * rng.integers(0, 2, 150)
    found = probe({"features": features}, opposite, task="direction", **NO_CURVE)
    assert score(found, "features", "median_error") < 1.0
    assert 30 < score(found, "mean", "median_error") < 60
    assert not found.scores["higher"].any()


def test_tags_have_micro_and_macro_scores(rng: np.random.Generator) -> None:
    features = rng.normal(size=(240, 5))
    tags = (features[:, :3] + 0.5 * rng.normal(size=(240, 3)) > [0.0, 0.8, -1.0]).astype(int)
    found = probe({"features": features}, tags, task="multilabel", folds=3, **NO_CURVE)
    folds, guess = found.predictions["fold"].values, found.predictions["prediction"].sel(features="features").values
    micro = [roc_auc_score(tags[folds == k].ravel(), guess[folds == k].ravel()) for k in range(3)]
    assert score(found, "features", "auroc_micro") == pytest.approx(np.mean(micro))
    assert score(found, "features", "auroc_macro") > 0.85
    assert score(found, "mean", "auroc_macro") == pytest.approx(0.5)
    assert 0.3 < score(found, "mean", "ap_macro") < 0.6 < score(found, "features", "ap_macro")


def test_a_tag_that_is_never_there_does_not_stop_the_others(rng: np.random.Generator) -> None:
    features = rng.normal(size=(80, 3))
    tags = np.stack([features[:, 0] > 0, np.zeros(80)], axis=1)
    found = probe({"features": features}, tags, task="multilabel", **NO_CURVE)
    assert score(found, "features", "auroc_macro") > 0.95
    assert (found.predictions["prediction"].sel(features="features").values[:, 1] == 0).all()


def test_classes_are_words(rng: np.random.Generator) -> None:
    kinds = np.array(["forest", "meadow", "water"])[rng.integers(0, 3, 150)]
    features = rng.normal(size=(150, 4)) + 3 * (kinds == "water")[:, None] - 3 * (kinds == "forest")[:, None]
    found = probe({"features": features}, kinds, task="classification", **NO_CURVE)
    assert score(found, "features", "balanced_accuracy") > 0.9
    assert score(found, "mean", "balanced_accuracy") == pytest.approx(1 / 3)
    assert score(found, "mean", "log_loss") == pytest.approx(np.log(3), abs=0.1)
    assert found.predictions["output"].values.tolist() == ["forest", "meadow", "water"]
    np.testing.assert_allclose(found.predictions["prediction"].sum("output"), 1)


def test_groups_are_never_on_both_sides_and_leaks_are_closed(rng: np.random.Generator) -> None:
    site = np.repeat(np.arange(20), 10)
    label = rng.normal(size=20)[site]
    features = rng.normal(size=(20, 12))[site] + 0.01 * rng.normal(size=(200, 12))  # tells the site, not the label
    leaky = probe({"features": features}, label, **NO_CURVE)
    honest = probe({"features": features}, label, groups=site, **NO_CURVE)
    assert honest.scheme == "5 folds of 20 groups"
    assert score(leaky, "features", "r2") > 0.5 > 0.0 > score(honest, "features", "r2")
    fold = honest.predictions["fold"].values
    assert all(len(set(fold[site == one])) == 1 for one in range(20))


def test_grouped_classes_are_stratified(rng: np.random.Generator) -> None:
    site = np.repeat(np.arange(30), 4)
    kinds = np.where(site % 3 == 0, "a", "b")
    folds, scheme = make_folds(120, folds=5, classes=kinds, groups=site)
    assert scheme == "5 folds of 30 groups, stratified"
    for train, test in folds:
        assert not set(site[train]) & set(site[test])
        assert 0.15 < (kinds[test] == "a").mean() < 0.55


def test_blocks_of_ground_hold_neighbours_together(rng: np.random.Generator) -> None:
    y, x = rng.uniform(0, 1000, 300), rng.uniform(5e5, 5e5 + 1000, 300)
    block = spatial_blocks(y, x, 250)
    assert sorted(set(block.tolist())) == list(range(block.max() + 1))
    assert block.max() + 1 <= 25
    for one in range(block.max() + 1):
        assert max(np.ptp(y[block == one]), np.ptp(x[block == one])) <= 250


def test_a_fixed_split_judges_what_is_held_out_only(line) -> None:
    train = np.arange(200) < 150
    found = probe({"features": line[0]}, line[1], train=train, **NO_CURVE)
    assert found.predictions["sample"].values.tolist() == list(range(150, 200))
    assert found.scores["spread"].isnull().all()
    assert found.curve["labels"].values.tolist() == [150]


def test_few_labels_score_worse_and_spread_more(line) -> None:
    found = probe({"features": line[0]}, line[1], budgets=(5, 40, 5000), draws=6)
    curve = found.curve["rmse"].sel(features="features")
    assert found.curve["labels"].values.tolist() == [5, 40, 160]
    assert curve.dims == ("labels", "draw")
    middle, spread = curve.mean("draw").values, curve.std("draw").values
    assert middle[0] > 1.3 * middle[1] > middle[2]
    assert spread[0] > spread[1] > spread[2] == 0
    assert middle[2] == pytest.approx(score(found, "features", "rmse"))
    again = probe({"features": line[0]}, line[1], budgets=(5, 40), draws=6)
    xr.testing.assert_identical(found.curve, again.curve)


def test_labels_of_a_curve_come_from_training_folds_and_are_the_same_for_all_rows(rng: np.random.Generator) -> None:
    site = np.repeat(np.arange(10), 6)
    labels = rng.normal(size=(60, 1))
    task, numbers = make_task("regression", labels, None)
    folds, _ = make_folds(60, folds=5, groups=site)
    seen: list[tuple[bytes, set]] = []

    class Watched(type(task)):
        def fit(self, features, known, asked):
            seen.append((known.tobytes(), set(site[features[:, 0].astype(int)]) & set(site[asked[:, 0].astype(int)])))
            return self.constant(known, len(asked))

    place = np.arange(60.0)[:, None]
    learning_curve(Watched(("0",)), {"a": place, "b": place}, numbers, folds, budgets=[8], draws=5, seed=3)
    assert len(seen) == 2 * 5 * 5
    assert not any(shared for _, shared in seen)
    first, second = ([known for at, (known, _) in enumerate(seen) if (at // 5) % 2 == row] for row in (0, 1))
    assert first == second
    assert len(set(first)) == 25  # every draw and fold has its own labels


def test_every_class_has_a_label_in_a_small_draw(rng: np.random.Generator) -> None:
    labels = np.array([0] * 95 + [1] * 3 + [2] * 2, float)[:, None]
    task, _ = make_task("classification", labels, None)
    for seed in range(20):
        chosen = task.choose(labels, 6, np.random.default_rng(seed))
        assert len(set(chosen.tolist())) == 6
        assert set(labels[chosen, 0]) == {0, 1, 2}


def test_missing_labels_and_features_are_left_out_and_counted(line) -> None:
    features, labels = line[0].copy(), line[1].copy()
    labels[:5] = np.nan
    features[10:13, 2] = np.nan
    found = probe({"features": features, "other": line[0]}, labels, **NO_CURVE)
    assert found.left_out == 8
    assert not set(found.predictions["sample"].values) & {*range(5), 10, 11, 12}
    same = probe(
        {"features": line[0], "other": line[0]}, np.where(np.isnan(features[:, 2]), np.nan, labels), **NO_CURVE
    )
    assert score(found, "other", "rmse") == score(same, "other", "rmse")


def test_a_baseline_that_wins_is_shown_winning(line) -> None:
    found = probe({"embedding": line[0][:, 2:], "spectrum": line[0]}, line[1], **NO_CURVE)
    assert found.best() == "spectrum"
    assert found.verdict.startswith("spectrum is better than embedding: RMSE")
    page = found._repr_html_()
    winner = page[page.index(">spectrum<") :].split("</tr>")[0]
    assert winner.count("★") == 2
    loser = page[page.index(">embedding<") :].split("</tr>")[0]
    assert "★" not in loser
    assert "↓ less is better" in page
    assert "↑ more is better" in page
    assert "spectrum is better" in repr(found)


def test_of_equal_rows_the_simpler_wins(line) -> None:
    found = probe({"embedding": line[0], "raw": line[0]}, line[1], **NO_CURVE)
    assert found.best() == "raw"


def test_names_are_escaped(line) -> None:
    page = probe({"<b>mine": line[0]}, line[1], **NO_CURVE)._repr_html_()
    assert "<b>mine" not in page
    assert "&lt;b&gt;mine" in page


def test_the_table_has_a_row_for_each_set(line) -> None:
    table = probe({"features": line[0]}, line[1], **NO_CURVE).to_dataframe()
    assert table.index.tolist() == ["features", "mean"]
    assert table.columns.tolist() == ["rmse", "rmse_spread", "r2", "r2_spread"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": np.zeros(29)}, "29 labels for 30 samples"),
        ({"labels": np.zeros(30)}, "one value only"),
        ({"labels": np.array(["ice"] * 30), "task": "classification"}, "all labels are 'ice', one class"),
        ({"labels": np.array(["ice", "sea"] * 15)}, "use task='classification'"),
        ({"labels": np.arange(30.0), "task": "classification"}, "use task='regression'"),
        ({"labels": np.array(["a"] * 28 + ["b"] * 2), "task": "classification"}, "class 'b' has 2 samples"),
        ({"labels": np.zeros((30, 2)), "task": "multilabel"}, "always there or never"),
        ({"labels": np.full(30, 2), "task": "multilabel"}, "tags must be 0 or 1"),
        ({"labels": np.full(30, np.nan)}, "no sample has a label"),
        ({"labels": np.full(30, 45.0), "task": "direction"}, "all directions are the same"),
        ({"task": "ranking"}, "must be 'regression'"),
        ({"groups": np.repeat([0, 1, 2], 10)}, "3 groups are fewer than 5 folds"),
        ({"groups": np.arange(29)}, "groups has shape"),
        ({"folds": 16}, "30 samples are too few for 16 folds"),
        ({"folds": 1}, "folds=1 must be"),
        ({"budgets": (1,)}, "budgets=1 must be"),
        ({"train": np.arange(30)}, "dtype int64"),
        ({"train": np.arange(30) < 1}, "both need at least two"),
        ({"train": np.arange(30) < 15, "groups": np.arange(30) % 15}, "on both sides of the split"),
        ({"features": {"flat": np.ones((30, 3))}}, "the same for all samples"),
        ({"features": {"gone": np.full((30, 3), np.nan)}}, "no sample without NaN"),
        ({"features": {"mean": np.ones((30, 3))}}, "added by itself"),
        ({"features": {"line": np.ones(30)}}, "expected .sample, feature."),
        ({"features": {}}, "must be a mapping"),
        ({"names": ["a", "b"]}, "2 names for 1 columns"),
    ],
)
def test_what_cannot_be_probed_is_refused(options, words: str) -> None:
    given = {"features": {"mine": np.random.default_rng(0).normal(size=(30, 3))}, "labels": np.arange(30.0), **options}
    with pytest.raises(InputError, match=words):
        probe(given.pop("features"), given.pop("labels"), **given)


def test_a_training_fold_of_one_class_is_refused() -> None:
    kinds = np.array(["a"] * 12 + ["b"] * 12)
    with pytest.raises(InputError, match="in a training fold all labels are"):
        probe({"f": np.random.default_rng(0).normal(size=(24, 2))}, kinds, task="classification", groups=kinds, folds=2)


@pytest.fixture
def patches(rng: np.random.Generator) -> xr.DataArray:
    """An embedding of 12 images of 3 by 4 patches, whose first feature is the number of the image."""
    values = rng.normal(size=(12, 3, 4, 5))
    values[..., 0] = np.arange(12)[:, None, None] + 0.1 * rng.normal(size=(12, 3, 4))
    coords = {"image": [f"i{k:02d}" for k in range(12)], "y": 300.0 - 100 * np.arange(3), "x": 100.0 * np.arange(4),
              "site": ("image", np.arange(12) // 2)}  # fmt: skip
    return xr.DataArray(values.astype("float32"), dims=("image", "y", "x", "feature"), coords=coords)


def test_a_label_of_an_image_holds_for_its_patches_which_stay_together(patches: xr.DataArray) -> None:
    labels = xr.DataArray(np.arange(12.0), dims="image", coords={"image": patches["image"]})
    found = probe_embedding(patches, labels, **NO_CURVE)
    assert found.scheme == "5 folds of 12 groups"
    assert score(found, "embedding", "rmse") < 0.2
    assert found.predictions.sizes["sample"] == 144
    shuffled = probe_embedding(patches, labels[::-1], **NO_CURVE)
    xr.testing.assert_identical(found.scores, shuffled.scores)
    at = found.predictions.isel(sample=17)
    assert (str(at["image"].values), float(at["y"]), float(at["x"])) == ("i01", 200.0, 100.0)
    assert float(at["label"].squeeze()) == 1.0


def test_labels_of_some_images_leave_the_others_out(patches: xr.DataArray) -> None:
    labels = xr.DataArray(np.arange(12.0), dims="image", coords={"image": patches["image"]})
    found = probe_embedding(patches, labels[2:], **NO_CURVE)
    assert found.left_out == 24


def test_lazy_or_not_the_scores_are_the_same_and_each_block_is_read_once(patches: xr.DataArray) -> None:
    reads: list[int] = []

    def read(block):
        reads.append(1)
        return block

    blocks = dask.array.from_array(patches.values, chunks=(4, 3, 4, 5))
    lazy = patches.copy(data=blocks.map_blocks(read, dtype="f4", meta=patches.values[:0]))
    labels = patches.isel(feature=0, drop=True) + patches.isel(feature=1, drop=True)
    others = {"statistics": lazy.isel(feature=slice(1, 3))}
    found = probe_embedding(lazy, labels, others=others, groups="image", **NO_CURVE)
    assert len(reads) == 3
    eager = probe_embedding(patches, labels, others={"statistics": patches.isel(feature=slice(1, 3))}, groups="image",
                            **NO_CURVE)  # fmt: skip
    xr.testing.assert_identical(found.scores, eager.scores)
    assert found.scores["features"].values.tolist() == ["embedding", "statistics", "mean"]


def test_labels_of_patches_are_held_apart_by_blocks_of_ground(rng: np.random.Generator) -> None:
    values = xr.DataArray(
        rng.normal(size=(10, 12, 3)), dims=("y", "x", "feature"),
        coords={"y": 20.0 * np.arange(10), "x": 20.0 * np.arange(12)},
    )  # fmt: skip
    labels = values.isel(feature=0) + 0.1
    found = probe_embedding(values, labels, **NO_CURVE)
    groups = int(found.scheme.split()[3])
    assert 15 <= groups <= 30
    given = probe_embedding(values, labels, groups=100, **NO_CURVE)
    assert given.scheme == "5 folds of 6 groups"
    fold = given.predictions["fold"].values.reshape(10, 12)
    assert len(np.unique(fold[:5, :5])) == 1


def test_blocks_hold_a_place_at_all_times(rng: np.random.Generator) -> None:
    values = xr.DataArray(rng.normal(size=(3, 8, 8, 2)), dims=("time", "y", "x", "feature"))
    labels = xr.DataArray(rng.normal(size=(8, 8)), dims=("y", "x"))
    found = probe_embedding(values, labels, **NO_CURVE)
    fold = found.predictions["fold"].values.reshape(3, 8, 8)
    assert (fold == fold[0]).all()


def test_groups_by_a_coordinate(patches: xr.DataArray) -> None:
    labels = patches.isel(feature=0, drop=True)
    found = probe_embedding(patches, labels, groups="site", **NO_CURVE)
    assert found.scheme == "5 folds of 6 groups"
    with pytest.raises(InputError, match="there are image, y, x, site"):
        probe_embedding(patches, labels, groups="station", **NO_CURVE)


def test_targets_and_tags_have_a_dim_of_their_own(patches: xr.DataArray) -> None:
    number = xr.DataArray(np.arange(12.0), dims="image", coords={"image": patches["image"]})
    both = xr.Dataset({"height": number, "wind": (number * 7) % 5})
    found = probe_embedding(patches, both, **NO_CURVE)
    assert found.metrics == ["rmse height", "r2 height", "rmse wind", "r2 wind"]
    tags = xr.concat([number > 5, number % 2 == 0], pd.Index(["late", "even"], name="tag"))
    found = probe_embedding(patches, tags, task="multilabel", **NO_CURVE)
    assert found.predictions["output"].values.tolist() == ["late", "even"]


def test_plain_labels_have_one_row_a_sample(patches: xr.DataArray) -> None:
    labels = pd.Series(patches.isel(feature=0).values.ravel())
    named = probe_embedding(patches, patches.isel(feature=0, drop=True), groups="image", **NO_CURVE)
    xr.testing.assert_identical(probe_embedding(patches, labels, groups="image", **NO_CURVE).scores, named.scores)
    with pytest.raises(InputError, match="dims='image'"):
        probe_embedding(patches, np.arange(12.0))


def test_masked_patches_are_left_out(patches: xr.DataArray) -> None:
    labels = patches.isel(feature=0, drop=True).copy()
    masked = patches.where(patches["image"] != "i03")
    assert probe_embedding(masked, labels, groups="image", **NO_CURVE).left_out == 12


def test_a_split_may_be_given_by_image(patches: xr.DataArray) -> None:
    labels = patches.isel(feature=0, drop=True)
    train = xr.DataArray(np.arange(12) % 3 > 0, dims="image", coords={"image": patches["image"]})
    found = probe_embedding(patches, labels, train=train, **NO_CURVE)
    assert found.predictions.sizes["sample"] == 48


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: (e.isel(feature=0), e.isel(feature=0)), "without 'feature'"),
        (lambda e: (e, e.isel(image=0)["y"].assign_coords(y=[1.0, 2.0, 3.0])), "no coordinate along 'y' in common"),
        (lambda e: (e, xr.DataArray(np.zeros(7), dims="image")), "7 along 'image', the embedding 12"),
        (lambda e: (e, xr.DataArray(np.zeros((12, 2, 2)), dims=("image", "a", "b"))), "and one more"),
        (lambda e: (e[:0], e.isel(feature=0)), "empty"),
    ],
)
def test_labels_that_do_not_fit_an_embedding_are_refused(patches: xr.DataArray, change, words: str) -> None:
    embedding, labels = change(patches)
    with pytest.raises(InputError, match=words):
        probe_embedding(embedding, labels)
