"""Errors a person can act on. Every message says what is wrong and what to do next.

PrivlensError
├── BadInput           a prompt, value, setting or file cannot be used as given
├── ModelNotFound      no model of that name, folder or hub id could be read
├── UnsupportedModel   a model was read, but its parts are not laid out as a causal LM with MLPs
├── ModelDamaged       weights could not be put back after an error; the model has to be loaded anew
└── Cancelled          the person asked to stop; what they had stays as it was
"""


class PrivlensError(Exception):
    """Base of all errors that are shown in words."""


class BadInput(PrivlensError):
    """A prompt, value, setting or file cannot be used as given."""


class ModelNotFound(PrivlensError):
    """No model of that name, folder or hub id could be read."""


class UnsupportedModel(PrivlensError):
    """A model was read, but what gates need was not found in it."""


class ModelDamaged(PrivlensError):
    """Weights could not be put back after an error; the model has to be loaded anew."""


class Cancelled(PrivlensError):
    """The person asked to stop."""
