import dataclasses

import numpy as np
import pytest
import torch

from face3d.core import InputError
from face3d.metric.measurements import (
    MEASUREMENTS,
    MeasurableHead,
    Measurement,
    Measurements,
    measure_head,
)
from face3d.pipeline import load_head


@pytest.fixture(scope="module")
def head() -> MeasurableHead:
    model = load_head()
    data = model.data
    joints = model.joints(torch.zeros(model.identity_count)).numpy().astype(np.float64)
    return MeasurableHead(
        vertices=data.v_template.astype(np.float64),
        faces=data.faces,
        regions=data.regions,
        embedding=data.embeddings["mediapipe478"],
        eye_centres=joints[[3, 4]],
    )


def test_the_mean_open_head_has_the_sizes_of_people(head: MeasurableHead):
    lengths, missing = measure_head(head)
    assert missing == {}
    assert set(lengths) == set(MEASUREMENTS)
    mm = {name: 1000 * length for name, length in lengths.items()}
    # What the head was calibrated to (docs/design/open-head.md) ...
    assert mm["pupillary_distance"] == pytest.approx(63.4, abs=2)
    assert mm["face_height"] == pytest.approx(118, abs=3)
    # ... and what it was not; both sexes of adults and some children.
    assert mm["face_width"] == pytest.approx(137, abs=6)
    assert mm["nose_width"] == pytest.approx(35, abs=4)
    assert mm["jaw_width"] == pytest.approx(115, abs=10)
    assert mm["head_circumference"] == pytest.approx(555, abs=20)


def test_sizes_grow_with_the_head_and_do_not_mind_where_it_is(head: MeasurableHead):
    before, _ = measure_head(head)
    assert head.eye_centres is not None
    moved = dataclasses.replace(
        head,
        vertices=1.1 * head.vertices + [0.0, 0.3, -0.2],
        eye_centres=1.1 * head.eye_centres + [0.0, 0.3, -0.2],
    )
    after, _ = measure_head(moved)
    for name in MEASUREMENTS:
        assert after[name] == pytest.approx(1.1 * before[name], rel=1e-6)


def test_a_tape_around_a_ball_is_its_circumference(head: MeasurableHead):
    """Every vertex of the scalp is put on a ball around the middle of the head."""
    middle = head.vertices[head.regions["scalp"]].mean(0)
    arm = head.vertices - middle
    ball = middle + 0.09 * arm / np.linalg.norm(arm, axis=1, keepdims=True)
    lengths, _ = measure_head(dataclasses.replace(head, vertices=ball))
    assert lengths["head_circumference"] == pytest.approx(2 * np.pi * 0.09, rel=0.02)


def test_what_a_head_lacks_is_said(head: MeasurableHead):
    bare = dataclasses.replace(head, regions={}, eye_centres=None)
    lengths, missing = measure_head(bare)
    assert set(lengths) == {"face_width", "nose_width", "jaw_width"}
    assert missing["pupillary_distance"] == "the head has no eye joints"
    assert "region" in missing["head_circumference"]
    lengths, missing = measure_head(dataclasses.replace(bare, embedding=None))
    assert lengths == {}
    assert set(missing) == set(MEASUREMENTS)


def test_landmarks_that_are_not_embedded_are_named(head: MeasurableHead):
    place = head.embedding
    assert place is not None
    keep = place.indices != 454
    part = dataclasses.replace(
        place,
        indices=place.indices[keep],
        face_index=place.face_index[keep],
        barycentric=place.barycentric[keep],
    )
    _, missing = measure_head(dataclasses.replace(head, embedding=part))
    assert set(missing) == {"face_width"}
    assert "454" in missing["face_width"]


def test_damaged_vertices_are_refused(head: MeasurableHead):
    broken = head.vertices.copy()
    broken[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        measure_head(dataclasses.replace(head, vertices=broken))


def test_measurements_are_looked_up_by_name():
    sizes = Measurements(
        values={"face_width": Measurement(mm=140.0, sd_mm=5.0)},
        missing={"jaw_width": "the head has no jaw"},
    )
    assert sizes["face_width"].mm == 140.0
    with pytest.raises(InputError, match="no jaw"):
        sizes["jaw_width"]
    with pytest.raises(InputError, match="no size 'shoe'"):
        sizes["shoe"]
