"""Cross-entropy linear models for scikit-learn."""

from importlib.metadata import version
from pathlib import Path

from skce import inference, losses, metrics, optim
from skce._estimators.label_temperature import LabelTemperature
from skce._estimators.multilabel import MultiLabelLogistic
from skce._estimators.multilabel_cv import MultiLabelLogisticCV
from skce._estimators.multinomial import MultinomialLogistic
from skce._estimators.multinomial_cv import MultinomialLogisticCV
from skce._estimators.parts import Parts
from skce._estimators.path import path
from skce._estimators.penalty import alpha_from_C
from skce._estimators.persistence import InconsistentVersionWarning
from skce.display import (
    CoefficientDisplay,
    CVDisplay,
    LossCurveDisplay,
    PathDisplay,
    ThresholdDisplay,
)

__all__ = [
    "CVDisplay",
    "CoefficientDisplay",
    "InconsistentVersionWarning",
    "LabelTemperature",
    "LossCurveDisplay",
    "MultiLabelLogistic",
    "MultiLabelLogisticCV",
    "MultinomialLogistic",
    "MultinomialLogisticCV",
    "Parts",
    "PathDisplay",
    "ThresholdDisplay",
    "alpha_from_C",
    "get_include",
    "inference",
    "losses",
    "metrics",
    "optim",
    "path",
    "show_versions",
]

__version__ = version("skce")

for public in (
    *(InconsistentVersionWarning, MultiLabelLogistic, MultinomialLogistic),
    *(MultiLabelLogisticCV, MultinomialLogisticCV, LabelTemperature, Parts),
):
    public.__module__ = "skce"  # the path that files of models keep
del public


def get_include():
    """Return the folder of the C headers and .pxd files, for packages that cimport skce._kernels.

    Returns
    -------
    path : str
        The installed package's folder.

    Examples
    --------
    >>> import os
    >>> from skce import get_include
    >>> "_kernels" in os.listdir(get_include())
    True
    """
    return str(Path(__file__).parent)


def show_versions():
    """Print the versions of skce and of what it runs on, the kernels' CPU level, OpenMP and BLAS.

    Examples
    --------
    >>> from skce import show_versions
    >>> show_versions()  # doctest: +ELLIPSIS
    skce ...
    """
    import platform

    import threadpoolctl

    from skce._kernels import cpu

    print(f"skce {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn")))
    threads = cpu.max_threads()
    print(f"kernels: {cpu.level}, {f'OpenMP, {threads} threads' if threads else 'no OpenMP'}")
    for library in threadpoolctl.threadpool_info():
        parts = (library["internal_api"], library.get("version"), library.get("architecture"))
        print(" ".join(str(part) for part in parts if part), f"({library['num_threads']} threads)")
