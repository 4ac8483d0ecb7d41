"""Each target before and after an erasure: what the model writes, how likely the value is, how exposed it is."""

from collections.abc import Sequence

from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.memorization.states import continuations, states
from privlens.outcomes import Effect, MemorizationState
from privlens.types import Secret


def effects(
    before: LanguageModel,
    after: LanguageModel,
    targets: Sequence[Secret],
    others: Sequence[Secret] = (),
    seed: int = 0,
    stop: Stop = never_stop,
) -> list[Effect]:
    """Greedy text, recall, exposures and lift of every target in both models.

    Args:
        others: other listed secrets, for the lift. seed: of the exposure's candidates.

    Raises:
        Cancelled: when `stop` returned True.
    """

    def state(lm: LanguageModel, target: Secret) -> MemorizationState:
        [memorization] = states(lm, [target], continuations(lm, [target], stop=stop), others=others, seed=seed, stop=stop)
        return memorization

    return [Effect(target, state(before, target), state(after, target)) for target in targets]
