"""Pictures out of a video whose positions are in a GPX track beside it."""
