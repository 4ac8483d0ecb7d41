"""Where models come from: names and folders, downloads, loading, the bundled ones and how they are made."""
