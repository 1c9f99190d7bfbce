"""What makes the jobs of a sweep comparable: fair matching of sizes, and the question an ablation asks."""
