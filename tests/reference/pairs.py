"""Counts the bigrams of text files with a shipped tokenizer, for the test of the shipped bigram table.

    python tests/reference/pairs.py checkpoints/bigram/tokenizer.json tests/fixtures/austen-pairs.tsv emma.txt ...

The texts are the ones that checkpoints/README.md names, as Jane Austen wrote them. The table was trained on them with
the names made up, so only pairs of small words and stops are written. Needs `tokenizers`.
"""

import re
import sys
from collections import Counter

from tokenizers import Tokenizer

# How many of the most frequent pairs are written.
PAIRS = 3000
# A word in small letters from its start, or a stop.
WORD = re.compile(" [a-z]+|[,.;:!?]")


def tidy(text):
    """Lines of a paragraph joined by spaces, a line break and a space between paragraphs, as the trainer has them."""
    paragraphs = text.split("\n\n")
    return "\n ".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())


def main():
    tokenizer_file, out, *texts = sys.argv[1:]
    tokenizer = Tokenizer.from_file(tokenizer_file)
    pairs, alone = Counter(), Counter()
    for text in texts:
        with open(text, encoding="utf-8") as file:
            ids = tokenizer.encode(tidy(file.read()), add_special_tokens=False).ids
        pairs.update(zip(ids, ids[1:]))
        alone.update(ids[:-1])
    word = {id: WORD.fullmatch(tokenizer.decode([id])) is not None for id in alone}
    pairs = Counter({pair: count for pair, count in pairs.items() if all(word.get(id) for id in pair)})
    rows = sorted((first, second, count, alone[first]) for (first, second), count in pairs.most_common(PAIRS))
    with open(out, "w", encoding="utf-8") as file:
        file.write("first\tsecond\tpair\tfirst_alone\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)


main()
