"""The prompt's embedding: a CLIP text encoder and its tokenizer, in transformers' own format. Step 5.

Radford et al. 2021 (CLIP, arXiv 2103.00020), section 2.4. Any CLIP serves; soradit's own is a small one, trained
the same way against a video tower (see ``soradit.training.text_encoder``).
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soradit.errors import SoraditError, first_line
from soradit.files import write_whole
from soradit.model.conditioning import PromptEmbedding

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizerFast
from transformers.models.clip.modeling_clip import CLIPTextModelOutput
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()

MIN_VOCABULARY = 256
"""A token a byte, at least."""


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig:
    """Sizes of a text encoder of our own."""

    vocab_size: int = 4096
    """At most; a small collection of captions gives fewer."""
    max_tokens: int = 48
    """Longer prompts are cut here."""
    width: int = 192
    depth: int = 3
    heads: int = 3
    pooled_dim: int = 192


class TextEncoder(nn.Module):
    """Prompts -> token embeddings and a pooled embedding."""

    def __init__(self, clip: CLIPTextModelWithProjection, tokenizer: CLIPTokenizerFast) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer

    @property
    def text_dim(self) -> int:
        return self.clip.config.hidden_size

    @property
    def pooled_dim(self) -> int:
        return self.clip.config.projection_dim

    @property
    def max_tokens(self) -> int:
        return int(self.clip.config.max_position_embeddings or 0)

    def forward(self, prompts: Sequence[str]) -> PromptEmbedding:
        """Prompts are cut or padded to ``max_tokens``, so that a prompt's embedding never depends on its neighbours.

        The empty prompt is embedded like any other: it stands for "no prompt" in guidance.
        """
        output = self._output(prompts, padding="max_length")
        return output.last_hidden_state, output.text_embeds

    def pooled(self, prompts: Sequence[str]) -> Float[Tensor, "b pooled"]:
        """The pooled embeddings alone, sooner: they don't see the padding, and only the longest prompt's is needed."""
        return self._output(prompts, padding="longest").text_embeds

    def _output(self, prompts: Sequence[str], *, padding: str) -> CLIPTextModelOutput:
        """Token embeddings, and pooled ones of unit mean square."""
        ids = self.tokenizer(
            list(prompts), padding=padding, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).input_ids.to(self.clip.device)
        output = self.clip(input_ids=ids)
        output.text_embeds = nn.functional.normalize(output.text_embeds, dim=-1) * self.pooled_dim**0.5
        return output

    def count_tokens(self, prompt: str) -> int:
        """Tokens of the whole prompt, start and end included: above ``max_tokens`` the rest is cut."""
        return len(self.tokenizer(prompt).input_ids)

    def save(self, folder: Path) -> None:
        """Write ``folder/text_encoder`` (float16) and ``folder/tokenizer``, each file in one step."""
        tensors = {name: tensor.detach().cpu().half() for name, tensor in self.clip.state_dict().items()}
        self.tokenizer.backend_tokenizer.no_padding()  # of the last call, which a file would keep
        self.tokenizer.backend_tokenizer.no_truncation()
        with TemporaryDirectory() as temporary:
            made = Path(temporary)
            self.clip.save_pretrained(made / "text_encoder", state_dict=tensors)
            self.tokenizer.save_pretrained(made / "tokenizer")
            for file in filter(Path.is_file, made.rglob("*")):
                target = folder / file.relative_to(made)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, file.read_bytes())


def load_text_encoder(text_encoder: str | Path, tokenizer: str | Path) -> TextEncoder:
    """Load a CLIP by folder, or by name on the Hugging Face hub, in float32.

    Raises SoraditError when it can't be had or isn't a CLIP text encoder.
    """
    try:
        clip, loaded = CLIPTextModelWithProjection.from_pretrained(
            text_encoder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        if missing := sorted(loaded["missing_keys"]):  # which transformers would leave at random values
            raise ValueError(f"its weights have no {missing[0]}")
        tokens = CLIPTokenizerFast.from_pretrained(tokenizer)
        # From a folder without a vocabulary, transformers makes a tokenizer that knows nothing.
        if not MIN_VOCABULARY <= len(tokens) <= clip.config.vocab_size:
            raise ValueError(f"its tokenizer knows {len(tokens)} tokens, its weights {clip.config.vocab_size}")
    except Exception as error:  # transformers, safetensors and the hub raise a dozen kinds
        raise SoraditError(f"cannot load a CLIP text encoder from {text_encoder}: {first_line(error)}") from error
    return TextEncoder(clip.eval().requires_grad_(False), tokens)


def new_text_encoder(captions: Iterable[str], config: TextEncoderConfig, seed: int) -> TextEncoder:
    """An untrained text encoder whose vocabulary is learnt from captions."""
    tokenizer = train_tokenizer(captions, config)
    torch.manual_seed(seed)
    clip = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            projection_dim=config.pooled_dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            max_position_embeddings=config.max_tokens,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return TextEncoder(clip, tokenizer)


def train_tokenizer(captions: Iterable[str], config: TextEncoderConfig) -> CLIPTokenizerFast:
    """A byte-level BPE vocabulary (Sennrich et al. 2016, arXiv 1508.07909) in CLIP's form: it can spell anything."""
    import json

    from tokenizers import pre_tokenizers, trainers

    blank = CLIPTokenizerFast()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = [blank.bos_token, blank.eos_token]
    backend = blank.backend_tokenizer
    backend.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=config.vocab_size,
            initial_alphabet=alphabet,
            special_tokens=[*special, *(letter + "</w>" for letter in alphabet)],
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    learnt = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    return CLIPTokenizerFast(vocab=learnt["vocab"], merges=merges, model_max_length=config.max_tokens)
