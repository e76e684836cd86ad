"""The tokenizer of small backbones: a byte-level BPE with the special tokens of Qwen2-VL."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dexvla_model.errors import UserError

PAD = "<|endoftext|>"
IMAGE_PAD = "<|image_pad|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
SPECIAL_TOKENS = (PAD, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD, "<|video_pad|>")

# A word or a signed number with the space before it, then punctuation, then white space.
_PIECES = Regex(r" ?-?[0-9]+| ?[^\W\d]+| ?[^\s\w]|\s+")


def train_tokenizer(corpus: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Train a tokenizer on instructions and sub-steps.

    Numbers such as " 45" or " -12" are one piece each, and one token if they are frequent enough in the
    corpus. Bytes that the corpus does not hold remain encodable, so that every text survives a round trip.

    Args:
        vocab_size: the upper limit; the tokenizer stops earlier when there is nothing left to merge.

    Raises:
        UserError: `vocab_size` has no room for the 256 bytes and the special tokens, or the corpus is empty.
    """
    smallest = 256 + len(SPECIAL_TOKENS)
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size is {vocab_size}, it must be at least {smallest}: 256 bytes and special tokens."
        )
    texts = [text for text in corpus if text]
    if not texts:
        raise UserError("the corpus of the tokenizer is empty: give it instructions and sub-steps.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t not in (TURN_END, PAD)],
    )


def special_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Ids of the special tokens by their text, and `vocab_size`: the size that the model's embedding needs.

    Raises:
        UserError: the tokenizer lacks one of Qwen2-VL's special tokens.
    """
    ids = {}
    for token in SPECIAL_TOKENS:
        ids[token] = tokenizer.convert_tokens_to_ids(token)
        if ids[token] is None or ids[token] == tokenizer.unk_token_id is not None:
            raise UserError(f"the tokenizer lacks the special token {token}: use one of a Qwen-VL model.")
    # Rounded up, because matrix products prefer it.
    return ids | {"vocab_size": -(-len(tokenizer) // 64) * 64}


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in a folder. Raises UserError when its file is missing or damaged."""
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder / 'tokenizer.json'} is missing: the folder is not a complete checkpoint.")
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise UserError(
            f"{folder / 'tokenizer.json'} cannot be read ({error}): restore the checkpoint."
        ) from error
