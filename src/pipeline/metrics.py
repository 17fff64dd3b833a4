"""Your own metrics, for ``gate.metric``, ``gate.minimums`` and ``report`` of ``config/pipeline.yaml``.

Scikit-learn's are known by their names already (``src/training/catalogue.py``). One of your own is a function of

    y_true          (n,) what is true: class names, or the numbers of a regression
    answers         (n,) what the model answers, of the same kind
    probabilities   (n, classes), the classes in sorted order; None for a regression
    sample_weight   (n,) how much each row counts

and returns one number. It must be defined for every row that is held out; where the classes matter, take them from
here, not from ``y_true``, as a part of the rows may lack one. For instance, what errors cost where a missed customer
is ten times as dear as a call in vain::

    def cost(y_true, answers, probabilities, sample_weight):
        missed = (y_true == "yes") & (answers == "no")
        in_vain = (y_true == "no") & (answers == "yes")
        return float(np.average(10.0 * missed + 1.0 * in_vain, weights=sample_weight))

    METRICS = {"cost": Metric("cost", cost, greater_is_better=False)}

With ``gate: {metric: cost, floor: 0.4}`` the floor of a metric of which less is better is a ceiling.
"""

from src.training.scoring import Metric

METRICS: dict[str, Metric] = {}
