"""Whether a model knows a secret: metrics, candidate spaces, and the check of one secret."""
