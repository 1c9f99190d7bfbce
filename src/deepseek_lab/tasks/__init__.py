"""Tasks with an answer that can be checked: one file a task."""
