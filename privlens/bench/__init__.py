"""The commands that print the README's figures. Everything is measured in the run; nothing is remembered."""
