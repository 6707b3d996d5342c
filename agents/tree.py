"""Decision trees: flat arrays and the numpy that walks them, many observations at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tierenv.agents.policy import Array

LEAF = -1
"""In place of a feature and of both children."""


@dataclass(frozen=True)
class DecisionTree:
    """A binary tree: in every inner node, `x[feature] <= threshold` goes left.

    Node 0 is the root, and a child has a greater index than its parent. Raises ValueError unless the arrays are such
    a tree, so that a walk through one that exists always ends in a leaf.
    """

    num_features: int
    """Length of an observation."""
    feature: NDArray[np.int32]
    """int32[nodes]: what an inner node looks at, -1 in a leaf."""
    threshold: Array
    """float32[nodes], in the observation's scaling; 0 in a leaf."""
    left: NDArray[np.int32]
    """int32[nodes]: child, -1 in a leaf."""
    right: NDArray[np.int32]
    """int32[nodes]: child, -1 in a leaf."""
    value: Array
    """float32[nodes, T]: a leaf's action in [-1, 1]; 0 in an inner node."""

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        kinds = {"feature": np.int32, "threshold": np.float32, "left": np.int32, "right": np.int32, "value": np.float32}
        for name, kind in kinds.items():
            array = getattr(self, name)
            rank = 2 if name == "value" else 1
            if array.dtype != kind or array.ndim != rank or len(array) != nodes:
                shape = f"[{nodes}, T]" if name == "value" else f"[{nodes}]"
                raise ValueError(f"{name}: must be {np.dtype(kind)}{shape}, got {array.dtype}{list(array.shape)}")
        if nodes % 2 == 0:
            raise ValueError(f"feature: a tree has an odd number of nodes, got {nodes}")
        leaf = self.is_leaf
        if not ((self.feature >= LEAF) & (self.feature < self.num_features)).all():
            raise ValueError(f"feature: must be -1 to {self.num_features - 1}")
        if not (np.isfinite(self.threshold).all() and (np.abs(self.value) <= 1).all()):
            raise ValueError("threshold and value: must be finite, value in [-1, 1]")
        children = np.stack((self.left, self.right))[:, ~leaf]
        if (np.stack((self.left, self.right))[:, leaf] != LEAF).any() or self.threshold[leaf].any():
            raise ValueError("left, right, threshold: must be -1, -1 and 0 in a leaf")
        if self.value[~leaf].any():
            raise ValueError("value: must be 0 in an inner node")
        is_each_once = np.array_equal(np.sort(children, axis=None), np.arange(1, nodes))
        if not is_each_once or (children <= np.flatnonzero(~leaf)).any():
            raise ValueError("left, right: every node but the first must be the child of one node before it")

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """bool[nodes]."""
        return self.feature == LEAF

    @property
    def num_actions(self) -> int:
        """T, coordinates of an action."""
        return self.value.shape[1]

    @property
    def num_leaves(self) -> int:
        """Different actions it can give."""
        return int(self.is_leaf.sum())

    @property
    def depth(self) -> int:
        """Comparisons on the longest way to a leaf."""
        depth = np.zeros(len(self.feature), np.int64)
        for node in np.flatnonzero(~self.is_leaf):
            depth[[self.left[node], self.right[node]]] = depth[node] + 1
        return int(depth.max())

    def __call__(self, observation: Array) -> Array:
        """Actions float32[n, T] for observations float32[n, columns]."""
        return self.value[self.leaf_of(observation)]

    def leaf_of(self, observation: Array) -> NDArray[np.intp]:
        """Index of the leaf each observation ends in."""
        node = np.zeros(len(observation), np.intp)
        walking = np.flatnonzero(~self.is_leaf[node])
        while len(walking):
            here = node[walking]
            goes_left = observation[walking, self.feature[here]] <= self.threshold[here]
            node[walking] = np.where(goes_left, self.left[here], self.right[here])
            walking = walking[~self.is_leaf[node[walking]]]
        return node

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """What weights.safetensors holds, by name."""
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left,
            "right": self.right,
            "value": self.value,
        }
