"""What every method must do, on every kind of base, at toy width on the CPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from likeness import catalog
from likeness.errors import Cancelled
from likeness.training import Budget, train
from likeness.types import PortraitPipeline
from tests.methods.toys import TOYS, WRITERS, Toy, picture

CASES = [(name, family) for name in catalog.method_names() for family in catalog.card(name).bases]


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    name, family = request.param
    assert name in TOYS, f"add a toy for {name} to tests/methods/toys.py"
    return TOYS[name](WRITERS[family](tmp_path_factory.mktemp(name) / family))


@pytest.fixture(scope="module")
def pipeline(toy: Toy) -> PortraitPipeline:
    return toy.pipeline()


def pixels(pipeline: PortraitPipeline, *requests: object) -> list[np.ndarray]:
    return [np.asarray(result.image) for result in pipeline(list(requests))]


def test_the_pipeline_keeps_the_protocol(pipeline: PortraitPipeline) -> None:
    assert isinstance(pipeline, PortraitPipeline)


def test_same_seed_same_pixels_and_another_seed_others(toy: Toy, pipeline: PortraitPipeline) -> None:
    first, again, other = (pixels(pipeline, toy.request(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_batch_mates_do_not_change_an_image(toy: Toy, pipeline: PortraitPipeline) -> None:
    alone = pixels(pipeline, toy.request(7))[0]
    mates = [toy.request(8, prompt="a woman"), toy.request(7), toy.request(9, prompt="a man smiling")]
    assert np.array_equal(pixels(pipeline, *mates)[1], alone)


def test_the_reference_and_the_prompt_matter(toy: Toy, pipeline: PortraitPipeline) -> None:
    plain = pixels(pipeline, toy.request(1))[0]
    if toy.request(1).references:
        assert not np.array_equal(pixels(pipeline, toy.request(1, references=(picture(3),)))[0], plain)
    [other] = pipeline([toy.request(1, prompt="a woman smiling")])
    assert np.array_equal(np.asarray(other.image), plain) != toy.reads_words
    if not toy.reads_words:
        assert any("no words" in warning for warning in other.warnings)


def test_painting_leaves_the_base_bit_identical(toy: Toy, pipeline: PortraitPipeline) -> None:
    unet = toy.base.unet
    weights = {key: tensor.clone() for key, tensor in unet.state_dict().items()}
    processors = dict(unet.attn_processors)
    pipeline([toy.request(1)])
    after = unet.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[key], weights[key]) for key in weights)
    assert all(unet.attn_processors[name] is processor for name, processor in processors.items())


def test_cancelling_leaves_the_base_usable(toy: Toy, pipeline: PortraitPipeline) -> None:
    before = pixels(pipeline, toy.request(1))[0]
    processors = dict(toy.base.unet.attn_processors)
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        pipeline([toy.request(1)], cancel=lambda: next(asked))
    assert dict(toy.base.unet.attn_processors) == processors
    assert np.array_equal(pixels(pipeline, toy.request(1))[0], before)


def test_progress_counts_every_step(toy: Toy, pipeline: PortraitPipeline) -> None:
    seen: list[tuple[int, int]] = []
    pipeline([toy.request(1), toy.request(2)], on_step=lambda step, steps: seen.append((step, steps)))
    assert seen == [(step, 6) for step in range(1, 7)]


def test_save_then_load_paints_the_same(toy: Toy, pipeline: PortraitPipeline, tmp_path: Path) -> None:
    toy.save(tmp_path / "saved")
    again = toy.loaded(tmp_path / "saved")
    assert np.array_equal(pixels(again, toy.request(1))[0], pixels(pipeline, toy.request(1))[0])


def test_a_wrong_number_of_references_is_a_clear_value_error(toy: Toy, pipeline: PortraitPipeline) -> None:
    wrong = () if toy.request(1).references else (picture(0),)
    with pytest.raises(ValueError, match=rf"reference pictures.*got {len(wrong)}"):
        pipeline([toy.request(1, references=wrong)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps must be"),
        ({"guidance": -1.0}, "guidance must be"),
        ({"size_px": (60, 64)}, "multiples of"),
        ({"options": {"no_such_option": 1}}, "no_such_option"),
    ],
)
def test_impossible_settings_are_named(
    toy: Toy, pipeline: PortraitPipeline, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        pipeline([toy.request(1, **settings)])


def test_every_loss_term_is_finite_and_has_a_gradient(toy: Toy) -> None:
    for phase in toy.phases():
        terms = phase.loss(toy.batch(0), torch.Generator().manual_seed(0))
        assert terms
        for name, value in terms.items():
            assert value.ndim == 0, name
            assert torch.isfinite(value), name
            if name.startswith("_"):
                continue
            phase.trainable.zero_grad()
            value.backward(retain_graph=True)
            gradients = [p.grad for p in phase.trainable.parameters() if p.grad is not None]
            assert all(torch.isfinite(g).all() for g in gradients), name
            assert any(g.abs().sum() > 0 for g in gradients), name


def test_a_phase_moves_only_its_own_weights(toy: Toy, tmp_path: Path) -> None:
    base = toy.base
    frozen = [base.unet, base.vae, *base.text_encoders]
    before = [{key: t.clone() for key, t in module.state_dict().items()} for module in frozen]
    for index, phase in enumerate(toy.phases()):
        own = {key: t.clone() for key, t in phase.trainable.state_dict().items()}
        train(
            [phase], lambda moment: toy.batch(moment.step), tmp_path / str(index), Budget(steps=2), bf16=False
        )
        assert any(not torch.equal(t, own[key]) for key, t in phase.trainable.state_dict().items())
        phase.trainable.load_state_dict(own)
    for module, weights in zip(frozen, before, strict=True):
        assert all(torch.equal(t, weights[key]) for key, t in module.state_dict().items())


def test_steps_resumed_half_way_equal_those_in_one_go(
    toy: Toy, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    _, family = request.node.callspec.params["toy"]
    half = 10 if family == "mini" else 3  # larger families differ by their base, not by how they are resumed
    phases = toy.phases()
    start = [{key: t.clone() for key, t in p.trainable.state_dict().items()} for p in phases]

    def run(*, resume: bool) -> list[dict[str, torch.Tensor]]:
        result = train(
            phases,
            lambda moment: toy.batch(moment.step),
            tmp_path,
            Budget(steps=2 * half),
            bf16=False,
            resume=resume,
            checkpoint_minutes=60,
            checkpoint_at=(half,),
        )
        assert result.step == 2 * half
        return [{key: t.clone() for key, t in p.trainable.state_dict().items()} for p in phases]

    def rewind(weights: list[dict[str, torch.Tensor]]) -> None:
        for phase, state in zip(phases, weights, strict=True):
            phase.trainable.load_state_dict(state)

    whole = run(resume=False)
    rewind(start)  # resuming must take the weights from the checkpoint, not from memory
    shutil.rmtree(tmp_path / f"checkpoint-{2 * half:08}")
    assert [one.name for one in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{half:08}"]
    halves = run(resume=True)
    rewind(start)
    for one, other in zip(whole, halves, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert any(not torch.equal(whole[0][key], start[0][key]) for key in start[0])
