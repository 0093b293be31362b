"""The codes of all errors: programs switch on them, so one that is renamed or lost breaks somebody's script."""

from __future__ import annotations

import copy
import pickle

import pytest

from pura import errors
from pura.errors import MalformedCiphertext, PuraError, from_code

CODES = [
    "audit_broken",
    "bad_arithmetic",
    "bad_config",
    "bad_data_folder",
    "bad_embedding",
    "bad_key_file",
    "bad_proof",
    "bad_weights",
    "budget_spent",
    "data_folder_in_use",
    "deviating_server",
    "download_failed",
    "enrolment_conflict",
    "face_too_blurred",
    "face_too_small",
    "face_turned",
    "invalid_template",
    "label_conflict",
    "malformed_ciphertext",
    "malformed_message",
    "material_used",
    "no_face",
    "not_authorised",
    "not_ready",
    "out_of_range",
    "overloaded",
    "parameter_mismatch",
    "peer_refused",
    "peer_unavailable",
    "photos_disagree",
    "protocol",
    "replayed",
    "secret_needed",
    "several_faces",
    "stale_epoch",
    "storage_full",
    "unknown_entry",
    "unknown_label",
    "unreadable_image",
    "would_overwrite",
    "wrong_key",
    "wrong_passphrase",
]
"""A code may be added. None may be removed or changed."""

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PuraError)]
KINDS = [kind for kind in ALL if kind is not PuraError]


def test_the_codes() -> None:
    assert sorted(kind.code for kind in KINDS) == CODES
    assert PuraError.code == "internal"
    assert "internal" not in CODES


def test_every_code_is_fit_for_a_label_and_every_hint_for_a_person() -> None:
    for kind in ALL:
        assert kind.code.replace("_", "").isalpha()
        assert kind.code.islower()
        assert kind.hint[0].isupper()
        assert kind.hint.endswith(".")
        assert len(kind.hint) < 120
        assert str(kind()) == kind.hint
    assert len({kind.hint for kind in ALL}) == len(ALL)


def test_a_code_is_used_once() -> None:
    with pytest.raises(TypeError, match="no_face"):
        type("Another", (PuraError,), {"code": "no_face"})
    assert from_code("no_face", "x").__class__ is errors.NoFace


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_an_error_crosses_the_wire_by_its_code(kind: type[PuraError]) -> None:
    again = from_code(kind.code, "what to mend")
    assert type(again) is kind
    assert str(again) == "what to mend"
    assert again.detail == ""
    assert str(from_code(kind.code, "")) == kind.hint


@pytest.mark.parametrize("code", ["", "no such code", "NoFace", "no_face "])
def test_an_unknown_code_is_a_plain_error(code: str) -> None:
    assert type(from_code(code, "x")) is PuraError


def test_the_detail_is_not_what_is_shown() -> None:
    error = MalformedCiphertext("for the caller", detail="for the log")
    assert str(error) == "for the caller"
    assert "for the log" not in f"{error!r}"
    assert error.detail == "for the log"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_survives_between_processes(copied: object) -> None:
    for kind in ALL:
        again = copied(kind("message", detail="detail"))  # type: ignore[operator]
        assert (type(again), str(again), again.detail) == (kind, "message", "detail")
