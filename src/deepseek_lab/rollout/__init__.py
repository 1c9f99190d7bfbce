"""From prompts to experience: answers are drawn, judged, and handed over as tensors."""
