"""Your own metrics, for ``gate.metric``, ``gate.minimums`` and ``report`` of ``config/pipeline.yaml``.

Scikit-learn's metrics are available by name (``src/training/catalogue.py``). Your own metric is a function of

    y_true          (n,) the true class names, or numbers for a regression
    predictions     (n,) the model's predictions, of the same type
    probabilities   (n, classes), the classes in sorted order; None for a regression
    sample_weight   (n,) the weight of each row

that returns one number. It is also called with parts of the holdout, which may lack a class: list the classes in the
function rather than taking them from ``y_true``. For example, the cost of errors where a missed customer costs ten
times as much as an unnecessary call::

    def cost(y_true, predictions, probabilities, sample_weight):
        missed = (y_true == "yes") & (predictions == "no")
        unnecessary = (y_true == "no") & (predictions == "yes")
        return float(np.average(10.0 * missed + 1.0 * unnecessary, weights=sample_weight))

    METRICS = {"cost": Metric("cost", cost, greater_is_better=False)}

For a metric where lower is better, the floor is an upper limit: ``gate: {metric: cost, floor: 0.4}``.
"""

from src.training.scoring import Metric

METRICS: dict[str, Metric] = {}
