"""The profiles of models' neurons, in memory: made once for a model and a reference text, then cards come at once.

On the disk are only those of models without edits on the bundled reference text: what a visitor typed or changed leaves no trace
there, not even as numbers.
"""

from collections.abc import Iterator

from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.neurons.profile import profile
from privlens.neurons.profile_records import ModelProfile, ProfileStep
from privlens.resources import REFERENCE
from privlens.secret_lists import read_reference
from privlens.ui.state.kept import Kept

ROOM = 2
"""Profiles in memory: one of `demo` has 7 MB, one of 32 x 14,336 neurons a quarter of a gigabyte."""
AT_ONCE = 60_000_000
"""Neurons times tokens of the vocabulary up to which a profile is made because somebody points at a neuron: `demo` has 25 million
and takes two seconds."""


class ProfileCache:
    """Profiles by model and text, shared by all visitors; of the text only a hash is kept."""

    def __init__(self) -> None:
        self._profiles = Kept[tuple[str, int], ModelProfile](ROOM)

    def ready(self, lm: LanguageModel, texts: tuple[str, ...]) -> ModelProfile | None:
        """The profile, if it was made."""
        return self._profiles.get((lm.fingerprint, hash(texts)))

    def steps(self, lm: LanguageModel, texts: tuple[str, ...], stop: Stop = never_stop) -> Iterator[ProfileStep]:
        """The profile as `neurons.profile.profile` makes it, or at once if it was made before."""
        is_public = not lm.edits and texts == read_reference(REFERENCE)
        made = profile(lm, texts, stop=stop, use_cache=is_public)
        return self._profiles.steps((lm.fingerprint, hash(texts)), lambda known: ProfileStep(1, 1, "done", known), made)


def is_quick(lm: LanguageModel) -> bool:
    """Whether a profile of this model takes seconds, so that it may be made without being asked for."""
    return lm.n_neurons * lm.n_vocabulary <= AT_ONCE
