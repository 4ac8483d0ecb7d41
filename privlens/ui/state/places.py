"""The places of neurons among the secrets of a list, in memory: made once for a model and a list, then any neuron's come at once.

On the disk are only those of models without edits and of lists that come with PrivLens; of other lists only a hash is kept, here.
"""

from collections.abc import Iterator

from privlens.neuron_places import PlacesRequest, list_places
from privlens.neurons.place_records import ListPlaces, PlacesStep
from privlens.ui.state.kept import Kept

ROOM = 4
"""Lists in memory: 28 secrets and five methods take 70 kB for `demo`, 3 MB for 32 x 14,336 neurons."""
Key = tuple[str, int, tuple[str, ...], int, int]


class PlacesCache:
    """Places by model, list, methods, number of secrets and seed, shared by all visitors."""

    def __init__(self) -> None:
        self._places = Kept[Key, ListPlaces](ROOM)

    def steps(self, request: PlacesRequest, is_public: bool) -> Iterator[PlacesStep]:
        """The places as `list_places` makes them, or at once if they were made before.

        Args:
            is_public: whether the list comes with PrivLens.
        """
        key = (request.lm.fingerprint, hash(request.listed), request.methods, request.n_secrets, request.seed)
        made = list_places(request, use_cache=is_public and not request.lm.edits)
        return self._places.steps(key, lambda known: PlacesStep(1, 1, "done", known), made)
