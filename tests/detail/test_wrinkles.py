"""Relief of a person and of expressions."""

import math

import pytest
import torch

from face3d.detail import ObservedRelief, animatable_relief
from face3d.render import texel_fragments

SIZE = 64


def lines(along_u: bool, count: int = 4) -> torch.Tensor:
    """Half a millimetre deep; valleys run across u or across v."""
    wave = -2.5e-4 * (1 + torch.cos(torch.arange(SIZE) / SIZE * 2 * math.pi * count))
    return wave.expand(SIZE, SIZE).clone() if along_u else wave[:, None].expand(SIZE, SIZE).clone()


def found(sheets, *observed):
    rest = sheets.make()
    fragments = texel_fragments(rest.topology, SIZE)
    seen = [
        ObservedRelief(height=h, trust=torch.full((SIZE, SIZE), t), posed=posed)
        for h, t, posed in observed
    ]
    return animatable_relief(rest, seen, fragments), rest


def inner(values: torch.Tensor) -> torch.Tensor:
    return values[..., 8:-8, 8:-8]


def test_wrinkles_vanish_at_rest_and_return_with_the_expression(sheets):
    pressed = sheets.make(wide=0.92)
    relief, rest = found(sheets, (lines(True), 1.0, pressed))
    assert inner(relief.displacement(rest)).abs().max() < 0.05 * 5e-4
    assert torch.allclose(
        inner(relief.displacement(pressed))[0], inner(lines(True)), atol=0.03 * 5e-4
    )
    half = inner(relief.displacement(sheets.make(wide=0.96)))
    assert half.min() == pytest.approx(-2.5e-4, rel=0.1)


def test_the_photos_own_expression_shows_what_was_seen_in_any_place(sheets):
    pressed = sheets.make(wide=0.92)
    relief, _ = found(sheets, (lines(True), 1.0, sheets.turned(pressed, 40.0)))
    assert torch.allclose(
        inner(relief.displacement(pressed))[0], inner(lines(True)), atol=0.03 * 5e-4
    )


def test_stretching_further_than_rest_digs_nothing(sheets):
    relief, _ = found(sheets, (lines(True), 1.0, sheets.make(wide=0.92)))
    assert inner(relief.displacement(sheets.make(wide=1.1))).abs().max() < 0.05 * 5e-4


def test_lines_get_no_deeper_without_end(sheets):
    relief, _ = found(sheets, (lines(True), 1.0, sheets.make(wide=0.95)))
    assert relief.displacement(sheets.make(wide=0.7)).min() > -1.3 * 5e-4


def test_lines_along_the_compression_are_the_persons(sheets):
    # A scar does not go when the skin beside it relaxes.
    relief, rest = found(sheets, (lines(False), 1.0, sheets.make(wide=0.92)))
    assert torch.allclose(inner(relief.displacement(rest))[0], inner(lines(False)), atol=5e-6)


def test_pores_are_the_persons(sheets):
    pores = (lines(True, 10) + lines(False, 10)) / 2
    relief, rest = found(sheets, (pores, 1.0, sheets.make(wide=0.92)))
    kept, size = inner(relief.displacement(rest))[0], inner(pores).std()
    assert (kept - inner(pores)).abs().mean() < 0.25 * size


def test_a_neutral_photos_lines_stay(sheets):
    relief, rest = found(sheets, (lines(True), 1.0, sheets.make()))
    assert torch.allclose(relief.displacement(rest)[0], lines(True), atol=1e-6)


def test_several_photos_tell_rest_and_response_apart(sheets):
    # Half of the depth is there at rest; one photo alone would take it for the expression's.
    relief, rest = found(
        sheets,
        (lines(True), 1.0, sheets.make(wide=0.92)),
        (0.75 * lines(True), 1.0, sheets.make(wide=0.96)),
        (0.5 * lines(True), 1.0, sheets.make()),
    )
    assert inner(relief.displacement(rest)).min() == pytest.approx(-2.5e-4, rel=0.12)
    deep = inner(relief.displacement(sheets.make(wide=0.92)))
    assert deep.min() == pytest.approx(-5e-4, rel=0.12)


def test_what_was_not_seen_is_smooth(sheets):
    relief, rest = found(sheets, (lines(True), 0.0, sheets.make(wide=0.92)))
    assert relief.displacement(rest).abs().max() == 0
    assert relief.displacement(sheets.make(wide=0.92)).abs().max() == 0
