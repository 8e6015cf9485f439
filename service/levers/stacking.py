"""Several levers at once: added one by one, as long as each still helps on top of those before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from service.levers.bench import LEAST_GAIN, Bench, Failed, Tried
from service.levers.schemas import Combined
from service.levers.trials import Trial


@dataclass(eq=False)
class _Stack:
    """Levers that are on top of each other so far, and those that wait, the best of them first."""

    name: str
    waiting: list[Tried]
    best: Tried | None = None
    names: list[str] = field(default_factory=list)

    @property
    def change(self) -> Mapping[str, JsonValue]:
        return {} if self.best is None else self.best.trial.change

    def next(self) -> Trial | None:
        """The next lever that does not contradict those before, together with them."""
        while self.waiting:
            trial = self.waiting[0].trial
            if all(self.change.get(path, value) == value for path, value in trial.change.items()):
                before = [] if self.best is None else [self.best.trial.trade_off]
                return replace(
                    trial,
                    name=self.name,
                    group="combined",
                    change={**self.change, **trial.change},
                    trade_off="; ".join([*before, trial.trade_off]),
                )
            del self.waiting[0]
        return None

    def take(self, outcome: Tried | Failed) -> None:
        """Keeps the lever that was tried, if it helped."""
        added = self.waiting.pop(0)
        gain = 1.0 if self.best is None else self.best.gain
        if isinstance(outcome, Tried) and outcome.estimate.memory.fits and outcome.gain > LEAST_GAIN * gain:
            self.best = outcome
            self.names.append(added.trial.name)


def combined(helping: Sequence[Tried], bench: Bench) -> list[Combined]:
    """The levers that change neither result nor amount, stacked; then other machines with them on top.

    Args:
        helping: levers that help on their own, the best first.
        bench: where stacks are tried.
    """
    free = [one for one in helping if one.trial.is_free]
    machines = [one for one in helping if one.trial.group == "hardware"]
    stacks = [_Stack("same-machines", list(free)), _Stack("other-machines", [*machines, *free])]
    while pending := [(stack, trial) for stack in stacks if (trial := stack.next()) is not None]:
        for (stack, _), outcome in zip(pending, bench.tried([trial for _, trial in pending]), strict=True):
            stack.take(outcome)
    return list(_said([stack for stack in stacks if len(stack.names) > 1], bench))


def _said(stacks: Sequence[_Stack], bench: Bench) -> Iterator[Combined]:
    best = [stack.best for stack in stacks if stack.best is not None]
    for stack, lever in zip(stacks, bench.levers(best), strict=True):
        yield Combined(**lever.model_dump(), levers=stack.names)
