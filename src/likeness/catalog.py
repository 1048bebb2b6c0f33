"""From a method's name to its card and its pipeline, each imported only when asked for.

A method is a folder `likeness/methods/NAME/` with modules this file knows:

- `card.py` with `CARD: MethodCard`, which imports no torch;
- `pipeline.py` with `load(base, adapter=None, ...) -> PortraitPipeline`;
- `own_data.py` with `load_training(dataset, rows, base, options, ...)`, for methods trained on users' data;
  one that trains in stages names them in `STAGES` and takes `stage`, `ablation` and `clip` too;
- `plan.py` with `memory_plan(base)`, for methods that say beforehand what they take;
- `recipe.py` with `train_adapter(workshop) -> TrainResult`, which trains the mini pack's adapter;
- `ablations.py` with `PLAN: packs.ablations.Plan`, for methods whose parts are measured one by one.

A folder that is there is in the catalog; nothing registers it. Names on the command line have
hyphens where folders have underscores.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module  # noqa: TID251  the one place that turns names into modules
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from likeness.training.options import TrainingOptions
    from likeness.types import MethodCard, PortraitPipeline

__all__ = [
    "ablation_plan",
    "adapter_names",
    "adapter_recipe",
    "card",
    "load_pipeline",
    "load_training",
    "memory_plan",
    "method_names",
    "trainable_names",
    "training_stages",
]

_METHODS = Path(__file__).parent / "methods"


def method_names() -> tuple[str, ...]:
    """Every method there is, in alphabetical order; imports nothing."""
    return tuple(sorted(path.parent.name.replace("_", "-") for path in _METHODS.glob("*/card.py")))


def card(name: str) -> MethodCard:
    """What method `name` is: its paper, options, stages, licences. Imports no torch.

    Raises: InputError for an unknown name.
    """
    found: MethodCard = import_module(f"likeness.methods.{_folder(name)}.card").CARD
    return found


def load_pipeline(
    name: str,
    base: str | Path = "mini",
    *,
    adapter: str | Path | Mapping[str, float] | None = None,
    device: str | None = None,
    dtype: Any = None,
    controlnets: Sequence[str | Path] = (),
    loras: Mapping[str, float] | None = None,
    sitters: bool = False,
    commercial: bool = False,
) -> PortraitPipeline:
    """Load method `name` on a base model.

    base: the name of a pack ("mini"), a family ("sd15", "sdxl"), a diffusers folder, a hub name or
    a single .safetensors file. adapter: the method's own weights, by default those that belong to
    the base; of a method that adds several up, files with their strengths, {} for none. device and
    dtype: as torch names them; by default what the method finds best. controlnets: folders or hub
    names, each with its `control_images` in a request. loras: files merged into the base, with their
    scales. sitters: the references are synthetic sitters, whose faces a pack's own network finds.
    commercial: every link of the chain of weights must be for commercial use.
    Raises: InputError for an unknown name, IncompatibleWeightsError for weights that do not fit
    together or are not for that use, MissingWeightsError for weights that cannot be had.
    """
    module = import_module(f"likeness.methods.{_folder(name)}.pipeline")
    given = {
        "adapter": adapter, "device": device, "dtype": dtype, "controlnets": controlnets, "loras": loras,
        "sitters": sitters,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value}
    if adapter is not None:
        given["adapter"] = adapter  # an empty mapping is no weights at all, not those of the base
    pipeline: PortraitPipeline = module.load(base, **given)
    if commercial:
        from likeness.files.provenance import require_commercial

        require_commercial(getattr(pipeline, "weights", ()))
    return pipeline


def adapter_names() -> tuple[str, ...]:
    """The methods whose weights a pack can hold: those with a recipe."""
    return tuple(name for name in method_names() if (_METHODS / _folder(name) / "recipe.py").is_file())


def trainable_names() -> tuple[str, ...]:
    """The methods that `load_training` can train on a data set of one's own."""
    return tuple(name for name in method_names() if (_METHODS / _folder(name) / "own_data.py").is_file())


def adapter_recipe(name: str) -> Callable[..., Any]:
    """How method `name`'s adapter in the mini pack is trained: `train_adapter(workshop)`.

    Raises: InputError for an unknown name, or a method without a recipe.
    """
    folder = _folder(name)
    if not (_METHODS / folder / "recipe.py").is_file():
        raise InputError(f"{name} has no recipe for a pack; there are {' and '.join(adapter_names())}.")
    recipe: Callable[..., Any] = import_module(f"likeness.methods.{folder}.recipe").train_adapter
    return recipe


def ablation_plan(name: str) -> Any:
    """What is trained, painted and claimed in the ablations of method `name`, a `packs.ablations.Plan`.

    Raises: InputError for an unknown name, or a method without ablations.
    """
    folder = _folder(name)
    if not (_METHODS / folder / "ablations.py").is_file():
        raise InputError(f"{name} has no ablations.")
    return import_module(f"likeness.methods.{folder}.ablations").PLAN


def load_training(
    name: str, dataset: Any, rows: Any, base: str | Path, options: TrainingOptions, **more: Any
) -> Any:
    """A training of method `name` on rows of a data set, as `finetune.finetune` takes it.

    more: what only some methods have, such as `stage`.

    Raises: InputError for an unknown name, or a method that cannot be trained on a data set; what the
    method's own `load_training` raises.
    """
    return _own_data(name).load_training(dataset, rows, base, options, **more)


def training_stages(name: str) -> tuple[str, ...]:
    """The stages in which method `name` is trained on a data set; none where it is trained in one go.

    Raises: InputError as `load_training`.
    """
    return tuple(getattr(_own_data(name), "STAGES", ()))


def training_choices(name: str) -> tuple[str, ...]:
    """What may be chosen of method `name`'s training besides `TrainingOptions`, as `load_training`'s `more`.

    Raises: InputError as `load_training`.
    """
    return tuple(getattr(_own_data(name), "CHOICES", ()))


def _own_data(name: str) -> Any:
    folder = _folder(name)
    if not (_METHODS / folder / "own_data.py").is_file():
        raise InputError(f"{name} cannot be trained on a data set of one's own.")
    return import_module(f"likeness.methods.{folder}.own_data")


def memory_plan(name: str, base: str | Path = "mini") -> dict[str, Any]:
    """Parameters and memory that method `name` takes on a base, counted without weights.

    Raises: InputError for an unknown name, a method that does not say, or a base whose shapes are not known.
    """
    folder = _folder(name)
    if not (_METHODS / folder / "plan.py").is_file():
        raise InputError(f"{name} does not say beforehand what it takes.")
    plan: dict[str, Any] = import_module(f"likeness.methods.{folder}.plan").memory_plan(base)
    return plan


def _folder(name: str) -> str:
    names = method_names()
    wanted = name.lower().replace("_", "-")
    if wanted in names:
        return wanted.replace("-", "_")
    close = get_close_matches(wanted, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(names) or 'none'}."
    raise InputError(f"There is no method {name!r}; {hint}")
