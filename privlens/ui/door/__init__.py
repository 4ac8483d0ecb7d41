"""Access to the page: which hosts and origins are allowed, the log-in, and the size of uploads."""

from privlens.ui.door.app import Beside, LockedApp
from privlens.ui.door.settings import Door, make_door

__all__ = ["Beside", "Door", "LockedApp", "make_door"]
