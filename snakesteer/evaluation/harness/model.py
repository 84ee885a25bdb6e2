"""The model of a run as lm-evaluation-harness asks for it, on one side of a comparison.

Texts become tokens as in that tool's ``--model hf``, so that what is unsteered compares with what
others publish. A context counts as the prompt and its continuation as generated text: a steering
acts where it would act on an answer.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from snakesteer.config import PromptConfig
from snakesteer.data.chat import Chat, find_chat
from snakesteer.engine.interface import Decoding
from snakesteer.engine.reference.forced import GivenText
from snakesteer.errors import UserError
from snakesteer.evaluation.answers import named_seed
from snakesteer.evaluation.harness.sides import Asked, Sides

# Both as in ``--model hf``: length of a model that names none, and of an answer of a task that does
# not say.
_CONTEXT, _NEW_TOKENS = 2048, 256
_KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k", "num_beams"}
_LEAVE_OUT = "Leave the task out of off_target.harness_tasks."

Encoded = tuple[tuple[str, str], list[int], list[int]]


class HarnessModel(TemplateLM):
    """Answers the harness' requests.

    Args:
        sides: The model with and without steering.
        side: 0 without, 1 with steering.
        prompt: The run's format; its chat settings are taken.
    """

    def __init__(self, sides: Sides, side: int, prompt: PromptConfig) -> None:
        super().__init__()
        self._sides = sides
        self._side = side
        self._prompt = prompt
        self.tokenizer = sides.loaded.tokenizer
        self.max_length = sides.loaded.context or _CONTEXT

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context."""
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else int(start)

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer."""
        return str(self.tokenizer.name_or_path)

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids of a text; a text that starts with the start token gets no second one."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self.tokenizer.decode(self.prefix_token_id))
        ids: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        return ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as a prompt of the run would have it, questions and replies in turn.

        Raises:
            UserError: See `Chat.write` and `Chat.end`.
        """
        system = None
        if chat_history[0]["role"] == "system":
            system, chat_history = chat_history[0]["content"], chat_history[1:]
        turns = [turn["content"] for turn in chat_history]
        chat = self._chat(system is not None)
        text = chat.write(system, turns, add_generation_prompt)
        if add_generation_prompt:
            return text
        # The reply goes on. It may be trimmed: as in ``--model hf``, it is what the template wrote.
        end = chat.end(system is not None, 0)
        if not text.endswith(end):
            raise UserError(
                f"The tokenizer's chat template ends a reply that starts with {turns[-1]!r} in a "
                "way of its own, so that the model cannot go on with it",
                _LEAVE_OUT,
            )
        return text.removesuffix(end)

    def _chat(self, has_system: bool) -> Chat:
        prompt = self._prompt
        switches = prompt.chat_template_kwargs
        return find_chat(self.tokenizer, switches, prompt.separator, has_system, 0)

    def _loglikelihood_tokens(
        self, requests: Sequence[Encoded], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        texts = [self._text(context, own) for _, context, own in requests]
        found = self._sides.likelihoods(texts, self._side)
        return [(one.log, one.greedy) for one in found]

    def _text(self, context: list[int], continuation: list[int]) -> GivenText:
        """Both as one text that fits into the model: what is too long is cut on the left."""
        # The last token is not read.
        ids = (*context, *continuation)[-self.max_length - 1 :]
        before = len(ids) - len(continuation)
        if not continuation or before < 1:
            what = "is empty" if not continuation else f"has {len(continuation)} tokens"
            raise UserError(
                f"A continuation of a task {what}; the model reads {self.max_length} tokens, one "
                "of them before it",
                _LEAVE_OUT,
            )
        return GivenText(ids, before)

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probability of whole texts, window by window, each with as much before as fits."""
        windows = [[*self._windows(request.args[0])] for request in requests]
        flat = [text for texts in windows for text in texts]
        found = iter(self._sides.likelihoods(flat, self._side))
        return [sum(next(found).log for _ in texts) for texts in windows]

    def _windows(self, text: str) -> list[GivenText]:
        pairs = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        return [self._text(*make_disjoint_window(pair)) for pair in pairs]

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers, cut where a stop string begins; those that are decoded alike share a batch."""
        together: dict[Decoding, list[int]] = defaultdict(list)
        asked: list[Asked] = []
        draws: Counter[tuple[str | None, int | None]] = Counter()
        for number, request in enumerate(requests):
            context, settings = request.args
            decoding, limit = self._decoding(settings)
            together[decoding].append(number)
            problem = (request.task_name, request.doc_id)
            # Equal on both sides, whatever else is asked.
            name = json.dumps([*problem, draws[problem]])
            seed = named_seed(name) if decoding.temperature else 0
            draws[problem] += 1
            asked.append(Asked(self._start(context, limit), limit, seed))
        texts: dict[int, str] = {}
        for decoding, numbers in together.items():
            own = [asked[number] for number in numbers]
            answers = self._sides.answers(own, decoding, self._side)
            texts |= dict(zip(numbers, answers, strict=True))
        return [texts[number] for number in range(len(requests))]

    def check(self, settings: dict[str, Any]) -> None:
        """Refuse a way of generating that is not possible here.

        Args:
            settings: ``generation_kwargs`` of a task.

        Raises:
            UserError: The engines lack it, or its answers are longer than what the model reads.
        """
        self._room(self._decoding(settings)[1])

    def _room(self, limit: int) -> int:
        """How many tokens a context may have before an answer."""
        room = self.max_length - limit
        if room < 1 or limit < 1:
            raise UserError(
                f"A task asks for answers of {limit} tokens; the model reads {self.max_length}, "
                "the prompt included",
                _LEAVE_OUT,
            )
        return room

    def _start(self, context: str, limit: int) -> tuple[int, ...]:
        """The end of a context, with room for the answer; the start token of an empty one."""
        return tuple(self.tok_encode(context)[-self._room(limit) :] or [self.prefix_token_id])

    def _decoding(self, settings: dict[str, Any]) -> tuple[Decoding, int]:
        """How a task generates, and its limit in tokens.

        Args:
            settings: ``generation_kwargs`` of the task.

        Raises:
            UserError: There is something else than stop strings, a limit and sampling.
        """
        known = normalize_gen_kwargs(settings, _NEW_TOKENS)
        unknown = sorted(set(known) - _KNOWN)
        if known.get("num_beams", 1) != 1:
            unknown.append(f"num_beams: {known['num_beams']}")
        if unknown:
            raise UserError(
                f"A task generates with {', '.join(unknown)}, which snakesteer's engines lack",
                _LEAVE_OUT,
            )
        # The engines end at the end token itself.
        stops = (stop for stop in known["until"] if stop and stop != self.tokenizer.eos_token)
        decoding = Decoding(
            # As in ``--model hf``: drawn answers have a temperature of 1 where nothing is said.
            temperature=float(known.get("temperature", 1.0)) if known["do_sample"] else 0.0,
            top_p=float(known.get("top_p", 1.0)),
            top_k=int(known.get("top_k", 0)),
            stop=tuple(stops),
        )
        return decoding, known["max_gen_toks"]
