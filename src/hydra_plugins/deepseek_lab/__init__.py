"""What Hydra finds by itself: plugins of this project. Imported at every start, so nothing here imports torch."""
