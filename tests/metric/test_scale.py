import math

import numpy as np
import pytest

from face3d.core import InputError
from face3d.metric.scale import combine_scales, scale_source, silent_source

POPULATION = scale_source("population", 1.0, 0.06)
IRIS = scale_source("iris", 1.05, 0.045)


def test_the_mean_is_weighted_by_precision():
    scale = combine_scales([POPULATION, IRIS])
    weights = np.array([0.06, 0.045]) ** -2.0
    expected = math.exp(weights[1] * math.log(1.05) / weights.sum())
    assert scale.metres_per_unit == pytest.approx(expected)
    assert scale.sd == pytest.approx(expected * weights.sum() ** -0.5)
    assert scale.log_sd == pytest.approx(weights.sum() ** -0.5)
    assert scale.used == ("iris", "population")
    assert scale.notes == ()


def test_one_source_is_the_result():
    scale = combine_scales([POPULATION, silent_source("iris", "the eyes are closed")])
    assert scale.metres_per_unit == pytest.approx(1.0)
    assert scale.sd == pytest.approx(0.06)
    assert scale.used == ("population",)
    assert scale.sources[1].note == "the eyes are closed"


def test_the_stated_deviation_is_honest():
    rng = np.random.default_rng(0)
    within = 0
    for _ in range(2000):
        drawn = [
            scale_source(name, math.exp(sd * rng.standard_normal()), sd)
            for name, sd in (("population", 0.06), ("iris", 0.045), ("network", 0.03))
        ]
        scale = combine_scales(drawn)
        within += abs(math.log(scale.metres_per_unit)) < scale.log_sd
    assert 0.66 < within / 2000 < 0.73


def test_metadata_that_contradicts_the_rest_is_left_out_and_said():
    wrong = scale_source("exif", 2.0, 0.12, trust="metadata")
    scale = combine_scales([POPULATION, IRIS, wrong])
    expected = combine_scales([POPULATION, IRIS])
    assert scale.metres_per_unit == pytest.approx(expected.metres_per_unit)
    assert scale.sd == pytest.approx(expected.sd)
    assert not scale.sources[2].used
    assert "exif" in scale.notes[0]
    assert "above" in scale.notes[0]


def test_metadata_that_agrees_is_used():
    scale = combine_scales([POPULATION, scale_source("exif", 1.1, 0.12, trust="metadata")])
    assert scale.used == ("population", "exif")


def test_what_the_user_says_overrules_the_population():
    child = scale_source("known pupillary_distance", 0.75, 0.025, trust="given")
    scale = combine_scales([POPULATION, child])
    assert scale.metres_per_unit == pytest.approx(0.75)
    assert scale.used == ("known pupillary_distance",)
    assert "population" in scale.notes[0]


def test_two_equals_that_disagree_are_both_kept_with_a_wider_deviation():
    small = scale_source("iris", 0.75, 0.045)
    scale = combine_scales([POPULATION, small])
    assert set(scale.used) == {"iris", "population"}
    assert scale.log_sd > 0.1
    assert "disagree" in scale.notes[0]


def test_an_absurd_size_is_left_out():
    scale = combine_scales([POPULATION, scale_source("exif", 40.0, 0.1, trust="metadata")])
    assert scale.used == ("population",)
    assert "40 times" in scale.notes[0]


@pytest.mark.parametrize(
    ("factor", "deviation"),
    [(0.0, 0.1), (-1.0, 0.1), (math.nan, 0.1), (math.inf, 0.1), (1.0, 0.0), (1.0, math.nan)],
)
def test_impossible_sources_are_refused(factor: float, deviation: float):
    with pytest.raises(InputError, match="must be positive"):
        scale_source("network", factor, deviation)


def test_without_a_source_there_is_no_size():
    with pytest.raises(InputError, match="No source"):
        combine_scales([silent_source("iris", "the eyes are closed")])
