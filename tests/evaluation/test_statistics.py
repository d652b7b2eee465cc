import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from medlib.errors import DataError, UsageError
from medlib.evaluation.statistics import (
    Interval,
    auc_interval,
    auc_test,
    bootstrap_interval,
    crossed_bootstrap,
    macro_auc_interval,
    mean_of_proportions,
    wilson_interval,
)


def binormal(rng, n_positive, n_negative, separation, decimals=None):
    """Scores of two normal populations; their true AUC is Phi(separation / sqrt 2)."""
    labels = np.repeat([1, 0], [n_positive, n_negative])
    scores = rng.normal(size=len(labels)) + separation * labels
    return labels, scores if decimals is None else scores.round(decimals)


def brute_force_delong(labels, *scores):
    """Areas and their covariance from every pair of images, as the 1988 paper writes them."""
    areas, of_positives, of_negatives = [], [], []
    for values in scores:
        positive, negative = values[labels == 1][:, None], values[labels == 0][None, :]
        pairs = (positive > negative) + 0.5 * (positive == negative)
        areas.append(pairs.mean())
        of_positives.append(pairs.mean(axis=1))
        of_negatives.append(pairs.mean(axis=0))
    m, n = pairs.shape
    return areas, np.cov(of_positives) / m + np.cov(of_negatives) / n


labelled_scores = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-4, 4)), min_size=6, max_size=60
).filter(lambda rows: 2 <= sum(label for label, _ in rows) <= len(rows) - 2)


class TestAucInterval:
    @given(labelled_scores)
    def test_value_is_the_area_under_scikit_learns_curve(self, rows):
        labels, scores = np.array(rows).T
        interval = auc_interval(labels, scores)
        assert interval.value == pytest.approx(roc_auc_score(labels, scores))
        assert 0 <= interval.low <= interval.value + 1e-12
        assert interval.value - 1e-12 <= interval.high <= 1

    @pytest.mark.parametrize("decimals", [None, 0], ids=["no ties", "many ties"])
    def test_interval_is_brute_force_delong_on_the_logit_scale(self, decimals):
        labels, scores = binormal(np.random.default_rng(3), 30, 50, 1.2, decimals)
        (area,), variance = brute_force_delong(labels, scores)
        margin = stats.norm.ppf(0.975) * np.sqrt(variance) / (area * (1 - area))
        expected = 1 / (1 + np.exp(-(np.log(area / (1 - area)) + np.array([-margin, margin]))))
        interval = auc_interval(labels, scores)
        assert (interval.low, interval.high) == pytest.approx(expected)
        assert interval.n == 80

    def test_covers_the_true_area_19_times_in_20(self):
        # the size of BreastMNIST's test set and an area that networks reach on it
        rng, separation = np.random.default_rng(0), 2.0
        truth = stats.norm.cdf(separation / np.sqrt(2))
        intervals = [auc_interval(*binormal(rng, 42, 114, separation)) for _ in range(2000)]
        coverage = np.mean([one.low <= truth <= one.high for one in intervals])
        assert 0.93 <= coverage <= 0.975

    def test_agrees_with_the_bootstrap(self):
        labels, scores = binormal(np.random.default_rng(1), 150, 250, 1.5)
        delong = auc_interval(labels, scores)
        bootstrap = bootstrap_interval(roc_auc_score, labels, scores, n_resamples=1000)
        assert bootstrap.value == pytest.approx(delong.value)
        width = delong.high - delong.low
        assert bootstrap.low == pytest.approx(delong.low, abs=0.12 * width)
        assert bootstrap.high == pytest.approx(delong.high, abs=0.12 * width)

    def test_reversing_the_scores_mirrors_the_interval(self):
        labels, scores = binormal(np.random.default_rng(2), 20, 30, 1.0)
        interval, mirrored = auc_interval(labels, scores), auc_interval(labels, -scores)
        assert mirrored.value == pytest.approx(1 - interval.value)
        assert mirrored.low == pytest.approx(1 - interval.high)

    def test_perfect_separation_of_a_few_images_is_no_certainty(self):
        labels = np.array([0, 0, 0, 0, 1, 1, 1])
        interval = auc_interval(labels, labels.astype(float))
        assert interval.high == interval.value == 1
        # three disjoint pairs, all in order: the exact binomial bound
        exact = binomtest(3, 3).proportion_ci(0.95, method="exact").low
        assert interval.low == pytest.approx(exact)
        assert auc_interval(labels, -labels).high == pytest.approx(1 - exact)

    def test_one_image_of_a_class_says_nothing(self):
        interval = auc_interval(np.array([0, 0, 0, 1]), np.array([0.1, 0.2, 0.6, 0.5]))
        assert (interval.low, interval.high) == (0, 1)

    def test_constant_scores_are_exactly_chance(self):
        interval = auc_interval(np.array([0, 0, 1, 1]), np.full(4, 0.3))
        assert (interval.low, interval.value, interval.high) == (0.5, 0.5, 0.5)

    @pytest.mark.parametrize(
        ("labels", "scores", "named"),
        [
            ([1, 1, 1], [0.1, 0.2, 0.3], "only class 1"),
            ([], [], "no images"),
            ([0, 1, 1], [0.1, np.nan, 0.3], "row 1"),
            ([0, 1, 1], [0.1, 0.3], "shapes"),
            ([0, 1, 2], [0.1, 0.2, 0.3], "0 and 1"),
            ([0, 1], [[0.1, 0.9], [0.2, 0.8]], "shape"),
        ],
    )
    def test_refuses(self, labels, scores, named):
        with pytest.raises(DataError, match=named):
            auc_interval(np.array(labels), np.array(scores))

    def test_refuses_a_confidence_in_percent(self):
        with pytest.raises(UsageError, match="between 0 and 1"):
            auc_interval(np.array([0, 0, 1, 1]), np.array([1, 3, 2, 4]), confidence=95)


class TestMacroAuc:
    def setup_method(self):
        rng = np.random.default_rng(4)
        self.labels = rng.integers(3, size=300)
        raw = rng.random((300, 3)) + np.eye(3)[self.labels] * 0.6
        self.probabilities = raw / raw.sum(axis=1, keepdims=True)

    def test_value_is_scikit_learns_macro_average(self):
        expected = roc_auc_score(self.labels, self.probabilities, multi_class="ovr")
        assert macro_auc_interval(self.labels, self.probabilities).value == pytest.approx(expected)

    def test_interval_agrees_with_the_bootstrap(self):
        def macro(labels, probabilities):
            return roc_auc_score(labels, probabilities, multi_class="ovr")

        arrays = self.labels, self.probabilities
        bootstrap = bootstrap_interval(macro, *arrays, n_resamples=400)
        delong = macro_auc_interval(*arrays)
        width = delong.high - delong.low
        assert bootstrap.low == pytest.approx(delong.low, abs=0.15 * width)
        assert bootstrap.high == pytest.approx(delong.high, abs=0.15 * width)

    def test_two_classes_are_the_binary_case(self):
        labels, scores = binormal(np.random.default_rng(5), 30, 40, 1.0)
        probabilities = np.stack([1 - stats.norm.cdf(scores), stats.norm.cdf(scores)], axis=1)
        macro, binary = macro_auc_interval(labels, probabilities), auc_interval(labels, scores)
        assert (macro.value, macro.low, macro.high) == pytest.approx(
            (binary.value, binary.low, binary.high)
        )

    def test_a_class_without_images_is_left_out(self):
        wider = np.column_stack([self.probabilities, np.zeros(300)])
        assert macro_auc_interval(self.labels, wider) == macro_auc_interval(
            self.labels, self.probabilities
        )


class TestPairedTest:
    def correlated(self, rng, n_positive=60, n_negative=90, better=0.0):
        labels = np.repeat([1, 0], [n_positive, n_negative])
        shared = rng.normal(size=len(labels)) + labels
        first = shared + 0.7 * rng.normal(size=len(labels)) + better * labels
        return labels, first, shared + 0.7 * rng.normal(size=len(labels))

    def test_is_brute_force_delong(self):
        labels, first, second = self.correlated(np.random.default_rng(6))
        areas, covariance = brute_force_delong(labels, first, second)
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        test = auc_test(labels, first, second)
        assert test.difference.value == pytest.approx(areas[0] - areas[1])
        z = (areas[0] - areas[1]) / np.sqrt(variance)
        assert test.p_value == pytest.approx(2 * stats.norm.sf(abs(z)))

    def test_finds_a_difference_that_is_not_there_once_in_20(self):
        rng = np.random.default_rng(7)
        p_values = [auc_test(*self.correlated(rng)).p_value for _ in range(1500)]
        assert 0.035 <= np.mean(np.array(p_values) < 0.05) <= 0.065

    def test_finds_a_difference_that_is_there(self):
        test = auc_test(*self.correlated(np.random.default_rng(8), 300, 300, better=1.0))
        assert test.p_value < 0.001
        assert test.difference.low > 0

    def test_same_scores_do_not_differ(self):
        labels, first, _ = self.correlated(np.random.default_rng(9))
        test = auc_test(labels, first, first)
        assert test.p_value == 1
        assert (test.difference.low, test.difference.high) == (0, 0)

    def test_perfect_against_constant_on_few_images_is_weak_evidence(self):
        labels = np.array([0, 0, 0, 1, 1, 1])
        test = auc_test(labels, labels.astype(float), np.zeros(6))
        assert test.p_value == pytest.approx(0.25)
        assert test.difference.low < 0 < test.difference.high

    def test_refuses_a_single_positive(self):
        with pytest.raises(DataError, match="1 and 2"):
            auc_test(np.array([0, 0, 1]), np.array([1, 2, 3]), np.array([3, 2, 1]))


class TestProportions:
    @given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_wilson_is_scipys(self, counts):
        successes, n = counts
        interval = wilson_interval(successes, n)
        oracle = binomtest(successes, n).proportion_ci(method="wilson")
        assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)
        assert interval.value == successes / n

    def test_wilson_of_nothing_is_undefined(self):
        assert np.isnan([wilson_interval(0, 0).value, wilson_interval(0, 0).low]).all()

    def test_wilson_refuses_more_successes_than_trials(self):
        with pytest.raises(DataError, match="found 7"):
            wilson_interval(7, 5)

    def test_mean_of_proportions_covers_the_true_mean(self):
        rng, shares, sizes = np.random.default_rng(10), np.array([0.95, 0.6]), np.array([30, 90])
        hits = 0
        for _ in range(3000):
            counts = rng.binomial(sizes, shares)
            parts = [wilson_interval(int(k), int(n)) for k, n in zip(counts, sizes, strict=True)]
            interval = mean_of_proportions(parts)
            hits += interval.low <= shares.mean() <= interval.high
        assert 0.935 <= hits / 3000 <= 0.965

    def test_mean_of_one_proportion_is_that_proportion(self):
        part = wilson_interval(7, 9)
        mean = mean_of_proportions([part, wilson_interval(0, 0)])
        assert (mean.value, mean.low, mean.high) == pytest.approx((part.value, part.low, part.high))


class TestBootstrap:
    def test_same_seed_same_interval(self):
        values = np.random.default_rng(11).normal(size=50)
        one, same, other = (bootstrap_interval(np.mean, values, seed=seed) for seed in (0, 0, 1))
        assert one == same
        assert one != other

    def test_of_a_mean_is_near_the_normal_one(self):
        values = np.random.default_rng(12).normal(size=400)
        interval = bootstrap_interval(np.mean, values)
        margin = 1.96 * values.std() / 20
        assert interval.low == pytest.approx(values.mean() - margin, abs=0.1 * margin)
        assert interval.high == pytest.approx(values.mean() + margin, abs=0.1 * margin)

    def test_drawing_subjects_covers_where_drawing_images_does_not(self):
        # 40 subjects with 8 almost equal images each: hardly more information than 40 images
        rng = np.random.default_rng(13)
        groups = np.repeat(np.arange(40).astype(str), 8)
        hits = {"subjects": 0, "images": 0}
        for _ in range(200):
            values = np.repeat(rng.normal(size=40), 8) + 0.3 * rng.normal(size=320)
            for unit, given_groups in (("subjects", groups), ("images", None)):
                one = bootstrap_interval(np.mean, values, groups=given_groups, n_resamples=200)
                hits[unit] += one.low <= 0 <= one.high
        assert 0.89 <= hits["subjects"] / 200 <= 0.99
        assert hits["images"] / 200 < 0.7

    @settings(max_examples=30)
    @given(st.lists(st.integers(0, 5), min_size=2, max_size=30))
    def test_a_drawn_subject_brings_all_its_images(self, subjects):
        groups = np.array(subjects).astype(str)
        sizes = {group: int((groups == group).sum()) for group in np.unique(groups)}

        def check(drawn):
            names, counts = np.unique(drawn, return_counts=True)
            assert all(count % sizes[name] == 0 for name, count in zip(names, counts, strict=True))
            return 0.0

        bootstrap_interval(check, groups, groups=groups, n_resamples=5)

    def test_says_when_resamples_are_undefined(self):
        with pytest.raises(DataError, match="too few images"):
            bootstrap_interval(lambda values: np.nan, np.ones(5), n_resamples=10)

    def test_refuses_lengths_that_differ(self):
        with pytest.raises(DataError, match="lengths"):
            bootstrap_interval(np.mean, np.ones(5), groups=np.array(["a"] * 4))


def test_an_interval_reads_like_in_a_paper():
    assert str(Interval(0.9123, 0.8808, 0.9377, 156)) == "0.912 [0.881, 0.938]"


def accuracies(rng, n_seeds, n_subjects, images=2):
    """Right answers, (seeds, images): a subject, a seed and their meeting each move the odds."""
    odds = 0.8 + rng.normal(0, 1, (1, n_subjects)) + rng.normal(0, 0.4, (n_seeds, 1))
    odds = odds + rng.normal(0, 0.5, (n_seeds, n_subjects))
    right = rng.random((n_seeds, n_subjects, images)) < 1 / (1 + np.exp(-odds[..., None]))
    return right.reshape(n_seeds, -1).astype(float), np.repeat(np.arange(n_subjects), images)


def share_right(labels, right):
    return right.mean()


@pytest.mark.parametrize(("n_seeds", "n_subjects"), [(5, 40), (10, 40)])
def test_an_interval_over_seeds_and_subjects_covers_the_truth(n_seeds, n_subjects):
    rng = np.random.default_rng(0)
    truth = np.mean([accuracies(rng, 400, 400)[0].mean() for _ in range(10)])
    covered, percentile = 0, 0
    for _ in range(300):
        right, subjects = accuracies(rng, n_seeds, n_subjects)
        labels = np.zeros(len(subjects))
        found = crossed_bootstrap(share_right, labels, right, subjects=subjects, n_resamples=150)
        covered += found.low <= truth <= found.high
        alone = bootstrap_interval(share_right, labels, right[0], groups=subjects, n_resamples=150)
        percentile += alone.low <= truth <= alone.high
    assert covered / 300 > 0.935
    assert percentile / 300 < 0.93  # one seed with its subjects alone is surer than it may be


def test_paired_differences_take_the_same_subjects_and_seeds():
    rng = np.random.default_rng(1)
    right, subjects = accuracies(rng, 6, 30)
    both = np.stack([right, right], axis=-1)
    found = crossed_bootstrap(
        lambda labels, pair: (pair[:, 1] - pair[:, 0]).mean(),
        np.zeros(len(subjects)),
        both,
        subjects=subjects,
        n_resamples=100,
    )
    assert (found.value, found.low, found.high) == (0, 0, 0)
    with pytest.raises(DataError, match="two seeds and two subjects"):
        crossed_bootstrap(share_right, subjects, right[:1], subjects=subjects)
