"""Content: items whose words are those of what the user bought lately (TF-IDF); a new item has a place at once."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from customer360.models.recommenders.log import Log
from customer360.models.recommenders.scoring import Family, Scorer, Vectors, normalized

HALF_LIFE = 180.0
VOCABULARY = 20_000
TOKEN = r"(?u)\b\w[\w']*\b"


def fit(log: Log) -> dict[str, Scorer]:
    """Words and pairs of words, rare ones weighing more; a user is the fading sum of their items."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    assert log.texts is not None
    vectorizer = TfidfVectorizer(
        max_features=VOCABULARY, ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN, dtype=np.float32
    )
    words = sparse.csr_array(vectorizer.fit_transform(log.texts.to_list()))
    return {"content": Vectors(normalized(sparse.csr_array(log.matrix(HALF_LIFE) @ words)), words)}


def _skip(log: Log) -> str | None:
    if log.texts is None or not log.texts.str.contains(r"\w").any():
        return "the log has no item_text"
    return None


FAMILY = Family("content", fit, _skip)
