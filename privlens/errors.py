"""Errors a user can act on. Every message says what is wrong and what to do next.

PrivlensError
├── BadInput           a prompt, value, setting or file cannot be used as given
├── ModelNotFound      no model of that name, folder or hub id could be read
├── UnsupportedModel   a model was read, but its parts are not laid out as a causal LM with MLPs
├── ModelDamaged       weights could not be restored after an error; the model must be reloaded
└── Cancelled          the user asked to stop; earlier results are unchanged
"""


class PrivlensError(Exception):
    """Base class of all errors whose message is shown to the user."""


class BadInput(PrivlensError):
    """A prompt, value, setting or file cannot be used as given."""


class ModelNotFound(PrivlensError):
    """No model of that name, folder or hub id could be read."""


class UnsupportedModel(PrivlensError):
    """A model was read, but its parts are not laid out as a causal LM with MLPs."""


class ModelDamaged(PrivlensError):
    """Weights could not be restored after an error; the model must be reloaded."""


class Cancelled(PrivlensError):
    """The user asked to stop."""
