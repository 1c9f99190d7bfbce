"""The two sides of the GRPO benchmark: one DeepSeek-V3 of 256 wide and 4 deep over bytes, one made-up task."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.config import CheckedConfig
from deepseek_lab.data.prompts import PromptData
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.balance import Balance
from deepseek_lab.objectives.policy_loss import PolicyLoss
from deepseek_lab.optim.adamw import AdamW
from deepseek_lab.optim.schedule import Constant
from deepseek_lab.rollout.config import RolloutConfig
from deepseek_lab.stages.on_policy_config import GrpoConfig
from deepseek_lab.tasks.task import Example, Reward, Split
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.question_prompt import QuestionPrompt
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY, Bytes

PROMPTS, GROUP, NEW, LR = 8, 8, 64, 1e-5
_LATENT: dict[str, Any] = {
    "q_lora_rank": 128,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
}


def prompts(n_prompt: int, count: int = PROMPTS) -> list[str]:
    """Texts of `n_prompt` letters, no two alike."""
    draw = torch.Generator().manual_seed(0)
    letters_NT = torch.randint(97, 123, (count, n_prompt), generator=draw)
    return ["".join(map(chr, letters_T)) for letters_T in letters_NT.tolist()]


def score(text: str) -> float:
    """The share of low characters: answers of random bytes differ in it."""
    return sum(ord(letter) < 90 for letter in text) / max(len(text), 1)


@dataclass(frozen=True, kw_only=True)
class LowLetters(CheckedConfig):
    """The task for our side; its own config."""

    n_prompt: int
    name: str = "low_letters"

    def build(self) -> "LowLetters":
        """Itself: nothing to be made."""
        return self

    def examples(self, split: Split, count: int) -> list[Example]:
        """The same for all splits."""
        return [Example(question=text, answer="") for text in prompts(self.n_prompt, count)]

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """See `score`."""
        return [Reward(total=score(text)) for text in completions]

    def vote(self, completion: str) -> str | None:
        """Nothing to vote on."""
        return None


class Endless(Chat):
    """No token ends an answer: all have the same length."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """None."""
        return frozenset()


def our_network(n_prompt: int) -> Transformer:
    """Ours, with weights of its own."""
    mixture = MixtureOfExperts.Config(
        moe_intermediate_size=128,
        n_shared_experts=1,
        n_dense_layers=1,
        intermediate_size=704,
        n_routed_experts=8,
        n_activated_experts=2,
    )
    return Transformer.Config(
        dim=256,
        n_layers=4,
        vocab_size=SMALLEST_VOCABULARY,
        max_seq_len=n_prompt + NEW,
        rope=RopeConfig(),
        attention=LatentAttention.Config(n_heads=8, **_LATENT),
        ffn=mixture,
        mtp=MultiTokenPrediction.Config(),
    ).build()


def our_stage(n_prompt: int, theirs: Any) -> Any:
    """Our whole stage, starting from their weights."""
    model = our_network(n_prompt)
    copy_weights(theirs, model)
    data = PromptData.Config(
        task=LowLetters(n_prompt=n_prompt),
        prompt=QuestionPrompt.Config(),
        questions=PROMPTS,
        validation_questions=1,
        seq_len=n_prompt + NEW,
        batch_size=PROMPTS,
        answers=GROUP,
    ).build(Bytes.Config(), SMALLEST_VOCABULARY, 0)
    data.chat = Endless(data.tokenizer)
    config = GrpoConfig(
        loss=_loss(),
        rollout=_rollout(),
        epochs=1,
        minibatches=1,
        micro_tokens=2048,
        share_prompt="auto",
        reference_every=None,
        router_bias="frozen",
        routing_replay=False,
        mtp_weight=0.0,
        validation_samples=1,
        show_every=1 << 30,
    )
    optimizer = AdamW.Config(lr=LR, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0, max_grad_norm=1.0, fused=True)
    return config.build(
        model,
        data,
        _no_balance(),
        optimizer=optimizer,
        schedule=Constant.Config(warmup_steps=0),
        seed=0,
        precision=None,
    )


def _rollout() -> RolloutConfig:
    return RolloutConfig(
        group_size=GROUP,
        max_new_tokens=NEW,
        temperature=1.0,
        max_rows=PROMPTS * GROUP,
        rewards=None,
        family_rewards=None,
        reward_seconds=10.0,
        reward_model=None,
        curriculum="none",
    )


def _loss() -> PolicyLoss:
    return PolicyLoss(
        name="trl",
        ratio="token",
        clip_low=0.2,
        clip_high=0.2,
        dual_clip=None,
        aggregation="token_mean",
        advantage_scale="group",
        supervision="outcome",
        format="summed",
        kl_weight=0.0,
        kl_estimator="k3",
        importance_cap=None,
        overlong_share=None,
        mask_truncated=False,
        dynamic_sampling=False,
        spread_tolerance=0.0,
        max_refills=1,
    )


def _no_balance() -> Balance:
    names = ("sequence_wise_alpha", "batch_wise_alpha", "expert_alpha", "device_alpha", "communication_alpha")
    off: dict[str, float] = dict.fromkeys(("bias_update_speed", *names), 0.0)
    return Balance(**off, bias_update_until=1.0, n_devices=1, n_limited_devices=1)


def their_trainer(n_prompt: int, steps: int, folder: str, callbacks: list[Any]) -> Any:
    """TRL's trainer of transformers' network."""
    import transformers
    from datasets import Dataset

    trl: Any = importlib.import_module("trl")  # its package exports lazily, which hides the names from a checker
    arguments = trl.GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP,
        max_completion_length=NEW,
        generation_kwargs={"min_new_tokens": NEW},
        beta=0.0,
        temperature=1.0,
        max_steps=steps,
        learning_rate=LR,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    inner = Bytes.Config().build()
    names = {"eos_token": inner.decode([inner.eos_id]), "pad_token": "<｜▁pad▁｜>"}
    fast: Any = transformers.PreTrainedTokenizerFast
    return trl.GRPOTrainer(
        model=_their_network(n_prompt),
        reward_funcs=lambda completions, **rest: [score(text) for text in completions],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": text} for text in prompts(n_prompt)]),
        processing_class=fast(tokenizer_object=inner._inner, **names),
        callbacks=callbacks,
    )


def _their_network(n_prompt: int) -> Any:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    torch.manual_seed(0)
    config = DeepseekV3Config(
        **_LATENT,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=SMALLEST_VOCABULARY,
        max_position_embeddings=n_prompt + NEW,
        intermediate_size=704,
        moe_intermediate_size=128,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=1.0,
    )
    return DeepseekV3ForCausalLM(config)
