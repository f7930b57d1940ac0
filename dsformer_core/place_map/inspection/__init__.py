"""What is in a map, to look at: coverage, drives, picture quality, where it looks like itself."""
