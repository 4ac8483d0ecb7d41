"""Process-level concerns: the folder for temporary files, shutdown, and files that only their owner can read."""
