"""A CLIP tokenizer with one token for each word of a small world."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORD = re.compile(r"[^\W\d_]+")
"""What the tokenizer takes for a word: a run of letters."""


def byte_symbols() -> list[str]:
    """The 256 printable characters that stand for bytes in byte-level BPE, in the order of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _apply(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding of one word: joins its best known pair, everywhere it stands, until none is known."""
    while True:
        pairs = [pair for pair in pairwise(symbols) if pair in ranks]
        if not pairs:
            return symbols
        best = min(pairs, key=ranks.__getitem__)
        joined: list[str] = []
        for symbol in symbols:
            if joined and (joined[-1], symbol) == best:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        symbols = joined


def word_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Merges under which each word becomes one token.

    A merge added for a later word has the lowest rank, so it cannot disturb an earlier word, which always has a better
    pair to join until it is whole.
    """
    table = byte_symbols()
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        letters = [table[byte] for byte in word.lower().encode()]
        symbols = [*letters[:-1], letters[-1] + "</w>"]
        while len(symbols := _apply(symbols, ranks)) > 1:
            ranks[symbols[0], symbols[1]] = len(ranks)
    return list(ranks)


def word_tokenizer(words: Iterable[str], tokens: int) -> CLIPTokenizer:
    """A CLIPTokenizer with one token for each of `words`, spelling the rest; a text has at most `tokens` tokens."""
    merges = word_merges(dict.fromkeys(words))
    symbols = byte_symbols()
    entries = [*symbols, *(symbol + "</w>" for symbol in symbols), *(a + b for a, b in merges), START, END]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=tokens)  # pyright: ignore
