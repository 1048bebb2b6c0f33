"""What every method does with a request: options and settings checked, steps counted, the base told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from likeness.errors import Cancelled, InputError

if TYPE_CHECKING:
    from likeness.diffusion.load import Base
    from likeness.types import PortraitRequest

__all__ = ["Progress", "base_recipe", "check_size", "options_of", "with_settings"]

Options = TypeVar("Options", bound=BaseModel)


class Progress:
    """Counts the steps of all requests of one call, and ends the call where it is to be cancelled.

    steps: how many there will be. on_step, cancel: as `PortraitPipeline` takes them.
    """

    def __init__(
        self,
        steps: int,
        on_step: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:
        self.done, self.steps = 0, steps
        self._on_step, self._cancel = on_step, cancel

    def check(self) -> None:
        """Raises: Cancelled. For steps that nobody foresaw, which are not counted."""
        if self._cancel is not None and self._cancel():
            raise Cancelled("Stopped before the picture was finished.")

    def tick(self) -> None:
        """Before each step. Raises: Cancelled."""
        self.check()
        self.done += 1
        if self._on_step is not None:
            self._on_step(self.done, self.steps)


def options_of(kind: type[Options], request: PortraitRequest, method: str) -> Options:
    """The request's options as the method's own model. method: its name, for the message.

    Raises: InputError naming the first option that cannot be.
    """
    try:
        return kind(**request.options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            raise InputError(f"{method} has no option {where!r}; there are {known}.") from error
        raise InputError(f"{method}'s option {where!r}: {first['msg']}.") from error


def with_settings(request: PortraitRequest, base: Base, *, steps: int, guidance: float) -> PortraitRequest:
    """The request with steps and guidance, these unless it has its own.

    Raises: InputError for more steps than the base's noise schedule has, or guidance outside 1 to 100.
    """
    steps = steps if request.steps is None else request.steps
    most = base.scheduler.config.num_train_timesteps
    if not 1 <= steps <= most:
        raise InputError(f"steps must be between 1 and {most}, got {steps}.")
    guidance = guidance if request.guidance is None else request.guidance
    if not 1 <= guidance <= 100:
        raise InputError(f"guidance must be between 1 (off) and 100, got {guidance:g}.")
    return replace(request, steps=steps, guidance=guidance)


def check_size(
    size_px: tuple[int, int], base: Base, *, unit_px: int | None = None, least_px: int = 0
) -> tuple[int, int]:
    """`size_px` (width, height) itself, if it can be painted.

    unit_px: what sides must be multiples of, by default the base's unit. least_px: the smallest side.
    Raises: InputError.
    """
    unit = unit_px or base.unit_px
    if any(side < max(unit, least_px) or side % unit for side in size_px):
        least = f" and at least {least_px}" if least_px > unit else ""
        raise InputError(
            f"size_px must be multiples of {unit}{least} for {base.name}, got {size_px[0]} x {size_px[1]}."
        )
    return size_px


def base_recipe(base: Base) -> dict[str, Any]:
    """What a picture's recipe says of the base and what ran it."""
    return {
        "base": base.name,
        "family": base.family,
        "device": str(base.device),
        "runtime": base.runtime,
        "dtype": str(base.dtype).removeprefix("torch."),
    }
