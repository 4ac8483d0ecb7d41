"""The lock on the page: who may come in, by which name, from which other page, and with how much."""

from privlens.ui.door.app import LockedApp
from privlens.ui.door.settings import Door, make_door

__all__ = ["Door", "LockedApp", "make_door"]
