"""Latent attention of one new token a row, absorbed: `LatentAttention._absorbed` in as few operations as can be.

Queries and the new rope key are turned together, the new latent is written where the cache holds it, and the halves
of `wkv_b` lie the way that their products read them.

Shapes: N rows, D width, H heads, P nope width, R rope width, K = P + R, V value width, C kv_lora_rank, X = C + R,
L cached tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_lab.generation.lean.product import norm, product
from deepseek_lab.model.attention.interface import AttentionContext
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.cache import write_tokens
from deepseek_lab.model.prepared import Prepared
from deepseek_lab.model.rope import rotate


class LeanLatent:
    """(N, D) normed states of one token a row -> (N, D)."""

    def __init__(self, attention: LatentAttention, prepared: Prepared) -> None:
        c, streams = attention.config, prepared.streams
        self.heads, self.nope, self.rope, self.rank = c.n_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.kv_lora_rank
        self.scale, self.layout = attention.scale, c.rope_layout
        self.nothing = torch.zeros(1, 1, dtype=attention.wkv_b.weight.dtype)
        if c.q_lora_rank is None:
            self.to_queries = [product(attention.wq, streams)]
        else:
            wq_a, wq_b = product(attention.wq_a, streams), product(attention.wq_b, streams)
            self.to_queries = [wq_a, norm(attention.q_norm), wq_b]
        self.to_latent, self.latent_norm = product(attention.wkv_a, streams), norm(attention.kv_norm)
        self.to_width = product(attention.wo, streams)
        weight_HXC = attention.wkv_b.weight.view(c.n_heads, -1, c.kv_lora_rank)
        up_key_HPC, up_value_HVC = weight_HXC.split((c.qk_nope_head_dim, c.v_head_dim), 1)
        self.up_key, self.up_value = HeadProduct(up_key_HPC, prepared), HeadProduct(up_value_HVC.mT, prepared)

    def __call__(self, x_ND: Tensor, context: AttentionContext, cache_NLX: Tensor) -> Tensor:
        q_NHP, q_pe_NHR, new_NX = self._queries_and_key(x_ND, context.rotation_BTR)
        if context.slots_BT is None:
            cache_NLX.select(1, context.start).copy_(new_NX)
        else:
            write_tokens(cache_NLX, new_NX.unsqueeze(1), context.slots_BT, context.keep_BT, context.start)
        q_NHX = torch.cat((self.up_key(q_NHP), q_pe_NHR), 2)
        mixed_NHC = self._mixed(q_NHX, cache_NLX.narrow(1, 0, context.n_keys), context.mask_BTS)
        return self.to_width(self.up_value(mixed_NHC).flatten(1))

    def _mixed(self, q_NHX: Tensor, stored_NSX: Tensor, mask_N1TS: Tensor | None) -> Tensor:
        """softmax(q·storedᵀ)·latents.

        torch's kernel gives each row to one core, and wants values as wide as keys. A single row (which sees every
        key) is two products that all cores share, and of its values only the latents are summed.
        """
        if mask_N1TS is None and q_NHX.shape[0] == 1:
            stored_SX = stored_NSX[0]
            score_HS = torch.addmm(self.nothing, q_NHX[0], stored_SX.t(), beta=0, alpha=self.scale)
            return torch.mm(score_HS.softmax(1), stored_SX.narrow(1, 0, self.rank)).unsqueeze(0)
        keys_N1SX = stored_NSX.unsqueeze(1)
        mixed_N1HX: Tensor = F.scaled_dot_product_attention(
            q_NHX.unsqueeze(1), keys_N1SX, keys_N1SX, attn_mask=mask_N1TS, scale=self.scale
        )
        return mixed_N1HX.squeeze(1).narrow(2, 0, self.rank)

    def _queries_and_key(self, x_ND: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each head's nope and turned rope query, and what the cache takes of the new token."""
        q = x_ND
        for layer in self.to_queries:
            q = layer(q)
        latent_NC, k_pe_NR = self.to_latent(x_ND).split((self.rank, self.rope), 1)
        q_NHP, q_pe_NHR = q.view(-1, self.heads, self.nope + self.rope).split((self.nope, self.rope), 2)
        pe_N1GR = torch.cat((q_pe_NHR, k_pe_NR.unsqueeze(1)), 1).unsqueeze(1)
        q_pe_NHR, k_pe_N1R = rotate(pe_N1GR, rotation, self.layout).squeeze(1).split((self.heads, 1), 1)
        return q_NHP, q_pe_NHR, torch.cat((self.latent_norm(latent_NC), k_pe_N1R.squeeze(1)), 1)


class HeadProduct:
    """Each head's rows times its own small matrix; one row wants the matrices the other way round than several."""

    def __init__(self, weight_HIO: Tensor, prepared: Prepared) -> None:
        self._weight_HIO, self._keeps = weight_HIO, prepared.keeps
        self._one_HIO: Tensor | None = None
        self._several_HIO: Tensor | None = None

    def __call__(self, x_NHI: Tensor) -> Tensor:
        """(N, H, I) -> (N, H, O)."""
        return torch.bmm(x_NHI.transpose(0, 1), self._laid_out(x_NHI.shape[0])).transpose(0, 1)

    def _laid_out(self, n_rows: int) -> Tensor:
        if not self._keeps:
            return self._weight_HIO
        if n_rows == 1:
            if self._one_HIO is None:
                self._one_HIO = self._weight_HIO.mT.contiguous().mT
            return self._one_HIO
        if self._several_HIO is None:
            self._several_HIO = self._weight_HIO.contiguous()
        return self._several_HIO
