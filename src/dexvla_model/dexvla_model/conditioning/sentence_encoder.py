"""Sentences to vectors: DistilBERT, its last states averaged over the tokens of the text.

DistilBERT stands for language in stage 1 of the DexVLA paper, as in DROID's diffusion policy (Khazatsky et
al. 2024). The mean over tokens is the pooling by which Reimers & Gurevych 2019 (Sentence-BERT) found BERT to
compare sentences best; a model that is not fine-tuned for it says little in its [CLS] state.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import DistilBertModel, PreTrainedTokenizerFast

from dexvla_model.conditioning.config import SentenceEncoderConfig
from dexvla_model.errors import UserError
from dexvla_model.fusion import masked_mean


class SentenceEncoder(nn.Module):
    """Texts -> sentence vectors (B, D)."""

    def __init__(self, config: SentenceEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.distilbert = DistilBertModel(config.to_transformers())
        if config.frozen:
            self.distilbert.requires_grad_(False)

    def forward(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
        """Sentence vectors (B, D) of B texts; each different text is read once.

        Raises:
            UserError: a text has more tokens than the encoder takes, or none.
        """
        different = list(dict.fromkeys(texts))
        device = self.distilbert.embeddings.word_embeddings.weight.device
        ids, mask = self._tokenise(different, tokenizer)
        ids, mask = ids.to(device), mask.to(device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            states = self.distilbert(input_ids=ids, attention_mask=mask).last_hidden_state
        place = {text: index for index, text in enumerate(different)}
        rows = torch.tensor([place[text] for text in texts], device=device)
        return masked_mean(states, mask.bool())[rows]

    def _tokenise(
        self, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (B, L), padded on the right; the tokenizer's special tokens ([CLS], [SEP]) stand."""
        read = tokenizer(list(texts), return_attention_mask=False, return_token_type_ids=False)
        of_texts = read["input_ids"]
        longest = self.config.max_tokens
        for text, ids in zip(texts, of_texts, strict=True):
            if not ids:
                raise UserError("the instruction is empty: say what to do.")
            if len(ids) > longest:
                raise UserError(
                    f"the text {text[:40]!r}... has {len(ids)} tokens, the sentence encoder takes {longest}: "
                    "shorten the instruction."
                )
        length = max(len(ids) for ids in of_texts)
        padded = torch.full((len(of_texts), length), self.config.pad_token_id)
        mask = torch.zeros((len(of_texts), length), dtype=torch.long)
        for row, ids in enumerate(of_texts):
            padded[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        return padded, mask


def sentence_of(instruction: str, sub_step: str = "") -> str:
    """What the sentence encoder reads: the instruction, and a sub-step as the second sentence."""
    instruction = instruction.strip()
    return f"{instruction.rstrip('.')}. {sub_step.strip()}" if sub_step.strip() else instruction
