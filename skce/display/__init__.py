"""Pictures of fitted estimators, by matplotlib."""

from skce.display._coefficients import CoefficientDisplay
from skce.display._cv import CVDisplay
from skce.display._loss_curve import LossCurveDisplay
from skce.display._path import PathDisplay
from skce.display._threshold import ThresholdDisplay

__all__ = ["CVDisplay", "CoefficientDisplay", "LossCurveDisplay", "PathDisplay", "ThresholdDisplay"]
