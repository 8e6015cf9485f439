"""Several levers at once: added one by one, as long as each still helps on top of those before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from service.levers.bench import LEAST_GAIN, Bench, Tried
from service.levers.schemas import Combined
from service.levers.trials import Situation, Trial, changed


@dataclass(frozen=True, eq=False)
class _Stack:
    """Levers on top of each other: what comes of them together, and their names in the order they were added."""

    name: str
    best: Tried | None = None
    names: tuple[str, ...] = ()

    @property
    def gain(self) -> float:
        """How many times faster the run is with the stack."""
        return 1.0 if self.best is None else self.best.gain

    def under(self, trial: Trial) -> Trial | None:
        """The stack with one lever more; None where they contradict each other."""
        if self.best is None:
            return replace(trial, name=self.name, group="combined")
        before = self.best.trial
        if any(before.change.get(path, value) != value for path, value in trial.change.items()):
            return None
        trade_off = f"{before.trade_off}; {trial.trade_off}"
        return replace(before, change={**before.change, **trial.change}, trade_off=trade_off)


def combined(
    situation: Situation,
    helping: Sequence[Tried],
    bench: Bench,
    free_levers: Callable[[Situation], Iterable[Trial]],
) -> list[Combined]:
    """The levers that change neither result nor amount, stacked; then other machines, with such levers on top.

    Args:
        situation: the run.
        helping: levers that help on their own, the best first.
        bench: where stacks are tried.
        free_levers: the levers that cost nothing in a situation: what other machines have room for differs.
    """
    free = [one.trial for one in helping if one.trial.is_free]
    machines = [one.trial for one in helping if one.trial.group == "hardware"]
    same = _grown(_Stack("same-machines"), free, bench)
    other = _grown(_Stack("other-machines"), machines, bench)
    if other.best is not None:
        request = changed(situation.request, other.best.trial.change)
        there = replace(situation, request=request, baseline=other.best.estimate, row=other.best.row)
        other = _grown(other, _best_first(other, free_levers(there), bench), bench)
    stacks = [stack for stack in (same, other) if len(stack.names) > 1]
    levers = bench.levers([stack.best for stack in stacks if stack.best is not None])
    return [
        Combined(**lever.model_dump(), levers=list(stack.names)) for stack, lever in zip(stacks, levers, strict=True)
    ]


def _grown(stack: _Stack, trials: Iterable[Trial], bench: Bench) -> _Stack:
    """The stack with those levers on it that still help, added in this order."""
    for trial in trials:
        together = stack.under(trial)
        if together is None:
            continue
        (outcome,) = bench.tried([together])
        if isinstance(outcome, Tried) and outcome.estimate.memory.fits and outcome.gain > LEAST_GAIN * stack.gain:
            stack = replace(stack, best=outcome, names=(*stack.names, trial.name))
    return stack


def _best_first(stack: _Stack, trials: Iterable[Trial], bench: Bench) -> list[Trial]:
    """Those levers that help on top of the stack, each alone."""
    pairs = [(trial, together) for trial in trials if (together := stack.under(trial)) is not None]
    outcomes = bench.tried([together for _, together in pairs])
    found = [
        (outcome.gain, trial)
        for (trial, _), outcome in zip(pairs, outcomes, strict=True)
        if isinstance(outcome, Tried) and outcome.gain > LEAST_GAIN * stack.gain
    ]
    return [trial for _, trial in sorted(found, key=lambda pair: -pair[0])]
