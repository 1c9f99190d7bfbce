"""Stages that learn from what the policy samples itself: PPO and GRPO."""
