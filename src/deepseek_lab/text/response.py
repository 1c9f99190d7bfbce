"""What a model says, token by token: whole characters, up to a stop string, thought and answer apart."""

from collections.abc import Collection, Sequence

from deepseek_lab.text.reasoning import CLOSE, OPEN, Parts, ReasoningSplitter
from deepseek_lab.text.streamed import Detokeniser, StopStrings
from deepseek_lab.text.tokenizer import Tokenizer


class ResponseText:
    """The text of one response.

    stops: the text ends before the first of these, in the thought too
    split: whether a thought is taken apart; without it every character is answer
    thinking: the prompt has opened the thought already
    ends: of a text that is not taken apart, the tokens that do no more than end it; every other control token is
        written out by its name. None writes none out

    A control token that a stop string names is written out, to be found.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops: Sequence[str] = (),
        split: bool = True,
        thinking: bool = False,
        ends: Collection[int] | None = None,
    ) -> None:
        shown = {OPEN, CLOSE} if split else set()
        if not split and ends is not None:
            shown |= {name for name, token in tokenizer.special_ids.items() if token not in ends}
        shown |= {name for name in tokenizer.special_ids if any(name in stop for stop in stops)}
        self._detokeniser = Detokeniser(tokenizer, shown)
        self._stops = StopStrings(stops)
        self._splitter = ReasoningSplitter(thinking) if split else None
        self.n_read = self.n_kept = 0  # characters of all tokens, and those that no stop string can take back any more

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come; what follows is no part of the response."""
        return self._stops.found

    @property
    def thinking(self) -> bool:
        """Whether the thought is open."""
        return self._splitter is not None and self._splitter.thinking

    def feed(self, token: int) -> Parts:
        """What `token` adds."""
        return self._apart(self._kept(self._detokeniser.feed(token)))

    def finish(self) -> Parts:
        """What was held back, once there are no more tokens."""
        last = self._kept(self._detokeniser.finish()) + self._stops.finish()
        self.n_kept = self.n_kept if self.stopped else self.n_read
        parts = self._apart(last)
        return parts + self._splitter.finish() if self._splitter is not None else parts

    def _kept(self, text: str) -> str:
        self.n_read += len(text)
        kept = self._stops.feed(text)
        self.n_kept += len(kept)
        return kept

    def _apart(self, text: str) -> Parts:
        return self._splitter.feed(text) if self._splitter is not None else Parts(answer=text)
