"""Where faces are in a picture that had to be turned, and how far a face is turned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pura.errors import FaceTurned
from pura.face.found import back, box_back, turn_of
from pura.face.pipeline import FacePipeline
from pura.face.spec import DetectorSpec


@given(st.integers(0, 7), st.integers(2, 40), st.integers(2, 40), st.data())
def test_a_point_goes_back_to_where_it_was(quarters: int, width: int, height: int, data: st.DataObject) -> None:
    """The middle of a pixel, found again after numpy has turned the picture."""
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    image = np.zeros((height, width), np.uint8)
    image[y, x] = 1
    ((row, column),) = np.argwhere(np.rot90(image, quarters))
    (point,) = back(np.array([[column + 0.5, row + 0.5]]), quarters, width, height)
    assert point.tolist() == [x + 0.5, y + 0.5]
    left, top, wide, high = box_back((float(column), float(row), 1.0, 1.0), quarters, width, height)
    assert (left, top, wide, high) == (x, y, 1, 1)


@given(st.floats(0, 2 * np.pi), st.floats(0.1, 50), st.floats(-100, 100))
def test_a_turn_does_not_depend_on_tilt_size_and_place(angle: float, size: float, place: float) -> None:
    face = np.array([[0.0, 0], [1, 0], [0.9, 0.6], [0.2, 1], [0.8, 1]])
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert turn_of(face) == pytest.approx(0.8)
    assert turn_of(size * face @ tilt.T + place) == pytest.approx(0.8, abs=1e-6)


def test_turns() -> None:
    def face(nose: float) -> np.ndarray:
        return np.array([[0.0, 0], [1, 0], [nose, 0.6], [0.2, 1], [0.8, 1]])

    assert turn_of(face(0.5)) == 0
    assert turn_of(face(0.0)) == turn_of(face(1.0)) == 1
    assert turn_of(face(1.6)) == pytest.approx(2.2)
    assert turn_of(np.zeros((5, 2))) == float("inf"), "both eyes in one place"


@pytest.mark.network
def test_a_face_that_is_turned_too_far_is_refused_with_the_reason() -> None:
    from orl_pictures import need_faces, picture

    need_faces()
    strict = FacePipeline(detector=DetectorSpec(max_turn=0.0))
    photo = np.asarray(picture(0, 0))
    (found,) = strict.faces(photo).faces
    assert isinstance(found.reason, FaceTurned)
    assert found.crop is None
    assert found.sharpness
    with pytest.raises(FaceTurned):
        strict.embed(photo)
    (usual,) = FacePipeline().faces(photo).faces
    assert usual.reason is None
    assert usual.crop is not None
    assert usual.crop.shape == (112, 112, 3)
