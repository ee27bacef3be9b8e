"""A linear probe: multinomial logistic regression on standardised features, by scikit-learn."""

import importlib.util
import warnings
from typing import Any

import numpy as np

from transformer_zoo.errors import ConfigError


def require_scikit_learn() -> None:
    """Refuses to begin what scikit-learn will be needed for.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigError("evaluation=probe fits its probes with the package 'scikit-learn', which is not installed: pip install scikit-learn")


class LinearProbe:
    """Fits classes [N] to features [N,D] by L-BFGS from zero, which draws nothing: the same data gives the same probe.

    `strength` is scikit-learn's C: the weight of the data's summed loss against the L2 penalty.
    """

    def __init__(self, features: np.ndarray, classes: np.ndarray, *, strength: float, max_iterations: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self._pipeline: Any = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=max_iterations))
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", ConvergenceWarning)
            self._pipeline.fit(features.astype(np.float64), classes)
        self.converged = not raised
        """Whether the solver came to an end before `max_iterations`."""

    def tell(self, features: np.ndarray) -> np.ndarray:
        """The likeliest class of each row, [N]."""
        told: np.ndarray = self._pipeline.predict(features.astype(np.float64))
        return told
