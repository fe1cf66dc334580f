"""Connected components of a graph whose nodes are the integers 0..n-1."""

import numpy as np
from scipy.sparse import coo_array


def components(nodes: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Connected components, int64 (nodes,), each named by its smallest node."""
    from scipy.sparse.csgraph import connected_components  # imports a seventh of a second of linear algebra

    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(nodes, nodes))
    _, label = connected_components(graph, directed=False)
    smallest = np.full(nodes, nodes, dtype=np.int64)
    np.minimum.at(smallest, label, np.arange(nodes))
    return smallest[label]
