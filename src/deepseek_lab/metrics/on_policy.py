"""Curves of the stages that learn from what they draw themselves: PPO, GRPO and its relatives.

A step is an iteration: a rollout and all updates on it. Means over answers and tokens are over all that were drawn
in the iteration, groups that dynamic sampling dropped included, unless the row says otherwise.
"""

from deepseek_lab.metrics.curve import WINDOW, Curve

_ANSWERS = WINDOW + "all answers drawn"
_TOKENS = WINDOW + "the tokens that train, over all updates"

ON_POLICY: tuple[Curve, ...] = (
    Curve("reward", "reward", _ANSWERS + " and judged", "weighted sum of the parts of the reward", "higher"),
    Curve("reward_std", "reward", WINDOW + "all groups drawn", "deviation of the reward within its group"),
    Curve("rewards/{part}/mean", "reward", _ANSWERS + " and judged", "one part of the reward, unweighted", "higher"),
    Curve(
        "frac_reward_zero_std",
        "share",
        WINDOW + "all groups drawn",
        "groups whose answers are all worth the same: they teach nothing",
        "lower",
    ),
    Curve("kl", "nats per token", _TOKENS, "estimate of KL[policy ‖ reference]", ""),
    Curve("entropy", "nats per token", _TOKENS, "entropy of the policy at the sampling temperature"),
    Curve("clip_ratio/low_mean", "share", _TOKENS, "tokens that the lower clip silences"),
    Curve("clip_ratio/high_mean", "share", _TOKENS, "tokens that the upper clip silences"),
    Curve("policy/loss", "reward", WINDOW + "all updates", "the policy's part of the loss; its value says little"),
    Curve("policy/ratio_max", "factor", WINDOW + "the largest of all updates", "probability over that of the rollout"),
    Curve("policy/grad_norm_max", "L2 norm", WINDOW + "the largest of all updates", "gradient norm before clipping"),
    Curve("completions/mean_length", "tokens", _ANSWERS, "length of an answer, its end included"),
    Curve("completions/max_length", "tokens", WINDOW + "the longest answer drawn", "length, its end included"),
    Curve("completions/clipped_ratio", "share", _ANSWERS, "answers cut off at rollout.max_new_tokens", "lower"),
    Curve("completions/think_ratio", "share", _ANSWERS, "answers with a thought that is opened and closed"),
    Curve(
        "sampling/logp_difference/mean",
        "nats",
        _TOKENS,
        "|log-probability in training - in generation|, where the experts agree",
        "lower",
    ),
    Curve("sampling/logp_difference/max", "nats", WINDOW + "the largest", "as the mean; a bug of the cache shows here"),
    Curve("sampling/routing_disagreement", "share", WINDOW + "tokens looked at", "other experts than in generation"),
    Curve("sampling/groups_dropped", "share", WINDOW + "all groups drawn", "groups without spread that were dropped"),
    Curve("sampling/refills", "rounds", WINDOW + "none", "rounds of drawing again in an iteration"),
    Curve("sampling/failures", "share", _ANSWERS, "answers that nobody could judge: no total, or the judge failed"),
    Curve("sampling/timeouts", "verdicts", "none: cumulative", "judges out of time; above 0 no run repeats to the bit"),
    Curve("sampling/tokens", "tokens", "none: cumulative, all ranks", "tokens drawn since the run began"),
    Curve("perf/rollout_seconds", "seconds", WINDOW + "rank 0", "drawing answers"),
    Curve("perf/reward_seconds", "seconds", WINDOW + "rank 0", "judging answers"),
    Curve("perf/update_seconds", "seconds", WINDOW + "rank 0", "log-probabilities, gradients and updates"),
    Curve("value/loss", "squared reward", WINDOW + "all updates", "the critic's loss, unweighted", "lower"),
    Curve("value/clip_ratio", "share", _TOKENS, "tokens where the critic's clip holds"),
    Curve("value/mean", "reward", _TOKENS, "what the critic expects"),
    Curve(
        "value/explained_variance", "share", WINDOW + "the tokens that train", "of the returns, by the critic", "higher"
    ),
    Curve(
        "eval/{task}/pass@{k}", "share", "the questions of the validation split", "right within k attempts", "higher"
    ),
    Curve("eval/{task}/mean_length", "tokens", "all attempts", "length of an attempt, its end included"),
    Curve("eval/{task}/clipped_ratio", "share", "all attempts", "attempts that were cut off", "lower"),
)
