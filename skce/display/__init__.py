"""Pictures of fitted estimators, by matplotlib."""

from skce.display._coefficients import CoefficientDisplay
from skce.display._loss_curve import LossCurveDisplay
from skce.display._threshold import ThresholdDisplay

__all__ = ["CoefficientDisplay", "LossCurveDisplay", "ThresholdDisplay"]
