"""What a user meets: the estimators, their inputs and what they publish.

`validation` checks X, y and weights and alone touches scikit-learn's private names; `targets` codes
the classes, `base` has fit and partial_fit, `predict` the logits of new rows.

Imports all rooms below it and `losses`. Only `metrics` and the package itself may import it.
"""
