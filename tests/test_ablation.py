"""Ablations at toy width: trained equally long, kept, taken up again, put in order."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from likeness import ablation
from likeness.ablation import Asked, ablate
from likeness.catalog import ablation_plan
from likeness.errors import Cancelled, InputError
from likeness.methods.consistentid import recipe
from likeness.methods.scheese import recipe as scheese_recipe
from likeness.methods.spf_portrait import recipe as spf_recipe
from likeness.packs import mini_path
from likeness.packs.ablations import Claim, Plan
from likeness.packs.recipes import RECIPES
from likeness.packs.workshop import Workshop
from tests.toy_shop import toy_shop

pytestmark = pytest.mark.skipif(
    not (mini_path() / "pack.json").exists(), reason="the mini pack, whose models measure, is not here"
)


def small(plan: Plan) -> Plan:
    """Two variants and two paintings of a plan, in few steps."""
    few = ("whole", "IP-Adapter")
    return dataclasses.replace(
        plan,
        variants=tuple(one for one in plan.variants if one.name in few),
        paintings=tuple(dataclasses.replace(one, steps=2) for one in plan.paintings if one.name in few),
        claims=(Claim("CLIP-T is as high, within 2", "ours", "CLIP-T", "whole", "IP-Adapter", -2.0),),
        curve={0.0: "whole", 1.0: "IP-Adapter"},
        curve_name="variant",
    )


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    shop = toy_shop(tmp_path, monkeypatch)
    monkeypatch.setattr(recipe, "BATCH", 4)
    for part in ("autoencoder", "clip", "recogniser", "vit", "landmarks", "unet"):
        RECIPES[part](shop)
    # The toy's own network finds no face in noise; references are described as the pack describes them.
    (shop.pack / "landmarks").rename(shop.pack / "landmarks-toy")
    (shop.pack / "landmarks").symlink_to(mini_path() / "landmarks")
    return shop


def test_variants_are_trained_measured_and_taken_up_again(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, asked, said = small(ablation_plan("consistentid")), Asked(2, None, seeds=2, cases=2), []
    result, folder = ablate("consistentid", plan, shop, asked, on_progress=said.append)
    assert len(said) == 8, "two variants and two paintings, twice"
    assert {path.name for path in folder.iterdir()} == {
        "locks", "plan.json", "seed-0", "seed-1", "sheet.png", "curve.svg",
    }  # fmt: skip
    trained = [json.loads(file.read_text()) for file in folder.glob("seed-*/*/trained.json")]
    assert [one["steps"] for one in trained] == [2] * 4
    assert not list((shop.work / "runs").rglob("*ablation*")), "checkpoints of finished trainings are let go"
    weights = [
        (folder / f"seed-{seed}" / "whole" / "weights" / "model.safetensors").read_bytes() for seed in (0, 1)
    ]
    assert weights[0] != weights[1], "seeds differ"
    assert (result.name, result.method, result.n) == ("consistentid-orderings", "consistentid", 4)
    assert result.metrics["CLIP-T, whole"].n > 0 and {"FGIS, IP-Adapter", "FaceSim, whole"} <= {
        *result.metrics
    }
    [claim] = result.orderings
    assert claim.holds and claim.n == result.metrics["CLIP-T, whole"].n

    nothing = [
        dataclasses.replace(one, train=lambda *_: pytest.fail("trained twice")) for one in plan.variants
    ]
    monkeypatch.setattr(ablation, "painted_case", lambda *_: pytest.fail("painted twice"))
    again, _ = ablate("consistentid", dataclasses.replace(plan, variants=tuple(nothing)), shop, asked)
    assert again.metrics == result.metrics and again.orderings == result.orderings
    with pytest.raises(InputError, match="was begun with other cases"):
        ablate("consistentid", plan, shop, Asked(2, None, seeds=2, cases=3))
    with pytest.raises(InputError, match="either steps or minutes"):
        Asked(None, None, seeds=1, cases=1)


def test_another_guide_is_another_pack(shop: Workshop) -> None:
    plan, asked = small(ablation_plan("consistentid")), Asked(1, None, seeds=1, cases=1)
    root = shop.work / "ablations"
    root.mkdir()
    ablation._settle(root, plan, shop, asked)
    card = json.loads((shop.pack / "pack.json").read_text())
    card["parts"]["guide"] = card["parts"]["unet"]
    (shop.pack / "pack.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="was begun with"):
        ablation._settle(root, plan, shop, asked)


def test_what_is_learned_is_set_against_the_base_by_the_same_words() -> None:
    plan = ablation_plan("spf-portrait")
    untaught = {one.name for one in plan.paintings if one.options.get("scale") == 0.0}
    beaten = {(one.metric, one.better) for one in plan.claims if one.worse in untaught}
    lenient = {(one.metric, one.better) for one in plan.claims if one.margin < 0}
    assert lenient and lenient <= beaten, "no worse than another says nothing where neither learned"


def test_a_stopped_training_is_no_variant(shop: Workshop) -> None:
    plan = small(ablation_plan("consistentid"))
    first = plan.variants[0]

    def stopped(*given: object) -> object:
        return dataclasses.replace(first.train(*given), stopped_by="signal")  # type: ignore[arg-type]

    broken = dataclasses.replace(plan, variants=(dataclasses.replace(first, train=stopped),))  # type: ignore[arg-type]
    with pytest.raises(Cancelled, match="Stopped in whole, seed 0"):
        ablate("consistentid", broken, shop, Asked(None, 0.01, seeds=1, cases=1))
    root = shop.work / "ablations" / "consistentid-mini"
    assert not list(root.rglob("trained.json"))
    assert json.loads((root / "plan.json").read_text())["steps_each"] >= 1, "a time became a number of steps"


@pytest.mark.parametrize("method", ["consistentid", "instant-portrait", "scheese", "spf-portrait"])
def test_plans_name_what_there_is(method: str) -> None:
    plan = ablation_plan(method)
    names = [one.name for one in plan.variants]
    painted = {one.name for one in plan.paintings}
    assert len({ablation._slug(name) for name in names}) == len(names) == len({*names})
    assert len({ablation._slug(name) for name in painted}) == len(painted) == len(plan.paintings)
    assert {one.variant for one in plan.paintings} == {*names}
    for number, one in enumerate(plan.variants):
        assert one.stands_on is None or one.stands_on in names[:number], "trained before"
    for claim in plan.claims:
        assert {claim.better, claim.worse} <= painted and claim.better != claim.worse
        assert claim.metric in ablation.TABLE
    assert {*plan.curve.values()} <= painted
    with pytest.raises(InputError, match="has no ablations"):
        ablation_plan("ic-portrait")


def test_collections_are_measured_by_what_was_asked_for_and_what_was_not(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheese_recipe, "BATCH", 2)
    plan = ablation_plan("scheese")
    few = ("zero-shot", "consistency")
    plan = dataclasses.replace(
        plan,
        variants=tuple(one for one in plan.variants if one.name in few),
        paintings=tuple(dataclasses.replace(one, steps=2) for one in plan.paintings if one.name in few),
        claims=(
            Claim("turned the same, within 360", "ours", "pose error", "consistency", "zero-shot", -360),
        ),
    )
    result, folder = ablate("scheese", plan, shop, Asked(2, None, seeds=1, cases=3))
    measured = {f"{name}, {one}" for name in ("followed", "details wrong", "pose error") for one in few}
    assert measured <= {*result.metrics} and all(result.metrics[name].n for name in measured)
    assert result.orderings[0].holds
    first, later = (load_file(folder / "seed-0" / one / "weights" / "model.safetensors") for one in few)
    assert {*first} < {*later}, "the later has the earlier's, and ConsistencyNet"


def test_targets_are_measured_against_what_the_base_paints(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spf_recipe, "BATCH", 2)
    plan = ablation_plan("spf-portrait")
    few = ("stage 1", "SPF-Portrait", "SPF-Portrait, base text")
    plan = dataclasses.replace(
        plan,
        variants=tuple(one for one in plan.variants if one.name in few),
        paintings=tuple(dataclasses.replace(one, steps=2) for one in plan.paintings if one.name in few),
        claims=(
            Claim("as much is followed", "ours", "followed", "SPF-Portrait", "stage 1", -2.0),
            Claim("a third", "ours", "picture", "SPF-Portrait", "stage 1", share=1 / 3),
        ),
    )
    result, folder = ablate("spf-portrait", plan, shop, Asked(2, None, seeds=1, cases=3))
    assert {path.name for path in (folder / "original").iterdir()} == {"0.png", "1.png", "2.png"}
    assert {"followed, stage 1", "picture, SPF-Portrait", "background, SPF-Portrait, base text"} <= {
        *result.metrics
    }
    as_much, third = result.orderings
    assert as_much.holds
    one, other = (result.metrics[f"picture, {name}"].mean for name in ("SPF-Portrait", "stage 1"))
    assert third.difference == pytest.approx(other / 3 - one, abs=1e-6)
    assert (folder / "sheet.png").is_file()
