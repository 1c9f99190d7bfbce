"""The names by which the forms of an objective are chosen, apart from them: configs are checked without torch."""

from typing import Literal

RatioLevel = Literal["token", "sequence"]
Aggregation = Literal["sequence_mean", "token_mean", "group_token_mean", "constant"]
AdvantageScale = Literal["group", "none"]
Supervision = Literal["outcome", "process"]
RewardFormat = Literal["summed", "separate", "gate"]
KLEstimator = Literal["k1", "k2", "k3", "k3_unbiased"]
PreferenceLoss = Literal["dpo", "cdpo", "robust", "ipo"]
Divergence = Literal["forward", "reverse", "jensen_shannon"]
