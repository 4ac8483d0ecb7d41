"""What belongs to one running process: its folder for temporary files, how it ends, and files that nobody else may read."""
