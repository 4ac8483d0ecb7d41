"""The measurements behind the README's figures. Everything is measured in the run; nothing is stored between runs."""
