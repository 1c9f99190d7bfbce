"""The rows that run: what each has read, what it draws next, and how they go on together.

A prompt is read once, whatever the number of its samples. Then every step draws one token a row and feeds it; or, with
drafts, feeds the last token and K drafts behind it in one forward, and keeps as many as `speculation` allows.

Shapes: B rows, T positions, J = K + 1 tokens fed at once, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_lab.generation.compiled import COMPILED_ROWS
from deepseek_lab.generation.decoding import DecodeOne, left_padded
from deepseek_lab.generation.distribution import drawn, penalised, probabilities
from deepseek_lab.generation.drafting import Drafter
from deepseek_lab.generation.lean.step import decode_one_of
from deepseek_lab.generation.noise import uniforms
from deepseek_lab.generation.request import Request, Token, TokenLogprobs
from deepseek_lab.generation.routing import chosen_experts
from deepseek_lab.generation.row_cache import RowCache
from deepseek_lab.generation.samples import Admitted, Row, end_of
from deepseek_lab.generation.speculation import verified
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.prepared import Prepared
from deepseek_lab.model.transformer import Transformer

Told = tuple[int, list[int], list[float], list[TokenLogprobs | None], bool]
"""A row's number, its new tokens, their log-probabilities, the model's own where asked for, and if logits are sound."""
_PROMPT_PLACES = 256


class RunningRows:
    """Rows, their caches, and the logits of those whose next token is not drawn yet."""

    def __init__(
        self,
        model: Transformer,
        max_rows: int,
        budget: int | None,
        batch_invariant: bool,
        depth: int,
        compiled: DecodeOne | None,
        record_routing: bool = False,
    ) -> None:
        self._compiled, self._record_routing = compiled, record_routing
        self.model, self.budget, self.batch_invariant, self.depth = model, budget, batch_invariant, depth
        self.device = model.head_weight_VD.device
        self.rows: list[Row] = []
        self.drafted, self.accepted = [0] * depth, [0] * depth
        self._logits: list[Tensor | None] = []
        self.max_rows = max_rows
        self._cache = RowCache(model.new_cache(1, 1))
        self._drafter = Drafter(model, depth)
        self._caches = [self._cache, *self._drafter.caches]
        self.prepared: Prepared
        self._decode_one: DecodeOne

    def prepare(self) -> None:
        """Takes the weights as they are now; they stay so while any row runs."""
        self.prepared = Prepared.of(self.model, packs=not self.batch_invariant)
        self._decode_one = decode_one_of(self.model, self.prepared)

    @property
    def n_bytes(self) -> int:
        """Bytes of all caches."""
        return sum(cache.n_bytes for cache in self._caches)

    @property
    def longest(self) -> int:
        """Tokens that the longest row may come to."""
        return max((row.request.cache_tokens for row in self.rows), default=0)

    def bytes_of(self, rows: int, tokens: int) -> int:
        """What so many rows of so many tokens take, and of what is drafted behind them."""
        return sum(cache.bytes_of(rows, tokens + self.depth) for cache in self._caches)

    def rows_that_fit(self, taken: int, tokens: int) -> int:
        """How many more than `taken` rows of so many tokens are allowed."""
        most = self.max_rows if self.budget is None else min(self.max_rows, self.budget // self.bytes_of(1, tokens))
        return max(0, most - taken)

    def read(self, wave: Sequence[Admitted]) -> None:
        """Reads some prompts together and copies what is known of each to its samples."""
        ids_BT, valid_BT = left_padded([waiting.request.prompt for waiting, _ in wave], self.device)
        cache = self.model.new_cache(*ids_BT.shape)
        output = self.model(ids_BT, valid_BT=None if bool(valid_BT.all()) else valid_BT, cache=cache)
        logits_BV = self.model.head(output.hidden_BTD[:, -1])
        routing_BTLK = chosen_experts(output) if self._record_routing else None
        drafts = self._drafter.read(output.mtp_source_BTD, ids_BT, valid_BT)
        self._make_room(wave)
        for number, (waiting, copies) in enumerate(wave):
            self._cache.append(cache, number, copies)
            self._drafter.append(drafts, number, copies)
            samples = range(waiting.started, waiting.started + copies)
            own = self._prompt_own(waiting.request, output.hidden_BTD[number])
            noted = [routing_BTLK[number, -len(waiting.request.prompt) :]] if routing_BTLK is not None else []
            self.rows += [Row(waiting.handle, sample, waiting.request, own, list(noted)) for sample in samples]
            self._logits += [logits_BV[number]] * copies
            waiting.started += copies

    def _prompt_own(self, request: Request, hidden_TD: Tensor) -> tuple[TokenLogprobs, ...]:
        """Of the prompt's tokens but the first, where asked for; some places at a time, to bound the logits' memory."""
        if not request.prompt_logprobs or request.top_logprobs is None:
            return ()
        wanted_T = torch.tensor(request.prompt[1:], device=self.device)
        hidden_TD = hidden_TD[len(hidden_TD) - len(request.prompt) : -1]
        found: list[TokenLogprobs] = []
        for some_TD, some_T in zip(hidden_TD.split(_PROMPT_PLACES), wanted_T.split(_PROMPT_PLACES), strict=True):
            found += _own(self.model.head(some_TD), some_T, request.top_logprobs) if len(some_T) else []
        return tuple(found)

    def step(self) -> list[Token]:
        """Goes on with all rows; those that end are dropped."""
        events = self._draw()
        if self.depth and self.rows:
            events += self._speculate()
        elif self.rows:
            self._feed()
        return events

    def drop(self, number: int) -> None:
        """Removes a row as its cache does: the last takes its place."""
        self._cache.remove(number)
        self._drafter.remove(number)
        self.rows[number], self._logits[number] = self.rows[-1], self._logits[-1]
        self.rows.pop()
        self._logits.pop()

    def _make_room(self, wave: Sequence[Admitted]) -> None:
        """Grows the caches for what has been admitted, to twice their rows where the budget has them."""
        rows = len(self.rows) + sum(copies for _, copies in wave)
        tokens = max([self.longest, *(waiting.request.cache_tokens for waiting, _ in wave)])
        had_rows, had_tokens = self._cache.room
        if rows > had_rows or tokens + self.depth > had_tokens:
            rows = max(rows, min(2 * had_rows, self.rows_that_fit(0, tokens)))
            for cache in self._caches:
                cache.make_room(rows, tokens + self.depth)

    def _draw(self) -> list[Token]:
        """The next token of each row that has logits."""
        numbers = [number for number, logits in enumerate(self._logits) if logits is not None]
        if not numbers:
            return []
        logits_BV = torch.stack([logits for logits in self._logits if logits is not None])
        rows = [self.rows[number] for number in numbers]
        usable_B = logits_BV.isfinite().all(-1)
        logits_BV = torch.where(usable_B[:, None], logits_BV, torch.zeros_like(logits_BV))
        token_B = self._chosen(logits_BV, rows)
        logprob_BJ = _log_probabilities(logits_BV[:, None], rows).gather(2, token_B[:, None, None]).squeeze(2)
        own_BJ = _own_log_probabilities(logits_BV[:, None], rows, token_B[:, None])
        told = zip(numbers, token_B[:, None].tolist(), logprob_BJ.tolist(), own_BJ, usable_B.tolist(), strict=True)
        return self._told(list(told))

    def _chosen(self, logits_BV: Tensor, rows: Sequence[Row]) -> Tensor:
        """A token of each row's logits, by its request's rules and noise."""
        rules = [row.request.sampling for row in rows]
        asked_BV = penalised(logits_BV, rules, [row.seen if row.has_penalty else () for row in rows])
        if all(rule.temperature == 0 for rule in rules):
            return asked_BV.argmax(-1)
        aim_B = torch.from_numpy(uniforms([row.counter() for row in rows])).to(self.device)
        return drawn(probabilities(asked_BV, rules), aim_B)

    def _told(self, found: Sequence[Told]) -> list[Token]:
        """Rows take their new tokens, as far as they go on -> the events; rows that end are dropped."""
        events, ended = [], []
        for number, tokens, logprobs, own, usable in found:
            row = self.rows[number]
            if not usable:
                at = f"logits at step {len(row.ids)} are not finite"
                events.append(end_of(row.handle, row.sample, len(row.ids), "error", at))
                ended.append(number)
                continue
            for place, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
                events.append(row.take(token, logprob, own[place]))
                if events[-1].finish_reason:
                    ended.append(number)
                    break
        for number in sorted(ended, reverse=True):
            self.drop(number)
        return events

    def _feed(self) -> None:
        """The next logits of all rows."""
        tokens = [row.ids[-1] for row in self.rows]
        width = 1 if self.batch_invariant else len(tokens)
        self._logits = []
        for start in range(0, len(tokens), width):
            some = torch.tensor(tokens[start : start + width], device=self.device)
            cache = self._cache.rows(start, start + len(some))
            self._logits += list(self._read_one(some, cache, self.rows[start : start + width]).unbind(0))
            self._cache.advance(start, cache)

    def _read_one(self, token_B: Tensor, cache: Cache, rows: Sequence[Row]) -> Tensor:
        """Feeds one token a row -> logits (B, V); notes the experts where they are recorded."""
        noted: list[Tensor] | None = [] if self._record_routing else None
        compiled = self._compiled if len(rows) <= COMPILED_ROWS else None
        logits_BV = (compiled or self._decode_one)(self.model, token_B, cache, noted)
        if noted is not None:
            for row, chosen_LK in zip(rows, torch.stack(noted, dim=1).to(torch.int16), strict=True):
                row.routing.append(chosen_LK[None])
        return logits_BV

    def _speculate(self) -> list[Token]:
        """Drafts, checks all drafts in one forward, and keeps what the distribution allows."""
        rows = list(self.rows)
        drafts, q_BKV = self._drafter.draft(rows)
        fed = [[row.ids[-1], *draft] for row, draft in zip(rows, drafts, strict=True)]
        cache = self._cache.rows(0, len(rows))
        output = self.model(torch.tensor(fed, device=self.device), cache=cache)
        logits_BJV = output.logits
        usable_B = logits_BJV.isfinite().flatten(1).all(-1)
        logits_BJV = torch.where(usable_B[:, None, None], logits_BJV, torch.zeros_like(logits_BJV))
        tokens_B = verified(rows, drafts, q_BKV, self._targets(logits_BJV, rows, drafts))
        padded_BJ = torch.tensor([(tokens + [0] * self.depth)[: self.depth + 1] for tokens in tokens_B])
        padded_BJ = padded_BJ.to(self.device)
        logprobs_B = _log_probabilities(logits_BJV, rows).gather(2, padded_BJ[..., None]).squeeze(2).tolist()
        own_B = _own_log_probabilities(logits_BJV, rows, padded_BJ)
        for number, tokens in enumerate(tokens_B):
            self._count(len(tokens) - 1)
            self._roll_back(number, len(tokens))
            self._drafter.learn(number, output.mtp_source_BTD[number, : len(tokens)])
        self._logits = [None] * len(rows)
        logprobs_B = [logprobs[: len(tokens)] for logprobs, tokens in zip(logprobs_B, tokens_B, strict=True)]
        return self._told(list(zip(range(len(rows)), tokens_B, logprobs_B, own_B, usable_B.tolist(), strict=True)))

    def _roll_back(self, number: int, n_kept: int) -> None:
        """Of what a row has just read, the cache goes on holding this many tokens: drafts behind them were dropped."""
        self._cache.lengths[number] += n_kept

    def _targets(self, logits_BJV: Tensor, rows: Sequence[Row], drafts: Sequence[Sequence[int]]) -> Tensor:
        """The main model's distributions behind the last token and behind each draft."""
        n_fed = logits_BJV.shape[1]
        rules = [row.request.sampling for row in rows for _ in range(n_fed)]
        seen = [
            [*row.seen, *draft[:place]] if row.has_penalty else []
            for row, draft in zip(rows, drafts, strict=True)
            for place in range(n_fed)
        ]
        p_NV = probabilities(penalised(logits_BJV.flatten(0, 1), rules, seen), rules)
        return p_NV.view(len(rows), n_fed, -1)

    def _count(self, kept: int) -> None:
        """Draft k counts where those before it were kept."""
        for place in range(min(kept + 1, self.depth)):
            self.drafted[place] += 1
            self.accepted[place] += place < kept


def _log_probabilities(logits_BJV: Tensor, rows: Sequence[Row]) -> Tensor:
    """Under each row's temperature, 1 for greedy; before penalties and filters."""
    wide = torch.promote_types(logits_BJV.dtype, torch.float32)
    heat_B = torch.tensor([row.request.sampling.temperature or 1.0 for row in rows], dtype=wide)
    return (logits_BJV.to(wide) / heat_B[:, None, None].to(logits_BJV.device)).log_softmax(-1)


def _own_log_probabilities(
    logits_BJV: Tensor, rows: Sequence[Row], tokens_BJ: Tensor
) -> list[list[TokenLogprobs | None]]:
    """What each row's request wants to know of the model's own distribution, at every place."""
    found: list[list[TokenLogprobs | None]] = []
    for row, logits_JV, tokens_J in zip(rows, logits_BJV, tokens_BJ, strict=True):
        n_top = row.request.top_logprobs
        found.append([None] * len(tokens_J) if n_top is None else [*_own(logits_JV, tokens_J, n_top)])
    return found


def _own(logits_JV: Tensor, tokens_J: Tensor, n_top: int) -> list[TokenLogprobs]:
    """Of each token, and of the likeliest at its place."""
    logprob_JV = logits_JV.to(torch.promote_types(logits_JV.dtype, torch.float32)).log_softmax(-1)
    own_J = logprob_JV.gather(1, tokens_J[:, None]).squeeze(1).tolist()
    top = logprob_JV.topk(min(n_top, logprob_JV.shape[1]), dim=-1)
    pairs = [tuple(zip(*both, strict=True)) for both in zip(top.indices.tolist(), top.values.tolist(), strict=True)]
    return [TokenLogprobs(logprob=own, top=likeliest) for own, likeliest in zip(own_J, pairs, strict=True)]
