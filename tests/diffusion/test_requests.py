"""What every pipeline does with a request: settings filled in or refused, steps counted, the base told."""

from __future__ import annotations

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field

from likeness.diffusion.load import Base, load_base
from likeness.diffusion.requests import Progress, base_recipe, check_size, options_of, with_settings
from likeness.errors import Cancelled, InputError
from likeness.types import PortraitRequest
from tests.tiny import write_mini


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(write_mini(tmp_path_factory.mktemp("requests") / "small"), dtype=torch.bfloat16)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    share: float = Field(0.5, le=1)


def test_ticks_are_counted_and_checks_are_not() -> None:
    seen: list[tuple[int, int]] = []
    progress = Progress(3, lambda *at: seen.append(at))
    progress.tick()
    progress.check()
    progress.tick()
    assert seen == [(1, 3), (2, 3)]
    Progress(1).tick()  # nobody listens


def test_cancelling_comes_before_the_step_is_counted() -> None:
    seen: list[tuple[int, int]] = []
    answers = iter([False, True, True])
    progress = Progress(3, lambda *at: seen.append(at), lambda: next(answers))
    progress.tick()
    with pytest.raises(Cancelled, match="Stopped before"):
        progress.tick()
    with pytest.raises(Cancelled):
        progress.check()
    assert seen == [(1, 3)]


def test_options_become_the_methods_model_or_one_sentence() -> None:
    assert options_of(Options, PortraitRequest("a man", options={"share": 0.25}), "Some").share == 0.25
    assert options_of(Options, PortraitRequest("a man"), "Some").share == 0.5
    with pytest.raises(InputError, match=r"^Some's option 'share': Input should be .* equal to 1\.$"):
        options_of(Options, PortraitRequest("a man", options={"share": 2}), "Some")
    with pytest.raises(InputError, match="Some has no option 'shares'; there are share"):
        options_of(Options, PortraitRequest("a man", options={"shares": 1}), "Some")


def test_settings_are_the_requests_own_or_the_usual_ones(base: Base) -> None:
    found = with_settings(PortraitRequest("a", seed=4), base, steps=30, guidance=3.0)
    assert (found.steps, found.guidance, found.seed) == (30, 3.0, 4)
    found = with_settings(PortraitRequest("a", steps=1000, guidance=1.0), base, steps=30, guidance=3.0)
    assert (found.steps, found.guidance) == (1000, 1.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps must be between 1 and 1000, got 0"),
        ({"steps": 1001}, "steps must be between 1 and 1000, got 1001"),
        ({"guidance": 0.5}, r"guidance must be between 1 \(off\) and 100, got 0.5"),
        ({"guidance": 101.0}, "got 101"),
    ],
)
def test_settings_outside_the_schedule_are_refused(
    base: Base, settings: dict[str, float], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        with_settings(PortraitRequest("a", **settings), base, steps=30, guidance=3.0)  # type: ignore[arg-type]


def test_sizes_are_multiples_of_the_bases_unit(base: Base) -> None:
    # 8 px a latent cell, halved once by each of the UNet's levels but the last.
    assert base.unit_px == 8 * 2 ** (len(base.unet.config.block_out_channels) - 1)
    size = (base.unit_px, 3 * base.unit_px)
    assert check_size(size, base) == size
    for wrong in ((base.unit_px + 8, base.unit_px), (base.unit_px, 0), (-base.unit_px, base.unit_px)):
        with pytest.raises(InputError, match=f"multiples of {base.unit_px} for small, got {wrong[0]} x"):
            check_size(wrong, base)
    assert check_size((24, 16), base, unit_px=8, least_px=16) == (24, 16)
    with pytest.raises(InputError, match="multiples of 8 and at least 16 for small, got 24 x 8"):
        check_size((24, 8), base, unit_px=8, least_px=16)


def test_the_recipe_says_what_ran_the_base(base: Base) -> None:
    assert base_recipe(base) == {
        "base": "small", "family": "mini", "device": "cpu", "runtime": "torch", "dtype": "bfloat16"
    }  # fmt: skip
