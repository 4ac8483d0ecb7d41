"""Parts that several tabs are made of, each with its script and style beside it."""
