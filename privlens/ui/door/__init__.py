"""Access to the page: which hosts and origins are allowed, the log-in, and the size of uploads."""

from privlens.ui.door.app import LockedApp
from privlens.ui.door.settings import Door, make_door

__all__ = ["Door", "LockedApp", "make_door"]
