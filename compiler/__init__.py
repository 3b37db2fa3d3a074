"""From a checkpoint to a verified program for a chip."""
