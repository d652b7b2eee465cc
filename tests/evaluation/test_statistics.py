import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from medlib.errors import DataError
from medlib.evaluation.statistics import (
    Interval,
    area_under_curve,
    auc_interval,
    auc_test,
    balanced_accuracy_interval,
    bootstrap_interval,
    proportion_interval,
    seeds_and_patients_interval,
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
    parts = np.cov(of_positives) / m, np.cov(of_negatives) / n
    return areas, sum(parts), parts


def satterthwaite(parts, sizes):
    return sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, sizes, strict=True))


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
        (area,), variance, parts = brute_force_delong(labels, scores)
        quantile = stats.t.ppf(0.975, satterthwaite(parts, (30, 50)))
        margin = quantile * np.sqrt(variance) / (area * (1 - area))
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

    def test_constant_scores_are_chance_but_not_for_certain(self):
        interval = auc_interval(np.array([0, 0, 1, 1]), np.full(4, 0.3))
        assert interval.value == 0.5
        assert interval.high - interval.low > 0.5

    def test_several_images_a_subject_are_brute_force_obuchowski(self):
        # two images each: the components of a subject are added before they are squared
        labels, scores = binormal(np.random.default_rng(3), 30, 50, 1.2)
        subjects = np.arange(80) // 2
        pairs = scores[:30, None] > scores[None, 30:]
        area, variance = pairs.mean(), 0
        for component, n in ((pairs.mean(axis=1), 30), (pairs.mean(axis=0), 50)):
            sums = component.reshape(-1, 2).sum(axis=1) - 2 * area
            variance += (sums @ sums) * (n / 2) / (n / 2 - 1) / n**2
        interval = auc_interval(labels, scores, subjects=subjects)
        logit = stats.logistic.ppf([interval.low, area, interval.high])
        assert logit[2] - logit[1] == pytest.approx(logit[1] - logit[0])
        quantile = (logit[2] - logit[1]) * area * (1 - area) / np.sqrt(variance)
        assert stats.t.ppf(0.975, 38) < quantile < stats.t.ppf(0.975, 14)

    def test_copies_of_images_do_not_narrow_it(self):
        labels, scores = binormal(np.random.default_rng(3), 15, 25, 1.2)
        once = auc_interval(labels, scores)
        copied = auc_interval(
            np.repeat(labels, 7), np.repeat(scores, 7), subjects=np.repeat(np.arange(40), 7)
        )
        assert (copied.low, copied.high) == pytest.approx((once.low, once.high))

    @pytest.mark.parametrize(
        ("labels", "scores", "named"),
        [
            ([1, 1, 1], [0.1, 0.2, 0.3], "only class 1"),
            ([], [], "at least one"),
            ([0, 1, 1], [0.1, np.nan, 0.3], "row 1"),
            ([0, 1, 1], [0.1, 0.3], "shapes"),
            ([0, 1, 2], [0.1, 0.2, 0.3], "0 to 1"),
            ([0, 1], [[[0.1], [0.9]], [[0.2], [0.8]]], "shape"),
        ],
    )
    def test_refuses(self, labels, scores, named):
        with pytest.raises(DataError, match=named):
            auc_interval(np.array(labels), np.array(scores))


class TestMacroAuc:
    def setup_method(self):
        rng = np.random.default_rng(4)
        self.labels = rng.integers(3, size=300)
        raw = rng.random((300, 3)) + np.eye(3)[self.labels] * 0.6
        self.probabilities = raw / raw.sum(axis=1, keepdims=True)

    def test_value_is_scikit_learns_macro_average(self):
        expected = roc_auc_score(self.labels, self.probabilities, multi_class="ovr")
        assert auc_interval(self.labels, self.probabilities).value == pytest.approx(expected)

    def test_interval_agrees_with_the_bootstrap(self):
        def macro(labels, probabilities):
            return roc_auc_score(labels, probabilities, multi_class="ovr")

        arrays = self.labels, self.probabilities
        bootstrap = bootstrap_interval(macro, *arrays, n_resamples=400)
        delong = auc_interval(*arrays)
        width = delong.high - delong.low
        assert bootstrap.low == pytest.approx(delong.low, abs=0.15 * width)
        assert bootstrap.high == pytest.approx(delong.high, abs=0.15 * width)

    def test_two_classes_are_the_binary_case(self):
        labels, scores = binormal(np.random.default_rng(5), 30, 40, 1.0)
        probabilities = np.stack([1 - stats.norm.cdf(scores), stats.norm.cdf(scores)], axis=1)
        macro, binary = auc_interval(labels, probabilities), auc_interval(labels, scores)
        assert (macro.value, macro.low, macro.high) == pytest.approx(
            (binary.value, binary.low, binary.high)
        )

    def test_a_class_without_images_is_left_out(self):
        wider = np.column_stack([self.probabilities, np.zeros(300)])
        assert auc_interval(self.labels, wider) == auc_interval(self.labels, self.probabilities)


class TestPairedTest:
    def correlated(self, rng, n_positive=60, n_negative=90, better=0.0):
        labels = np.repeat([1, 0], [n_positive, n_negative])
        shared = rng.normal(size=len(labels)) + labels
        first = shared + 0.7 * rng.normal(size=len(labels)) + better * labels
        return labels, first, shared + 0.7 * rng.normal(size=len(labels))

    def test_is_brute_force_delong(self):
        labels, first, second = self.correlated(np.random.default_rng(6))
        areas, covariance, parts = brute_force_delong(labels, first, second)
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        test = auc_test(labels, first, second)
        assert test.difference.value == pytest.approx(areas[0] - areas[1])
        parts = [part[0, 0] + part[1, 1] - 2 * part[0, 1] for part in parts]
        t = (areas[0] - areas[1]) / np.sqrt(variance)
        degrees = satterthwaite(parts, (60, 90))
        assert test.p_value == pytest.approx(2 * stats.t.sf(abs(t), degrees))

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

    def test_several_images_a_subject_are_no_extra_evidence(self):
        labels, first, second = self.correlated(np.random.default_rng(6), 20, 30)
        once = auc_test(labels, first, second)
        copied = (np.repeat(array, 5) for array in (labels, first, second, np.arange(50)))
        labels, first, second, subjects = copied
        again = auc_test(labels, first, second, subjects=subjects)
        assert again.p_value == pytest.approx(once.p_value)
        assert again.difference.low == pytest.approx(once.difference.low)
        assert auc_test(labels, first, second).p_value < once.p_value

    def test_two_perfect_models_on_few_images_may_still_differ(self):
        labels = np.array([0, 0, 0, 1, 1, 1])
        test = auc_test(labels, np.arange(6), np.array([2, 1, 0, 5, 4, 3]))
        assert (test.difference.value, test.p_value) == (0, 1)
        assert test.difference.low < -0.5

    def test_refuses_a_single_positive(self):
        with pytest.raises(DataError, match="two subjects or more of each class"):
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

    def test_independent_images_are_wilsons(self):
        correct = np.arange(30) < 21
        interval = proportion_interval(correct)
        oracle = binomtest(21, 30).proportion_ci(method="wilson")
        assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high))
        assert interval == proportion_interval(correct, subjects=np.arange(30).astype(str))

    @pytest.mark.parametrize("right", [0, 3, 5])
    def test_copies_of_an_image_count_once(self, right):
        correct, subjects = np.repeat(np.arange(5) < right, 40), np.repeat(np.arange(5), 40)
        interval, once = proportion_interval(correct, subjects=subjects), wilson_interval(right, 5)
        assert (interval.low, interval.high) == pytest.approx((once.low, once.high))

    def test_subjects_that_are_all_alike_are_no_certainty(self):
        interval = proportion_interval(np.tile([True, False], 4), subjects=np.arange(8) // 2)
        assert interval.value == 0.5
        assert interval.low < 0.25
        assert interval.high > 0.75

    def test_one_subject_says_nothing_about_others(self):
        interval = proportion_interval(np.arange(6) < 4, subjects=np.zeros(6))
        assert (interval.low, interval.high) == (0, 1)

    @pytest.mark.parametrize("shares", [(0.95, 0.6), (0.95, 0.95)])
    @pytest.mark.parametrize("sizes", [(7, 7), (30, 90)])
    def test_balanced_accuracy_covers_the_true_mean(self, shares, sizes):
        rng, labels = np.random.default_rng(10), np.repeat([0, 1], sizes)
        hits = 0
        for _ in range(1500):
            correct = rng.random(len(labels)) < np.array(shares)[labels]
            interval = balanced_accuracy_interval(correct, labels)
            hits += interval.low <= np.mean(shares) <= interval.high
        assert hits / 1500 >= 0.94

    def test_balanced_accuracy_of_one_class_is_its_exact_interval(self):
        interval = balanced_accuracy_interval(np.arange(9) < 7, np.ones(9, dtype=int))
        exact = binomtest(7, 9).proportion_ci(method="exact")
        assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high))

    def test_errors_shared_by_the_classes_of_a_subject_widen_balanced_accuracy(self):
        labels, correct = np.tile([0, 1], 20), np.repeat(np.arange(20) % 2 == 0, 2)
        subjects = np.repeat(np.arange(20), 2)
        shared = balanced_accuracy_interval(correct, labels, subjects=subjects)
        apart = balanced_accuracy_interval(correct, labels)
        assert shared.high - shared.low == pytest.approx(2**0.5 * (apart.high - apart.low))


class TestFewSubjects:
    """Several images a subject, alike: the bootstrap over subjects covered .86 to .92 here."""

    def coverage(self, interval_of, draw, truth, repetitions=400):
        rng = np.random.default_rng(21)
        intervals = [interval_of(*draw(rng)) for _ in range(repetitions)]
        return np.mean([one.low <= truth <= one.high for one in intervals])

    @pytest.mark.parametrize("n_subjects", [5, 8, 12])
    def test_proportion(self, n_subjects):
        def draw(rng):  # beta-binomial, intra-class correlation .7
            subjects = np.repeat(np.arange(n_subjects), rng.integers(1, 9, n_subjects))
            share = rng.beta(0.8 * 3 / 7, 0.2 * 3 / 7, n_subjects)
            return rng.random(len(subjects)) < share[subjects], subjects

        def interval_of(correct, subjects):
            return proportion_interval(correct, subjects=subjects)

        assert self.coverage(interval_of, draw, 0.8) >= 0.93

    @pytest.mark.parametrize("n_subjects", [5, 8, 12])
    def test_area(self, n_subjects):
        def draw(rng):  # random intercepts, intra-class correlation .7
            labels, subjects, scores = TestFewSubjects.clustered_scores(rng, n_subjects)
            return labels, scores, subjects

        def interval_of(labels, scores, subjects):
            return auc_interval(labels, scores, subjects=subjects)

        assert self.coverage(interval_of, draw, stats.norm.cdf(1.5 / np.sqrt(2))) >= 0.93

    @staticmethod
    def clustered_scores(rng, n_subjects):
        subjects = np.repeat(np.arange(n_subjects), rng.integers(1, 9, n_subjects))
        labels = (subjects % 2).astype(int)
        noise = 0.7**0.5 * rng.normal(size=n_subjects)[subjects]
        return labels, subjects, 1.5 * labels + noise + 0.3**0.5 * rng.normal(size=len(subjects))


class TestSeedsAndPatients:
    def draw(self, rng, n_seeds, n_subjects, difference=0.0):
        """Scores (seeds, images, 2) with effects of seed, patient and both; three images each."""
        subjects = np.repeat(np.arange(n_subjects), 3)
        labels = subjects % 2
        patient = rng.normal(size=n_subjects)[subjects] + rng.normal(size=len(subjects))
        scores = patient[None, :, None] + 0.5 * rng.normal(size=(n_seeds, len(subjects), 2))
        separation = 2 + 0.3 * rng.normal(size=(n_seeds, 1, 2)) + [difference, 0]
        return labels == 1, scores + separation * labels[:, None], subjects

    def areas(self, labels, scores):
        return area_under_curve(labels, scores[:, 0]) - area_under_curve(labels, scores[:, 1])

    @pytest.mark.parametrize("n_seeds", [5, 10])
    def test_covers_where_patients_alone_do_not(self, n_seeds):
        def more_often_right(labels, scores):
            return np.subtract(*((scores > 1) == labels[:, None]).mean(axis=0))

        rng, hits = np.random.default_rng(30), np.zeros(2)
        for _ in range(250):
            labels, scores, subjects = self.draw(rng, n_seeds, 30)
            scores += 0.4 * rng.normal(size=(n_seeds, 1, 2))  # a network that answers yes too often
            both = seeds_and_patients_interval(more_often_right, labels, scores, subjects=subjects)
            pair = np.subtract(*((scores[0] > 1) == labels[:, None]).T.astype(int))
            mean, error = pair.mean(), stats.sem(pair.reshape(-1, 3).mean(axis=1))
            hits += [both.low <= 0 <= both.high, abs(mean) <= 2.05 * error]
        assert hits[0] / 250 >= 0.93
        assert hits[1] / 250 < 0.9

    def test_on_the_logit_scale_it_stays_between_0_and_1(self):
        labels, scores, subjects = self.draw(np.random.default_rng(33), 3, 8)
        given = area_under_curve, labels, scores[..., 0]
        plain = seeds_and_patients_interval(*given, subjects=subjects)
        logit = seeds_and_patients_interval(*given, subjects=subjects, logit=True)
        assert plain.high > 1 > logit.high > logit.value == plain.value

    def test_networks_that_are_always_right_are_no_certainty(self):
        labels = np.arange(12) % 2 == 1
        interval = seeds_and_patients_interval(
            area_under_curve, labels, np.stack([labels, labels]), subjects=np.arange(12)
        )
        assert interval.value == 1
        assert np.isnan([interval.low, interval.high]).all()

    def test_a_table_of_numbers_is_analysis_of_variance(self):
        # Dice, say: one number an image; a subject's images are averaged
        rng = np.random.default_rng(31)
        dice = rng.normal(size=(6, 1)) + rng.normal(size=(1, 20)) + rng.normal(size=(6, 20))
        interval = seeds_and_patients_interval(
            lambda _, values: values.mean(), np.zeros(20), dice, subjects=np.arange(20)
        )
        rows, columns = 20 * dice.mean(axis=1).var(ddof=1), 6 * dice.mean(axis=0).var(ddof=1)
        total = dice.var() * dice.size
        error = (total - 5 * rows - 19 * columns) / 95
        square = rows + columns - error
        degrees = square**2 / (rows**2 / 5 + columns**2 / 19 + error**2 / 95)
        margin = stats.t.ppf(0.975, degrees) * np.sqrt(square / 120)
        assert interval.value == pytest.approx(dice.mean())
        assert interval.high - interval.value == pytest.approx(margin)

    def test_equal_seeds_leave_delongs_interval(self):
        labels, scores, subjects = self.draw(np.random.default_rng(32), 1, 80, 0.5)
        same = np.repeat(scores, 4, axis=0)
        interval = seeds_and_patients_interval(self.areas, labels, same, subjects=subjects)
        delong = auc_test(labels, scores[0, :, 0], scores[0, :, 1], subjects=subjects).difference
        assert interval.value == pytest.approx(delong.value)
        assert interval.high - interval.low == pytest.approx(delong.high - delong.low, rel=0.1)

    @pytest.mark.parametrize(
        ("scores", "subjects", "named"),
        [
            (np.ones((1, 4)), "aabb", "two seeds"),
            (np.ones((3, 5)), "aabb", "seeds, 4"),
            (np.ones((3, 4)), "aaaa", "1 subjects"),
            (np.ones((3, 4)), "aab", "one an image"),
            (np.ones((3, 4)), "aabb", "of each class"),
        ],
        ids=["one seed", "other images", "one subject", "subjects", "a class of one subject"],
    )
    def test_refuses(self, scores, subjects, named):
        with pytest.raises(DataError, match=named):
            seeds_and_patients_interval(
                area_under_curve, np.arange(4) > 1, scores, subjects=np.array(list(subjects))
            )


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

    @pytest.mark.parametrize("n_defined", [0, 5])
    def test_has_no_bounds_when_half_of_the_resamples_are_undefined(self, n_defined):
        values = iter([*range(n_defined), *[np.nan] * (10 - n_defined), 7.0])
        interval = bootstrap_interval(lambda _: next(values), np.ones(5), n_resamples=10)
        assert interval.value == 7
        assert np.isnan([interval.low, interval.high]).all()

    def test_resamples_that_agree_are_no_certainty(self):
        interval = bootstrap_interval(np.mean, np.ones(5))
        assert interval.value == 1
        assert np.isnan([interval.low, interval.high]).all()

    def test_undefined_resamples_are_left_out(self):
        values = iter([np.nan, 1.0, 2.0, 3.0, 7.0])
        interval = bootstrap_interval(lambda _: next(values), np.ones(5), n_resamples=4)
        assert (interval.low, interval.high) == pytest.approx((1.05, 2.95))

    def test_refuses_lengths_that_differ(self):
        with pytest.raises(DataError, match="lengths"):
            bootstrap_interval(np.mean, np.ones(5), np.ones(4))
        with pytest.raises(DataError, match="expected 5, one an image, found 4"):
            bootstrap_interval(np.mean, np.ones(5), groups=np.array(["a"] * 4))

    def test_refuses_nothing_at_all(self):
        with pytest.raises(DataError, match=r"lengths \[0\]"):
            bootstrap_interval(np.mean, np.ones(0))


def test_an_interval_reads_like_in_a_paper():
    assert str(Interval(0.9123, 0.8808, 0.9377, 156)) == "0.912 [0.881, 0.938]"
