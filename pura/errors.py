"""Every error that Pura raises on purpose, each with a stable code.

The code is part of the interface: programs switch on it, and it is the label of the error metric.
The message may tell a caller what to mend; it never holds a secret, a score, an embedding or a label.
`detail` is for the operator's own log and does not cross the wire.
"""

from __future__ import annotations

from typing import ClassVar

_BY_CODE: dict[str, type[PuraError]] = {}


class PuraError(Exception):
    """The base of all errors. `code` is stable; `str(error)` is fit for the person who asked."""

    code: ClassVar[str] = "internal"
    hint: ClassVar[str] = "Something went wrong inside Pura."

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.code in _BY_CODE:
            raise TypeError(f"two errors share the code {cls.code!r}")
        _BY_CODE[cls.code] = cls

    def __init__(self, message: str | None = None, *, detail: str = "") -> None:
        super().__init__(message or self.hint)
        self.detail = detail


def from_code(code: str, message: str) -> PuraError:
    """The error that a peer or a server named by its code; an unknown code gives `PuraError`."""
    return _BY_CODE.get(code, PuraError)(message)


# --- keys, ciphertexts, bytes -------------------------------------------------------------------


class MalformedCiphertext(PuraError):
    code = "malformed_ciphertext"
    hint = "A ciphertext is not a valid one for this key."


class MalformedMessage(PuraError):
    code = "malformed_message"
    hint = "A message could not be decoded."


class WrongKey(PuraError):
    code = "wrong_key"
    hint = "This was made for another key."


class BadKeyFile(PuraError):
    code = "bad_key_file"
    hint = "The key file is damaged or not a key file."


class SecretNeeded(PuraError):
    code = "secret_needed"
    hint = "A sealed file needs its passphrase or key."


class WrongPassphrase(PuraError):
    code = "wrong_passphrase"
    hint = "A sealed file does not open with this passphrase or key."


class WouldOverwrite(PuraError):
    code = "would_overwrite"
    hint = "The file is there already; nothing was changed."


class OutOfRange(PuraError):
    code = "out_of_range"
    hint = "A value is outside the range that the parameters allow."


class ParameterMismatch(PuraError):
    code = "parameter_mismatch"
    hint = "The two sides do not use the same parameters."


# --- protocol and peer --------------------------------------------------------------------------


class ProtocolError(PuraError):
    code = "protocol"
    hint = "The other side did not follow the protocol."


class PeerUnavailable(PuraError):
    code = "peer_unavailable"
    hint = "The other server cannot be reached now; try again."


class PeerRefused(PuraError):
    code = "peer_refused"
    hint = "The other server refused the connection."


class MaterialUsed(PuraError):
    code = "material_used"
    hint = "Offline material was used already or does not exist."


class InvalidTemplate(PuraError):
    code = "invalid_template"
    hint = "The template is not a vector of the length that this collection takes."


class UnknownEntry(PuraError):
    code = "unknown_entry"
    hint = "There is no such entry."


class EnrolmentConflict(PuraError):
    code = "enrolment_conflict"
    hint = "This enrolment id was used for other data."


class LabelConflict(PuraError):
    code = "label_conflict"
    hint = "The entry has another label by now; look at the list again."


class Replayed(PuraError):
    code = "replayed"
    hint = "This request was answered before; make a new one."


class BadProof(PuraError):
    code = "bad_proof"
    hint = "The proof does not belong to this request."


class StaleEpoch(PuraError):
    code = "stale_epoch"
    hint = "The proof names an epoch that is over; make a new one."


class DeviatingServer(PuraError):
    code = "deviating_server"
    hint = "A server did not give what the two servers agreed on; do not trust this answer, and tell the operators."


class BadArithmetic(PuraError):
    code = "bad_arithmetic"
    hint = "This machine's numerical libraries multiply wrongly; the server cannot run on them."


# --- server -------------------------------------------------------------------------------------


class Overloaded(PuraError):
    code = "overloaded"
    hint = "The server is busy; try again in a moment."


class BudgetSpent(PuraError):
    code = "budget_spent"
    hint = "This client has used up its questions for now."


class NotAuthorised(PuraError):
    code = "not_authorised"
    hint = "This credential is not known here, was revoked, or does not allow this."


class BadConfig(PuraError):
    code = "bad_config"
    hint = "The configuration file is not valid."


class DataFolderInUse(PuraError):
    code = "data_folder_in_use"
    hint = "Another server uses this data folder."


class BadDataFolder(PuraError):
    code = "bad_data_folder"
    hint = "The data folder is damaged or made by an unknown version."


class AuditBroken(PuraError):
    code = "audit_broken"
    hint = "The audit log was changed, or something of it is missing."


class StorageFull(PuraError):
    code = "storage_full"
    hint = "The server's disk is full; nothing was stored."


class NotReady(PuraError):
    code = "not_ready"
    hint = "The server is starting or stopping; try again."


# --- faces --------------------------------------------------------------------------------------


class UnreadableImage(PuraError):
    code = "unreadable_image"
    hint = "The file could not be read as a picture."


class NoFace(PuraError):
    code = "no_face"
    hint = "No face was found in the picture."


class SeveralFaces(PuraError):
    code = "several_faces"
    hint = "Several faces were found; crop the picture or take the largest (--largest)."


class FaceTooSmall(PuraError):
    code = "face_too_small"
    hint = "The face is too small; use a larger picture."


class FaceTooBlurred(PuraError):
    code = "face_too_blurred"
    hint = "The face is too blurred; use a sharper picture."


class FaceTurned(PuraError):
    code = "face_turned"
    hint = "The face is turned too far to a side; use a photo in which it looks towards the camera."


class PhotosDisagree(PuraError):
    code = "photos_disagree"
    hint = "These photos do not show one person."


class BadEmbedding(PuraError):
    code = "bad_embedding"
    hint = "The embedding is not a finite vector of the right length."


class BadWeights(PuraError):
    code = "bad_weights"
    hint = "The model file is missing or does not have the expected hash."


class DownloadFailed(PuraError):
    code = "download_failed"
    hint = "A download failed; check the network or give the file by its path."


class UnknownLabel(PuraError):
    code = "unknown_label"
    hint = "Nobody is enrolled under this label."
